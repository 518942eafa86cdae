"""Hostile and odd photographs, made on the spot, each with what must become of it."""

from __future__ import annotations

import importlib.util
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from tests.runtime.handmade import exif, jpeg_with, png, png_chunk, scene, tiff, tiff_of

MAX_MEGAPIXELS = 0.5
"""The limit under which the zoo is read, so that bombs need not be large."""

HAS_DEEP = all(importlib.util.find_spec(name) for name in ("imagecodecs", "tifffile"))
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None

RGB, GREY = scene(), scene(channels=1)
DEEP = scene(dtype=np.uint16)
LOSSY = 12.0
"""Mean difference allowed to lossy coding of the scene, in 8-bit steps: another picture is 30 off or more."""


@dataclass(frozen=True)
class Animal:
    """A file of the zoo.

    Attributes:
        name: in the folder.
        make: its bytes, or what creates it at a path.
        picture: upright, that must come out; None where the error must.
        error: words of the error that must be reported.
        off: mean difference allowed, in 8-bit steps.
        note: words of the warning that must be there.
    """

    name: str
    make: bytes | Callable[[Path], None]
    picture: NDArray[Any] | None = None
    error: str = ""
    off: float = 0.0
    note: str = ""


def save(pixels: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
    if format == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def animals() -> Iterator[Animal]:
    yield from _jpegs()
    yield from _pngs()
    yield from _tiffs()
    yield from _others()
    yield from _truncated()
    yield from _no_pictures()
    yield from _odd_names()


def _jpegs() -> Iterator[Animal]:
    jpeg = save(RGB, "JPEG", quality=95, subsampling=0)
    for name, options in {
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "420": {"subsampling": 2},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 1},
        "restart-rows": {"restart_marker_rows": 1},
        "stored-rgb": {"keep_rgb": True},
        "bad": {"quality": 5},
    }.items():
        yield Animal(f"{name}.jpg", save(RGB, "JPEG", **({"quality": 90} | options)), RGB, off=LOSSY)
    yield Animal("grey.jpg", save(GREY, "JPEG", quality=95), GREY, off=LOSSY)
    cmyk = Image.fromarray(RGB).convert("CMYK")
    yield Animal("cmyk.jpg", save(cmyk, "JPEG", quality=95), RGB, off=LOSSY)
    yield Animal("ycck.jpg", _ycck(), RGB, off=LOSSY)
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
        note="its first picture",
    )
    yield Animal("fill-bytes.jpg", jpeg[:2] + b"\xff" * 9 + jpeg[2:], RGB, off=LOSSY)
    yield Animal("trailing.jpg", jpeg + b"\xff\xda" * 500, RGB, off=LOSSY)
    yield Animal("no-end.jpg", jpeg[:-2], error="damaged or truncated")
    second = Image.fromarray(255 - RGB)
    mpo = save(Image.fromarray(RGB), "MPO", quality=95, save_all=True, append_images=[second])
    yield Animal("two.jpg", mpo, RGB, off=LOSSY, note="its first picture")
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


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a viewer shows of pixels stored with that orientation, by the definition of EXIF's tag."""
    flipped = pixels[:, ::-1] if orientation in (2, 4, 5, 7) else pixels
    turns = {1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]
    return np.rot90(flipped, turns)


