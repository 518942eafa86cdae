"""JPEG decoded by simplejpeg: the values, refusals and notes are those of Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos import fast_jpeg
from rave_runtime.photos.photo import Photo
from rave_runtime.photos.reading import read_photo

pytest.importorskip("simplejpeg")


@pytest.fixture(autouse=True)
def fresh_decoder() -> Iterator[None]:
    fast_jpeg._decoder.cache_clear()
    yield
    fast_jpeg._decoder.cache_clear()


def encoded(mode: str = "RGB", size: tuple[int, int] = (133, 97), **options: Any) -> bytes:
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).convert(mode)
    file = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", **options)
    return file.getvalue()


def by_both(content: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[Photo, Photo]:
    fast = read_photo(content)
    monkeypatch.setattr(fast_jpeg, "_decoder", lambda: None)
    return fast, read_photo(content)


@pytest.mark.parametrize("quality", [30, 75, 92, 100])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True, "subsampling": 0}])
def test_values_are_those_of_pillow(
    quality: int, subsampling: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(**{"quality": quality, "subsampling": subsampling} | options)
    assert fast_jpeg.decode_jpeg(content, "RGB", 133, 97) is not None
    wide = fast_jpeg.decode_jpeg(content, "RGB", 133, 97, wide=True)
    fast, usual = by_both(content, monkeypatch)
    np.testing.assert_array_equal(fast.pixels, usual.pixels)
    np.testing.assert_array_equal(wide, usual.pixels)
    assert fast.save_options.keys() == usual.save_options.keys()


def test_grey_stays_one_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("L")
    fast, usual = by_both(content, monkeypatch)
    assert fast.pixels.shape == (97, 133, 1)
    np.testing.assert_array_equal(fast.pixels, usual.pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_photographs_stand_upright(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    fast, usual = by_both(encoded(exif=exif), monkeypatch)
    np.testing.assert_array_equal(fast.pixels, usual.pixels)


def test_four_inks_are_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded("CMYK")
    assert fast_jpeg.decode_jpeg(content, "CMYK", 133, 97) is None
    fast, usual = by_both(content, monkeypatch)
    np.testing.assert_array_equal(fast.pixels, usual.pixels)
    assert fast.warnings == usual.warnings != ()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_with_the_same_words(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = encoded(quality=95)
    content = content[: int(len(content) * share)]
    with pytest.raises(PhotoError) as fast:
        read_photo(content)
    monkeypatch.setattr(fast_jpeg, "_decoder", lambda: None)
    with pytest.raises(PhotoError) as usual:
        read_photo(content)
    assert str(fast.value) == str(usual.value)


def test_a_file_that_lacks_its_end_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, usual = by_both(encoded()[:-2], monkeypatch)
    np.testing.assert_array_equal(fast.pixels, usual.pixels)
    assert fast.warnings == usual.warnings != ()


def test_damage_in_the_middle_ends_as_with_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    whole = encoded(quality=90, size=(64, 48))
    start = whole.index(b"\xff\xda") + 14

    def outcome(content: bytes) -> Any:
        try:
            return read_photo(content).pixels.tobytes()
        except PhotoError as error:
            return str(error)

    contents = []
    for place in rng.integers(start, len(whole) - 2, 24):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        contents.append(bytes(damaged))
    fast = [outcome(content) for content in contents]
    monkeypatch.setattr(fast_jpeg, "_decoder", lambda: None)
    assert fast == [outcome(content) for content in contents]


def test_a_second_picture_behind_the_first_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, usual = by_both(encoded() + encoded(size=(8, 8)), monkeypatch)
    np.testing.assert_array_equal(fast.pixels, usual.pixels)
