"""The quality of a lossy result is about its input's, read from the quantiser in the file."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime.photos.codecs.coding_notes import note_on_coding
from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.headers import hevc
from rave_runtime.photos.headers.boxes import photograph_data
from rave_runtime.photos.jpeg import jpeg_segments, sampling_of
from rave_runtime.photos.reading import read_photo
from tests.runtime.handmade import jpeg_with

EXAMPLE = Path(__file__).parents[3] / "examples" / "forest.jpg"
FAULTS = Path(__file__).parents[4] / "shared" / "data" / "faults"


def saved(format: str, quality: int, **options: object) -> bytes:
    if format == "HEIF" and not register_heif():
        pytest.skip("needs pillow-heif")
    image = Image.open(EXAMPLE).convert("RGB").crop((0, 0, 384, 288))
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIF"])
@pytest.mark.parametrize("quality", [10, 35, 50, 65, 75, 80, 90])
def test_quality_is_read_and_sizes_stay(format: str, quality: int) -> None:
    content = saved(format, quality)
    photo = read_photo(content)
    assert photo.save_options["quality"] == pytest.approx(quality, abs=4)
    again = encode_photo(photo, photo.pixels, format).content
    assert 0.7 < len(again) / len(content) < 1.25
    assert len(encode_photo(photo, photo.pixels, format, quality=98).content) > len(again)


def test_other_formats_do_not_take_the_quality_over() -> None:
    photo = read_photo(saved("WEBP", 10))
    fine = encode_photo(photo, photo.pixels, "AVIF").content
    assert len(fine) > 2 * len(encode_photo(photo, photo.pixels, "AVIF", quality=10).content)


@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_avif_keeps_how_colour_is_sampled(sampling: str) -> None:
    photo = read_photo(saved("AVIF", 60, subsampling=sampling))
    assert photo.save_options["subsampling"] == sampling
    again = read_photo(encode_photo(photo, photo.pixels, "AVIF").content)
    assert again.save_options["subsampling"] == sampling


def test_a_grey_avif_stays_grey() -> None:
    """It became colour of 4:2:0, since what it says of its colour was read as if it had any."""
    buffer = io.BytesIO()
    Image.open(EXAMPLE).convert("L").crop((0, 0, 96, 64)).save(buffer, "AVIF", quality=60)
    photo = read_photo(buffer.getvalue())
    if photo.pixels.shape[2] != 1:
        pytest.skip("this Pillow writes no grey AVIF")
    again = read_photo(encode_photo(photo, photo.pixels, "AVIF").content)
    assert (again.save_options["subsampling"], again.pixels.shape) == ("4:0:0", photo.pixels.shape)


@pytest.mark.parametrize(("chroma", "matrix"), [(444, 0), (444, 6), (420, 6)])
def test_a_heic_without_loss_stays_so(chroma: int, matrix: int) -> None:
    content = saved("HEIF", -1, chroma=chroma, matrix_coefficients=matrix)
    photo = read_photo(content)
    assert photo.save_options["lossless"]
    encoded = encode_photo(photo, photo.pixels, "HEIF")
    again = read_photo(encoded.content)
    assert again.save_options == photo.save_options
    off = np.abs(again.pixels.astype(int) - photo.pixels).max()
    assert off == 0 if matrix == 0 else off <= 12, "what is not RGB is rounded on the way there and back"
    assert encoded.warnings == ()
    assert len(encode_photo(photo, photo.pixels, "HEIF", quality=50).content) < len(content) / 3


def test_the_quality_is_read_behind_long_parameter_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cameras of Sony repeat theirs, of 270 bytes with its scaling lists, before the pixels."""
    lists = tmp_path / "lists.txt"
    with lists.open("w") as file:
        for size in (4, 8, 16, 32):
            for kind in ("INTRA", "INTER"):
                for plane in ("LUMA", "CHROMAU", "CHROMAV"):
                    numbers = ",".join(str(16 + 37 * place % 90) for place in range(min(64, size**2)))
                    name = f"{kind}{size}X{size}_{plane}"
                    file.write(f"{name} =\n{numbers},\n" + f"{name}_DC =\n16,\n" * (size > 8))
    content = saved("HEIF", 60, enc_params={"x265:scaling-list": str(lists)})
    quality = read_photo(content).save_options["quality"]
    record = hevc._record_of(content)
    assert record is not None
    units = [unit for _, unit in hevc._parameter_sets(record)]
    assert max(map(len, units)) > 256
    repeated = b"".join(struct.pack(">I", len(unit)) + unit for unit in units) + photograph_data(content)
    monkeypatch.setattr(hevc, "photograph_data", lambda _: repeated)
    assert read_photo(content).save_options["quality"] == quality


@pytest.mark.parametrize("quality", [10, 90, 100])
def test_a_heic_with_loss_is_not_called_lossless(quality: int) -> None:
    assert not read_photo(saved("HEIF", quality)).save_options["lossless"]


