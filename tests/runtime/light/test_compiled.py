"""The compiled passes give what numpy and Pillow give, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.arrays import empty_like_pixels, wide_pixels, with_fourth_byte
from rave_runtime.light import chroma, compiled, normal_way
from rave_runtime.light.look import Look
from rave_runtime.light.normal_way import NormalWay, look_up
from rave_runtime.light.reduction import Reduction, UpsampledLight, box_means, luminance
from rave_runtime.light.workspace import Workspace

Bytes = NDArray[np.uint8]

needs_passes = pytest.mark.skipif(compiled.library() is None, reason="built without a C compiler")


def by_numpy(work: Callable[[], Bytes]) -> Bytes:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: None)
        return work()


def scene(height: int, width: int, seed: int) -> Bytes:
    """Smooth colours with noise: dark, bright and clipped parts."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-60, 320, (height // 16 + 2, width // 16 + 2, 3)).clip(0, 255).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return (smooth + rng.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)


def widened(image: Bytes) -> Bytes:
    """The same pixels four bytes apart; the fourth is noise."""
    pixels = wide_pixels(*image.shape[:2])
    noise = np.random.default_rng(image.shape[0]).integers(0, 256, image.shape[:2])
    with_fourth_byte(pixels)[..., 3] = noise
    pixels[...] = image
    return pixels


def develop(
    image: Bytes,
    size: int,
    look: Look,
    seed: int,
    *,
    gamma: float | None = None,
    in_place: bool = False,
    wide: bool = False,
) -> Bytes:
    """Develops pixels of a tone curve that is sRGB's to the power of `gamma`; None is sRGB's."""
    pixels = widened(image) if wide else image.copy()
    curve, seen = None, pixels
    if gamma is not None:
        curve = np.linspace(0, 1, 4096, dtype=np.float32) ** np.float32(gamma)
        table = (np.linspace(0, 1, 256) ** gamma * 255 + 0.5).astype(np.uint8)
        seen = look_up(pixels, table)
        np.testing.assert_array_equal(seen, table[image])
    reduction = Reduction(seen, size)
    rng = np.random.default_rng(seed)
    height, width = reduction.pixels.shape[:2]
    field = Image.fromarray(rng.uniform(0.02, 1.3, (5, 6)).astype(np.float32))
    light = np.asarray(field.resize((width, height), Image.Resampling.BILINEAR))
    out = pixels if in_place else empty_like_pixels(pixels)
    NormalWay(seen, light, look, reduction).develop(pixels, out, curve)
    return out


@needs_passes
@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(9, 300),
    width=st.integers(9, 300),
    share=st.floats(0.05, 0.9),
    strength=st.sampled_from([0.4, 1.0, 1.7]),
    gamma=st.sampled_from([None, 0.8, 1.4]),
    in_place=st.booleans(),
    wide=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_normal_way_is_the_same_bit_for_bit(
    height: int,
    width: int,
    share: float,
    strength: float,
    gamma: float | None,
    in_place: bool,
    wide: bool,
    seed: int,
) -> None:
    image, size = scene(height, width, seed), max(2, int(max(height, width) * share))
    fast = develop(image, size, Look(strength), seed, gamma=gamma, in_place=in_place, wide=wide)
    plain = by_numpy(lambda: develop(image, size, Look(strength), seed, gamma=gamma))
    assert plain.std() > 0
    np.testing.assert_array_equal(fast, plain)


@needs_passes
@pytest.mark.parametrize("dark", [0, 255])
def test_black_and_white_stay_the_same_bit_for_bit(dark: int) -> None:
    image = np.full((80, 112, 3), dark, np.uint8)
    image[20:30, 40:60] = 255 - dark
    np.testing.assert_array_equal(
        develop(image, 32, Look(), 3), by_numpy(lambda: develop(image, 32, Look(), 3))
    )


@needs_passes
@pytest.mark.parametrize("size", [(64, 96), (61, 97), (7, 300), (300, 7), (1, 1), (257, 255)])
@pytest.mark.parametrize("box", [(1, 1), (2, 2), (3, 2), (4, 7), (10, 10), (22, 21), (400, 250)])
def test_means_over_boxes_are_pillows(size: tuple[int, int], box: tuple[int, int]) -> None:
    image = scene(*size, seed=sum(size))
    across, down = box[0], min(box[1], compiled.MOST_ROWS)
    expected = np.asarray(Image.fromarray(image).reduce((across, down)))
    for pixels in (image, widened(image)):
        means = np.zeros_like(expected)
        compiled.box_means(pixels, across, down, means)
        np.testing.assert_array_equal(means, expected)


@needs_passes
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 60), st.integers(1, 60)),
    radius=st.integers(0, 70),
    seed=st.integers(0, 1000),
)
def test_means_over_windows_are_numpys(shape: tuple[int, int, int], radius: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.4, 30, shape).astype(np.float32)
    fast = box_means(values, radius)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "library", lambda: None)
        plain = box_means(values, radius)
    np.testing.assert_array_equal(fast, plain)


