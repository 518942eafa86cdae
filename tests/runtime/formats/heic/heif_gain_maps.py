"""HEIC and AVIF files with a gain map, put together from two files of one picture each."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.photos.headers.boxes import photograph_data, photograph_properties

APPLE = b"urn:com:apple:photo:2020:aux:hdrgainmap\0"
BRANDS = {"HEIF": b"heic", "AVIF": b"avif"}
CODED = {"HEIF": b"hvc1", "AVIF": b"av01"}


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def encoded(pixels: NDArray[np.uint8], format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, quality=95)
    return buffer.getvalue()


def tone_map(most: float, channels: int = 1) -> bytes:
    """The payload of a tone map: version 0, and ISO 21496-1's numbers, a ratio each."""
    top = round(most * 1000)
    data = struct.pack(">BHHB", 0, 0, 0, 0x80 if channels == 3 else 0) + struct.pack(">IIII", 0, 1, top, 1000)
    for _ in range(channels):
        data += struct.pack(">iIiIIIiIiI", 0, 1, top, 1000, 1, 1, 1, 64, 1, 64)
    return data


def make_heif(
    format: str,
    pixels: NDArray[np.uint8],
    gains: NDArray[np.uint8],
    *,
    tone: bytes | None = None,
    aux_xmp: bytes | None = None,
    aux_type: bytes = APPLE,
    exif: bytes | None = None,
    turn: int | None = None,
    turned_map: bool = True,
) -> bytes:
    """A photograph with a gain map: by ISO 21496-1 where a tone map is given, otherwise an auxiliary picture.

    Args:
        format: "HEIF" or "AVIF".
        pixels: the photograph, [h, w, 3].
        gains: the map, [h, w] or [h, w, 3].
        tone: the payload of the tone map.
        aux_xmp: a packet that describes the map.
        aux_type: what names the kind of the map where there is no tone map.
        exif: of the photograph, with `Exif` and two zeros in front.
        turn: quarter turns counterclockwise, as a property.
        turned_map: whether the map has that property too.
    """
    properties: list[bytes] = []
    items: list[tuple[int, bytes, bool, bytes, list[int]]] = []  # number, type, hidden, data, properties
    references: list[tuple[bytes, int, tuple[int, ...]]] = []
    for number, picture in ((1, pixels), (2, gains)):
        file = encoded(picture, format)
        own = [
            box(kind, data) for kind, data in photograph_properties(file) if kind not in (b"irot", b"imir")
        ]
        if turn is not None and (number == 1 or turned_map):
            own.append(box(b"irot", bytes([turn])))
        if number == 2 and tone is None:
            own.append(box(b"auxC", bytes(4) + aux_type))
        places = list(range(len(properties) + 1, len(properties) + 1 + len(own)))
        properties += own
        items.append((number, CODED[format], number == 2, photograph_data(file), places))
    if tone is None:
        references.append((b"auxl", 2, (1,)))
    else:
        items.append((3, b"tmap", False, tone, [2]))
        references.append((b"dimg", 3, (1, 2)))
    if aux_xmp is not None:
        items.append((4, b"mime", True, aux_xmp, []))
        references.append((b"cdsc", 4, (2,)))
    if exif is not None:
        items.append((5, b"Exif", True, struct.pack(">I", 6) + exif, []))
        references.append((b"cdsc", 5, (1,)))

    def entry(number: int, kind: bytes, is_hidden: bool) -> bytes:
        name = b"\0application/rdf+xml\0" if kind == b"mime" else b"\0"
        return box(b"infe", bytes([2, 0, 0, int(is_hidden)]) + struct.pack(">HH", number, 0) + kind + name)

    infos = b"".join(entry(number, kind, hidden) for number, kind, hidden, _, _ in items)
    ipma = b"".join(
        struct.pack(">HB", number, len(places)) + bytes(0x80 | place for place in places)
        for number, _, _, _, places in items
        if places
    )
    counted = sum(bool(places) for *_, places in items)
    iref = b"".join(
        box(kind, struct.pack(">HH", source, len(targets)) + struct.pack(f">{len(targets)}H", *targets))
        for kind, source, targets in references
    )

    def meta(first: int) -> bytes:
        places, position = b"", first
        for number, _, _, data, _ in items:
            places += struct.pack(">HHHII", number, 0, 1, position, len(data))
            position += len(data)
        return box(
            b"meta",
            bytes(4)
            + box(b"hdlr", bytes(8) + b"pict" + bytes(13))
            + box(b"pitm", bytes(4) + struct.pack(">H", 1))
            + box(b"iloc", bytes(4) + b"\x44\x00" + struct.pack(">H", len(items)) + places)
            + box(b"iinf", bytes(4) + struct.pack(">H", len(items)) + infos)
            + box(b"iref", bytes(4) + iref)
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties))
                + box(b"ipma", bytes(4) + struct.pack(">I", counted) + ipma),
            ),
        )

    brand = BRANDS[format]
    head = box(b"ftyp", brand + bytes(4) + b"mif1" + brand + (b"tmap" if tone is not None else b""))
    first = len(head) + len(meta(0)) + 8
    return head + meta(first) + box(b"mdat", b"".join(data for _, _, _, data, _ in items))
