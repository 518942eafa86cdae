// Shows one photograph, before and after, and what is chosen for it.
import { brightPower, relight } from "./light.js";
import { decode, enhance, load, original, picture, thumbnail, wishes } from "./photographs.js";
import { $, page, photos, say } from "./state.js";

const SHOWN = /^image\/(jpeg|png|webp|avif|gif|bmp)$/;

let cut = 50, isFull = false, drawing = 0, settling = 0;

export async function select(photo) {
  page.current = photo;
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
  if (photo === page.current) show();
}

export function show() {
  const photo = page.current, ready = photo?.state === "ready" && !!photo.pixels;
  for (const id of ["pair", "divider", "label-before", "label-after"]) $(id).hidden = !ready;
  for (const id of ["strength", "highlights", "hdr", "zoom", "same", "save"]) $(id).disabled = !ready;
  $("save-all").disabled = !!page.saving || !photos.some((one) => one.state === "ready");
  say();
  if (!photo) return;
  $("name").textContent = photo.full_w ? `${photo.name} · ${photo.full_w} × ${photo.full_h}` : photo.name;
  showValues();
  const note = photo.error || (ready ? "" : "Estimating the light …");
  $("note").hidden = !note;
  $("why").textContent = note;
  $("again").hidden = !photo.error || photo.state === "bad";
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
    if (page.current?.pixels) $("after").getContext("2d").putImageData(relight(page.current), 0, 0);
  });
}

export function place() { // sizes the pair, and puts the divider where it is seen
  if (!page.current?.pixels) return;
  const stage = $("stage").getBoundingClientRect(), pair = $("pair");
  if (isFull) {
    pair.style.width = `${page.current.full_w / devicePixelRatio}px`;
    pair.style.height = `${page.current.full_h / devicePixelRatio}px`;
  } else {
    const scale = Math.min(stage.width / page.current.full_w, stage.height / page.current.full_h);
    pair.style.width = `${page.current.full_w * scale}px`;
    pair.style.height = `${page.current.full_h * scale}px`;
  }
  moveCut();
}

export function moveCut() {
  const stage = $("stage").getBoundingClientRect(), pair = $("pair").getBoundingClientRect();
  const left = Math.max(stage.left, pair.left), right = Math.min(stage.right, pair.right);
  const x = left + (right - left) * cut / 100;
  $("pair").style.setProperty("--cut", `${x - pair.left}px`);
  $("stage").style.setProperty("--x", `${x - stage.left}px`);
}

export function setCut(value) {
  cut = Math.min(100, Math.max(0, value));
  $("cut").value = cut;
  moveCut();
}

export async function setFull(wanted) {
  isFull = wanted;
  const photo = page.current;
  document.body.classList.toggle("full", isFull);
  $("zoom").setAttribute("aria-pressed", isFull);
  for (const id of ["before-full", "after-full"]) {
    URL.revokeObjectURL($(id).src);
    $(id).hidden = true;
    $(id).removeAttribute("src");
  }
  place();
  if (!isFull || !photo) return say();
  $("view").scrollTo((page.current.full_w / devicePixelRatio - $("view").clientWidth) / 2,
    (page.current.full_h / devicePixelRatio - $("view").clientHeight) / 2);
  moveCut();
  await sharpen(photo);
}

export const toggleFull = () => setFull(!isFull);
export const isAtFullSize = () => isFull;

async function sharpen(photo) { // puts every pixel over the preview
  const asked = wishes(photo);
  say("Enhancing at full size …");
  try {
    const [before, blob] = await Promise.all([original(photo), enhance(photo)]);
    const after = await picture(SHOWN.test(blob.type) ? blob : await enhance(photo, "jpeg"));
    if (!isFull || photo !== page.current || asked !== wishes(photo)) {
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
    if (isFull && photo === page.current) say(error.message);
  }
}

function showValues() {
  $("hdr").checked = page.current.hdr;
  for (const [id, output, value] of [["strength", "value", page.current.strength], ["highlights", "value-highlights", brightPower(page.current)]]) {
    $(id).value = value;
    $(output).textContent = value.toFixed(2);
  }
}

export function setLook(name, value) {
  if (!page.current?.pixels) return;
  page.current[name] = value;
  showValues();
  $("after-full").hidden = true;
  draw();
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (!page.current?.pixels) return;
    thumbnail(page.current);
    if (isFull) sharpen(page.current);
  }, 250);
}
