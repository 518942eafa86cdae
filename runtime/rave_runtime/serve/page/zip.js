// Packs files into a zip.

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

export async function zip(entries) { // stored, not compressed: photographs are already
  const parts = [], directory = [];
  let offset = 0;
  for (const { name, blob } of entries) {
    const bytes = new Uint8Array(await blob.arrayBuffer());
    let crc = ~0;
    for (let i = 0; i < bytes.length; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
    const text = new TextEncoder().encode(name);
    const fields = (central) => {
      const view = new DataView(new ArrayBuffer(central ? 46 : 30));
      view.setUint32(0, central ? 0x02014b50 : 0x04034b50, true);
      const at = central ? 6 : 4;
      if (central) view.setUint16(4, 20, true);
      view.setUint16(at, 20, true);
      view.setUint16(at + 2, 0x800, true); // names in UTF-8
      view.setUint16(at + 8, 33, true); // the first day that a zip can tell
      view.setUint32(at + 10, ~crc >>> 0, true);
      view.setUint32(at + 14, bytes.length, true);
      view.setUint32(at + 18, bytes.length, true);
      view.setUint16(at + 22, text.length, true);
      if (central) view.setUint32(42, offset, true);
      return view.buffer;
    };
    directory.push(fields(true), text);
    parts.push(fields(false), text, blob);
    offset += 30 + text.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, entries.length, true);
  end.setUint16(10, entries.length, true);
  end.setUint32(12, size, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}
