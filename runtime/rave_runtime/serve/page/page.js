"use strict";
// Photographs go to the service that this page comes from and come back; nothing else is asked for anything.
const $ = (id) => document.getElementById(id);
const PREVIEW_PX = 1280; // long side of what is shown while the strength is chosen
const KEPT = 8; // previews kept decoded; further ones are decoded again when they are looked at
const KEPT_LIGHTS = 100; // lights kept, 2 MB each; further ones are asked for again
const BINS = 1024, LOW = -10, HIGH = 1; // steps of log2(light) in a preview
const SHOWN = /^image\/(jpeg|png|webp|avif|gif|bmp)$/;
const ENDINGS = { "image/jpeg": "jpg", "image/png": "png", "image/webp": "webp", "image/tiff": "tif", "image/avif": "avif",
  "image/heif": "heic", "image/heic": "heic", "image/bmp": "bmp", "image/x-portable-anymap": "ppm" };

let zipBytes = 4e9; // most bytes in a zip, whose numbers have 32 bits; further photographs get another one

const photos = [];
let current = null, token = "", cut = 50, full = false, drawing = 0, working = 0, others = 0;

// --- asking the service

async function ask(path, body) {
  for (let attempt = 0; ; attempt++) {
    const used = token, headers = used ? { Authorization: `Bearer ${used}` } : {};
    let answer;
    try {
      answer = await fetch(path, { method: "POST", body, headers });
    } catch {
      const isThere = await body.slice(0, 1).arrayBuffer().then(() => true, () => false);
      throw new Error(isThere ? "the service does not answer: is it still running?"
        : "it is a folder, or was moved or changed since: choose it again");
    }
    if (answer.ok) return answer;
    const problem = await answer.json().catch(() => ({ detail: `the service answered ${answer.status}` }));
    if (answer.status === 401) {
      if (used === token) await askForToken(); // otherwise it was given while this request was on its way
    } else if ((answer.status === 429 || answer.status === 503) && attempt < 30 && answer.headers.has("Retry-After")) {
      await new Promise((done) => setTimeout(done, 1000 * Math.min(10, +answer.headers.get("Retry-After") || 1)));
    } else {
      throw new Error(problem.detail);
    }
  }
}

let asking = null;
function askForToken() {
  asking ??= new Promise((done) => {
    $("ask-why").textContent = token ? "This token is wrong. The service asks for its token" : "This service asks for its token";
    $("ask").showModal();
    $("token").select();
    $("ask").onclose = () => { token = $("token").value.trim(); asking = null; done(); };
  });
  return asking;
}

// --- photographs

function add(found) { // files, each with its path, which is more than its name if it comes from a folder
  for (const { file, path } of found) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    if (folder && !isPhoto(path, file.type)) {
      others++;
      continue;
    }
    const photo = { file, folder, name: file.name, strength: 1, highlights: null, hdr: false, state: "waiting" };
    const button = document.createElement("button");
    button.className = "busy";
    button.title = path;
    button.setAttribute("aria-label", path);
    button.onclick = () => select(photo);
    const item = document.createElement("li");
    item.append(button);
    $("photos").append(item);
    photo.button = button;
    photos.push(photo);
  }
  if (!photos.length) return say();
  if ($("work").hidden) {
    $("empty").hidden = true;
    $("work").hidden = false;
    $("view").focus(); // the button that had it is gone
  }
  if (!current) select(photos[0]);
  say();
  while (working < 2 && photos.some((photo) => photo.state === "waiting")) work();
}

function isPhoto(path, type) { // what was chosen by itself is tried in any case; folders hold other files, too
  if (/(^|\/)[.]/.test(path)) return false;
  const ending = path.slice(path.lastIndexOf(".")).toLowerCase();
  return type.startsWith("image/") && type !== "image/svg+xml" || $("files").accept.split(",").includes(ending);
}

async function walk(entry, above = "") { // the files of a dropped file or folder, in the order of their names
  const path = above + entry.name;
  if (entry.isFile) return [{ file: await new Promise((done, fail) => entry.file(done, fail)), path }];
  const reader = entry.createReader(), inside = [];
  for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail))).length; ) inside.push(...some);
  inside.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const found = [];
  for (const one of inside) found.push(...await walk(one, `${path}/`));
  return found;
}

async function addDropped(dropped) { // entries of a file system, or files where the browser has none
  for (const entry of dropped) {
    try {
      add(entry instanceof File ? [{ file: entry, path: entry.name }] : await walk(entry));
    } catch (error) {
      say(`${entry.name} cannot be read: ${error.message}`);
    }
  }
}

