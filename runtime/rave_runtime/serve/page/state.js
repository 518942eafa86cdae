// What all parts of the page share: its elements, its photographs, and the line that says how far it is.

export const $ = (id) => document.getElementById(id);

export const photos = [];
export const page = { current: null, others: 0 }; // the photograph that is looked at; files that were left out

export function say(text) {
  const bad = photos.filter((one) => one.state === "bad").length;
  const ready = photos.filter((one) => one.state === "ready").length;
  const counted = [
    ...(photos.length ? [`${ready} of ${photos.length} ready`] : []),
    ...(bad ? [`${bad} cannot be read`] : []),
    ...(page.others ? [`${page.others} other ${page.others === 1 ? "file" : "files"} left out`] : []),
  ].join(", ");
  const notes = page.current?.notes?.length ? ` · ${page.current.notes.join("; ")}` : "";
  $("status").textContent = text || counted + notes;
}
