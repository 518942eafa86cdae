// Hands files to the browser as downloads. The page that rave-export writes has this module, too.

export function hand(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

export function takeName(first, names) { // the name, or one like it where it is among the names already
  let name = first;
  for (let n = 2; names.has(name.toLowerCase()); n++) // many systems take A.jpg and a.jpg for one file
    name = first.replace(/(\.[^.]*)$/, ` ${n}$1`);
  names.add(name.toLowerCase());
  return name;
}