async function work() {
  working++;
  for (let photo; (photo = photos.find((one) => one.state === "waiting")); ) {
    photo.state = "loading";
    try {
      await load(photo);
      photo.state = "ready";
    } catch (error) {
      photo.state = "bad";
      photo.error = `${photo.name} cannot be enhanced: ${error.message}`;
      photo.button.classList.add("bad");
      photo.button.setAttribute("aria-label", photo.error);
    }
    photo.button.classList.remove("busy");
    if (photo === current) show();
    say();
  }
  working--;
}

async function load(photo) {
  const answer = await ask(`light?format=npy&long_side=${PREVIEW_PX}`, photo.file);
  [photo.full_w, photo.full_h] = answer.headers.get("Rave-Size").split("x").map(Number);
  photo.notes = JSON.parse(answer.headers.get("Rave-Warnings") || "[]");
  const { light, width, height } = parseNpy(await answer.arrayBuffer());
  photo.width = width;
  photo.height = height;
  photo.bins = new Uint16Array(light.length);
  const scale = (BINS - 1) / (HIGH - LOW);
  for (let i = 0; i < light.length; i++) {
    const stops = Math.log2(Math.max(light[i], 1e-12));
    photo.bins[i] = Math.round((Math.min(HIGH, Math.max(LOW, stops)) - LOW) * scale);
  }
  await decode(photo);
  thumbnail(photo);
}

function parseNpy(buffer) { // NPY 1.0: magic, version, length of the header, header, values
  const start = 10 + new DataView(buffer).getUint16(8, true);
  const [height, width] = /'shape': \((\d+), (\d+)\)/.exec(new TextDecoder().decode(buffer.slice(10, start))).slice(1).map(Number);
  return { light: new Float32Array(buffer.slice(start)), width, height };
}

async function picture(blob) {
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

async function original(photo) { // what the browser cannot show, the service turns into a JPEG
  try {
    return await picture(photo.shown || photo.file);
  } catch {
    photo.shown = await (await ask("enhance?strength=0&highlights=0&format=jpeg", photo.file)).blob();
    return picture(photo.shown);
  }
}

async function decode(photo) {
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
  const kept = photos.filter((one) => one.bins && one.seen && one !== current).sort((a, b) => b.seen - a.seen);
  for (const one of kept.slice(KEPT)) one.pixels = null;
  for (const one of kept.slice(KEPT_LIGHTS)) one.bins = null;
}

const brightPower = (photo) => photo.highlights ?? Math.min(photo.strength, 1);
const wishes = (photo) => `strength=${photo.strength}`
  + (photo.highlights === null ? "" : `&highlights=${photo.highlights}`) + (photo.hdr ? "&hdr=true" : "");

function gainsOf(photo) { // by light and brightest channel, as rave_runtime/light/look.py and normal_way.py have it
  const shade = photo.strength, bright = brightPower(photo), round = 8 / Math.max(1, shade);
  const gains = new Float32Array(BINS * 256);
  const whites = Float32Array.from({ length: 256 }, (_, value) => (value / 255) ** round);
  for (let bin = 0; bin < BINS; bin++) {
    const light = 2 ** (LOW + bin * (HIGH - LOW) / (BINS - 1));
    const t = Math.min(1, Math.max(0, (light - 0.8) / 0.17));
    const divisor = light ** (shade + (bright - shade) * t * t * (3 - 2 * t));
    const dark = Math.max(1e-4, divisor) ** round;
    for (let value = 0; value < 256; value++)
      gains[bin * 256 + value] = (dark + whites[value] * (1 - dark)) ** (-1 / round);
  }
  return gains;
}

function relight(photo) {
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

function thumbnail(photo) {
  const canvas = document.createElement("canvas");
  const scale = Math.min(1, 168 / Math.min(photo.width, photo.height));
  canvas.width = Math.round(photo.width * scale);
  canvas.height = Math.round(photo.height * scale);
  const whole = new OffscreenCanvas(photo.width, photo.height);
  whole.getContext("2d").putImageData(relight(photo), 0, 0);
  canvas.getContext("2d").drawImage(whole, 0, 0, canvas.width, canvas.height);
  photo.button.replaceChildren(canvas);
}

async function enhance(photo, format = "") {
  const key = `${wishes(photo)} ${format}`;
  if (photo.result?.key !== key) {
    const answer = await ask(`enhance?again=true&${wishes(photo)}${format && `&format=${format}`}`, photo.file);
    const notes = JSON.parse(answer.headers.get("Rave-Warnings") || "[]").filter((note) => note.startsWith("hdr=true"));
    photo.result = { key, blob: await answer.blob(), notes };
  }
  return photo.result.blob;
}

// --- the view

async function select(photo) {
  current = photo;
  for (const one of photos) one.button.setAttribute("aria-current", one === photo);
  photo.button.scrollIntoView({ block: "nearest", inline: "nearest" });
  setFull(false);
  if (photo.state === "ready" && !photo.pixels) {
    photo.error = "";
    try {
      await (photo.bins ? decode : load)(photo);
    } catch (error) {
      photo.error = `${photo.name} cannot be shown: ${error.message}`;
    }
  }
  if (photo === current) show();
}

function show() {
  const photo = current, ready = photo?.state === "ready" && !!photo.pixels;
  for (const id of ["pair", "divider", "label-before", "label-after"]) $(id).hidden = !ready;
  for (const id of ["strength", "highlights", "hdr", "zoom", "same", "save"]) $(id).disabled = !ready;
  $("save-all").disabled = !photos.some((one) => one.state === "ready");
  if (!photo) return;
  $("name").textContent = photo.full_w ? `${photo.name} · ${photo.full_w} × ${photo.full_h}` : photo.name;
  showValues();
  const note = photo.error || (ready ? "" : "Estimating the light …");
  $("note").hidden = !note;
  $("note").textContent = note;
  $("note").classList.toggle("bad", !!photo.error);
  if (!ready) return;
  for (const id of ["before", "after"]) [$(id).width, $(id).height] = [photo.width, photo.height];
  $("before").getContext("2d").putImageData(photo.pixels, 0, 0);
  place();
  draw();
}

function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    if (current?.pixels) $("after").getContext("2d").putImageData(relight(current), 0, 0);
  });
}

