// Hands the enhanced photographs to the browser as downloads.
import { hand, takeName } from "./downloads.js";
import { enhance } from "./photographs.js";
import { door } from "./service.js";
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

export async function save() {
  const photo = page.current;
  if (photo?.state !== "ready") return;
  door.isRefused = false;
  const mine = page.doing = `Enhancing ${photo.name} …`;
  say();
  try {
    const blob = await enhance(photo);
    hand(blob, resultName(photo, blob.type));
    end(mine, [`${photo.name} is enhanced`, ...photo.result.notes].join(" · "));
  } catch (error) {
    end(mine, `${photo.name}: ${error.message}`);
  }
}

function end(mine, text) { // unless something else is done since
  if (page.doing === mine) page.doing = "";
  say(page.doing || text);
}

export async function saveAll() {
  const mine = page.saving = {}, all = [...photos], names = new Set(), failed = new Map();
  let entries = [], bytes = 0, zips = 0, done = 0;
  const handZip = async () => hand(await zip(entries), zips++ ? `enhanced ${zips}.zip` : "enhanced.zip");
  const fail = (reason, name) => failed.set(reason, [...failed.get(reason) ?? [], name]);
  door.isRefused = false;
  $("save-all").disabled = true;
  try {
    for (const photo of all) {
      page.doing = `Enhancing ${++done} of ${all.length} …`;
      say();
      while (photo.state === "waiting" || photo.state === "loading") { // its light is not estimated yet
        await new Promise((next) => setTimeout(next, 100));
        if (page.saving !== mine) return; // all were cleared since
      }
      if (photo.state !== "ready") {
        fail(photo.reason, photo.name);
        continue;
      }
      let blob;
      try {
        blob = await enhance(photo);
      } catch (error) {
        fail(error.message, photo.name);
      }
      if (page.saving !== mine) return;
      if (!blob) continue;
      const first = photo.folder.replace(/\\/g, "_") + resultName(photo, blob.type);
      if (entries.length && bytes + blob.size > limits.zipBytes) {
        await handZip();
        entries = [];
        bytes = 0;
      }
      entries.push({ name: takeName(first, names), blob });
      bytes += blob.size;
      photo.result = null;
    }
    if (entries.length) await handZip();
  } catch (error) {
    fail(error.message, "the zip");
  } finally {
    if (page.saving === mine) {
      page.saving = null;
      page.doing = "";
      $("save-all").disabled = false;
      const counted = names.size === 1 ? "1 photograph is enhanced" : `${names.size} photographs are enhanced`;
      say([counted, ...[...failed].map(([reason, those]) =>
        `${those.length > 3 ? `${those.length} photographs` : those.join(", ")}: ${reason}`)].join(" · "));
    }
  }
}
