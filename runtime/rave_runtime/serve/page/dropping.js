// Finds the files in what is dropped. The page that rave-export writes has this module, too.

export async function walk(entry, above = "") { // the files of a dropped file or folder, in the order of their names
  const path = above + entry.name;
  if (entry.isFile) return [{ file: await new Promise((done, fail) => entry.file(done, fail)), path }];
  const reader = entry.createReader(), inside = [];
  for (let some; (some = await new Promise((done, fail) => reader.readEntries(done, fail))).length; ) inside.push(...some);
  inside.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const found = [];
  for (const one of inside) found.push(...await walk(one, `${path}/`));
  return found;
}
