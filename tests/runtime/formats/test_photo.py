"""Reading: upright pixels, notes on what is left behind, and one clear error each. Formats: see the zoo."""

from __future__ import annotations

import errno
import io
import os
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos.decoders import decoding
from rave_runtime.photos.formats import FORMATS, READ_ENDINGS
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import exif, png, scene, tiff_of
from tests.runtime.zoo.animal import HAS_HEIF, save, turned

RGB = scene()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_is_applied_once_in_every_format(format: str, orientation: int) -> None:
    if format == "HEIF" and not HAS_HEIF:
        pytest.skip("pillow-heif is not installed")
    block = exif({0x0112: (3, orientation)})
    options: dict[str, Any] = {"lossless": True} if format == "WEBP" else {}
    photo = read_photo(save(RGB, format, exif=block, **options))
    expected = turned(RGB, orientation)
    assert photo.pixels.shape == expected.shape
    assert np.abs(photo.pixels.astype(int) - expected).mean() < 12
    if photo.exif is not None:
        read = Image.Exif()
        read.load(photo.exif)
        assert read.get(0x0112, 1) == 1


def test_a_photograph_tells_what_its_file_says() -> None:
    coding = {"quality": 88, "subsampling": 1, "progressive": True}
    content = save(RGB, "JPEG", **coding, dpi=(300, 300), xmp=b"<x/>", icc_profile=b"p")
    photo = read_photo(content)
    assert (photo.format, photo.source, photo.xmp, photo.icc_profile) == ("JPEG", content, b"<x/>", b"p")
    assert photo.dpi == (300, 300)
    assert photo.exif is None
    assert photo.alpha is None
    assert photo.warnings == ()
    assert photo.save_options["subsampling"] == 1
    assert photo.save_options["progressive"]
    assert photo.pixels.flags.c_contiguous


def test_exif_always_starts_with_its_header() -> None:
    block = exif({0x0112: (3, 1), 0x4746: (3, 5)})
    for name in ("JPEG", "PNG", "WEBP", "AVIF"):
        read = read_photo(save(RGB, name, exif=block)).exif
        assert read is not None
        assert read.startswith((b"Exif\0\0II", b"Exif\0\0MM"))


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_tiff_without_a_density_gets_none(mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (5, 4)).save(buffer, "TIFF")
    assert read_photo(buffer.getvalue()).dpi is None
    Image.new(mode, (5, 4)).save(buffer := io.BytesIO(), "TIFF", dpi=(300, 200))
    assert read_photo(buffer.getvalue()).dpi == (300, 200)


@pytest.mark.parametrize("dpi", [(0, 0), (float("nan"), 72), (1e9, 1e9)])
def test_senseless_densities_are_dropped(dpi: tuple[float, float], monkeypatch: pytest.MonkeyPatch) -> None:
    content = save(RGB, "BMP")
    opened = Image.open

    def lie(*arguments: Any, **options: Any) -> Any:
        image = opened(*arguments, **options)
        image.info["dpi"] = dpi
        return image

    monkeypatch.setattr(Image, "open", lie)
    assert read_photo(content).dpi is None


def test_the_limit_can_be_raised() -> None:
    content = png(np.zeros((1100, 1000), np.uint8), 0)
    with pytest.raises(PhotoError, match=r"is 1000 x 1100, over the limit of 1 megapixels: raise it"):
        read_photo(content, max_megapixels=1)
    assert read_photo(content, max_megapixels=1.1).pixels.shape == (1100, 1000, 1)


def test_pillows_own_limit_does_not_refuse_what_the_user_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_photo(tiff_of(RGB)).pixels.shape == RGB.shape
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_file_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PhotoError, match=r"^cannot be read: Permission denied$"):
        read_photo(tmp_path / "a.jpg")


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="is a folder, not a photograph"):
        read_photo(tmp_path)
    with pytest.raises(PhotoError, match=r"cannot be read: .*embedded null"):
        read_photo(tmp_path / "a\0.jpg")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jpg")
        with pytest.raises(PhotoError, match="is a pipe or a device"):
            read_photo(tmp_path / "pipe.jpg")


