// What a JPEG says beside its pixels, carried into another one: EXIF, XMP, captions and comments.
//
// The browser has turned the pixels upright where EXIF says so, and made them sRGB: what tells otherwise is corrected.
// Left out is what would be wrong: thumbnails, what XMP says of a gain map or a film behind the picture, places that XMP
// tells in a picture that was turned, and further EXIF blocks, of which browsers heed the first.

const EXIF = "Exif\0\0", XMP = "http://ns.adobe.com/xap/1.0/\0", PHOTOSHOP = "Photoshop 3.0\0";
const THUMBNAILS = [1033, 1036];
const XMP_THUMBNAILS = /<(xmp|xap):Thumbnails\b[^]*?<\/\1:Thumbnails>/g;
const EXTENSION = /\sxmpNote:HasExtendedXMP\s*=\s*(?:"[^"]*"|'[^']*')|<xmpNote:HasExtendedXMP>[^<]*<\/xmpNote:HasExtendedXMP>/g;
const OF_OTHER_PARTS = /[<\s](?:(?:hdrgm|Container|GDepth|GImage|GAudio):\w|\w+:(?:MotionPhoto|MicroVideo))/;
const OF_PLACES = /[<\s](?:mwg-rs|MPReg|MP|crs):\w/;
const MOST_BYTES = 1 << 22, MOST_SEGMENTS = 1000, LONGEST = 65533;

const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const begins = (bytes, text) => latin1(bytes.subarray(0, text.length)) === text;

function* segments(jpeg) { // [marker, payload] up to the pixels
  const view = new DataView(jpeg.buffer, jpeg.byteOffset, jpeg.length);
  if (jpeg.length < 4 || view.getUint16(0) !== 0xffd8) return;
  for (let at = 2, n = 0; at + 4 <= jpeg.length && jpeg[at] === 0xff && n < MOST_SEGMENTS; n++) {
    while (jpeg[at + 1] === 0xff && at + 5 <= jpeg.length) at++; // bytes that fill
    const marker = jpeg[at + 1], end = at + 2 + view.getUint16(at + 2);
    if (marker === 0xda || end < at + 4 || end > jpeg.length) return;
    yield [marker, jpeg.slice(at + 4, end)];
    at = end;
  }
}

function entries(view, little, at) { // [tag, type, count, place of its value] of a directory, and what follows it
  const count = at + 2 <= view.byteLength ? view.getUint16(at, little) : 0;
  const found = [], next = at + 2 + 12 * count;
  for (let place = at + 2; place < next && place + 12 <= view.byteLength; place += 12)
    found.push([view.getUint16(place, little), view.getUint16(place + 2, little), view.getUint32(place + 4, little), place + 8]);
  return { found, next };
}

function upright(tiff, width, height) { // corrects EXIF in place
  // Returns how the browser turned the picture, 1 to 8, 0 if EXIF does not say; null if it cannot be read.
  if (!["II*\0", "MM\0*"].some((start) => begins(tiff, start)) || tiff.length < 8) return null;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.length), little = tiff[0] === 0x49;
  const sizes = { 0x100: width, 0x101: height, 0xa002: width, 0xa003: height };
  const first = entries(view, little, view.getUint32(4, little));
  if (!first.found.length) return null;
  const inside = (found, pointer) => { // a directory that another one points to
    const link = found.find(([tag]) => tag === pointer);
    return link ? entries(view, little, view.getUint32(link[3], little)).found : [];
  };
  const inner = inside(first.found, 0x8769), all = [...first.found, ...inner];
  let orientation = 0;
  for (const [tag, type, count, place] of all) {
    if (tag === 0x112 && type === 3 && count === 1) { // browsers heed no other type
      orientation ||= view.getUint16(place, little);
      view.setUint16(place, 1, little);
    } else if (tag in sizes && count === 1) {
      if (type === 3) view.setUint16(place, sizes[tag], little);
      if (type === 4) view.setUint32(place, sizes[tag], little);
    } else if (tag === 0xa001 && type === 3) view.setUint16(place, 1, little); // sRGB
  }
  for (const [tag, , , place] of inside(inner, 0xa005))
    if (tag === 1 && begins(tiff.subarray(place), "R03")) tiff.set([0x52, 0x39, 0x38], place); // R98 is sRGB
  if (orientation > 8) orientation = 1;
  for (const [tag, type, count, place] of all)
    if ((tag === 0x9214 || tag === 0xa214) && type === 3) turnSubject(view, little, count, place, orientation, width, height);
  if (first.next + 4 <= tiff.length) view.setUint32(first.next, 0); // the thumbnail's directory
  return orientation;
}

