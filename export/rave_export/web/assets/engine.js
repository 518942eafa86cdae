// Asks the worker, which has the model, for enhanced pixels.

const waiting = new Map();
let worker;
let counter = 0;
let heard;

export function begin(listen) { // listen({ready}) or listen({error}), again each time that the worker begins anew
  heard = listen;
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => (data.id === undefined ? heard(data) : answer(data));
  worker.onerror = (event) => heard({ error: event.message, isStuck: true });
}

function answer({ id, rgb, error }) {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (!error) return resolve(rgb);
  reject(new Error(error));
  worker.terminate(); // its memory never shrinks, and is too full of holes for the next large photograph
  for (const { reject } of waiting.values()) reject(new Error("the memory was too small for the one before"));
  waiting.clear();
  begin(heard);
}

export const ask = (message) =>
  new Promise((resolve, reject) => {
    const id = counter++;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...message });
  });
