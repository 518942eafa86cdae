"""WebP, GIF, BMP, PPM, JPEG 2000, AVIF and HEIC, odd and hostile."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from tests.runtime.handmade import exif, scene
from tests.runtime.zoo.animal import DEEP, GREY, HAS_HEIF, LOSSY, RGB, Animal, save, turned


def others() -> Iterator[Animal]:
    yield Animal("lossy.webp", save(RGB, "WEBP", quality=90), RGB, off=LOSSY)
    yield Animal("lossless.webp", save(RGB, "WEBP", lossless=True), RGB)
    alpha = scene(channels=4)
    alpha[:9, :, 3] = 0
    yield Animal("alpha.webp", save(alpha, "WEBP", lossless=True, exact=True), alpha)
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - RGB)], "duration": 50}
    yield Animal(
        "animated.webp",
        save(Image.fromarray(RGB), "WEBP", lossless=True, **frames),
        RGB,
        note="the first of its frames",
    )
    yield Animal("turned.webp", save(RGB, "WEBP", lossless=True, exif=exif({0x0112: (3, 3)})), turned(RGB, 3))
    few = Image.fromarray(RGB).quantize(64)
    shown = np.asarray(few.convert("RGB"))
    yield Animal("film-1.gif", save(few, "GIF"), shown)
    yield Animal("film-2.gif", save(few, "GIF", **frames), shown, note="the first of its frames")
    yield Animal("rgb.bmp", save(RGB, "BMP"), RGB)
    yield Animal("grey.bmp", save(GREY, "BMP"), GREY)
    yield Animal("few.bmp", save(few, "BMP"), shown)
    bmp = save(RGB, "BMP")
    yield Animal(
        "huge.bmp", bmp[:18] + struct.pack("<ii", 1 << 20, 1 << 20) + bmp[26:], error="over the limit of 0.5"
    )
    yield Animal("rgb.ppm", save(RGB, "PPM"), RGB)
    yield Animal("grey.pgm", save(GREY, "PPM"), GREY)
    yield Animal("plain.ppm", b"P3 # a comment\n1 1 255 1 2 3\n", np.array([[[1, 2, 3]]], np.uint8))
    head = b"P6 %d %d 65535\n" % (DEEP.shape[1], DEEP.shape[0])
    yield Animal("rgb-16.ppm", head + DEEP.astype(">u2").tobytes(), DEEP)
    yield Animal(
        "short-16.ppm", head + DEEP.astype(">u2").tobytes()[:-2], error="truncated: 2 bytes are missing"
    )
    deep_grey = scene(channels=1, dtype=np.uint16)
    yield Animal("grey-16.pgm", b"P5 56 40 65535\n" + deep_grey.astype(">u2").tobytes(), deep_grey)
    twelve = deep_grey >> 4
    scaled = np.round(twelve / 4095 * 65535).astype(np.uint16)
    yield Animal("grey-12.pgm", b"P5 56 40 4095\n" + twelve.astype(">u2").tobytes(), scaled)
    yield Animal("huge.ppm", b"P6 99999 99999 255\n", error="is 99999 x 99999, over the limit")
    yield Animal("no-maximum.ppm", b"P6 2 2 0\n" + bytes(12), error="damaged or truncated")
    yield Animal("wavelet.jp2", save(RGB, "JPEG2000"), RGB)
    if features.check("avif"):
        yield Animal("rgb.avif", save(RGB, "AVIF", quality=95), RGB, off=LOSSY)
    if HAS_HEIF:
        yield Animal("rgb.heic", save(RGB, "HEIF", quality=95), RGB, off=LOSSY)
        yield Animal("cut.heic", save(RGB, "HEIF", quality=95)[:-400], error="damaged or truncated")
    else:
        yield Animal(
            "rgb.heic", b"\0\0\0\x18ftypheic" + bytes(40), error=r"pip install 'rave-backlit\[heif\]'"
        )
