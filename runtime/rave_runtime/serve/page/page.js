// What hands do: choose, drop, slide, press keys.
import { add, addDropped, tryAgain } from "./adding.js";
import { brightPower } from "./light.js";
import { thumbnail } from "./photographs.js";
import { save, saveAll } from "./saving.js";
import { $, page, photos, say } from "./state.js";
import { isAtFullSize, moveCut, place, select, setCut, setFull, setLook, toggleFull } from "./view.js";

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
$("again").onclick = tryAgain;
$("zoom").onclick = toggleFull;
$("save").onclick = save;
$("save-all").onclick = saveAll;
$("same").onclick = () => {
  for (const photo of photos) {
    photo.strength = page.current.strength;
    photo.highlights = page.current.highlights;
    photo.hdr = page.current.hdr;
    if (photo.small) thumbnail(photo);
  }
  say(`every photograph has strength ${page.current.strength.toFixed(2)} and highlights ${brightPower(page.current).toFixed(2)}`
    + (page.current.hdr ? " and gets an HDR gain map" : ""));
};
$("clear").onclick = () => {
  photos.length = page.others = 0;
  page.current = page.saving = null;
  page.doing = "";
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
  if (event.button || !event.isPrimary || !page.current?.pixels || $("note").contains(event.target)) return;
  const onDivider = $("divider").contains(event.target);
  if (isAtFullSize() && !onDivider && event.pointerType !== "mouse") return; // fingers scroll
  pan = isAtFullSize() && !onDivider ? { x: event.clientX, y: event.clientY } : { divider: true };
  $("stage").setPointerCapture(event.pointerId);
  if (pan.divider) slide(event);
  event.preventDefault();
  if (onDivider) $("cut").focus();
});
$("stage").addEventListener("pointermove", (event) => {
  if (!pan || !event.isPrimary) return;
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
$("stage").addEventListener("dblclick", () => page.current?.pixels && toggleFull());

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
  if (event.ctrlKey || event.metaKey || event.altKey || $("ask").open || !page.current) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "z" || event.key === "Z") { if (page.current.pixels) toggleFull(); }
  else if (event.key === "h" || event.key === "H") { if (page.current.pixels) setLook("hdr", !page.current.hdr); }
  else if (event.key === "d" || event.key === "D") save();
  else if (event.key === "Escape" && isAtFullSize()) setFull(false);
  else if (step && $("photos").contains(document.activeElement)) {
    const next = photos[photos.indexOf(page.current) + step];
    if (next) { select(next); next.button.focus(); }
    event.preventDefault();
  }
});
