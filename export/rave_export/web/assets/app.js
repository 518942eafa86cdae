// The page: takes photographs, shows one of them before and after, saves it or all.

import { hand, takeName } from "./downloads.js";
import { walk } from "./dropping.js";
import { begin } from "./engine.js";
import { draw, encode, enhance, open, resultName } from "./picture.js";
import { zip } from "./zip.js";

const ZIP_BYTES = 4e9; // most bytes in a zip, whose numbers have 32 bits; then comes another one
const MOST_TOLD = 3; // of those that failed while all were saved, in words

const element = (id) => document.getElementById(id);
let photographs = []; // {file, path, button}; the path is more than the name if it comes from a folder
let picture = null; // the pixels of the one that is shown
let taken = 0; // how often photographs were given
let shown = 0; // how many photographs were chosen to be shown so far
let broken = null; // why no photograph can be enhanced
let saving = null; // an object of its own while all are saved

const say = (text, state) => {
  element("status").textContent = text;
  document.body.dataset.state = state;
};

const giveUp = (text) => {
  broken = text;
  say(text, "failed");
};

say("Loading the model…", "loading"); // until here the page says what it needs for running this
begin(({ ready, error, isStuck }) => {
  if (ready) {
    element("engine").textContent = `Computed by ${ready === "webgpu" ? "the graphics processor (WebGPU)" : "WebAssembly"}.`;
    document.body.dataset.engine = ready;
    if (document.body.dataset.state === "loading") say("Ready.", "ready"); // else a photograph was too large
  } else if (isStuck) {
    giveUp(`The page cannot start (${error}): it must come from a web server.`);
  } else {
    giveUp(/content security policy|\bCSP\b/i.test(error)
      ? "The server's Content-Security-Policy forbids this page to compute: README.md tells what it must allow."
      : `This browser cannot run the model (${error}): try a current Chrome, Edge, Firefox or Safari.`);
  }
});

function take(found) { // [{file, path}] instead of the photographs so far
  taken++;
  if (broken) return say(broken, "failed");
  if (!found.length) return say("There is no photograph in it.", "failed");
  stop();
  photographs = found.map(({ file, path }) => {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: path });
    const photograph = { file, path, button };
    button.onclick = () => show(photograph);
    return photograph;
  });
  element("photographs").replaceChildren(...photographs.map(({ button }) => {
    const item = document.createElement("li");
    item.append(button);
    return item;
  }));
  element("photographs").hidden = element("save-all").hidden = found.length < 2;
  if (found.length > 1) element("controls").hidden = false;
  show(photographs[0]);
}

const hide = () => { // what is of the photograph before
  element("view").hidden = element("one").hidden = true;
  element("controls").hidden = photographs.length < 2;
};

async function show(photograph) {
  const turn = ++shown;
  for (const each of photographs) each.button.setAttribute("aria-current", each === photograph);
  say(`Opening ${photograph.file.name}…`, "busy");
  let opened;
  try {
    opened = await open(photograph.file, element("before"), () => turn === shown && (hide(), true));
  } catch (error) {
    if (turn !== shown) return;
    if (photographs.length > 1) { // what is seen is of the one that is marked in the list, or nothing
      picture = null;
      hide();
    }
    return fail(photograph, error);
  }
  if (!opened || turn !== shown) return; // another was chosen while this one was decoded
  picture = { ...opened, photograph };
  await wish();
}

function mark({ button }, reason) { // in the list, for eyes and for those who listen; "" where all is well
  button.classList.toggle("bad", reason !== "");
  button.title = reason;
}

function fail(photograph, error) {
  mark(photograph, error.message);
  say(`${photograph.file.name} ${error.message}.`, "failed");
}

let running = false;
let changed = false;
async function wish() { // the photograph that is shown, at the strength that is chosen
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
    element("save").disabled = saving !== null;
  }
}

async function enhanceOnce() {
  const mine = picture;
  const turn = shown;
  const start = performance.now();
  let rgb;
  try {
    rgb = await enhance(mine, Number(element("strength").value));
  } catch (error) {
    if (!changed && picture === mine) fail(mine.photograph, error);
    return;
  }
  if (changed || picture !== mine) return; // a later wish is next, or another was chosen that cannot be opened
  mark(mine.photograph, "");
  draw(element("after"), mine, rgb);
  element("view").hidden = element("one").hidden = element("controls").hidden = false;
  divide();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  if (turn !== shown || saving) return; // what is said is of a file that was chosen since, or of all
  say(`${mine.file.name}: ${mine.width} × ${mine.height}, ${seconds} s`, "done");
}

