from __future__ import annotations

import concurrent.futures
import copy
import pickle
import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from rave_runtime import BundleError, DeviceError, Enhancer, PhotoError, UsageError
from rave_runtime.light.look import Look
from rave_runtime.light.tiled import tiled_light
from rave_runtime.photos.photo import Photo
from tests.runtime.pictures import MakePicture


def whole_light(enhancer: Enhancer, image: NDArray[Any]) -> NDArray[np.float32]:
    ((_, light),) = tiled_light(enhancer.network, image, None)
    return light


@settings(max_examples=25, deadline=None)
@given(
    height=st.one_of(st.integers(2, 40), st.sampled_from([2, 3, 61, 97, 149])),
    width=st.one_of(st.integers(2, 40), st.sampled_from([2, 3, 67, 101, 151])),
    tile=st.integers(40, 80),
    seed=st.integers(0, 9),
)
@example(height=39, width=41, tile=35, seed=0)  # cores of one pixel, of which a large picture has thousands
def test_tiled_equals_whole(
    enhancer: Enhancer, picture: MakePicture, height: int, width: int, tile: int, seed: int
) -> None:
    image = picture(height, width, seed)
    tiled = np.empty((height, width), np.float32)
    for part, light in tiled_light(enhancer.network, image, tile):
        rows, cols = part.rows, part.cols
        tiled[rows.core_start : rows.core_stop, cols.core_start : cols.core_stop] = light[
            rows.core_start - rows.start : rows.core_stop - rows.start,
            cols.core_start - cols.start : cols.core_stop - cols.start,
        ]
    np.testing.assert_allclose(tiled, whole_light(enhancer, image), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [2, 3, 100])
def test_batches_of_tiles_give_what_single_tiles_give(
    enhancer: Enhancer, picture: MakePicture, batch: int
) -> None:
    image = picture(90, 130)
    single = list(tiled_light(enhancer.network, image, 50))
    together = list(tiled_light(enhancer.network, image, 50, batch))
    assert [tile for tile, _ in single] == [tile for tile, _ in together]
    for (_, one), (_, other) in zip(single, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (1, 120)])
def test_an_axis_of_one_pixel_is_doubled_and_cut(
    enhancer: Enhancer, picture: MakePicture, height: int, width: int
) -> None:
    image = picture(height, width)
    doubled = image.repeat(2 if height == 1 else 1, 0).repeat(2 if width == 1 else 1, 1)
    expected = whole_light(enhancer, doubled)[:height, :width]
    np.testing.assert_allclose(enhancer.illumination(image), expected, atol=1e-5)
    assert enhancer.enhance(image).shape == image.shape


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_black_and_white_stay_finite(enhancer: Enhancer, value: int, dtype: type) -> None:
    image: NDArray[np.unsignedinteger[Any]]
    image = np.full((40, 50, 3), value * (257 if dtype is np.uint16 else 1), dtype)
    assert np.isfinite(enhancer.illumination(image)).all()
    result = enhancer.enhance(image)
    assert result.dtype == dtype
    if value == 0:
        assert not result.any()


def test_the_picture_is_divided_by_the_light(enhancer: Enhancer, picture: MakePicture) -> None:
    image = picture(60, 80)
    light = enhancer.illumination(image)
    expected = np.floor(np.clip(image / light[..., None], 0, 255) + 0.5)
    assert np.abs(enhancer.enhance(image) - expected.clip(0, 255)).max() <= 1


def test_16_bits_equal_8_bits_where_both_can_say_it(enhancer: Enhancer, picture: MakePicture) -> None:
    image = picture(50, 60)
    deep = enhancer.enhance(image.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - enhancer.enhance(image)).max() <= 0.51


def test_the_embedded_model_brightens_shadows_and_leaves_the_sky(picture: MakePicture) -> None:
    image = picture(120, 160)
    before, after = image.mean(2), Enhancer().enhance(image).mean(2)
    assert after[90:].mean() > 1.3 * before[90:].mean()
    assert after[:30].mean() == pytest.approx(before[:30].mean(), rel=0.3)


def test_grey_stays_grey_and_equals_colour_of_equal_channels(
    enhancer: Enhancer, picture: MakePicture
) -> None:
    grey = picture(40, 50)[..., :1]
    result = enhancer.enhance_photo(Photo(grey, "PNG"))
    assert result.shape == grey.shape
    np.testing.assert_array_equal(result, enhancer.enhance(grey.repeat(3, 2))[..., :1])


def test_the_image_is_not_changed(enhancer: Enhancer, picture: MakePicture) -> None:
    image = picture(40, 50)
    image.flags.writeable = False
    enhancer.enhance(image)


def test_strided_images_work(enhancer: Enhancer, picture: MakePicture) -> None:
    image = picture(80, 100)
    np.testing.assert_array_equal(
        enhancer.enhance(image[::2, ::-2]), enhancer.enhance(image[::2, ::-2].copy())
    )


