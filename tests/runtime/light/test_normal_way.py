"""The normal way: the equations of its docstring, and what they are for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import rave_runtime
from rave_runtime import Enhancer, UsageError
from rave_runtime.arrays import Pixels
from rave_runtime.light import normal_way
from rave_runtime.light.look import (
    BRIGHT_LIGHT,
    KNEE,
    Look,
    divisor_of,
    guard_black,
    guard_white,
    without_unseen,
)
from rave_runtime.light.normal_way import NormalWay
from rave_runtime.light.reduction import GuidedLight, Reduction, luminance
from rave_runtime.photos.colour import tone_curve
from rave_runtime.photos.photo import Photo
from tests.runtime.light.developing import develop
from tests.runtime.pictures import MakePicture

pytestmark = pytest.mark.usefixtures("passes")

Floats = NDArray[np.float64]
TO_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
TO_COLOUR = np.array([[0, 1.402], [-0.344136, -0.714136], [1.772, 0]])
LUMA = np.array([0.299, 0.587, 0.114])


def light_of(image: NDArray[Any], size: int = 64) -> NDArray[np.float32]:
    """A light as a network gives it: low where the reduced image is dark."""
    return (0.25 + 0.8 * luminance(Reduction(image, size).pixels)).astype(np.float32)


def interpolated(values: Floats, rows: int) -> Floats:
    place = np.clip((np.arange(rows) + 0.5) * len(values) / rows - 0.5, 0, len(values) - 1)
    lower = np.minimum(place.astype(int), len(values) - 2)
    share = (place - lower)[:, None]
    return np.asarray(values[lower] * (1 - share) + values[lower + 1] * share)


def by_the_docstring(image: NDArray[Any], light: NDArray[np.float32], look: Look, size: int = 64) -> Floats:
    """The equations in float64, one after the other; of the guided filter and the guard the runtime's own."""
    height, width, channels = image.shape
    reduction = Reduction(image, size)
    d = guard_white(divisor_of(without_unseen(light), look), reduction.pixels)
    d = guard_black(d, reduction.pixels)
    guided = GuidedLight(d, luminance(reduction.pixels), height, width)
    divisor = guided.rows(0, height, reduction.luminance(0, height)).astype(float)
    v = image / np.iinfo(image.dtype).max
    u = v
    down, across = height // 8, width // 8
    if channels == 3 and down and across:
        blocks = v[: down * 8, : across * 8].reshape(down, 8, across, 8, 3).mean((1, 3))
        luma, chroma = blocks @ LUMA, blocks @ TO_CHROMA.T
        padded, shift = np.pad(chroma, ((2, 2), (2, 2), (0, 0)), "edge"), np.empty_like(chroma)
        for row in range(down):
            for column in range(across):
                apart = padded[row : row + 5, column : column + 5] - chroma[row, column]
                alike = np.maximum(1 - (apart**2).sum(2, keepdims=True) / (14 / 255) ** 2, 0)
                shift[row, column] = (alike * apart).mean((0, 1))
        shade = np.clip((0.7 - d.astype(float)) / 0.35, 0, 1)
        shade = interpolated(interpolated(shade, down).T, across).T
        t = 6 / 255
        weight = luma / (luma + t) * shade
        colour = (shift * weight[..., None]) @ TO_COLOUR.T
        rows = np.minimum(np.arange(height) // 8, down - 1)
        columns = np.minimum(np.arange(width) // 8, across - 1)
        u = v + colour[rows][:, columns]
    k, m = 0.75 - 0.25 * max(0, look.strength - 1), np.maximum(v.max(2), 1e-12)
    d1 = np.minimum(divisor, 1)
    t = m / d1
    c = (1 - d1) / ((1 - k) * (1 - k * d1))  # the hyperbola itself, where the runtime has it simplified
    rolled = np.where(t > k, k + (t - k) / (1 + c * (t - k)), t)
    gain = rolled / m * d1 / divisor
    return np.asarray(np.clip(u * gain[..., None], 0, 1) * np.iinfo(image.dtype).max)


LOOKS = [Look(), Look(2), Look(0.5), Look(1.5, 0.25), Look(0, 1)]


@pytest.mark.parametrize("look", LOOKS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("height", "width"), [(96, 131), (77, 70), (70, 203), (7, 90)])
def test_it_is_what_its_docstring_says(
    picture: MakePicture, dtype: Any, height: int, width: int, look: Look
) -> None:
    image = picture(height, width, seed=3).astype(dtype) * (257 if dtype is np.uint16 else 1)
    light = light_of(image)
    found = develop(image, light, look).astype(float)
    expected = by_the_docstring(image, light, look)
    assert np.abs(found - expected).max() < 0.5 + np.iinfo(dtype).max * 1e-6


@pytest.mark.parametrize("rows", [8, 16, 40])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strips_leave_no_seam(
    picture: MakePicture, monkeypatch: pytest.MonkeyPatch, rows: int, dtype: Any
) -> None:
    image = picture(93, 120, seed=1).astype(dtype) * (257 if dtype is np.uint16 else 1)
    whole = develop(image, light_of(image))
    monkeypatch.setattr(normal_way, "_STRIP_PX", rows * 120)
    # Sums of 16 bits may round otherwise where a strip has other rows: one step of 65535.
    np.testing.assert_allclose(
        develop(image, light_of(image)).astype(int), whole, rtol=0, atol=dtype is np.uint16
    )


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("light", [0.1, 0.25, 0.5, 0.85, 1.0])
def test_highlights_roll_off_and_only_white_is_clipped(light: float, strength: float) -> None:
    """A ramp from black to white in light by which division clips up to 90 % of it."""
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)
    image = np.repeat(np.repeat(ramp[None, :, None], 8, 0), 3, 2)
    look = Look(strength, strength)
    found = develop(image, np.full((8, 4096), light, np.float32), look, 4096)[0, :, 0] / 65535
    divided = ramp / 65535 / light**strength
    assert (np.diff(found) > -2e-5).all(), "what was brighter stays brighter, but for one step of 65535"
    assert (found <= np.minimum(divided, 1) + 1e-4).all(), "never brighter than the division"
    assert found[0] == 0
    assert found[-1] == 1
    below = divided < look.knee - 0.01
    np.testing.assert_allclose(found[below], divided[below], atol=1e-4, err_msg="as published below the knee")
    nearly_white = 0.9 if light**strength >= 0.2 else 0.5
    assert (found < 254.5 / 255)[: int(4096 * nearly_white)].all(), "only what was nearly white is clipped"


def test_the_shoulder_has_no_corner() -> None:
    """Its slope falls without a jump, from the gain to little."""
    ramp = np.linspace(0, 65535, 4096).astype(np.uint16)
    image = np.repeat(np.repeat(ramp[None, :, None], 8, 0), 3, 2)
    found = develop(image, np.full((8, 4096), 0.4, np.float32), size=4096)[0, :, 0] / 65535
    slope = np.gradient(found[::16], ramp[::16] / 65535)[1:-1]
    assert slope[0] == pytest.approx(1 / 0.4, rel=0.01)
    assert (slope > 0).all()
    assert np.abs(np.diff(slope)).max() < 0.15


def test_hues_stay_where_highlights_roll_off() -> None:
    image = np.empty((16, 16, 3), np.uint8)
    image[:] = (200, 150, 100)
    found = develop(image, np.full((16, 16), 0.5, np.float32))[8, 8].astype(float)
    np.testing.assert_allclose(found / found.max(), [1, 0.75, 0.5], atol=0.01)
    assert 235 < found.max() < 254


def blotched_skin() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Shaded skin with texture, and the same with blocks of 16 pixels that are purple or green by turns."""
    rng = np.random.default_rng(0)
    texture = 30 + 5 * rng.standard_normal((128, 160))
    clean = texture[..., None] * np.array([1.15, 1.0, 0.9])
    sign = np.where((np.arange(128)[:, None] // 16 + np.arange(160) // 16) % 2, 1.0, -1.0)
    blotches = sign[..., None] * (np.array([2.5, 2.5]) @ TO_COLOUR.T)
    return clean.round().astype(np.uint8), np.clip(clean + blotches, 0, 255).round().astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_blotches_of_colour_go_and_texture_stays(dtype: Any) -> None:
    clean, blotched = blotched_skin()
    factor = 257 if dtype is np.uint16 else 1
    light = np.full((128, 160), 0.25, np.float32)
    found = develop(blotched.astype(dtype) * factor, light) / (255 * factor)
    wanted = develop(clean.astype(dtype) * factor, light) / (255 * factor)
    before = np.minimum(blotched / 255 * 4, 1)
    inner = (slice(16, -16), slice(16, -16))
    blotches_left, blotches_before = (
        np.abs((picture - wanted) @ TO_CHROMA.T)[inner].mean() for picture in (found, before)
    )
    assert blotches_left < 0.45 * blotches_before
    luma_found, luma_wanted = (picture[inner] @ LUMA for picture in (found, wanted))
    assert np.std(luma_found) == pytest.approx(np.std(luma_wanted), rel=0.02)
    assert np.abs(luma_found - luma_wanted).mean() < 2 / 255


def test_colours_that_are_there_stay() -> None:
    """A red stripe on grey in the shade: far more than noise."""
    image = np.full((64, 96, 3), 40, np.uint8)
    image[:, 40:56] = (70, 25, 25)
    found = develop(image, np.full((64, 96), 0.3, np.float32)).astype(float)
    assert found[32, 48, 0] - found[32, 48, 1] > 0.85 * (70 - 25) / 0.3 * 0.98
    assert np.ptp(found[32, 4]) <= 1, "nothing bleeds"


def test_coloured_things_in_the_shade_have_no_halo() -> None:
    """Dark green beside dark red: a mean over both is ten levels off, up to 20 px from the edge."""
    image = np.full((96, 128, 3), (46, 23, 18), np.uint8)
    image[:, 64:] = (18, 41, 23)
    found = develop(image, np.full((96, 128), 0.3, np.float32))
    assert np.abs(found - image / 0.3).max() <= 0.5


def test_bright_parts_and_grey_pictures_keep_their_values(picture: MakePicture) -> None:
    _, blotched = blotched_skin()
    image = np.clip(blotched.astype(int) * 4, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(develop(image, np.ones((128, 160), np.float32)), image)
    grey = picture(60, 80)[..., :1]
    light = light_of(grey.repeat(3, 2))
    out = np.empty_like(grey)
    NormalWay(grey.repeat(3, 2), light, Look(), Reduction(grey.repeat(3, 2), 64)).develop(grey, out)
    colour = develop(grey.repeat(3, 2), light)
    np.testing.assert_array_equal(out[..., 0], colour[..., 0])


def test_highlights_rule_bright_parts_and_strength_the_shade() -> None:
    light = np.array([[0.3, 0.8, 0.9, 0.97, 0.98]], np.float32)
    for strength in (0.5, 1, 2):
        kept = divisor_of(light, Look(strength, 0))
        np.testing.assert_allclose(kept[0, 3:], 1, err_msg="skies are kept")
        np.testing.assert_allclose(kept[0, :2], light[0, :2] ** strength, rtol=1e-6)
    np.testing.assert_array_equal(divisor_of(light, Look()), light)
    np.testing.assert_allclose(divisor_of(light, Look(2))[0, 3:], light[0, 3:], err_msg="no sky burns")
    np.testing.assert_allclose(divisor_of(light, Look(0.5)), light**0.5)
    for strength in (0.5, 1, 2):
        above_white = divisor_of(np.array([1, 1.1], np.float32), Look(strength, 2))
        np.testing.assert_allclose(above_white, [1, 1.1], rtol=1e-6, err_msg="no sun turns grey")
    fine = np.linspace(0.01, 1.2, 500, dtype=np.float32)
    for look in (Look(1, 0), Look(2, 0), Look(2), Look(0, 2), Look(2, 2)):
        assert np.abs(np.diff(divisor_of(fine, look))).max() < 0.02, "no step in the light"


def test_a_photograph_that_would_hardly_change_stays_as_it_is(picture: MakePicture) -> None:
    image, rng = picture(48, 64), np.random.default_rng(3)
    hardly = np.exp2(rng.uniform(-0.1, 0.1, (48, 64))).astype(np.float32)
    np.testing.assert_array_equal(without_unseen(hardly), 1)
    np.testing.assert_array_equal(develop(image, hardly, Look(2)), image)
    small = np.ones((48, 64), np.float32)
    small[20:22, 30:32] = 0.5  # a thousandth of the photograph lacks a stop
    share = np.log2(without_unseen(small)[20, 30]) / -1
    assert 0.6 < share < 1, "most of what a small subject lacks is given"
    small[20:24, 30:34] = 0.5
    assert without_unseen(small) is small
    lights = np.exp2(-np.linspace(0.05, 0.25, 41))
    stops = [-np.log2(without_unseen(np.full((8, 8), light, np.float32))[0, 0]) for light in lights]
    assert np.all(np.diff(stops) >= 0), "less light never gives a smaller change"
    assert np.max(np.diff(stops)) < 0.02, "films do not flicker"


def test_looks_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="highlights is 3, a number from 0 to 2 is needed"):
        Enhancer(highlights=3)
    with pytest.raises(UsageError, match="highlights is nan"):
        Look(1, float("nan"))


def test_the_enhancer_takes_highlights(picture: MakePicture) -> None:
    image = picture(120, 160)
    kept, default = Enhancer(device="cpu", highlights=0), Enhancer(device="cpu")
    sky = slice(0, 40)
    change = [np.abs(one.enhance(image)[sky].astype(int) - image[sky]).mean() for one in (kept, default)]
    assert change[0] <= change[1]
    assert kept.settings != default.settings
    assert Enhancer(device="cpu", highlights=1).settings == default.settings
    np.testing.assert_array_equal(Enhancer(device="cpu", strength=0).enhance(image), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(96, 131), (5, 300), (300, 3), (1, 1), (9, 9)])
def test_photographs_of_other_spaces_and_sizes(
    picture: MakePicture, dtype: Any, size: tuple[int, int]
) -> None:
    """With a curve that is sRGB's own the result is that without one, but for the table's steps."""
    image = picture(*size).astype(dtype) * (257 if dtype is np.uint16 else 1)
    light = np.full(size, 0.4, np.float32)
    way = NormalWay(image, light, Look(), None)
    straight = np.linspace(0, 1, 4096, dtype=np.float32)
    out, through = np.empty_like(image), np.empty_like(image)
    way.develop(image, out)
    way.develop(image, through, straight)
    assert np.abs(out.astype(int) - through).max() <= (2 if dtype is np.uint16 else 1)
    assert out.mean() > 1.1 * image.mean()


def test_in_place_it_is_the_same(picture: MakePicture) -> None:
    for channels in (1, 3):
        for dtype in (np.uint8, np.uint16):
            pixels: Pixels = picture(210, 260)[..., :channels].astype(dtype)
            one = Enhancer(device="cpu", working_size=64)
            photo = Photo(pixels.copy(), "PNG")
            expected = one.enhance_photo(Photo(pixels, "PNG"))
            np.testing.assert_array_equal(one.enhance_photo(photo, reuse=True), expected)
    assert tone_curve(None) is None


def test_the_page_previews_with_the_same_constants() -> None:
    """It divides a preview itself, so that a slider is followed at once."""
    script = (Path(rave_runtime.__file__).parent / "serve" / "page" / "light.js").read_text("utf-8")
    for name, values in (("KNEE", KNEE), ("BRIGHT_LIGHT", BRIGHT_LIGHT)):
        found = re.search(rf"\b{name} = \[([\d., ]+)\]", script)
        assert found is not None
        assert tuple(map(float, found[1].split(","))) == values