function turnSubject(view, little, count, place, orientation, width, height) { // its middle, and its size if that is told
  const at = count > 2 ? view.getUint32(place, little) : place;
  if (orientation < 2 || count < 2 || count > 4 || at + 2 * count > view.byteLength) return;
  const read = (i) => view.getUint16(at + 2 * i, little);
  const write = (i, value) => view.setUint16(at + 2 * i, value, little);
  const [x, y] = orientation > 4 ? [read(1), read(0)] : [read(0), read(1)];
  write(0, [2, 3, 6, 7].includes(orientation) ? width - 1 - x : x);
  write(1, [3, 4, 7, 8].includes(orientation) ? height - 1 - y : y);
  if (count !== 4 || orientation < 5) return;
  const across = read(2);
  write(2, read(3));
  write(3, across);
}

function withoutThumbnails(resources) { // Photoshop's, of all segments: one may go on in the next
  const view = new DataView(resources.buffer);
  const kept = [];
  for (let at = 0; at + 12 <= resources.length && begins(resources.subarray(at), "8BIM"); ) {
    const named = at + 6 + ((resources[at + 6] + 2) & ~1);
    if (named + 4 > resources.length) break;
    const end = named + 4 + 2 * Math.ceil(view.getUint32(named) / 2);
    if (end > resources.length + 1) break; // cut off; the last one's padding may be missing
    if (!THUMBNAILS.includes(view.getUint16(at + 4))) kept.push(resources.subarray(at, end));
    at = end;
  }
  return joined(kept);
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function uprightXmp(packet, orientation, width, height) {
  let text = latin1(packet);
  const isTurned = orientation > 1;
  if (OF_OTHER_PARTS.test(text) || (isTurned && OF_PLACES.test(text))) return null;
  const set = (name, number) => // an attribute or an element
    (text = text.replace(new RegExp(`([<\\s]${name}\\s*(?:=\\s*["']|>)\\s*)\\d+`, "g"), (_, start) => start + number));
  if (orientation) set("tiff:Orientation", 1); // browsers go by EXIF alone
  for (const name of isTurned ? ["tiff:ImageWidth", "exif:PixelXDimension"] : []) set(name, width);
  for (const name of isTurned ? ["tiff:ImageLength", "exif:PixelYDimension"] : []) set(name, height);
  text = text.replace(XMP_THUMBNAILS, "").replace(EXTENSION, "");
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function* cut(marker, name, bytes) { // segments of a length that JPEG allows
  const most = LONGEST - name.length, start = new TextEncoder().encode(name);
  for (let at = 0; at < bytes.length; at += most) yield [marker, joined([start, bytes.subarray(at, at + most)])];
}

function kept(jpeg, width, height) { // the segments of the result
  const found = [...segments(jpeg)];
  const of = (marker, name) => found.filter((each) => each[0] === marker && begins(each[1], name))
    .map(([, payload]) => payload.subarray(name.length));
  const blocks = of(0xe1, EXIF);
  const second = blocks.findIndex((block, i) => i && /^(II|MM)/.test(latin1(block.subarray(0, 2))));
  const exif = joined(second < 0 ? blocks : blocks.slice(0, second)); // the first may need more than a segment
  const orientation = upright(exif, width, height);
  const result = orientation === null ? [] : [...cut(0xe1, EXIF, exif)];
  for (const packet of of(0xe1, XMP)) {
    const turned = uprightXmp(packet, orientation, width, height);
    if (turned && turned.length <= LONGEST - XMP.length) result.push(...cut(0xe1, XMP, turned));
  }
  result.push(...cut(0xed, PHOTOSHOP, withoutThumbnails(joined(of(0xed, PHOTOSHOP)))));
  return [...result, ...of(0xfe, "").map((comment) => [0xfe, comment])];
}

export async function readHead(file) { // the bytes that hold what is carried; none of what is no JPEG
  const head = new Uint8Array(await file.slice(0, MOST_BYTES).arrayBuffer());
  return head[0] === 0xff && head[1] === 0xd8 ? head : head.slice(0, 0);
}

export async function carry(head, jpeg, { width, height }) { // of `readHead`, into a Blob; a Blob
  const carried = kept(head, width, height);
  if (!carried.length) return jpeg;
  const made = new Uint8Array(await jpeg.arrayBuffer());
  const own = [...segments(made)], first = own[0][0] === 0xe0 ? 1 : 0; // what must come first, if it is there
  const pixels = own.reduce((at, [, payload]) => at + 4 + payload.length, 2);
  const others = own.slice(first).filter(([marker]) => marker !== 0xe1 && marker !== 0xed); // Safari writes EXIF of its own
  const parts = [...own.slice(0, first), ...carried, ...others].flatMap(([marker, payload]) => [
    Uint8Array.of(0xff, marker, (payload.length + 2) >> 8, (payload.length + 2) & 255), payload]);
  return new Blob([made.subarray(0, 2), ...parts, made.subarray(pixels)], { type: "image/jpeg" });
}
