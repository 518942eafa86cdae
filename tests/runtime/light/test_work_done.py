"""How often a photograph's pixels are copied and walked over, counted and not timed.

Every copy of a large photograph costs milliseconds and memory, and none is noticed in a review.
"""

from __future__ import annotations

import io
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from rave_runtime import Enhancer
from rave_runtime.arrays import is_wide
from rave_runtime.light import compiled
from rave_runtime.photos.reading import read_photo
from rave_runtime.run.one_photo import enhance_content
from tests.runtime.pictures import make_picture

WIDTH, HEIGHT = 2400, 1600
IMAGE_BYTES = WIDTH * HEIGHT * 3
WIDE_BYTES = WIDTH * HEIGHT * 4
"""A JPEG is decoded into four bytes a pixel, see `rave_runtime.arrays.wide_pixels`."""

SMALL_BYTES = 6 << 20
"""What is computed on the reduced picture, however large the photograph is."""


@pytest.fixture(scope="module")
def enhancer() -> Enhancer:
    made = Enhancer(precision="fp32", device="cpu", threads=1)
    made.enhance(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    return made


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    return make_picture(HEIGHT, WIDTH)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that numpy and Python hold at a time for some work, beyond what they hold now."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = work()
        del result
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def count_calls(enhancer: Enhancer, image: NDArray[np.uint8]) -> int:
    """How often functions written in C are called while an image is enhanced."""
    counted = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal counted
        counted += event == "c_call"

    sys.setprofile(count)
    try:
        enhancer.enhance(image)
    finally:
        sys.setprofile(None)
    return counted


@pytest.mark.skipif(compiled.library() is None, reason="built without a C compiler")
def test_a_photograph_is_enhanced_in_its_own_memory(enhancer: Enhancer, scene: NDArray[np.uint8]) -> None:
    photo = read_photo(png(scene))
    before = photo.pixels.ctypes.data
    extra = peak_bytes(lambda: enhancer.enhance_photo(photo, reuse=True))
    assert photo.pixels.ctypes.data == before
    assert not np.array_equal(photo.pixels, scene)
    assert extra < SMALL_BYTES + 0.1 * IMAGE_BYTES  # boxes, sums of blocks, strips of the light


def test_by_numpy_the_light_and_strips_are_all_that_is_added(
    enhancer: Enhancer, scene: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "library", lambda: None)
    photo = read_photo(png(scene))
    extra = peak_bytes(lambda: enhancer.enhance_photo(photo, reuse=True))
    assert extra < SMALL_BYTES + 0.9 * IMAGE_BYTES  # luma is a third of it; strips have planes of float32


def test_decoding_makes_one_array(scene: NDArray[np.uint8]) -> None:
    pytest.importorskip("simplejpeg")
    content = jpeg(scene)
    assert peak_bytes(lambda: read_photo(content)) < 1.2 * IMAGE_BYTES
    assert peak_bytes(lambda: read_photo(content, wide=True)) < 1.2 * WIDE_BYTES


@pytest.mark.skipif(compiled.library() is None, reason="built without a C compiler")
def test_a_jpeg_is_decoded_enhanced_and_encoded_in_one_array(
    enhancer: Enhancer, scene: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg")
    content, copied = jpeg(scene), []
    frombuffer, tobytes = Image.frombuffer, Image.Image.tobytes

    def count_buffer(mode: str, size: tuple[int, int], data: object, *rest: object) -> Image.Image:
        image = frombuffer(mode, size, data, *rest)  # type: ignore[arg-type]
        copied.append(0 if image.readonly else size[0] * size[1])
        return image

    def count_bytes(image: Image.Image, *rest: object) -> bytes:
        copied.append(image.width * image.height)
        return tobytes(image, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "frombuffer", count_buffer)
    monkeypatch.setattr(Image.Image, "tobytes", count_bytes)
    peak = peak_bytes(lambda: enhance_content(enhancer, content))
    assert peak < 1.15 * WIDE_BYTES + SMALL_BYTES + 3 * len(content)
    assert max(copied) < 0.1 * WIDTH * HEIGHT  # by Pillow, whose memory is not counted above


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_turned_as_pillow_turns_it(scene: NDArray[np.uint8], orientation: int) -> None:
    pytest.importorskip("simplejpeg")
    content = jpeg(scene[:330, :250], orientation)
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    for wide in (False, True):
        photo = read_photo(content, wide=wide)
        np.testing.assert_array_equal(photo.pixels, expected)
        assert is_wide(photo.pixels) == wide


@pytest.mark.skipif(compiled.library() is None, reason="built without a C compiler")
def test_calls_grow_with_strips_and_not_with_rows(enhancer: Enhancer) -> None:
    few, many = (
        count_calls(enhancer, make_picture(height, width)) for height, width in ((600, 800), (1800, 2400))
    )
    # Nine times the pixels are eight strips and eight parts of the colours more.
    assert few < 700
    assert many - few < 350


def png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", compress_level=0)
    return file.getvalue()


def jpeg(picture: NDArray[np.uint8], orientation: int = 1) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(picture).save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()
