"""Files that are cut, that are no pictures or no files, and pictures whose names are odd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.runtime.handmade import png, tiff_of
from tests.runtime.zoo.animal import RGB, Animal, save


def truncated() -> Iterator[Animal]:
    """Each format cut in its signature, its header, early and late in its pixels."""
    noisy = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    whole = {
        "jpg": save(noisy, "JPEG", quality=95),
        "png": save(noisy, "PNG"),
        "tif": tiff_of(noisy),
        "webp": save(noisy, "WEBP", lossless=True),
        "gif": save(Image.fromarray(noisy).quantize(64), "GIF"),
        "bmp": save(noisy, "BMP"),
        "ppm": save(noisy, "PPM"),
    }
    for ending, content in whole.items():
        for length in (1, 3, 12, 30, len(content) // 10, len(content) // 2, len(content) * 9 // 10):
            yield Animal(
                f"cut-{ending}-{length}.{ending}",
                content[:length],
                error="truncated|damaged, or a kind of TIFF|not a picture",
            )


def no_pictures() -> Iterator[Animal]:
    yield Animal("empty.jpg", b"", error=r"is empty \(0 bytes\)")
    yield Animal(
        "text.jpg", b"hello, world\n" * 50, error="is not a picture, or of a format that is not known"
    )
    yield Animal("page.png", b"<!doctype html><title>404</title>", error="is not a picture")
    yield Animal("zip.jpeg", b"PK\3\4" + bytes(99), error="is not a picture")
    yield Animal(
        "postscript.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", error="is not a picture"
    )
    yield Animal("zeros.tif", bytes(4096), error="is not a picture")
    yield Animal("magic.jpg", b"\xff\xd8\xff" * 900, error="damaged or truncated")
    yield Animal("magic.webp", b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 99, error="damaged or truncated")
    yield Animal("magic.avif", b"\0\0\0\x1cftypavif" + b"\xff" * 99, error="damaged or truncated")
    yield Animal("pipe.jpg", lambda path: os.mkfifo(path), error="is a pipe or a device, not a file")
    yield Animal(
        "device.jpg", lambda path: path.symlink_to("/dev/zero"), error="is a pipe or a device, not a file"
    )
    yield Animal(
        "itself.jpg", lambda path: path.symlink_to(path.name), error="cannot be read: Too many levels"
    )
    yield Animal("nowhere.jpg", lambda path: path.symlink_to("gone"), error="cannot be read: No such file")
    yield Animal(
        "sparse.png",
        lambda path: _sparse(path, 1 << 40),
        error="has 1099.5 GB, more than 0.5 megapixels can need",
    )


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        stream.truncate(size)


def odd_names() -> Iterator[Animal]:
    content = png(RGB, 2)
    for name in (
        "two words.png",
        " .png",
        "line\nbreak.png",
        "-rf.png",
        "тень-影-🌄.png",
        "a\u0301.png",
        os.fsdecode(b"latin-\xe9\xff.png"),
        "UPPER.PNG",
        "many.dots.tar.png",
        "quote'\"`$(x).png",
        "n" * 251 + ".png",
    ):
        yield Animal(name, content, RGB)
