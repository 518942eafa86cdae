// What all parts of the page share: its elements, its photographs, and the line that says how far it is.

export const $ = (id) => document.getElementById(id);

export const photos = [];
export const page = {
  current: null, // the photograph that is looked at
  others: 0, // files that were left out
  saving: null, // the download of all that is going on
  doing: "", // what is said until it is done
};

export function say(text) {
  const bad = photos.filter((one) => one.state === "bad").length;
  const failed = photos.filter((one) => one.state === "failed").length;
  const ready = photos.filter((one) => one.state === "ready").length;
  const counted = [
    ...(photos.length ? [`${ready} of ${photos.length} ready`] : []),
    ...(failed ? [`${failed} failed`] : []),
    ...(bad ? [`${bad} cannot be read`] : []),
    ...(page.others ? [`${page.others} other ${page.others === 1 ? "file" : "files"} left out`] : []),
  ].join(", ");
  const notes = page.current?.notes?.length ? ` · ${page.current.notes.join("; ")}` : "";
  $("status").textContent = text || page.doing || counted + notes;
}
