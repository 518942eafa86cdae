"""Whole files that cannot be read are told what they are; a JPEG that lacks only its end is read."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.headers import reasons
from rave_runtime.photos.headers.reasons import why_damaged
from rave_runtime.photos.reading import read_photo
from tests.runtime.zoo.animal import HAS_HEIF, save

FAULTS = Path(__file__).parents[4] / "shared" / "data" / "faults"


def jpeg(**options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def frame_of(content: bytes) -> int:
    return content.index(b"\xff\xc0\x00\x11")


def test_twelve_bits_are_called_that() -> None:
    content = bytearray(jpeg())
    content[frame_of(bytes(content)) + 4] = 12
    with pytest.raises(PhotoError, match=r"JPEG of 12 bits per channel.*16-bit TIFF"):
        read_photo(bytes(content))


@pytest.mark.parametrize(
    ("marker", "name"), [(0xF7, "JPEG-LS"), (0xC3, "lossless JPEG"), (0xC5, "hierarchical")]
)
def test_other_kinds_of_jpeg_are_called_that(marker: int, name: str) -> None:
    content = bytearray(jpeg())
    content[frame_of(bytes(content)) + 1] = marker
    with pytest.raises(PhotoError, match=name):
        read_photo(bytes(content))


@pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
def test_a_heic_that_is_too_long_for_its_library_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    content, error = save(np.zeros((48, 64, 3), np.uint8), "HEIF"), ValueError("no decompressed image")
    assert why_damaged(content, error) == "is damaged or truncated: no decompressed image"
    monkeypatch.setattr(reasons, "photograph_data", lambda _: bytes((1 << 24) + 1))
    assert "one piece of over 16 MiB" in why_damaged(content, error)
    assert why_damaged(jpeg(), error) == "is damaged or truncated: no decompressed image"


def test_xcodes_png_is_called_that() -> None:
    chunk = struct.pack(">I", 4) + b"CgBI" + bytes(8)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6)).save(buffer, "PNG")
    content = buffer.getvalue()
    with pytest.raises(PhotoError, match=r"Xcode.*export it again"):
        read_photo(content[:8] + chunk + content[8:])


def test_a_bmp_of_a_rare_kind_is_called_that() -> None:
    """Whole files of other programs, such as 16 bits as four times four, were only called damaged."""
    head = struct.pack("<IiiHHII16x", 40, 4, 2, 1, 16, 3, 16)
    fields = struct.pack("<3I", 0xF00, 0xF0, 0xF)
    content = b"BM" + struct.pack("<I4xI", 82, 66) + head + fields + bytes(16)
    with pytest.raises(PhotoError, match=r"a kind of BMP that cannot be read here \(bitfields.*24 bits"):
        read_photo(content)


@pytest.mark.parametrize("channels", [1, 3])
def test_floating_point_is_called_that(tmp_path: Path, channels: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    pixels = np.zeros((6, 8) if channels == 1 else (6, 8, 3), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack" if channels == 1 else "rgb")
    with pytest.raises(PhotoError, match="floating point values, which have no agreed range: save it"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("name", "reason"), [("12-jpeg-12-bit.jpg", "12 bits per channel"), ("22-cgbi.png", "Xcode")]
)
def test_files_that_people_reported(name: str, reason: str) -> None:
    if not (FAULTS / name).exists():
        pytest.skip("needs shared/data/faults")
    with pytest.raises(PhotoError, match=reason):
        read_photo(FAULTS / name)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30, "subsampling": 2}])
def test_a_jpeg_that_lacks_only_its_end_is_read(options: dict[str, object]) -> None:
    whole = jpeg(**options)
    photo = read_photo(whole[:-2])
    np.testing.assert_array_equal(photo.pixels, read_photo(whole).pixels)
    assert photo.warnings == ("its last two bytes are missing; the picture is whole",)
    assert read_photo(whole[:-1]).warnings == photo.warnings
    for missing in (5, 20, 300):
        with pytest.raises(PhotoError, match="truncated"):
            read_photo(whole[:-missing])


def test_libtiff_prints_nothing(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (200, 100), (1, 2, 3)).save(buffer, "TIFF", compression="tiff_lzw")
    content = bytearray(buffer.getvalue())
    content[8:60] = b"\xff" * 52
    (tmp_path / "a.tif").write_bytes(content)
    code = (
        "import sys\nfrom pathlib import Path\nfrom rave_runtime.photos.reading import read_photo\n"
        "try:\n    read_photo(Path(sys.argv[1]))\nexcept Exception:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.tif")], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(
    ("compression", "name"),
    [("jpeg2000", "JPEG 2000"), ("webp", "WebP"), ("jpegxl", "JPEG XL"), ("lerc", "LERC")],
)
def test_rare_compressions_of_tiff_are_named_or_read(compression: str, name: str) -> None:
    """They were called damaged, or told to be saved as the RGB of 8 bits that they are."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    noise = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    tifffile.imwrite(file, noise, photometric="rgb", compression=compression, metadata=None)
    outcome: object
    try:
        outcome = read_photo(file.getvalue()).pixels.shape
    except PhotoError as error:
        outcome = str(error)
    refusal = f"is a TIFF compressed as {name}, which cannot be read here: save it with LZW, ZIP or none"
    assert outcome in (noise.shape, refusal)


@pytest.mark.parametrize(("dtype", "channels"), [(np.int8, 1), (np.int8, 3), (np.int16, 1), (np.int16, 3)])
def test_values_below_zero_are_called_that(dtype: type, channels: int) -> None:
    """Grey of signed bytes was taken for unsigned ones, without a word."""
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    picture: NDArray[Any] = np.arange(24 * 32 * channels).reshape(24, 32, channels).astype(dtype).squeeze()
    tifffile.imwrite(file, picture, photometric="minisblack" if channels == 1 else "rgb", metadata=None)
    with pytest.raises(PhotoError, match="holds values below zero, which have no agreed range"):
        read_photo(file.getvalue())


def test_what_a_tiff_holds_is_said_in_words() -> None:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8, 9, 4), np.uint16), photometric="separated", metadata=None)
    with pytest.raises(PhotoError, match=r"\(4 channels of 16 bits, CMYK\)|16-bit TIFF that is not RGB"):
        read_photo(file.getvalue())


@pytest.mark.parametrize(
    ("channels", "options", "reason"),
    [
        (
            3,
            {"photometric": "rgb", "bigtiff": True, "byteorder": ">"},
            "^is a big-endian BigTIFF.*classic TIFF$",
        ),
        (
            5,
            {"photometric": "separated", "extrasamples": (2,)},
            r"8 bits, CMYK beside transparency\): save it as",
        ),
        (
            2,
            {"photometric": "minisblack", "extrasamples": (7,)},
            r"beside a channel of kind 7\): save it again",
        ),
        (
            2,
            {"photometric": "miniswhite", "extrasamples": (1,)},
            r"white as 0 beside premultiplied alpha\): save it again with",
        ),
    ],
)
def test_a_tiff_is_not_told_to_become_what_it_is(channels: int, options: dict[str, Any], reason: str) -> None:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    extras = options.pop("extrasamples", None)
    pixels = np.zeros((8, 9, channels), np.uint8)
    tifffile.imwrite(
        file, pixels, planarconfig="contig", metadata=None, extrasamples=(2,) if extras else None, **options
    )
    content = file.getvalue()
    if extras:
        entry = struct.pack("<HHI", 338, 3, 1)
        content = content.replace(entry + struct.pack("<H", 2), entry + struct.pack("<H", *extras))
    with pytest.raises(PhotoError, match=reason):
        read_photo(content)