function place() { // sizes the pair, and puts the divider where it is seen
  if (!current?.pixels) return;
  const stage = $("stage").getBoundingClientRect(), pair = $("pair");
  if (full) {
    pair.style.width = `${current.full_w / devicePixelRatio}px`;
    pair.style.height = `${current.full_h / devicePixelRatio}px`;
  } else {
    const scale = Math.min(stage.width / current.full_w, stage.height / current.full_h);
    pair.style.width = `${current.full_w * scale}px`;
    pair.style.height = `${current.full_h * scale}px`;
  }
  moveCut();
}

function moveCut() {
  const stage = $("stage").getBoundingClientRect(), pair = $("pair").getBoundingClientRect();
  const left = Math.max(stage.left, pair.left), right = Math.min(stage.right, pair.right);
  const x = left + (right - left) * cut / 100;
  $("pair").style.setProperty("--cut", `${x - pair.left}px`);
  $("stage").style.setProperty("--x", `${x - stage.left}px`);
}

function setCut(value) {
  cut = Math.min(100, Math.max(0, value));
  $("cut").value = cut;
  moveCut();
}

async function setFull(wanted) {
  full = wanted;
  const photo = current;
  document.body.classList.toggle("full", full);
  $("zoom").setAttribute("aria-pressed", full);
  for (const id of ["before-full", "after-full"]) {
    URL.revokeObjectURL($(id).src);
    $(id).hidden = true;
    $(id).removeAttribute("src");
  }
  place();
  if (!full || !photo) return;
  $("view").scrollTo((current.full_w / devicePixelRatio - $("view").clientWidth) / 2,
    (current.full_h / devicePixelRatio - $("view").clientHeight) / 2);
  moveCut();
  await sharpen(photo);
}

async function sharpen(photo) { // puts every pixel over the preview
  const asked = wishes(photo);
  say("Enhancing at full size …");
  try {
    const [before, blob] = await Promise.all([original(photo), enhance(photo)]);
    const after = await picture(SHOWN.test(blob.type) ? blob : await enhance(photo, "jpeg"));
    if (!full || photo !== current || asked !== wishes(photo)) {
      for (const image of [before, after]) URL.revokeObjectURL(image.src);
      return;
    }
    for (const [id, image] of [["before-full", before], ["after-full", after]]) {
      URL.revokeObjectURL($(id).src);
      $(id).src = image.src;
      $(id).style.width = "100%";
      $(id).style.height = "100%";
      $(id).hidden = false;
    }
    $("before-full").style.position = "absolute";
    $("before-full").style.inset = "0";
    say();
  } catch (error) {
    say(error.message);
  }
}

function showValues() {
  $("hdr").checked = current.hdr;
  for (const [id, output, value] of [["strength", "value", current.strength], ["highlights", "value-highlights", brightPower(current)]]) {
    $(id).value = value;
    $(output).textContent = value.toFixed(2);
  }
}

let settling = 0;
function setLook(name, value) {
  if (!current?.pixels) return;
  current[name] = value;
  showValues();
  $("after-full").hidden = true;
  draw();
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (!current?.pixels) return;
    thumbnail(current);
    if (full) sharpen(current);
  }, 250);
}

function say(text) {
  const bad = photos.filter((one) => one.state === "bad").length;
  const ready = photos.filter((one) => one.state === "ready").length;
  const counted = [
    ...(photos.length ? [`${ready} of ${photos.length} ready`] : []),
    ...(bad ? [`${bad} cannot be read`] : []),
    ...(others ? [`${others} other ${others === 1 ? "file" : "files"} left out`] : []),
  ].join(", ");
  const notes = current?.notes?.length ? ` · ${current.notes.join("; ")}` : "";
  $("status").textContent = text || counted + notes;
}

