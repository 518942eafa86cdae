"""The quality of a lossy result is about its input's, read from the quantiser in the file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.photos.decoders import register_heif
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.reading import read_photo

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
