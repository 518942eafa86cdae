"""JPEG files of every kind, odd and hostile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from tests.runtime.handmade import exif, jpeg_with
from tests.runtime.zoo.animal import GREY, LOSSY, RGB, Animal, save, turned


def jpegs() -> Iterator[Animal]:
    jpeg = save(RGB, "JPEG", quality=95, subsampling=0)
    codings: dict[str, dict[str, Any]] = {
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420": {"subsampling": 2},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 1},
        "restart-rows": {"restart_marker_rows": 1},
        "stored-rgb": {"keep_rgb": True},
        "bad": {"quality": 5},
    }
    for name, options in codings.items():
        yield Animal(f"{name}.jpg", save(RGB, "JPEG", **({"quality": 90} | options)), RGB, off=LOSSY)
    yield Animal("grey.jpg", save(GREY, "JPEG", quality=95), GREY, off=LOSSY)
    cmyk = Image.fromarray(RGB).convert("CMYK")
    yield Animal("cmyk.jpg", save(cmyk, "JPEG", quality=95), RGB, off=LOSSY, note="CMYK")
    yield Animal("ycck.jpg", _ycck(), RGB, off=LOSSY, note="CMYK")
    for orientation in range(1, 9):
        block = exif({0x0112: (3, orientation)})
        yield Animal(
            f"turned-{orientation}.jpg",
            save(RGB, "JPEG", quality=95, exif=block),
            turned(RGB, orientation),
            off=LOSSY,
        )
    for name, kind in {"byte": 1, "long": 4, "signed": 9}.items():
        block = exif({0x0112: (kind, 6)}, ">")
        yield Animal(
            f"turned-by-{name}.jpg", save(RGB, "JPEG", quality=95, exif=block), turned(RGB, 6), off=LOSSY
        )
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="8"/></x:xmpmeta>'
    yield Animal("turned-by-xmp.jpg", save(RGB, "JPEG", quality=95, xmp=xmp), turned(RGB, 8), off=LOSSY)
    yield Animal(
        "exif-garbage.jpg", save(RGB, "JPEG", quality=95, exif=b"Exif\0\0" + os.urandom(99)), RGB, off=LOSSY
    )
    looped = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
    yield Animal("exif-in-circles.jpg", save(RGB, "JPEG", quality=95, exif=looped), RGB, off=LOSSY)
    lying = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    yield Animal("exif-lies.jpg", save(RGB, "JPEG", quality=95, exif=lying), turned(RGB, 6), off=LOSSY)
    yield Animal("bad-profile.jpg", save(RGB, "JPEG", quality=95, icc_profile=b"x" * 200), RGB, off=LOSSY)
    yield Animal(
        "bad-mpf.jpg",
        jpeg_with(jpeg, (0xE2, b"MPF\0II*\0\x08\0\0\0\x05\0")),
        RGB,
        off=LOSSY,
    )
    yield Animal("fill-bytes.jpg", jpeg[:2] + b"\xff" * 9 + jpeg[2:], RGB, off=LOSSY)
    yield Animal("trailing.jpg", jpeg + b"\xff\xda" * 500, RGB, off=LOSSY, note="trailing data")
    yield Animal("no-end.jpg", jpeg[:-2], RGB, off=LOSSY, note="its last two bytes are missing")
    second = Image.fromarray(255 - RGB)
    mpo = save(Image.fromarray(RGB), "MPO", quality=95, save_all=True, append_images=[second])
    yield Animal("two.jpg", mpo, RGB, off=LOSSY, note="further picture")
    size = jpeg.index(b"\xff\xc0") + 5
    yield Animal(
        "huge.jpg",
        jpeg[:size] + b"\xff\xdc\xff\xdc" + jpeg[size + 4 :],
        error="is 65500 x 65500, over the limit of 0.5",
    )
    yield Animal(
        "flat.jpg", jpeg[:size] + bytes(4) + jpeg[size + 4 :], error="damaged or truncated|no pixels"
    )
    scan = save(RGB, "JPEG", progressive=True)
    start = scan.index(b"\xff\xda")
    yield Animal("scans.jpg", scan[:-2] + scan[start:-2] * 60 + scan[-2:], error="has over 200 scans")


def _ycck() -> bytes:
    """A JPEG of inverted CMYK, stored as YCbCr and K as Photoshop does."""
    ycc = np.asarray(Image.fromarray(255 - RGB).convert("YCbCr"))
    planes = np.dstack([ycc, np.full(ycc.shape[:2], 255, np.uint8)])
    content = save(Image.fromarray(255 - planes, "CMYK"), "JPEG", quality=95)
    place = content.index(b"Adobe") + 11
    return content[:place] + b"\x02" + content[place + 1 :]
