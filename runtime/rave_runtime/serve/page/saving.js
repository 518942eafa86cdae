// Hands the enhanced photographs to the browser as downloads.
import { enhance } from "./photographs.js";
import { $, page, photos, say } from "./state.js";
import { zip } from "./zip.js";

const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/tiff": "tif", "image/avif": "avif",
  "image/heif": "heic", "image/heic": "heic", "image/bmp": "bmp", "image/x-portable-anymap": "ppm" };

export const limits = { zipBytes: 4e9 }; // most bytes in a zip, whose numbers have 32 bits; then comes another one

function resultName(photo, type) {
  const name = photo.name.replace(/[\\/]/g, "_"); // in a zip these would be folders on some system
  const stem = name.replace(/\.[^.]*$/, "");
  const own = name.slice(stem.length + 1);
  const ending = ENDINGS[type] || own;
  const same = type === "image/jpeg" && /^jpe?g$/i.test(own) || type === "image/tiff" && /^tiff?$/i.test(own);
  return `${stem}-enhanced.${same ? own : ending}`;
}

function hand(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export async function save() {
  const photo = page.current;
  if (photo?.state !== "ready") return;
  say(`Enhancing ${photo.name} …`);
  try {
    const blob = await enhance(photo);
    hand(blob, resultName(photo, blob.type));
    say([`${photo.name} is enhanced`, ...photo.result.notes].join(" · "));
  } catch (error) {
    say(`${photo.name}: ${error.message}`);
  }
}

export async function saveAll() {
  const ready = photos.filter((one) => one.state === "ready");
  const failed = [], names = new Set();
  let entries = [], bytes = 0, zips = 0;
  const handZip = async () => hand(await zip(entries), zips++ ? `enhanced ${zips}.zip` : "enhanced.zip");
  $("save-all").disabled = true;
  for (const photo of ready) {
    say(`Enhancing ${names.size + 1} of ${ready.length} …`);
    try {
      const blob = await enhance(photo);
      const first = photo.folder.replace(/\\/g, "_") + resultName(photo, blob.type);
      let name = first;
      for (let n = 2; names.has(name.toLowerCase()); n++) // many systems take A.jpg and a.jpg for one file
        name = first.replace(/(\.[^.]*)$/, ` ${n}$1`);
      if (entries.length && bytes + blob.size > limits.zipBytes) {
        await handZip();
        entries = [];
        bytes = 0;
      }
      names.add(name.toLowerCase());
      entries.push({ name, blob });
      bytes += blob.size;
      photo.result = null;
    } catch (error) {
      failed.push(`${photo.name}: ${error.message}`);
    }
  }
  if (entries.length) await handZip();
  $("save-all").disabled = false;
  say(failed.length ? failed.join("; ") : names.size === 1 ? "1 photograph is enhanced" : `${names.size} photographs are enhanced`);
}
