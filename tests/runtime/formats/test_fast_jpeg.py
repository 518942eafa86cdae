"""JPEG decoded by simplejpeg: the values, refusals and notes are those of Pillow."""

from __future__ import annotations

import functools
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image

from rave_runtime.errors import PhotoError
from rave_runtime.photos import fast_jpeg
from rave_runtime.photos.jpeg import end_of_jpeg, plain_header
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


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_damage_that_pillow_passes_over_is_told(options: dict[str, Any]) -> None:
    content = encoded(quality=95, **options)
    middle = len(content) // 2
    notes = read_photo(content[:middle] + content[middle + 300 :]).warnings
    assert notes == ("it is damaged: a part of the picture is grey or has wrong colours",)
    assert read_photo(content).warnings == ()
    behind = read_photo(content + b"what a program put behind its end").warnings
    assert not any("damaged" in note for note in behind)


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


def test_a_small_file_in_memory_after_a_large_one_holds_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Threads keep the memory into which they encode, and give back what a very large file took."""

    def write(content: bytes, file: BinaryIO) -> int:
        return file.write(content)

    monkeypatch.setattr(fast_jpeg, "_of_thread", threading.local())
    large, small = bytes(range(256)) * 400, b"small"
    for kept_bytes in (1 << 25, 1000):
        monkeypatch.setattr(fast_jpeg, "_KEPT_BYTES", kept_bytes)
        for content in (large, small, large, b"", small):
            assert fast_jpeg.bytes_written(functools.partial(write, content)) == content


@pytest.mark.parametrize(
    ("changes", "is_plain", "is_one_scan"),
    [
        ({}, True, True),
        ({"progressive": True}, True, False),
        ({"before": b"\0"}, False, False),
        ({"before": b"\xff"}, False, False),
        ({"before": b"\xff\xd0"}, False, False),
        ({"before": b"\xff\x01"}, False, False),
        ({"before": b"\xff\xfe\0\3x"}, True, True),
        ({"before": b"\xff\xc8\0\3x"}, False, False),
        ({"before": b"\xff\xd9\0\3x"}, False, False),
        ({"before": b"\xff\xf0\0\3x"}, False, False),
        ({"frames": 2}, True, False),
    ],
)
def test_headers_that_decoders_may_read_differently_are_not_plain(
    changes: dict[str, Any], is_plain: bool, is_one_scan: bool
) -> None:
    content = encoded(**{name: value for name, value in changes.items() if name == "progressive"})
    content = content[:2] + changes.get("before", b"") + content[2:]
    if "frames" in changes:
        start = content.index(b"\xff\xc0")
        content = content[:start] + content[start : start + 19] + content[start:]
    header = plain_header(content)
    assert (header is not None) == is_plain
    if header is not None:
        assert header.is_one_scan == is_one_scan
        assert content[header.end - 14 : header.end - 12] == b"\xff\xda"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(
    ("behind", "counts"),
    [(b"", False), (b"film", True), (b"\xff", True), (b"\xff\xd9", True), (b"\xff\xd8\xff\xd9", True)],
)
def test_the_end_of_a_picture_is_its_first_end_behind_the_header(
    progressive: bool, behind: bytes, counts: bool
) -> None:
    thumbnail = b"\xff\xe1\0\x08x\xff\xd9y" + b"zz"
    for before in (b"", thumbnail):
        picture = encoded(progressive=progressive)
        picture = picture[:2] + before + picture[2:]
        assert end_of_jpeg(picture + behind) == len(picture)
        assert (end_of_jpeg(picture + behind) < len(picture + behind)) == counts
        assert end_of_jpeg(picture[:-2]) == len(picture) - 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_forked_processes_encode_into_files_of_their_own() -> None:
    program = """
import os
from rave_runtime.photos.fast_jpeg import bytes_written
bytes_written(lambda file: file.write(b"first"))
children = []
for child in range(4):
    pid = os.fork()
    if not pid:
        content = bytes([child]) * 100_000
        right = all(bytes_written(lambda file: file.write(content)) == content for _ in range(200))
        os._exit(0 if right else 1)
    children.append(pid)
assert not any(os.waitpid(pid, 0)[1] for pid in children)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)
