"""How large a result can be: what a format cannot hold, or its libraries not read, is said with a way out."""

from __future__ import annotations

import numpy as np
import pytest

from rave_runtime.errors import PhotoError
from rave_runtime.photos import encode
from rave_runtime.photos.codecs.limits import why_too_large
from rave_runtime.photos.encode import encode_photo
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo
from tests.runtime.zoo.animal import HAS_HEIF


@pytest.mark.parametrize(
    ("format", "longest"), [("JPEG", 65500), ("WEBP", 16383), ("AVIF", 32768), ("HEIF", 65528)]
)
def test_what_a_format_cannot_hold_is_said_with_a_way_out(format: str, longest: int) -> None:
    wide = np.zeros((1, longest + 1, 1), np.uint8)
    with pytest.raises(
        PhotoError, match=rf"at most {longest} pixels: it is {longest + 1} x 1, which --format png"
    ):
        encode_photo(Photo(wide, "PNG"), wide, format)
    if format != "HEIF":  # one row of it may be less long
        assert encode_photo(Photo(wide, "PNG"), wide[:, 1:], format).content


def test_the_widest_avif_can_be_read_again() -> None:
    """One pixel more was written as well, and no program with libavif's usual limits read it."""
    wide = np.zeros((8, 32768, 1), np.uint8)
    assert read_photo(encode_photo(Photo(wide, "PNG"), wide, "AVIF").content).pixels.shape[:2] == (8, 32768)


def test_an_avif_of_too_many_pixels_is_refused_before_it_is_written() -> None:
    large = np.broadcast_to(np.uint8(0), (16384, 16385, 1))
    with pytest.raises(
        PhotoError, match="AVIF, which has at most 268435456 pixels here: it is 16385 x 16384"
    ):
        encode_photo(Photo(large, "PNG"), large, "AVIF")
    assert why_too_large("AVIF", 16384, 16384) is None


def test_a_long_and_narrow_heic_is_refused_before_it_is_written() -> None:
    assert why_too_large("HEIF", 4217, 32) is None
    reason = why_too_large("HEIF", 31, 4217)
    assert reason is not None
    assert "at most 4216 pixels where the other is under 32: it is 31 x 4217, which --format png" in reason
    if not HAS_HEIF:
        pytest.skip("pillow-heif is not installed")
    narrow = np.zeros((4216, 31, 3), np.uint8)
    assert encode_photo(Photo(narrow, "PNG"), narrow, "HEIF").content


@pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_heic_consists_of_tiles(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one piece it can have at most 142 megapixels, and over 16 MiB nothing here could read it again."""
    monkeypatch.setattr(encode, "_HEIC_TILE_PX", 128)
    ramp = np.linspace(0, 255, 129 * 128).astype(np.uint8).reshape(128, 129, 1)
    large = np.repeat(ramp, channels, axis=2)
    content = encode_photo(Photo(large, "PNG"), large, "HEIF", quality=60).content
    assert b"grid" in content
    again = read_photo(content)
    assert again.pixels.shape == large.shape
    assert np.abs(again.pixels.astype(int) - large).mean() < 1
    assert again.save_options["quality"] == pytest.approx(60, abs=4)
    fitting = np.ascontiguousarray(large[:, 1:])
    assert b"grid" not in encode_photo(Photo(fitting, "PNG"), fitting, "HEIF", quality=60).content
    clear = Photo(large, "PNG", alpha=ramp[..., 0])
    assert b"grid" not in encode_photo(clear, large, "HEIF").content, "readers ignore transparency of tiles"
