// What a JPEG says beside its pixels, carried into another one: EXIF, XMP, captions and comments.
//
// The browser has turned the pixels upright, so the orientation becomes 1. Left out is what would be wrong then:
// thumbnails, what XMP says of a gain map or a film behind the picture, and places in a picture that was turned.

const EXIF = "Exif\0\0", XMP = "http://ns.adobe.com/xap/1.0/\0", PHOTOSHOP = "Photoshop 3.0\0";
const THUMBNAILS = [1033, 1036];
const OF_OTHER_PARTS = /hdrgm:|Container:|MotionPhoto|MicroVideo|HasExtendedXMP/;
const OF_PLACES = /mwg-rs:|MP:Regions|MPReg:|crs:/;
const MOST_SEGMENTS = 1000;

const latin1 = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
const begins = (payload, text) => latin1(payload.subarray(0, text.length)) === text;

function* segments(jpeg) { // [marker, payload] up to the pixels
  const view = new DataView(jpeg.buffer, jpeg.byteOffset, jpeg.length);
  if (jpeg.length < 4 || view.getUint16(0) !== 0xffd8) return;
  for (let at = 2, n = 0; at + 4 <= jpeg.length && jpeg[at] === 0xff && n < MOST_SEGMENTS; n++) {
    const marker = jpeg[at + 1], length = view.getUint16(at + 2);
    if (marker === 0xda || length < 2) return;
    yield [marker, jpeg.slice(at + 4, at + 2 + length)];
    at += 2 + length;
  }
}

function entries(view, little, at) { // [tag, type, count, place of its value] of a directory, and what follows it
  const count = view.getUint16(at, little);
  const found = [];
  for (let i = 0; i < count; i++) {
    const place = at + 2 + 12 * i;
    found.push([view.getUint16(place, little), view.getUint16(place + 2, little), view.getUint32(place + 4, little), place + 8]);
  }
  return { found, next: at + 2 + 12 * count };
}

function upright(payload, width, height) { // corrects EXIF in place; returns how the picture was turned, 1 to 8
  const view = new DataView(payload.buffer, payload.byteOffset + EXIF.length, payload.length - EXIF.length);
  const little = view.getUint16(0) === 0x4949;
  let orientation = 1;
  const set = (type, place, value) =>
    type === 3 ? view.setUint16(place, value, little) : type === 4 && view.setUint32(place, value, little);
  const { found, next } = entries(view, little, view.getUint32(4, little));
  for (const [tag, type, count, place] of found) {
    if (tag === 0x112 && count === 1 && type === 3) {
      orientation = view.getUint16(place, little);
      set(type, place, 1);
    } else if (tag === 0x8769) {
      for (const [inner, kind, number, at] of entries(view, little, view.getUint32(place, little)).found) {
        if (inner === 0xa002 && number === 1) set(kind, at, width);
        if (inner === 0xa003 && number === 1) set(kind, at, height);
      }
    }
  }
  if (next + 4 <= view.byteLength) view.setUint32(next, 0); // the thumbnail's directory
  return orientation;
}

function withoutThumbnails(payload) { // Photoshop's resources
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const kept = [payload.subarray(0, PHOTOSHOP.length)];
  for (let at = PHOTOSHOP.length; at + 12 <= payload.length && begins(payload.subarray(at), "8BIM"); ) {
    const named = at + 6 + ((payload[at + 6] + 2) & ~1);
    if (named + 4 > payload.length) break;
    const end = named + 4 + ((view.getUint32(named) + 1) & ~1);
    if (!THUMBNAILS.includes(view.getUint16(at + 4))) kept.push(payload.subarray(at, end));
    at = end;
  }
  return kept.length > 1 ? joined(kept) : null;
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

function uprightXmp(payload, isTurned) {
  const text = latin1(payload);
  if (OF_OTHER_PARTS.test(text) || (isTurned && OF_PLACES.test(text))) return null;
  const turned = text.replace(/(tiff:Orientation(?:="|='|>))[2-8]/g, "$11");
  return Uint8Array.from(turned, (character) => character.charCodeAt(0));
}

function kept(jpeg, width, height) { // the segments of the result
  const found = [...segments(jpeg)], result = [];
  let isTurned = false;
  for (const [marker, payload] of found) {
    if (marker !== 0xe1 || !begins(payload, EXIF)) continue;
    try {
      if (upright(payload, width, height) > 1) isTurned = true;
      result.push([marker, payload]);
    } catch { // damaged: a number leads beyond its end
    }
  }
  for (const [marker, payload] of found) {
    let part = null;
    if (marker === 0xe1 && begins(payload, XMP)) part = uprightXmp(payload, isTurned);
    else if (marker === 0xed && begins(payload, PHOTOSHOP)) part = withoutThumbnails(payload);
    else if (marker === 0xfe) part = payload;
    if (part) result.push([marker, part]);
  }
  return result;
}

export async function carry(source, jpeg, { width, height }) { // a File and a Blob; a Blob
  const head = new Uint8Array(await source.slice(0, 1 << 22).arrayBuffer());
  const carried = kept(head, width, height);
  if (!carried.length) return jpeg;
  const made = new Uint8Array(await jpeg.arrayBuffer());
  const start = made[3] === 0xe0 ? 4 + made[4] * 256 + made[5] : 2; // behind its own first segment
  const parts = carried.flatMap(([marker, payload]) => [
    Uint8Array.of(0xff, marker, (payload.length + 2) >> 8, (payload.length + 2) & 255), payload]);
  return new Blob([made.subarray(0, start), ...parts, made.subarray(start)], { type: "image/jpeg" });
}