function divide() {
  element("after").style.clipPath = `inset(0 -1px -1px ${element("divider").value}%)`;
}

async function save() {
  const mine = picture;
  const type = element("format").value;
  try {
    hand(await encode(element("after"), mine, type), resultName(mine.file.name, type));
  } catch (error) {
    fail(mine.photograph, error);
  }
}

function stop() { // saving all, at the next photograph
  if (!saving) return;
  saving = null;
  element("save-all").disabled = true; // until it has ended
}

async function saveAll() {
  if (saving) return stop();
  const mine = (saving = {}), all = photographs;
  const controls = [element("strength"), element("format"), element("save"), ...all.map(({ button }) => button)];
  for (const control of controls) control.disabled = true;
  const label = element("save-all").textContent;
  element("save-all").textContent = "Stop";
  let told;
  try {
    told = await saveEach(all, () => saving === mine);
  } catch (error) { // such as too little memory
    told = [`The zip cannot be made (${error.message}): choose fewer photographs.`, "failed"];
  }
  for (const control of controls) control.disabled = false;
  element("save").disabled = running;
  Object.assign(element("save-all"), { textContent: label, disabled: false });
  saving = null;
  if (photographs === all) say(...told); // else others were chosen since
}

async function saveEach(all, isWanted) { // what is to be said in the end
  const type = element("format").value, strength = Number(element("strength").value);
  const names = new Set(), failed = [], canvas = document.createElement("canvas");
  let entries = [], bytes = 0, zips = 0, done = 0;
  const handZip = async () => hand(await zip(entries), zips++ ? `enhanced ${zips}.zip` : "enhanced.zip");
  for (const photograph of all) {
    const { file, path } = photograph;
    say(`Enhancing ${++done} of ${all.length}: ${file.name}…`, "busy");
    let blob = null;
    try {
      const opened = await open(file, canvas, isWanted);
      if (opened) {
        draw(canvas, opened, await enhance(opened, strength));
        blob = await encode(canvas, opened, type);
        mark(photograph, "");
      }
    } catch (error) {
      mark(photograph, error.message);
      failed.push(`${file.name} ${error.message}`);
    }
    if (!isWanted()) return [`Stopped after ${done - 1} of ${all.length}, which were not saved.`, "done"];
    if (!blob) continue;
    const first = resultName(path.replace(/\\/g, "_"), type);
    if (entries.length && bytes + blob.size > ZIP_BYTES) {
      await handZip();
      entries = [];
      bytes = 0;
    }
    entries.push({ name: takeName(first, names), blob });
    bytes += blob.size;
  }
  if (entries.length) await handZip();
  const counted = names.size === 1 ? "1 photograph is saved" : `${names.size} photographs are saved`;
  const others = failed.length > MOST_TOLD ? [`${failed.length - MOST_TOLD} more are crossed out`] : [];
  return [[counted, ...failed.slice(0, MOST_TOLD), ...others].join(" · "), names.size ? "done" : "failed"];
}

async function takeDropped({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [], mine = ++taken;
  if (entries.some((entry) => !entry.isFile)) say("Looking into the folder…", "busy");
  try {
    for (const entry of entries) {
      const inside = await walk(entry); // of a folder, only what looks like a photograph
      const looksRight = ({ file, path }) => file.type.startsWith("image/") && !/(^|\/)[.]/.test(path);
      found.push(...(entry.isFile ? inside : inside.filter(looksRight)));
    }
  } catch (error) {
    return mine === taken && say(`What was dropped cannot be read: ${error.message}.`, "failed");
  }
  if (mine === taken) take(entries.length ? found : ofFiles(files));
}

const ofFiles = (files) => [...files].map((file) => ({ file, path: file.name }));

// Else the same photograph, chosen once more, would be no change.
element("file").onclick = ({ target }) => (target.value = "");
element("file").onchange = ({ target }) => target.files.length && take(ofFiles(target.files));
element("divider").oninput = divide;
element("strength").oninput = ({ target }) => (element("value").value = Number(target.value).toFixed(2));
element("strength").onchange = wish;
element("save").onclick = save;
element("save-all").onclick = saveAll;
const drop = element("drop");
// Wherever it is dropped: a browser would leave the page for the file.
addEventListener("dragover", (event) => (event.preventDefault(), drop.classList.add("over")));
addEventListener("dragleave", (event) => event.relatedTarget || drop.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  if (event.dataTransfer.files.length) takeDropped(event.dataTransfer);
});
addEventListener("paste", ({ clipboardData }) => clipboardData.files.length && take(ofFiles(clipboardData.files)));