def _pngs() -> Iterator[Animal]:
    small = GREY.astype(int)
    for bits in (1, 2, 4):
        levels = small >> (8 - bits)
        shown = (levels * (255 // (2**bits - 1))).astype(np.uint8)
        yield Animal(f"grey-{bits}.png", png(levels, 0, bits), shown)
    yield Animal("grey-8.png", png(GREY, 0), GREY)
    deep_grey = scene(channels=1, dtype=np.uint16)
    yield Animal("grey-16.png", png(deep_grey, 0, 16), deep_grey)
    hole = png_chunk(b"tRNS", struct.pack(">H", deep_grey[0, 0]))
    seen = np.where(deep_grey == deep_grey[0, 0], 0, 65535).astype(np.uint16)
    yield _deep("grey-16-hole.png", png(deep_grey, 0, 16, before=hole), np.dstack([deep_grey, seen]))
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
    seen = np.where((RGB == RGB[0, 0]).all(2), 0, 255).astype(np.uint8)
    yield Animal("rgb-hole.png", png(RGB, 2, before=hole), np.dstack([RGB, seen]))
    yield Animal("rgba.png", png(scene(channels=4), 6), scene(channels=4))
    yield Animal("la.png", png(scene(channels=2), 4), scene(channels=2))
    yield Animal("interlaced.png", png(RGB, 2, interlaced=True), RGB)
    for name, channels, colour in (("rgb", 3, 2), ("rgba", 4, 6), ("la", 2, 4)):
        pixels = scene(channels=channels, dtype=np.uint16)
        for interlaced in (False, True):
            content = png(pixels, colour, 16, interlaced=interlaced)
            yield _deep(f"{name}-16{'-interlaced' * interlaced}.png", content, pixels)
    hole = png_chunk(b"tRNS", struct.pack(">HHH", *DEEP[0, 0]))
    seen = np.where((DEEP[0, 0] == DEEP).all(2), 0, 65535).astype(np.uint16)
    yield _deep("rgb-16-hole.png", png(DEEP, 2, 16, before=hole), np.dstack([DEEP, seen]))
    bomb = zlib.compress(bytes(1 << 26), 9)
    yield Animal("text-bomb.png", png(RGB, 2, before=png_chunk(b"zTXt", b"Comment\0\0" + bomb)), RGB)
    xmp = b"XML:com.adobe.xmp\0\x01\0\0\0" + bomb
    yield Animal("xmp-bomb.png", png(RGB, 2, before=png_chunk(b"iTXt", xmp)), RGB)
    yield Animal("profile-bomb.png", png(RGB, 2, before=png_chunk(b"iCCP", b"x\0\0" + bomb)), RGB)
    yield Animal("text-many.png", png(RGB, 2, before=png_chunk(b"tEXt", b"a\0" + b"b" * 1000) * 3000), RGB)
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


def _deep(name: str, content: bytes, picture: NDArray[Any]) -> Animal:
    if HAS_DEEP:
        return Animal(name, content, picture)
    return Animal(name, content, error=r"16 bits per channel: pip install 'rave-backlit\[deep\]'")


def _tiffs() -> Iterator[Animal]:
    for order, word in (("<", "little"), (">", "big")):
        yield Animal(f"grey-{word}.tif", tiff_of(GREY, order), GREY)
        yield Animal(f"rgb-{word}.tif", tiff_of(RGB, order), RGB)
        yield Animal(f"rgba-{word}.tif", tiff_of(scene(channels=4), order), scene(channels=4))
        deep_grey = scene(channels=1, dtype=np.uint16)
        yield Animal(f"grey-16-{word}.tif", tiff_of(deep_grey, order), deep_grey)
        yield _deep(f"rgb-16-{word}.tif", tiff_of(DEEP, order), DEEP)
    yield _deep(
        "rgba-16.tif", tiff_of(scene(channels=4, dtype=np.uint16)), scene(channels=4, dtype=np.uint16)
    )
    yield Animal("white-is-zero-16.tif", tiff_of(65535 - deep_grey, tags={262: (3, 0)}), deep_grey)
    yield Animal("white-is-zero.tif", tiff_of(255 - GREY, tags={262: (3, 0)}), GREY)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Animal(f"{compression}.tif", save(RGB, "TIFF", compression=compression), RGB)
    yield Animal("jpeg-inside.tif", save(RGB, "TIFF", compression="jpeg", quality=95), RGB, off=LOSSY)
    bilevel = Image.fromarray(GREY).point(lambda value: 255 * (value > 99), "1")
    yield Animal(
        "fax.tif", save(bilevel, "TIFF", compression="group4"), np.asarray(bilevel).astype(np.uint8) * 255
    )
    yield Animal("cmyk.tif", save(Image.fromarray(RGB).convert("CMYK"), "TIFF"), RGB, off=2)
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
    yield _deep("turned-16.tif", tiff_of(DEEP, tags={274: (3, 6)}), turned(DEEP, 6))
    floats = tiff(
        base | {258: (3, 32), 262: (3, 1), 277: (3, 1), 339: (3, 3)}, [GREY.astype("<f4").tobytes()]
    )
    yield Animal("float.tif", floats, error="holds floating point values, which have no agreed range")
    integers = tiff(
        base | {258: (3, 32), 262: (3, 1), 277: (3, 1), 339: (3, 2)}, [GREY.astype("<i4").tobytes()]
    )
    yield Animal("integers.tif", integers, error="holds 32-bit values, which have no agreed range")
    yield Animal("outside.tif", tiff_of(RGB, tags={273: (4, 1 << 30)}), error="damaged or truncated")
    yield Animal("many-samples.tif", tiff_of(RGB, tags={277: (3, 60000)}), error="damaged or truncated")
    yield Animal(
        "huge.tif", tiff_of(RGB, tags={256: (4, 1 << 31), 257: (4, 1 << 31)}), error="over the limit|damaged"
    )
    yield Animal(
        "odd-tags.tif", tiff_of(RGB, tags={270: (3, 7), 306: (12, float("nan")), 33723: (4, 99)}), RGB
    )


def _others() -> Iterator[Animal]:
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


def _truncated() -> Iterator[Animal]:
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
            yield Animal(f"cut-{ending}-{length}.{ending}", content[:length], error="truncated|not a picture")


def _no_pictures() -> Iterator[Animal]:
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


def _odd_names() -> Iterator[Animal]:
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
