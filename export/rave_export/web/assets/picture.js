// Photographs as pixels: opens files, draws into canvases, encodes.

import { HIDDEN, hidePixels } from "./canvases.js";
import { ask } from "./engine.js";
import { carry, readHead } from "./metadata.js";

export async function open(file, canvas, isWanted = () => true) { // draws the file; null if no longer wanted
  if (hidePixels()) throw new Error(`cannot be enhanced: ${HIDDEN}. Let this page read them (canvas data), and choose the photograph again`);
  let head;
  try { // now, since a file may be moved or changed until it is saved
    head = await readHead(file);
  } catch {
    throw new Error("cannot be read: choose it again");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none" });
  } catch {
    throw new Error("is of no kind that this browser opens: save it as JPEG or PNG first");
  }
  const { width, height } = bitmap;
  let rgba;
  try {
    if (!isWanted()) return null;
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    context.drawImage(bitmap, 0, 0);
    rgba = context.getImageData(0, 0, width, height).data;
  } catch (error) { // a phone's canvas may hold 16 megapixels at most
    throw new Error(`is ${width} × ${height}, too large for this browser (${error.message}): make it smaller`);
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
  if (alpha?.every((value) => value === 0)) { // what WebKit makes of damaged files, and where canvases have no memory left
    throw new Error(`comes out empty: it is damaged, or its ${width} × ${height} pixels are too many for this browser`);
  }
  return { file, head, rgb, alpha, width, height };
}

export async function enhance({ rgb, width, height }, strength) { // the enhanced red, green and blue
  try {
    return await ask({ rgb, width, height, strength });
  } catch (error) {
    throw new Error(`cannot be enhanced (${error.message}): a smaller one needs less memory`);
  }
}

export function draw(canvas, { alpha, width, height }, rgb) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { colorSpace: "srgb" });
  const image = context.createImageData(width, height);
  for (let i = 0, j = 0; i < image.data.length; i += 4, j += 3) {
    image.data[i] = rgb[j];
    image.data[i + 1] = rgb[j + 1];
    image.data[i + 2] = rgb[j + 2];
    image.data[i + 3] = alpha ? alpha[i + 3] : 255;
  }
  context.putImageData(image, 0, 0);
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

export async function encode(canvas, { head, alpha, width, height }, type) { // a file's bytes, with the data of the photograph's own
  const drawn = alpha && type === "image/jpeg" ? onWhite(canvas) : canvas;
  const blob = await new Promise((resolve) => drawn.toBlob(resolve, type, 0.95));
  if (!blob) { // a browser that is short of memory
    throw new Error("cannot be saved: close other tabs, or choose the other format");
  }
  return type === "image/jpeg" ? carry(head, blob, { width, height }) : blob;
}

export const resultName = (name, type) =>
  name.replace(/\.[^./]*$/, "") + (type === "image/png" ? "-enhanced.png" : "-enhanced.jpg");
