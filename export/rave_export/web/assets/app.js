// The page: opens a photograph, hands its pixels to the worker, shows before and after, saves.

const element = (id) => document.getElementById(id);
const waiting = new Map();
let worker;
let picture = null; // {name, rgb, alpha, height, width}
let counter = 0;
let opened = 0;
let broken = null; // why no photograph can be enhanced

const say = (text, state) => {
  element("status").textContent = text;
  document.body.dataset.state = state;
};

const giveUp = (text) => {
  broken = text;
  say(text, "failed");
};

say("Loading the model…", "loading"); // until here the page says what it needs for running this
begin();

function begin() {
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => hear(data);
  worker.onerror = (event) => giveUp(`The page cannot start (${event.message}): it must come from a web server.`);
}

function hear(data) {
  if (data.ready) {
    element("engine").textContent = `Computed by ${data.ready === "webgpu" ? "the graphics processor (WebGPU)" : "WebAssembly"}.`;
    document.body.dataset.engine = data.ready;
    if (!picture) say("Ready.", "ready");
  } else if (data.id === undefined) {
    const isForbidden = /content security policy|\bCSP\b/i.test(data.error);
    giveUp(isForbidden
      ? "The server's Content-Security-Policy forbids this page to compute: README.md tells what it must allow."
      : `This browser cannot run the model (${data.error}): try a current Chrome, Edge, Firefox or Safari.`);
  } else {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (!data.error) return resolve(data.rgb);
    reject(new Error(data.error));
    worker.terminate(); // its memory never shrinks, and is too full of holes for the next large photograph
    begin();
  }
}

const ask = (message) =>
  new Promise((resolve, reject) => {
    const id = counter++;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...message });
  });

async function open(file) {
  if (broken) return say(broken, "failed");
  const turn = ++opened;
  say(`Opening ${file.name}…`, "busy");
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none" });
  } catch {
    if (turn !== opened) return;
    say(`${file.name} is of no kind that this browser opens: save it as JPEG or PNG first.`, "failed");
    return;
  }
  if (turn !== opened) return bitmap.close(); // another was chosen while this one was decoded
  element("view").hidden = element("controls").hidden = true; // they are of the photograph before
  const { width, height } = bitmap;
  const canvas = element("before");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  let rgba;
  try {
    context.drawImage(bitmap, 0, 0);
    rgba = context.getImageData(0, 0, width, height).data;
  } catch (error) { // a phone's canvas may hold 16 megapixels at most
    say(`${file.name} is ${width} × ${height}, too large for this browser (${error.message}): make it smaller.`, "failed");
    return;
  } finally {
    bitmap.close();
  }
  const rgb = new Uint8Array(width * height * 3);
  let alpha = null;
  for (let i = 0, j = 0; i < rgba.length; i += 4, j += 3) {
    rgb[j] = rgba[i];
    rgb[j + 1] = rgba[i + 1];
    rgb[j + 2] = rgba[i + 2];
    if (rgba[i + 3] !== 255) alpha ??= rgba;
  }
  picture = { name: file.name, rgb, alpha, width, height };
  await enhance();
}

let running = false;
let changed = false;
async function enhance() {
  if (!picture) return;
  changed = true;
  say("Enhancing…", "busy");
  element("save").disabled = true; // what it would save is of the wish before
  if (running) return; // the last wish is next; those between, as of a held arrow, are left out
  running = true;
  try {
    while (changed) {
      changed = false;
      await enhanceOnce();
    }
  } finally {
    running = false;
    element("save").disabled = false;
  }
}

async function enhanceOnce() {
  const shown = picture;
  const chosen = opened;
  const strength = Number(element("strength").value);
  const start = performance.now();
  let rgb;
  try {
    rgb = await ask({ rgb: shown.rgb, width: shown.width, height: shown.height, strength });
  } catch (error) {
    if (changed) return;
    say(`The photograph cannot be enhanced (${error.message}): a smaller one needs less memory.`, "failed");
    return;
  }
  if (changed) return; // a later wish is next
  const canvas = element("after");
  Object.assign(canvas, { width: shown.width, height: shown.height });
  const context = canvas.getContext("2d", { colorSpace: "srgb" });
  const image = context.createImageData(shown.width, shown.height);
  for (let i = 0, j = 0; i < image.data.length; i += 4, j += 3) {
    image.data[i] = rgb[j];
    image.data[i + 1] = rgb[j + 1];
    image.data[i + 2] = rgb[j + 2];
    image.data[i + 3] = shown.alpha ? shown.alpha[i + 3] : 255;
  }
  context.putImageData(image, 0, 0);
  element("view").hidden = element("controls").hidden = false;
  divide();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (chosen !== opened) return; // what is said is of a file that was chosen since
  say(`${shown.name}: ${shown.width} × ${shown.height}, ${seconds} s`, "done");
}

function divide() {
  element("after").style.clipPath = `inset(0 0 0 ${element("divider").value}%)`;
}

function onWhite(picture) { // JPEG has no transparency, and a canvas would make it black
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: picture.width, height: picture.height });
  const context = canvas.getContext("2d", { colorSpace: "srgb" });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0);
  return canvas;
}

async function save() {
  const type = element("format").value;
  const canvas = picture.alpha && type === "image/jpeg" ? onWhite(element("after")) : element("after");
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, type, 0.95));
  if (!blob) { // a browser that is short of memory
    return say(`${picture.name} cannot be saved: close other tabs, or choose the other format.`, "failed");
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = picture.name.replace(/\.[^.]*$/, "") + (type === "image/png" ? "-enhanced.png" : "-enhanced.jpg");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Else the same photograph, chosen once more, would be no change.
element("file").onclick = ({ target }) => (target.value = "");
element("file").onchange = ({ target }) => target.files[0] && open(target.files[0]);
element("divider").oninput = divide;
element("strength").oninput = ({ target }) => (element("value").value = Number(target.value).toFixed(2));
element("strength").onchange = enhance;
element("save").onclick = save;
const drop = element("drop");
// Wherever it is dropped: a browser would leave the page for the file.
addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