def test_an_avif_without_loss_says_that_its_result_has_some() -> None:
    content = saved("AVIF", 100, subsampling="4:4:4")
    assert not read_photo(content).save_options["lossless"], "its colours were converted, and rounded"
    place = content.index(b"colrnclx") + 12
    photo = read_photo(content[:place] + b"\0\0" + content[place + 2 :])
    assert photo.save_options["lossless"]
    assert encode_photo(photo, photo.pixels, "AVIF").warnings == (
        "it was lossless, and AVIF is written lossy: --format png loses nothing",
    )
    assert note_on_coding(photo, photo.pixels, 80) == ()
    assert encode_photo(photo, photo.pixels, "PNG").warnings == ()


def frame_of(jpeg: bytes) -> bytes:
    return next(data for marker, data in jpeg_segments(jpeg) if marker in (0xC0, 0xC2))[6:]


@pytest.mark.parametrize("name", ["440", "411"])
@pytest.mark.parametrize("quality", [20, 50, 85, 100])
def test_a_jpeg_keeps_a_sampling_that_pillow_does_not_write(name: str, quality: int) -> None:
    """It became 4:4:4, and larger by half."""
    simplejpeg = pytest.importorskip("simplejpeg")
    pixels = np.asarray(Image.open(EXAMPLE).convert("RGB").crop((0, 0, 384, 288)))
    content = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, "RGB", name)
    content = jpeg_with(content, (0xFE, b"a comment"))
    photo = read_photo(content)
    encoded = encode_photo(photo, photo.pixels, "JPEG")
    assert encoded.warnings == ()
    assert frame_of(encoded.content) == frame_of(content)
    again = read_photo(encoded.content)
    assert again.save_options == photo.save_options
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 3
    assert (0xFE, b"a comment") in list(jpeg_segments(encoded.content))
    assert 0.9 < len(encoded.content) / len(content) < 1.1


@pytest.mark.parametrize(("name", "frame"), [("440", b"\x21"), ("411", b"\x22")])
def test_with_tables_that_need_pillow_another_sampling_is_taken_with_a_word(name: str, frame: bytes) -> None:
    simplejpeg = pytest.importorskip("simplejpeg")
    pixels = np.ascontiguousarray(Image.open(EXAMPLE).convert("RGB").crop((0, 0, 96, 64)))
    content = bytearray(simplejpeg.encode_jpeg(pixels, 80, "RGB", name))
    content[content.index(b"\xff\xdb") + 20] += 1
    photo = read_photo(bytes(content))
    encoded = encode_photo(photo, photo.pixels, "JPEG")
    asked, got = ":".join(name), {b"\x21": "4:2:2", b"\x22": "4:2:0"}[frame]
    assert encoded.warnings == (f"its colour is sampled as {got} now: {asked} cannot be written here",)
    assert frame_of(encoded.content)[1:2] == frame
    assert read_photo(encoded.content).save_options["qtables"] == photo.save_options["qtables"]


@pytest.mark.parametrize(
    ("brightness", "colour", "expected"),
    [
        ((1, 1), (1, 1), ("4:4:4", 0)),
        ((2, 1), (1, 1), ("4:2:2", 1)),
        ((2, 2), (1, 2), ("4:2:2", 1)),
        ((2, 2), (2, 2), ("4:4:4", 0)),
        ((1, 4), (1, 1), ("4:4:1", 2)),
        ((4, 2), (1, 1), ("4:1:0", 2)),
        ((3, 1), (2, 1), ("3x1 to 2x1", 0)),
        ((1, 1), (2, 2), ("1x1 to 2x2", 0)),
        ((0, 1), (1, 1), ("4:4:4", 0)),
    ],
)
def test_samplings_have_names_and_a_near_one_that_pillow_writes(
    brightness: tuple[int, int], colour: tuple[int, int], expected: tuple[str, int]
) -> None:
    assert sampling_of([(1, *brightness, 0), (2, *colour, 1), (3, *colour, 1)]) == expected


@pytest.mark.parametrize("format", ["WEBP", "AVIF", "HEIF"])
def test_no_cut_breaks_the_reading(format: str) -> None:
    content = saved(format, 50)
    for stop in range(0, 600, 7):
        try:
            read_photo(content[:stop] + bytes(50))
        except Exception as error:
            assert type(error).__name__ == "PhotoError"  # noqa: PT017


def test_a_low_quality_heic_does_not_grow() -> None:
    source = FAULTS / "23-low-quality.heic"
    if not source.exists() or not register_heif():
        pytest.skip("needs shared/data/faults and pillow-heif")
    photo = read_photo(source)
    assert len(encode_photo(photo, photo.pixels, "HEIF").content) < 1.2 * source.stat().st_size