// --- saving

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

async function save() {
  const photo = current;
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

async function saveAll() {
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
      if (entries.length && bytes + blob.size > zipBytes) {
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

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

async function zip(entries) { // stored, not compressed: photographs are already
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, blob } of entries) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let crc = ~0;
    for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    const text = new TextEncoder().encode(name);
    const fields = (central) => {
      const view = new DataView(new ArrayBuffer(central ? 46 : 30));
      view.setUint32(0, central ? 0x02014b50 : 0x04034b50, true);
      const at = central ? 6 : 4;
      if (central) view.setUint16(4, 20, true);
      view.setUint16(at, 20, true);
      view.setUint16(at + 2, 0x800, true); // names in UTF-8
      view.setUint16(at + 8, 33, true); // the first day that a zip can tell
      view.setUint32(at + 10, ~crc >>> 0, true);
      view.setUint32(at + 14, bytes.length, true);
      view.setUint32(at + 18, bytes.length, true);
      view.setUint16(at + 22, text.length, true);
      if (central) view.setUint32(42, offset, true);
      return view.buffer;
    };
    directory.push(fields(true), text);
    parts.push(fields(false), text, blob);
    offset += 30 + text.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}

// --- hands

$("choose").onclick = $("more").onclick = () => $("files").click();
$("choose-folder").onclick = () => $("folder").click();
for (const id of ["files", "folder"]) {
  $(id).onchange = () => {
    add([...$(id).files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
    $(id).value = "";
  };
}
for (const name of ["strength", "highlights"]) $(name).oninput = () => setLook(name, +$(name).value);
$("hdr").onchange = () => setLook("hdr", $("hdr").checked);
$("cut").oninput = () => setCut(+$("cut").value);
$("zoom").onclick = () => setFull(!full);
$("save").onclick = save;
$("save-all").onclick = saveAll;
$("same").onclick = () => {
  for (const photo of photos) {
    photo.strength = current.strength;
    photo.highlights = current.highlights;
    photo.hdr = current.hdr;
    if (photo.pixels) thumbnail(photo);
  }
  say(`every photograph has strength ${current.strength.toFixed(2)} and highlights ${brightPower(current).toFixed(2)}`
    + (current.hdr ? " and gets an HDR gain map" : ""));
};
$("clear").onclick = () => {
  photos.length = others = 0;
  current = null;
  setFull(false);
  $("photos").replaceChildren();
  $("work").hidden = true;
  $("empty").hidden = false;
  say();
  $("choose").focus();
};
$("view").addEventListener("scroll", moveCut);
addEventListener("resize", place);

let pan = null;
$("stage").addEventListener("pointerdown", (event) => {
  if (event.button || !current?.pixels || $("note").contains(event.target)) return;
  const onDivider = $("divider").contains(event.target);
  if (full && !onDivider && event.pointerType !== "mouse") return; // fingers scroll
  pan = full && !onDivider ? { x: event.clientX, y: event.clientY } : { divider: true };
  $("stage").setPointerCapture(event.pointerId);
  if (pan.divider) slide(event);
  event.preventDefault();
  if (onDivider) $("cut").focus();
});
$("stage").addEventListener("pointermove", (event) => {
  if (!pan) return;
  if (pan.divider) return slide(event);
  $("view").scrollBy(pan.x - event.clientX, pan.y - event.clientY);
  pan = { x: event.clientX, y: event.clientY };
});
for (const name of ["pointerup", "pointercancel"]) $("stage").addEventListener(name, () => { pan = null; });
function slide(event) {
  const stage = $("stage").getBoundingClientRect(), pair = $("pair").getBoundingClientRect();
  const left = Math.max(stage.left, pair.left), right = Math.min(stage.right, pair.right);
  setCut(100 * (event.clientX - left) / (right - left));
}
$("stage").addEventListener("dblclick", () => current?.pixels && setFull(!full));

addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const items = [...event.dataTransfer.items].filter((item) => item.kind === "file");
  addDropped(items.map((item) => item.webkitGetAsEntry() ?? item.getAsFile()));
});
addEventListener("paste", (event) => add([...event.clipboardData.files].map((file) => ({ file, path: file.name }))));
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("ask").open || !current) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "z" || event.key === "Z") { if (current.pixels) setFull(!full); }
  else if (event.key === "h" || event.key === "H") { if (current.pixels) setLook("hdr", !current.hdr); }
  else if (event.key === "d" || event.key === "D") save();
  else if (event.key === "Escape" && full) setFull(false);
  else if (step && $("photos").contains(document.activeElement)) {
    const next = photos[photos.indexOf(current) + step];
    if (next) { select(next); next.button.focus(); }
    event.preventDefault();
  }
});
