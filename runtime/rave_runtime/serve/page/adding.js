// Takes photographs from files, folders and what is dropped, and has the service estimate their light.
import { walk } from "./dropping.js";
import { load } from "./photographs.js";
import { door } from "./service.js";
import { $, page, photos, say } from "./state.js";
import { select, show } from "./view.js";

let working = 0;

export function add(found) { // files, each with its path, which is more than its name if it comes from a folder
  door.isRefused = false;
  for (const { file, path } of found) {
    const folder = path.slice(0, path.lastIndexOf("/") + 1);
    if (folder && !isPhoto(path, file.type)) {
      page.others++;
      continue;
    }
    const photo = { file, folder, name: file.name, strength: 1, highlights: null, hdr: false, state: "waiting" };
    const button = document.createElement("button");
    button.className = "busy";
    button.title = path;
    button.setAttribute("aria-label", path);
    button.onclick = () => {
      button.focus(); // which Safari leaves out, and arrows would then choose nothing
      select(photo);
    };
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
  if (!page.current) select(photos[0]);
  begin();
}

export function tryAgain() { // what failed for no fault of its own, such as while the service was stopped
  door.isRefused = false;
  for (const photo of photos.filter((one) => one.state === "failed")) {
    photo.state = "waiting";
    photo.error = "";
    photo.button.className = "busy";
    photo.button.setAttribute("aria-label", photo.button.title);
  }
  page.current.button.focus(); // the button that had it is gone
  select(page.current);
  begin();
}

function begin() {
  say();
  while (working < 2 && photos.some((photo) => photo.state === "waiting")) work();
}

function isPhoto(path, type) { // what was chosen by itself is tried in any case; folders hold other files, too
  if (/(^|\/)[.]/.test(path)) return false;
  const ending = path.slice(path.lastIndexOf(".")).toLowerCase();
  return type.startsWith("image/") && type !== "image/svg+xml" || $("files").accept.split(",").includes(ending);
}

export async function addDropped(dropped) { // entries of a file system, or files where the browser has none
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
      photo.state = error.isPassing ? "failed" : "bad";
      photo.reason = error.message;
      photo.error = `${photo.name} cannot be enhanced: ${error.message}`;
      photo.button.classList.add("bad");
      photo.button.setAttribute("aria-label", photo.error);
    }
    photo.button.classList.remove("busy");
    if (photo === page.current) show();
    say();
  }
  working--;
}
