// What is asked for and kept of one photograph: its light, its preview, its enhanced file.
import { HIDDEN, hidePixels } from "./canvases.js";
import { binsOf, brightPower, parseNpy, relight } from "./light.js";
import { ask } from "./service.js";
import { page, photos } from "./state.js";

const PREVIEW_PX = 1280; // long side of what is shown while the strength is chosen
const KEPT = 8; // previews kept decoded; further ones are decoded again when they are looked at
const KEPT_LIGHTS = 100; // lights kept, 2 MB each; further ones are asked for again

export async function load(photo) {
  const answer = await ask(`light?format=npy&long_side=${PREVIEW_PX}`, photo.file);
  [photo.full_w, photo.full_h] = answer.headers.get("Rave-Size").split("x").map(Number);
  photo.notes = JSON.parse(answer.headers.get("Rave-Warnings") || "[]");
  if (hidePixels()) photo.notes.push(`what is seen here is wrong, what is downloaded is right: ${HIDDEN}`);
  const { light, width, height } = parseNpy(await answer.arrayBuffer());
  photo.width = width;
  photo.height = height;
  photo.bins = binsOf(light);
  await decode(photo);
  reduce(photo);
  thumbnail(photo);
}

export async function picture(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
  } catch (error) {
    URL.revokeObjectURL(image.src);
    throw error;
  }
  return image;
}

export async function original(photo) { // what the browser cannot show, the service turns into a JPEG
  try {
    return await picture(photo.shown || photo.file);
  } catch {
    photo.shown = await (await ask("enhance?strength=0&highlights=0&format=jpeg", photo.file)).blob();
    return picture(photo.shown);
  }
}

export async function decode(photo) {
  const image = await original(photo);
  const canvas = new OffscreenCanvas(photo.width, photo.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, photo.width, photo.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, photo.width, photo.height);
  URL.revokeObjectURL(image.src);
  photo.pixels = context.getImageData(0, 0, photo.width, photo.height);
  photo.seen = performance.now();
  const kept = photos.filter((one) => one.bins && one.seen && one !== page.current).sort((a, b) => b.seen - a.seen);
  for (const one of kept.slice(KEPT)) one.pixels = null;
  for (const one of kept.slice(KEPT_LIGHTS)) one.bins = null;
}

function reduce(photo) { // keeps a small copy of preview and light: thumbnails are made anew when both are gone
  const scale = Math.min(1, 168 / Math.min(photo.width, photo.height));
  const width = Math.round(photo.width * scale), height = Math.round(photo.height * scale);
  const whole = new OffscreenCanvas(photo.width, photo.height), part = new OffscreenCanvas(width, height);
  whole.getContext("2d").putImageData(photo.pixels, 0, 0);
  const context = part.getContext("2d", { willReadFrequently: true });
  context.drawImage(whole, 0, 0, width, height);
  const sums = new Float32Array(width * height), counts = new Float32Array(width * height);
  for (let y = 0, i = 0; y < photo.height; y++) {
    const row = Math.floor(y * height / photo.height) * width;
    for (let x = 0; x < photo.width; x++, i++) {
      const at = row + Math.floor(x * width / photo.width);
      sums[at] += photo.bins[i];
      counts[at]++;
    }
  }
  photo.small = { width, height, pixels: context.getImageData(0, 0, width, height), bins: Uint16Array.from(sums, (sum, at) => sum / counts[at]) };
}

export function thumbnail(photo) {
  const canvas = document.createElement("canvas");
  canvas.width = photo.small.width;
  canvas.height = photo.small.height;
  canvas.getContext("2d").putImageData(relight({ ...photo, ...photo.small }), 0, 0);
  photo.button.replaceChildren(canvas);
}

export const wishes = (photo) => `strength=${photo.strength}`
  + (photo.highlights === null ? "" : `&highlights=${photo.highlights}`) + (photo.hdr ? "&hdr=true" : "");

export async function enhance(photo, format = "") {
  const key = `${wishes(photo)} ${format}`;
  if (photo.result?.key !== key) {
    const answer = await ask(`enhance?again=true&${wishes(photo)}${format && `&format=${format}`}`, photo.file);
    const notes = JSON.parse(answer.headers.get("Rave-Warnings") || "[]").filter((note) => note.startsWith("hdr=true"));
    photo.result = { key, blob: await answer.blob(), notes };
  }
  return photo.result.blob;
}