def test_an_exhausted_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("rave_runtime.photos.reading.to_pixels", exhaust)
    with pytest.raises(PhotoError, match=r"^does not fit into memory$"):
        read_photo(save(RGB, "BMP"))


def test_heic_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.photos.decoders.register_heif", lambda: False)
    with pytest.raises(PhotoError, match=r"is HEIC: pip install 'rave-backlit\[heif\]' to read it"):
        read_photo(b"\0\0\0\x18ftypheic" + bytes(40))


@pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
def test_ten_bits_of_grey_are_kept_without_a_note() -> None:
    import pillow_heif

    deep = scene(channels=1, dtype=np.uint16)
    buffer = io.BytesIO()
    pillow_heif.from_bytes("I;16", deep.shape[::-1], deep.tobytes()).save(buffer, quality=90)
    photo = read_photo(buffer.getvalue())
    assert photo.pixels.dtype == np.uint16
    assert not photo.warnings


def test_a_plain_ppm_of_16_bits_is_noted() -> None:
    plain = read_photo(b"P3 1 1 65535 256 512 65535\n")
    assert plain.warnings == ("its 16 bits per channel were read as 8",)


def test_threads_neither_lose_nor_leak_the_settings_of_decoding() -> None:
    lying = b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    odd = save(RGB, "JPEG", exif=lying)
    with pytest.raises(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(odd))
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    together = threading.Barrier(4)

    def read(_: int) -> bool:
        together.wait()
        return all(read_photo(odd).pixels.shape == (56, 40, 3) for _ in range(20))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(4)))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert warnings.filters == filters


def test_decoders_warnings_are_silent_and_others_are_not() -> None:
    with decoding:
        warnings.warn_explicit("odd", UserWarning, "x.py", 1, module="PIL.TiffImagePlugin")
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="odd"):
        warnings.warn_explicit("odd", UserWarning, "x.py", 2, module="PIL.TiffImagePlugin")


def test_every_ending_has_a_format_that_is_known() -> None:
    assert all(ending.startswith(".") and ending == ending.lower() for ending in READ_ENDINGS)
    assert {"JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF"} <= {row.name for row in FORMATS}


def test_a_tiff_that_begins_with_a_preview_is_called_that() -> None:
    content = save(Image.new("RGB", (8, 6)), "TIFF", tiffinfo={254: 1})
    with pytest.raises(PhotoError, match="begins with a small preview of its picture: save it again"):
        read_photo(content)


@pytest.mark.parametrize("tags", [{50706: bytes([1, 4, 0, 0])}])
def test_a_raw_file_is_refused_instead_of_its_preview(tags: dict[int, object]) -> None:
    content = save(Image.new("RGB", (8, 6)), "TIFF", tiffinfo=tags)
    with pytest.raises(PhotoError, match="is a camera's raw file"):
        read_photo(content)


def test_a_tiff_of_an_unknown_kind_is_not_called_damaged_only() -> None:
    content = bytearray(save(Image.new("RGB", (8, 6)), "TIFF"))
    kind = content.index(struct.pack("<HHI", 262, 3, 1))
    content[kind + 8] = 99
    with pytest.raises(PhotoError, match="is damaged, or a kind of TIFF that cannot be read here"):
        read_photo(bytes(content))


@pytest.mark.parametrize("opaque_count", [0, 1])
def test_a_bmp_that_is_transparent_everywhere_is_opaque(opaque_count: int) -> None:
    """Windows leaves the bytes of transparency 0; the photograph became white."""
    colours = scene(8, 8)
    alpha = np.zeros((8, 8, 1), np.uint8)
    alpha.flat[:opaque_count] = 255
    stored = np.concatenate([colours[::-1, :, ::-1], alpha], 2).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHI", 124, 8, 8, 1, 32, 3) + bytes(20) + masks + b"BGRs" + bytes(64)
    photo = read_photo(b"BM" + struct.pack("<IHHI", 138 + len(stored), 0, 0, 138) + header + stored)
    assert (photo.alpha is None) == (opaque_count == 0)
    assert (photo.pixels == colours).all()
