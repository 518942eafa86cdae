// Finds out whether canvases tell the truth. The page that rave-export writes has this module, too.

export const HIDDEN = "to protect you from fingerprinting, this browser gives pages noise instead of pixels";

export function hidePixels() { // as Tor Browser and LibreWolf do: they give noise in place of what was drawn
  const context = new OffscreenCanvas(16, 16).getContext("2d", { willReadFrequently: true });
  const drawn = context.createImageData(16, 16);
  drawn.data.forEach((_, at, all) => (all[at] = at % 4 === 3 ? 255 : (37 * at) % 256));
  context.putImageData(drawn, 0, 0);
  const read = context.getImageData(0, 0, 16, 16).data;
  return drawn.data.some((value, at) => Math.abs(value - read[at]) > 8); // others change some by 1, which nobody sees
}
