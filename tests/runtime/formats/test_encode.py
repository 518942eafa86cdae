"""Writing: like the input, with its metadata, and a word on all that a format cannot hold."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from rave_runtime.errors import PhotoError
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.exif import without_orientation
from rave_runtime.photos.formats import WRITTEN_FORMATS, output_format
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from rave_runtime.photos.tiff.strips import can_compress
from tests.runtime.handmade import exif, inner_exif, jpeg_with, png, png_chunk, scene, tiff_of
from tests.runtime.zoo.animal import HAS_HEIF, HAS_JXL, save

RGB = scene()
BLOCK = exif({0x0112: (3, 1), 0x4746: (3, 5)})


def rewritten(content: bytes, format: str | None = None, **options: Any) -> bytes:
    photo = read_photo(content)
    return encode_photo(photo, photo.pixels, format or photo.format, **options).content


def opened(content: bytes) -> Any:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def tables_of(jpeg: bytes) -> list[list[int]]:
    """The quantization table of each component."""
    image = opened(jpeg)
    return [list(image.quantization[layer[3]]) for layer in image.layer]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 100])
def test_a_jpeg_keeps_its_tables_and_subsampling(quality: int, subsampling: int, progressive: bool) -> None:
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    before = save(RGB, "JPEG", **options)
    after = opened(rewritten(before))
    assert tables_of(rewritten(before)) == tables_of(before)
    assert JpegImagePlugin.get_sampling(after) == subsampling
    assert bool(after.info.get("progressive")) == progressive


@pytest.mark.parametrize(
    "tables", [[[3] * 64], [[2] * 64, [5] * 64], [[2] * 64, [5] * 64, [9] * 64], [[300] * 64] * 2]
)
def test_odd_tables_are_kept(tables: list[list[int]]) -> None:
    before = save(RGB, "JPEG", qtables=tables, subsampling=0)
    assert tables_of(rewritten(before)) == tables_of(before)


def test_a_grey_jpeg_stays_grey_and_a_stored_rgb_stays_rgb() -> None:
    assert opened(rewritten(save(scene(channels=1), "JPEG", quality=60))).mode == "L"
    assert opened(rewritten(save(RGB, "JPEG", keep_rgb=True))).info["adobe_transform"] == 0


def test_a_wanted_quality_replaces_the_tables() -> None:
    before = save(RGB, "JPEG", quality=95, subsampling=1)
    after = opened(rewritten(before, quality=40))
    assert after.quantization == opened(save(RGB, "JPEG", quality=40)).quantization
    assert JpegImagePlugin.get_sampling(after) == 1


def test_cmyk_becomes_rgb_without_its_profile_but_with_the_rest() -> None:
    cmyk = Image.fromarray(RGB).convert("CMYK")
    after = opened(rewritten(save(cmyk, "JPEG", icc_profile=b"cmyk profile", comment=b"hello", exif=BLOCK)))
    assert after.mode == "RGB"
    assert "icc_profile" not in after.info
    assert (after.info["comment"], after.info["exif"]) == (b"hello", BLOCK)


@pytest.mark.parametrize("format", WRITTEN_FORMATS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_kind_of_pixels_can_be_written_in_every_format(format: str, channels: int) -> None:
    if format == "HEIF" and not HAS_HEIF:
        pytest.skip("pillow-heif is not installed")
    if format == "JXL" and not HAS_JXL:
        pytest.skip("pylibjxl is not installed")
    photo = read_photo(png(scene(channels=channels), {1: 0, 2: 4, 3: 2, 4: 6}[channels]))
    encoded = encode_photo(photo, photo.pixels, format)
    again = read_photo(encoded.content)
    assert again.format == format
    shown = photo.pixels.astype(float)
    if photo.alpha is not None and again.alpha is None:
        shown = 255 - (255 - shown) * (photo.alpha[..., None] / 255)
    assert np.abs(again.pixels - shown).mean() < 12
    if channels in (2, 4) and format in ("JPEG", "BMP", "PPM"):
        assert encoded.warnings == (
            f"{format} has no transparency: a white background was put behind the picture",
        )
        assert again.alpha is None
    else:
        assert encoded.warnings == ()
        assert (again.alpha is None) == (channels in (1, 3))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_metadata_goes_from_any_format_to_any(source: str, format: str) -> None:
    if format == "HEIF" and not HAS_HEIF:
        pytest.skip("pillow-heif is not installed")
    options: dict[str, Any] = {
        "exif": BLOCK,
        "icc_profile": b"a profile",
        "xmp": b"<xmp/>",
        "dpi": (200, 200),
    }
    if source == "TIFF":
        tags = Image.Exif()
        tags.load(BLOCK)
        tags[700] = options.pop("xmp")
        options["exif"] = tags
    elif source == "PNG":
        del options["xmp"]
        before = png(RGB, 2, before=png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<xmp/>"))
        rest = save(RGB, "PNG", **options)
        start, stop = rest.index(b"iCCP") - 4, rest.index(b"IDAT") - 4
        content = before[:33] + rest[start:stop] + before[33:]
    if source != "PNG":
        content = save(RGB, source, **options)
    again = read_photo(rewritten(content, format))
    assert again.icc_profile == b"a profile"
    assert again.xmp is not None
    assert again.xmp.rstrip(b"\0") == b"<xmp/>"
    assert again.exif is not None
    read = Image.Exif()
    read.load(again.exif)
    assert read[0x4746] == 5
    if source != "WEBP" and format in ("JPEG", "PNG", "TIFF"):
        assert again.dpi == pytest.approx((200, 200), abs=0.1)


def test_an_avifs_exif_is_not_written_anew() -> None:
    note = b"maker note" * 9
    inner = inner_exif(56, 40, note, 8 + 2 + 12 * 3 + 4)
    block = exif({0x0112: (3, 6), 0x4746: (3, 5)}, inner=inner)
    photo = read_photo(save(RGB, "JPEG", exif=block))
    with Image.open(io.BytesIO(encode_photo(photo, photo.pixels, "AVIF").content)) as image:
        written = image.info["exif"]
    assert photo.exif is not None
    assert written.removeprefix(b"Exif\0\0") == without_orientation(photo.exif).removeprefix(b"Exif\0\0")
    assert note in written


def test_lab_becomes_rgb_without_its_profile() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    photo = read_photo(save(Image.new("LAB", (8, 8), (128, 128, 128)), "TIFF", icc_profile=lab))
    assert photo.icc_profile is None
    assert photo.warnings == ("its LAB colours were converted to sRGB",)
    assert photo.pixels.shape == (8, 8, 3)


def test_metadata_too_large_for_a_jpeg_is_left_out_with_a_word() -> None:
    photo = Photo(RGB, "WEBP", exif=b"Exif\0\0" + bytes(70000), xmp=b"x" * 70000, icc_profile=b"p" * 70000)
    encoded = encode_photo(photo, RGB, "JPEG")
    assert encoded.warnings == (
        "its EXIF is over the 65533 bytes that a JPEG holds: it was left out",
        "its XMP is over the 65504 bytes that a JPEG holds: it was left out",
    )
    assert read_photo(encoded.content).icc_profile == photo.icc_profile


def test_formats_without_metadata_say_so() -> None:
    encoded = encode_photo(Photo(RGB, "WEBP", exif=BLOCK), RGB, "BMP")
    assert encoded.warnings == ("its EXIF was left out: BMP has no room for metadata",)


def test_sixteen_bits_are_reduced_with_a_word() -> None:
    deep = scene(dtype=np.uint16)
    encoded = encode_photo(Photo(deep, "TIFF"), deep, "BMP")
    assert encoded.warnings == ("BMP has 8 bits per channel here: 16 were reduced",)
    assert np.abs(read_photo(encoded.content).pixels.astype(int) - RGB).max() <= 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("tiff_lzw", "tiff_lzw"),
        ("packbits", "packbits"),
        ("zstd", "zstd"),
        ("lzma", "lzma"),
        ("jpeg", "jpeg"),
        (None, "raw"),
    ],
)
def test_a_tiff_keeps_its_compression(before: str | None, after: str) -> None:
    if after in ("zstd", "lzma") and not can_compress(after):
        pytest.skip(f"this Pillow was built without {after}")
    assert opened(rewritten(save(RGB, "TIFF", compression=before))).info["compression"] == after


def test_a_lossless_webp_stays_so_with_what_is_behind_its_transparency() -> None:
    pixels = scene(channels=4)
    pixels[:20, :, 3] = 0
    again = read_photo(rewritten(save(pixels, "WEBP", lossless=True, exact=True)))
    np.testing.assert_array_equal(again.pixels, pixels[..., :3])
    assert again.save_options == {"lossless": True}


def test_a_system_without_files_in_memory_writes_the_same_jpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    content = save(RGB, "JPEG")
    taken: list[Any] = []
    saving = Image.Image.save

    def watched(image: Image.Image, file: Any, *arguments: Any, **options: Any) -> None:
        taken.append(file)
        saving(image, file, *arguments, **options)

    def refuse(name: str) -> int:
        raise OSError(38, "Function not implemented")

    def forget() -> None:
        monkeypatch.setattr("rave_runtime.photos.fast_jpeg._of_thread", threading.local())

    monkeypatch.setattr(Image.Image, "save", watched)
    forget()
    expected = rewritten(content)
    forget()
    monkeypatch.setattr("os.memfd_create", refuse, raising=False)
    assert rewritten(content) == expected
    forget()
    monkeypatch.delattr("os.memfd_create")
    assert rewritten(content) == expected
    assert [type(file) for file in taken[1:]] == [io.BytesIO, io.BytesIO]
    if sys.platform == "linux":
        assert type(taken[0]) is io.FileIO, "into which Pillow encodes without Python's lock"


def test_whatever_an_encoder_raises_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(PhotoError, match=r"^cannot be written as PNG: ZeroDivisionError$"):
        encode_photo(Photo(RGB, "PNG"), RGB, "PNG")


def test_heic_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.photos.encode.register_heif", lambda: False)
    with pytest.raises(PhotoError, match=r"cannot be written as HEIC: pip install 'rave-backlit\[heif\]'"):
        encode_photo(Photo(RGB, "HEIF"), RGB, "HEIF")


def test_formats_that_are_only_read_become_png() -> None:
    assert [output_format(name) for name in ("GIF", "JPEG2000", "JPEG")] == ["PNG", "PNG", "JPEG"]
    assert output_format("GIF", "WEBP") == "WEBP"


def test_writing_again_is_stable() -> None:
    """What a second run reads of the first one's result is what the first one wrote."""
    for content in (
        save(RGB, "PNG", exif=BLOCK, dpi=(72, 72)),
        tiff_of(RGB),
        save(RGB, "WEBP", lossless=True),
    ):
        once = rewritten(content)
        assert rewritten(once) == once


def test_texts_of_a_tiff_keep_their_letters() -> None:
    tags = Image.Exif()
    tags[0x8298], tags[0x010F] = "© Jürgen".encode(), "Maker"
    content = save(RGB, "TIFF", exif=tags)
    for _ in range(2):
        content = rewritten(content)
        assert "© Jürgen\0".encode() in content


def test_captions_that_another_format_has_no_place_for_are_missed_aloud() -> None:
    resource = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08caption!"
    photo = read_photo(jpeg_with(save(Image.fromarray(RGB), "JPEG"), (0xED, resource)))
    note = "its IPTC captions were left out: WEBP has no place for them"
    assert encode_photo(photo, photo.pixels, "WEBP").warnings == (note,)
    for name in ("JPEG", "PNG", "TIFF"):
        encoded = encode_photo(photo, photo.pixels, name)
        assert encoded.warnings == ()
        assert b"caption!" in encoded.content or name == "PNG", "a PNG packs it"


def test_a_bmp_keeps_its_density() -> None:
    photo = read_photo(save(Image.fromarray(RGB), "BMP", dpi=(200, 100)))
    written = opened(encode_photo(photo, photo.pixels, "BMP").content)
    assert [round(value) for value in written.info["dpi"]] == [200, 100]