def test_one_can_be_sent_to_a_process(picture: MakePicture, bundle_copy: Path) -> None:
    first = Enhancer(bundle_copy, precision="fp32", device="cpu", working_size=32, strength=1.5, threads=1)
    second = pickle.loads(pickle.dumps(first))
    assert (second.settings, second.tile_size_px) == (first.settings, first.tile_size_px)
    image = picture(40, 60)
    np.testing.assert_array_equal(second.enhance(image), first.enhance(image))
    assert second.network is not first.network
    varied = copy.copy(first)
    assert varied.network is first.network, "a copy in the process loads nothing"
    vars(varied).update(look=Look(0.5, 0.2))
    assert pickle.loads(pickle.dumps(varied)).settings == varied.settings


@pytest.mark.parametrize("threads", [-1, 1.5, "2"])
def test_threads_are_a_whole_number(threads: Any) -> None:
    with pytest.raises(UsageError, match=f"threads is {threads!r}: a whole number is needed"):
        Enhancer(threads=threads)


def test_threads_may_share_one(picture: MakePicture) -> None:
    shared = Enhancer(tile_size=48, threads=1)
    images = [picture(60 + i, 70, i) for i in range(6)]
    expected = [shared.enhance(image) for image in images]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(shared.enhance, images), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            np.zeros((4, 4), np.uint8),
            "needed, got [4, 4] uint8: give numpy.dstack([image] * 3) if it",
        ),
        (np.zeros((4, 4, 4), np.uint8), "got [4, 4, 4] uint8: give image[..., :3], and add the fourth"),
        (np.zeros((3, 4, 5), np.uint8), "got [3, 4, 5] uint8: give image.transpose(1, 2, 0)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "got [2, 4, 5, 3] uint8: give images one by one"),
        (np.zeros((4, 4, 3), np.float32), "got [4, 4, 3] float32: give (image * 255).round().astype("),
        (np.zeros((4, 4, 3), ">u2"), "got [4, 4, 3] >u2: convert it so that white is 255 in uint8, or 65535"),
        (np.zeros((0, 4, 3), np.uint8), "the image has no pixels: its size is 4 x 0"),
        (Image.new("L", (4, 4)), 'needed, not Image: give numpy.asarray(image.convert("RGB"))'),
        ([[[0, 0, 0]]], "[h, w, 3] uint8 or uint16 is needed, not list: give numpy.asarray(image)"),
        (PurePosixPath("a.jpg"), "not PurePosixPath: the bytes of a file go to enhance_bytes"),
    ],
)
def test_what_is_no_image_is_refused_with_a_way_out(enhancer: Enhancer, image: Any, message: str) -> None:
    with pytest.raises(PhotoError, match=re.escape(message)):
        enhancer.enhance(image)
    with pytest.raises(PhotoError, match=re.escape(message)):
        enhancer.illumination(image)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"tile_size": 34}, UsageError, "tile_size is 34 px; .* at least 35 is needed"),
        ({"tile_size": "big"}, UsageError, "tile_size must be 'auto', a number of pixels or None, got 'big'"),
        ({"working_size": 8}, UsageError, "working_size is 8 px: at least 32 are needed, or None for full"),
        ({"working_size": 0}, UsageError, "working_size is 0 px: at least 32 are needed, or None for full"),
        (
            {"working_size": True},
            UsageError,
            "working_size must be 'recommended', a number of pixels or None",
        ),
        ({"strength": 2.5}, UsageError, "strength is 2.5, a number from 0 to 2 is needed"),
        ({"strength": None}, UsageError, "strength is None, a number from 0 to 2 is needed"),
        ({"highlights": "1"}, UsageError, "highlights is '1', a number from 0 to 2 is needed"),
        (
            {"device": "tpu"},
            DeviceError,
            "device 'tpu' is unknown: give one of auto, cpu, openvino, cuda, tensorrt",
        ),
        ({"precision": "fp8"}, DeviceError, r"the bundle has no fp8 graphs \(it holds .*fp32"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Enhancer(**options)


def test_a_folder_without_a_manifest_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle, which is a folder with a manifest.json"):
        Enhancer(tmp_path)


def test_a_stream_may_refill_one_buffer(enhancer: Enhancer, picture: MakePicture) -> None:
    frames = [picture(20, 24, seed=i) for i in range(5)]

    def refilled() -> Any:
        buffer = np.empty_like(frames[0])
        for frame in frames:
            buffer[:] = frame
            yield buffer

    for frame, result in zip(frames, enhancer.enhance_stream(refilled(), workers=3), strict=True):
        np.testing.assert_array_equal(result, enhancer.enhance(frame))


def test_what_came_before_a_streams_fault_is_given(enhancer: Enhancer, picture: MakePicture) -> None:
    def broken() -> Any:
        yield from (picture(20, 24, seed=i) for i in range(3))
        raise OSError("the camera is gone")

    stream = enhancer.enhance_stream(broken(), workers=3)
    taken = [next(stream) for _ in range(3)]
    with pytest.raises(OSError, match="the camera is gone"):
        next(stream)
    np.testing.assert_array_equal(taken[2], enhancer.enhance(picture(20, 24, seed=2)))
    with pytest.raises(UsageError, match="workers is 0"):
        next(enhancer.enhance_stream([], workers=0))