@needs_passes
def test_boxes_of_white_do_not_overflow() -> None:
    means = np.zeros((1, 1, 3), np.uint8)
    compiled.box_means(np.full((257, 64, 3), 255, np.uint8), 64, 257, means)
    assert means.tolist() == [[[255, 255, 255]]]


@needs_passes
def test_pictures_of_which_a_box_is_too_high_are_reduced_by_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    image = scene(1200, 4, 2)
    reduced = Reduction(image, 2).pixels
    assert 1200 // reduced.shape[0] // 2 > compiled.MOST_ROWS
    monkeypatch.setattr(compiled, "library", lambda: None)
    np.testing.assert_array_equal(reduced, Reduction(image, 2).pixels)


@needs_passes
@pytest.mark.parametrize("wide", [False, True])
def test_sums_over_blocks_are_exact(wide: bool) -> None:
    image = scene(90, 130, 4)
    image[:40, :60] = 255  # the largest sums
    if wide:
        image = widened(image)
    sums = np.empty((3, 8, 14), np.float32)
    compiled.block_means(image, slice(2, 10), slice(1, 15), np.eye(3, dtype=np.float32), sums)
    part = image[16:80, 8:120].reshape(8, 8, 14, 8, 3).sum((1, 3))
    np.testing.assert_array_equal(sums, part.transpose(2, 0, 1))
    np.testing.assert_array_equal(sums, chroma._block_sums(image, slice(2, 10), slice(1, 15)))


@needs_passes
@pytest.mark.parametrize(("down", "across"), [(40, 30), (1, 1), (5, 131)])
def test_chroma_is_smoothed_bit_for_bit(down: int, across: int) -> None:
    blocks = np.random.default_rng(0).random((2, down + 4, across + 4), np.float32) * np.float32(0.1)
    shift = chroma._mean_shift_compiled(blocks)
    np.testing.assert_array_equal(shift, chroma._mean_shift(blocks))
    assert np.abs(shift).max() > 0


@needs_passes
def test_the_light_is_the_same_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    light = UpsampledLight(rng.random((2, 9, 14), np.float32), 0.1, 0.9, 301, 203)
    luma = rng.integers(0, 256, (60, 203), np.uint8)
    fast = light.rows(100, 160, luma, Workspace()).copy()
    monkeypatch.setattr(compiled, "library", lambda: None)
    np.testing.assert_array_equal(fast, light.rows(100, 160, luma, Workspace()))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8, 3), np.uint16),
        np.zeros((8, 8, 1), np.uint8),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8)[..., 1:],
        np.zeros((8, 8, 4), np.uint8)[:, 1:, :3],
        np.zeros((8, 8, 4), np.uint8)[::-1, :, :3],
        np.zeros((8, 8, 5), np.uint8)[..., :3],
        np.zeros((8, 16, 3), np.uint8)[:, ::2],
    ],
    ids=[
        "16 bits",
        "one channel",
        "no channel",
        "the last three of four bytes",
        "some columns of four-byte pixels",
        "rows from below",
        "five-byte pixels",
        "every other column",
    ],
)
def test_other_pixels_are_not_taken(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    assert not compiled.takes(pixels)


@needs_passes
def test_the_fourth_byte_of_wide_pixels_stays() -> None:
    image = widened(scene(90, 130, 5))
    fourth = with_fourth_byte(image)[..., 3].copy()
    assert compiled.takes(image)
    assert compiled.takes(image[8:40])
    NormalWay(image, np.full((36, 52), 0.4, np.float32), Look(), Reduction(image, 52)).develop(image, image)
    np.testing.assert_array_equal(with_fourth_byte(image)[..., 3], fourth)


def test_they_can_be_left_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAVE_COMPILED", "0")
    compiled.library.cache_clear()
    assert compiled.library() is None
    assert not compiled.takes(np.zeros((8, 8, 3), np.uint8))
    compiled.library.cache_clear()


@pytest.mark.parametrize("kind", ["compiled", "numpy", "16 bits"])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_change_nothing(kind: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "numpy":
        monkeypatch.setattr(compiled, "library", lambda: None)
    monkeypatch.setattr(normal_way, "_STRIP_PX", 4000)
    monkeypatch.setattr(normal_way, "_COMPILED_STRIP_PX", 4000)
    image: NDArray[np.uint8] | NDArray[np.uint16] = scene(211, 150, 9)
    if kind == "16 bits":
        image = image.astype(np.uint16) * np.uint16(257)

    def developed(count: int) -> NDArray[Any]:
        reduction = Reduction(image, 48, count)
        light = (0.2 + 0.7 * luminance(reduction.pixels)).astype(np.float32)
        out = np.empty_like(image)
        NormalWay(image, light, Look(), reduction).develop(image, out, threads=count)
        return out

    np.testing.assert_array_equal(developed(1), developed(threads))
