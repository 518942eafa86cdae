"""TIFF files of every kind, odd and hostile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from tests.runtime.handmade import scene, tiff, tiff_of
from tests.runtime.zoo.animal import DEEP, GREY, LOSSY, RGB, Animal, deep_animal, save, turned


def tiffs() -> Iterator[Animal]:
    for order, word in (("<", "little"), (">", "big")):
        yield Animal(f"grey-{word}.tif", tiff_of(GREY, order), GREY)
        yield Animal(f"rgb-{word}.tif", tiff_of(RGB, order), RGB)
        yield Animal(f"rgba-{word}.tif", tiff_of(scene(channels=4), order), scene(channels=4))
        deep_grey = scene(channels=1, dtype=np.uint16)
        yield Animal(f"grey-16-{word}.tif", tiff_of(deep_grey, order), deep_grey)
        yield deep_animal(f"rgb-16-{word}.tif", tiff_of(DEEP, order), DEEP)
    yield deep_animal(
        "rgba-16.tif", tiff_of(scene(channels=4, dtype=np.uint16)), scene(channels=4, dtype=np.uint16)
    )
    yield Animal("white-is-zero-16.tif", tiff_of(65535 - deep_grey, tags={262: (3, 0)}), deep_grey)
    yield Animal("white-is-zero.tif", tiff_of(255 - GREY, tags={262: (3, 0)}), GREY)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Animal(f"{compression}.tif", save(RGB, "TIFF", compression=compression), RGB)
    yield Animal("jpeg-inside.tif", save(RGB, "TIFF", compression="jpeg", quality=95), RGB, off=LOSSY)
    bilevel = Image.fromarray(GREY).point(lambda value: 255 * (value > 99), "1")
    yield Animal(
        "fax.tif",
        save(bilevel, "TIFF", compression="group4"),
        np.asarray(bilevel).astype(np.uint8) * 255,
        note="its compression (group4) was replaced by Deflate",
    )
    yield Animal("cmyk.tif", save(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB, off=2, note="CMYK")
    height, width = GREY.shape
    base: dict[int, tuple[int, Any]] = {
        256: (4, width),
        257: (4, height),
        258: (3, [8, 8, 8]),
        259: (3, 1),
        262: (3, 2),
        277: (3, 3),
    }
    planes = [np.ascontiguousarray(RGB[..., i]).tobytes() for i in range(3)]
    yield Animal("planar.tif", tiff(base | {278: (4, height), 284: (3, 2)}, planes), RGB)
    padded = np.pad(RGB, ((0, 24), (0, 8), (0, 0)))
    tiles = [padded[y : y + 32, x : x + 32].tobytes() for y in (0, 32) for x in (0, 32)]
    yield Animal("tiled.tif", tiff(base | {322: (4, 32), 323: (4, 32)}, tiles, tiled=True), RGB)
    yield Animal(
        "huge-tile.tif",
        tiff(base | {322: (4, 1 << 20), 323: (4, 1 << 20)}, tiles, tiled=True),
        error="over the limit",
    )
    pages = save(Image.fromarray(RGB), "TIFF", save_all=True, append_images=[Image.fromarray(255 - RGB)])
    yield Animal("pages.tif", pages, RGB, note="the first of its frames or pages")
    circle = tiff(base | {278: (4, height)}, [RGB.tobytes()], next_page=8)
    yield Animal("pages-in-circles.tif", circle, RGB)
    yield Animal("turned.tif", tiff_of(RGB, tags={274: (3, 6)}), turned(RGB, 6))
    yield deep_animal("turned-16.tif", tiff_of(DEEP, tags={274: (3, 6)}), turned(DEEP, 6))
    floats = tiff(
        base | {258: (3, 32), 262: (3, 1), 277: (3, 1), 339: (3, 3)}, [GREY.astype("<f4").tobytes()]
    )
    yield Animal("float.tif", floats, error="holds floating point values, which have no agreed range")
    integers = tiff(
        base | {258: (3, 32), 262: (3, 1), 277: (3, 1), 339: (3, 2)}, [GREY.astype("<i4").tobytes()]
    )
    yield Animal("integers.tif", integers, error="holds values below zero, which have no agreed range")
    yield Animal("outside.tif", tiff_of(RGB, tags={273: (4, 1 << 30)}), error="damaged or truncated")
    yield Animal("many-samples.tif", tiff_of(RGB, tags={277: (3, 60000)}), error="damaged, or a kind of TIFF")
    yield Animal(
        "huge.tif", tiff_of(RGB, tags={256: (4, 1 << 31), 257: (4, 1 << 31)}), error="over the limit|damaged"
    )
    yield Animal(
        "odd-tags.tif", tiff_of(RGB, tags={270: (3, 7), 306: (12, float("nan")), 33723: (4, 99)}), RGB
    )
