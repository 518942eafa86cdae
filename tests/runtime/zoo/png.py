"""PNG files of every kind, odd and hostile."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.runtime.handmade import png, png_chunk, scene
from tests.runtime.zoo.animal import DEEP, GREY, RGB, Animal, deep_animal, save


def pngs() -> Iterator[Animal]:
    small = GREY.astype(int)
    for bits in (1, 2, 4):
        levels = small >> (8 - bits)
        shown = (levels * (255 // (2**bits - 1))).astype(np.uint8)
        yield Animal(f"grey-{bits}.png", png(levels, 0, bits), shown)
        hole = png_chunk(b"tRNS", struct.pack(">H", levels.max()))
        seen = np.where(levels == levels.max(), 0, 255).astype(np.uint8)
        yield Animal(f"grey-{bits}-hole.png", png(levels, 0, bits, before=hole), np.dstack([shown, seen]))
    yield Animal("grey-8.png", png(GREY, 0), GREY)
    deep_grey = scene(channels=1, dtype=np.uint16)
    yield Animal("grey-16.png", png(deep_grey, 0, 16), deep_grey)
    hole = png_chunk(b"tRNS", struct.pack(">H", deep_grey[0, 0]))
    seen = np.where(deep_grey == deep_grey[0, 0], 0, 65535).astype(np.uint16)
    yield deep_animal("grey-16-hole.png", png(deep_grey, 0, 16, before=hole), np.dstack([deep_grey, seen]))
    palette = (np.arange(256)[:, None] * np.array([1, 255, 7]) % 256).astype(np.uint8)
    colours = png_chunk(b"PLTE", palette.tobytes())
    yield Animal("palette.png", png(GREY, 3, before=colours), palette[GREY])
    yield Animal(
        "palette-1.png",
        png(small >> 7, 3, 1, before=colours[:0] + png_chunk(b"PLTE", palette[:2].tobytes())),
        palette[small >> 7],
    )
    see_through = np.dstack([palette[GREY], 255 - GREY])
    yield Animal(
        "palette-alpha.png",
        png(GREY, 3, before=colours + png_chunk(b"tRNS", bytes(range(255, -1, -1)))),
        see_through,
    )
    yield Animal("rgb.png", png(RGB, 2), RGB)
    hole = png_chunk(b"tRNS", struct.pack(">HHH", *RGB[0, 0]))
    seen = np.where((RGB[0, 0] == RGB).all(2), 0, 255).astype(np.uint8)
    yield Animal("rgb-hole.png", png(RGB, 2, before=hole), np.dstack([RGB, seen]))
    yield Animal("rgba.png", png(scene(channels=4), 6), scene(channels=4))
    yield Animal("la.png", png(scene(channels=2), 4), scene(channels=2))
    yield Animal("interlaced.png", png(RGB, 2, interlaced=True), RGB)
    for name, channels, colour in (("rgb", 3, 2), ("rgba", 4, 6), ("la", 2, 4)):
        pixels = scene(channels=channels, dtype=np.uint16)
        for interlaced in (False, True):
            content = png(pixels, colour, 16, interlaced=interlaced)
            yield deep_animal(f"{name}-16{'-interlaced' * interlaced}.png", content, pixels)
    hole = png_chunk(b"tRNS", struct.pack(">HHH", *DEEP[0, 0]))
    seen = np.where((DEEP[0, 0] == DEEP).all(2), 0, 65535).astype(np.uint16)
    yield deep_animal("rgb-16-hole.png", png(DEEP, 2, 16, before=hole), np.dstack([DEEP, seen]))
    bomb = zlib.compress(bytes(1 << 26), 9)
    yield Animal("text-bomb.png", png(RGB, 2, before=png_chunk(b"zTXt", b"Comment\0\0" + bomb)), RGB)
    xmp = b"XML:com.adobe.xmp\0\x01\0\0\0" + bomb
    yield Animal("xmp-bomb.png", png(RGB, 2, before=png_chunk(b"iTXt", xmp)), RGB)
    yield Animal("profile-bomb.png", png(RGB, 2, before=png_chunk(b"iCCP", b"x\0\0" + bomb)), RGB)
    yield Animal("text-many.png", png(RGB, 2, before=png_chunk(b"tEXt", b"a\0" + b"b" * 1000) * 3000), RGB)
    yield Animal("bad-gamma.png", png(RGB, 2, before=png_chunk(b"gAMA", b"\0")), RGB)
    yield Animal("no-end.png", png(RGB, 2)[:-12], RGB)
    animated = save(Image.fromarray(RGB), "PNG", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    yield Animal("animated.png", animated, RGB, note="the first of its frames")
    yield Animal(
        "huge.png",
        png(RGB, 2, size=(60000, 60000)),
        error="is 60000 x 60000, over the limit of 0.5 megapixels: raise it",
    )
    yield Animal("taller.png", png(RGB, 2, size=(56, 4000)), error="damaged or truncated")
    yield Animal("flat.png", png(RGB, 2, size=(0, 0)), error="no pixels|damaged or truncated")
    yield Animal("bad-sum.png", png(RGB, 2).replace(b"IDAT", b"IDAT\x01", 1), error="damaged or truncated")
    broken = png(RGB, 2)
    place = broken.index(b"IDAT") + 30
    yield Animal(
        "bad-data.png", broken[:place] + b"\xff" * 40 + broken[place + 40 :], error="damaged or truncated"
    )
    yield Animal(
        "bad-kind.png",
        png(RGB, 2, bits=8).replace(b"\x08\x02\0\0\0", b"\x07\x09\0\0\0", 1),
        error="damaged or truncated",
    )
