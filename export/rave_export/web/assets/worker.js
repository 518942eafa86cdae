// Runs the model beside the page, so that the page stays responsive.
// Messages in: {id, rgb, height, width, strength}; out: {id, rgb} or {id, error}, and first {ready} or {error}.

const near = (found, expected) => {
  let far = 0;
  for (let i = 0; i < expected.length; i++) if (Math.abs(found[i] - expected[i]) > 1) far++;
  return far <= expected.length / 1000;
};

async function run(engine, rgb, height, width, strength) {
  const { ort, session } = engine;
  const image = new ort.Tensor("uint8", rgb, [1, height, width, 3]);
  const power = new ort.Tensor("float32", Float32Array.of(strength), []);
  const results = await session.run({ image, strength: power }, ["enhanced"]);
  const data = results.enhanced.data;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.length).slice();
  for (const name in results) results[name].dispose?.();
  return bytes;
}

async function open(kind, model) {
  const ort = await import(`./ort.${kind}.min.js`);
  const core = new URL(`ort-wasm-simd-threaded${kind === "webgpu" ? ".asyncify" : ""}`, import.meta.url).href;
  ort.env.wasm.wasmPaths = { mjs: `${core}.js`, wasm: `${core}.wasm` }; // not the package's own names
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, { executionProviders: [kind], enableMemPattern: false });
  return { ort, session, kind };
}

async function start() {
  const get = async (name) => {
    const response = await fetch(name);
    if (!response.ok) throw new Error(`the server has no ${name}: ${response.status}`);
    return response;
  };
  const read = async (name) => new Uint8Array(await (await get(name)).arrayBuffer());
  const facts = await (await get("rave-web.json")).json();
  const [model, both] = await Promise.all([read("model.onnx"), read("probe.bin")]);
  const { height, width } = facts.probe;
  const half = both.length / 2;
  const kinds = [];
  if (navigator.gpu && (await navigator.gpu.requestAdapter().catch(() => null))) kinds.push("webgpu");
  kinds.push("wasm");
  let last;
  for (const kind of kinds) {
    try {
      const engine = await open(kind, model);
      // A graphics driver may compute something else: it is asked for a picture whose result is known.
      if (near(await run(engine, both.slice(0, half), height, width, 1), both.subarray(half))) return engine;
      last = new Error(`${kind} computes another picture than it should`);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}

const starting = start();
starting.then(
  (engine) => postMessage({ ready: engine.kind }),
  (error) => postMessage({ error: String(error.message || error) }),
);

let queue = Promise.resolve();
onmessage = ({ data }) => {
  queue = queue.then(async () => {
    try {
      const engine = await starting;
      const rgb = await run(engine, data.rgb, data.height, data.width, data.strength);
      postMessage({ id: data.id, rgb }, [rgb.buffer]);
    } catch (error) {
      postMessage({ id: data.id, error: String(error.message || error) });
    }
  });
};
