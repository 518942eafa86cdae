// Divides a preview by its light, so that another strength is seen at once.

const BINS = 1024, LOW = -10, HIGH = 1; // steps of log2(light) in a preview
const KNEE = [0.75, 0.5], BRIGHT_LIGHT = [0.8, 0.97]; // as rave_runtime/light/look.py has them

export function parseNpy(buffer) { // NPY 1.0: magic, version, length of the header, header, values
  const start = 10 + new DataView(buffer).getUint16(8, true);
  const [height, width] = /'shape': \((\d+), (\d+)\)/.exec(new TextDecoder().decode(buffer.slice(10, start))).slice(1).map(Number);
  return { light: new Float32Array(buffer.slice(start)), width, height };
}

export function binsOf(light) { // the step of log2(light) of each pixel
  const bins = new Uint16Array(light.length), scale = (BINS - 1) / (HIGH - LOW);
  for (let i = 0; i < light.length; i++) {
    const stops = Math.log2(Math.max(light[i], 1e-12));
    bins[i] = Math.round((Math.min(HIGH, Math.max(LOW, stops)) - LOW) * scale);
  }
  return bins;
}

export const brightPower = (photo) => photo.highlights ?? Math.min(photo.strength, 1);

let last = {}; // the gains that were asked for last: one photograph after another has the same strength

function gainsOf(photo) { // by light and brightest channel, as rave_runtime/light/look.py and normal_way.py have it
  const shade = photo.strength, bright = brightPower(photo);
  const knee = KNEE[0] - (KNEE[0] - KNEE[1]) * Math.max(0, shade - 1);
  if (last.shade === shade && last.bright === bright) return last.gains;
  const gains = new Float32Array(BINS * 256);
  for (let bin = 0; bin < BINS; bin++) {
    const light = 2 ** (LOW + bin * (HIGH - LOW) / (BINS - 1));
    const t = Math.min(1, Math.max(0, (light - BRIGHT_LIGHT[0]) / (BRIGHT_LIGHT[1] - BRIGHT_LIGHT[0])));
    const power = light > 1 ? Math.min(1, bright) : shade + (bright - shade) * t * t * (3 - 2 * t);
    const divisor = Math.max(1e-4, light ** power);
    const d1 = Math.min(1, divisor), e = 1 - knee * d1;
    for (let value = 0; value < 256; value++) {
      const m = value / 255, a = (1 - d1) * Math.max(0, m - knee * d1) / (1 - knee);
      gains[bin * 256 + value] = a ? (e * m + knee * a) / ((d1 * e + a) * m) * d1 / divisor : 1 / divisor;
    }
  }
  last = { shade, bright, gains };
  return gains;
}

export function relight(photo) {
  const gains = gainsOf(photo);
  const result = new ImageData(photo.width, photo.height);
  const from = photo.pixels.data, to = result.data, bins = photo.bins;
  for (let i = 0, j = 0; i < bins.length; i++, j += 4) {
    const red = from[j], green = from[j + 1], blue = from[j + 2];
    const gain = gains[bins[i] * 256 + Math.max(red, green, blue)];
    to[j] = red * gain;
    to[j + 1] = green * gain;
    to[j + 2] = blue * gain;
    to[j + 3] = 255;
  }
  return result;
}
