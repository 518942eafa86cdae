"""HDR films: their shade is lifted as that of other films, and what is brighter than white stays."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer
from rave_runtime.errors import PhotoError
from rave_runtime.films.dividing import FilmOptions
from rave_runtime.films.encoders import usual_scheduling
from rave_runtime.films.encoding import choose_encoder
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.hdr import HdrCurve, HdrFacts, encoder_metadata, hdr_facts
from rave_runtime.films.plane_format import Plane, PlaneFormat
from rave_runtime.films.planes import relight_planes
from rave_runtime.light import compiled
from rave_runtime.light.reduction import UpsampledLight
from rave_runtime.photos.codecs.hdr import sdr_values
from rave_runtime.photos.headers.colour_codes import PRIMARIES, SRGB, primaries_xyz, srgb_light
from tests.runtime.films.conftest import EvenLight, av, moving_scene

PQ, HLG, BT2020 = 16, 18, 9
WEIGHTS = (0.2627, 0.6780, 0.0593)
LAYOUTS = [PlaneFormat(bits, 2, 2, full) for bits, full in itertools.product((8, 10, 12), (False, True))]
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def hdr_values(sdr: NDArray[np.floating[Any]], transfer: int) -> NDArray[np.float64]:
    """Values of an HDR film, from those of sRGB's curve, in which diffuse white is 1."""
    known = np.linspace(0, 1, 1 << 16)
    return np.asarray(np.interp(sdr, sdr_values(known, transfer), known))


def to_planes(rgb: NDArray[Any], layout: PlaneFormat) -> tuple[NDArray[Any], ...]:
    """[h, w, 3] in the film's curve -> planes of 4:2:0 by the definition of BT.2020."""
    luma = rgb @ WEIGHTS
    low, high = layout.chroma_bounds
    stored = [layout.black + layout.luma_span * luma]
    for colour in ((rgb[..., 2] - luma) / 1.8814, (rgb[..., 0] - luma) / 1.4746):
        height, width = colour.shape
        shared = colour.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        stored.append(layout.neutral + (high - low) * shared)
    dtype = np.uint8 if layout.bits == 8 else np.uint16
    return tuple(np.round(plane).clip(0, 2**layout.bits - 1).astype(dtype) for plane in stored)


def to_rgb(planes: tuple[NDArray[Any], ...], layout: PlaneFormat) -> NDArray[np.float64]:
    low, high = layout.chroma_bounds
    luma = (planes[0].astype(float) - layout.black) / layout.luma_span
    blue, red = (
        ((plane.astype(float) - layout.neutral) / (high - low)).repeat(2, 0).repeat(2, 1)
        for plane in planes[1:]
    )
    r, b = luma + 1.4746 * red, luma + 1.8814 * blue
    return np.stack([r, (luma - WEIGHTS[0] * r - WEIGHTS[2] * b) / WEIGHTS[1], b], 2)


def test_white_and_black_are_where_the_standards_have_them() -> None:
    """BT.2408: diffuse white of 203 cd/m2 is 58 % of PQ and 75 % of HLG, whose greatest is 1000 cd/m2."""
    assert sdr_values(np.array([0.5807]), PQ)[0] == pytest.approx(1, abs=0.002)
    assert sdr_values(np.array([0.75]), HLG)[0] == pytest.approx(1, abs=0.003)
    for transfer, most in ((PQ, 10000), (HLG, 1000)):
        black, white = srgb_light(sdr_values(np.array([0.0, 1.0]), transfer))
        assert black == pytest.approx(0, abs=1e-6)
        assert 203 * white == pytest.approx(most, rel=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_light_of_one_changes_nothing(layout: PlaneFormat, transfer: int) -> None:
    """Nor do values below black and above white, which belong to limited range."""
    every = np.arange(2**layout.bits, dtype=np.uint8 if layout.bits == 8 else np.uint16)
    luma = np.stack([every, every[::-1]])
    low, high = map(int, layout.chroma_bounds)
    noise = np.random.default_rng(0).integers(low, high, (2, 1, len(every) // 2))
    before = luma, *noise.astype(every.dtype)
    planes = tuple(plane.copy() for plane in before)
    relight_planes(planes, layout, EvenLight(1.0), 0.75, curve=HdrCurve(transfer, BT2020, layout, WEIGHTS))
    for plane, old in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, old)


@pytest.mark.parametrize("transfer", [PQ, HLG])
@pytest.mark.parametrize(("light", "most", "mean"), [(0.5, 0.02, 0.004), (0.25, 0.06, 0.008)])
def test_planes_are_divided_as_colours_are_in_the_curve_of_sdr(
    transfer: int, light: float, most: float, mean: float
) -> None:
    layout = PlaneFormat(10, 2, 2, False)
    y, x = np.mgrid[0 : 1 : 64 * 1j, 0 : 1 : 96 * 1j]
    colours = np.stack([0.08 + 0.1 * x, 0.1 + 0.08 * y, 0.15 - 0.06 * x * y], 2)
    planes = to_planes(hdr_values(colours, transfer), layout)
    before = sdr_values(to_rgb(planes, layout), transfer)
    relight_planes(planes, layout, EvenLight(light), curve=HdrCurve(transfer, BT2020, layout, WEIGHTS))
    found = sdr_values(to_rgb(planes, layout), transfer)
    np.testing.assert_allclose(found, before / light, atol=most)
    assert np.abs(found - before / light).mean() < mean


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_highlights_roll_off_to_white_and_what_is_above_stays(transfer: int) -> None:
    layout = PlaneFormat(10, 1, 1, False, has_chroma=False)
    curve = HdrCurve(transfer, BT2020, layout, WEIGHTS)
    before = np.arange(64, 1024, dtype=np.uint16)[None]
    after = before.copy()
    relight_planes((after,), layout, EvenLight(0.4), 0.75, curve=curve)
    assert (np.diff(after[0].astype(int)) >= 0).all()
    sdr = sdr_values((before[0] - 64) / 876, transfer)
    assert (after[0] >= before[0]).all()
    np.testing.assert_array_equal(after[0][sdr > 1], before[0][sdr > 1])
    lifted = sdr_values((after[0] - 64) / 876, transfer)
    dark = sdr < 0.25
    np.testing.assert_allclose(lifted[dark], sdr[dark] / 0.4, atol=0.01)
    assert lifted[sdr <= 1].max() <= 1.01


@pytest.mark.skipif(compiled.library() is None, reason="built without a C compiler")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_the_compiled_pass_gives_the_same_bits(layout: PlaneFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    dtype: Any = np.uint8 if layout.bits == 8 else np.uint16
    whole: list[Plane] = [
        rng.integers(0, 2**layout.bits, size).astype(dtype) for size in ((151, 90), (76, 45), (76, 45))
    ]
    light = UpsampledLight(rng.random((2, 9, 14), np.float32) * np.float32(1.2), 0.05, 1.2, 151, 90)
    curve = HdrCurve(HLG, BT2020, layout, WEIGHTS)
    plain = [plane.copy() for plane in whole]
    relight_planes(tuple(whole), layout, light, 0.75, curve=curve)
    monkeypatch.setattr(compiled, "library", lambda: None)
    relight_planes(tuple(plain), layout, light, 0.75, curve=curve)
    for one, other in zip(whole, plain, strict=True):
        np.testing.assert_array_equal(one, other)


def hdr_film(
    path: Path, transfer: int, codec: str, parameters: str = "", stated: bool = True
) -> NDArray[Any]:
    """Writes a film of six frames, a bright sky over dark ground; returns the first in sRGB's curve."""
    to_2020 = np.linalg.solve(primaries_xyz(PRIMARIES[BT2020]), primaries_xyz(SRGB))
    scenes = [frame / 255 for frame in moving_scene(6, noise=0)]
    layout = PlaneFormat(10, 2, 2, False)
    options = {"crf": "6"}
    if codec == "libx265":
        options["x265-params"] = "log-level=error" + parameters
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_range = transfer, 1
        if stated:
            context.color_primaries, context.colorspace = BT2020, BT2020
        with usual_scheduling():
            context.open(strict=False)
        for i, scene in enumerate(scenes):
            light = srgb_light(scene) * (1 + 3 * (scene.max(2, keepdims=True) > 0.5))  # the sky above white
            wide = np.maximum(light @ to_2020.T, 0)
            values = hdr_values(
                np.where(wide <= 0.0031308, 12.92 * wide, 1.055 * wide ** (1 / 2.4) - 0.055), transfer
            )
            frame = av.VideoFrame(128, 96, "yuv420p10le")
            for plane, pixels in zip(frame.planes, to_planes(values, layout), strict=True):
                padded = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                padded[:, : plane.width] = pixels
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = i, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return scenes[0]


def first_frame(path: Path) -> tuple[Any, NDArray[np.floating[Any]]]:
    """The first frame, and its colours in sRGB's curve."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    planes = tuple(
        np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes
    )
    return frame, sdr_values(to_rgb(planes, PlaneFormat(10, 2, 2, False)), int(frame.color_trc))


@pytest.mark.parametrize(
    ("transfer", "codec", "name"),
    [
        (HLG, "libx265", "a.mov"),
        (PQ, "libx265", "a.mp4"),
        (PQ, "libsvtav1", "a.mkv"),
        (HLG, "libx264", "a.mp4"),
    ],
)
def test_an_hdr_film_stays_one_and_its_shade_is_lifted(
    model: Enhancer, tmp_path: Path, transfer: int, codec: str, name: str
) -> None:
    scene = hdr_film(tmp_path / name, transfer, codec)
    result = enhance_film(tmp_path / name, tmp_path / f"out_{name}", model)
    assert result.encoder == codec
    assert result.warnings == []
    _, before = first_frame(tmp_path / name)
    frame, after = first_frame(tmp_path / f"out_{name}")
    assert frame.format.name == "yuv420p10le"
    assert (int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace)) == (transfer, 9, 9)
    sky, ground = (slice(4, 24), slice(4, 124)), (slice(60, 92), slice(4, 124))
    assert before[sky].min() > 1
    assert np.median(after[sky] / before[sky]) == pytest.approx(1, abs=0.05)
    photograph = np.round(scene * 255).astype(np.uint8)
    lifted = model.enhance(photograph)[ground].mean() / photograph[ground].mean()
    assert after[ground].mean() / before[ground].mean() == pytest.approx(lifted, rel=0.15)
    assert lifted > 1.3


@pytest.mark.parametrize("encoder", [None, "libsvtav1", "libx264"])
def test_the_screen_on_which_a_film_was_graded_is_kept(
    model: Enhancer, tmp_path: Path, encoder: str | None
) -> None:
    film = tmp_path / "film.mkv"
    hdr_film(film, PQ, "libx265", f":master-display={MASTERING}:max-cll=1000,400")
    enhance_film(film, tmp_path / "out.mkv", model, FilmOptions(encoder=encoder))
    facts = hdr_facts(first_frame(tmp_path / "out.mkv")[0], PQ)
    assert facts is not None
    assert facts.brightest == (1000, 400)
    expected = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 1000, 0.005)
    assert facts.mastering == pytest.approx(expected, abs=2e-4)


def test_primaries_and_matrix_that_are_not_stated_are_those_of_bt2020(
    model: Enhancer, tmp_path: Path
) -> None:
    hdr_film(tmp_path / "film.mkv", HLG, "libx265", stated=False)
    enhance_film(tmp_path / "film.mkv", tmp_path / "out.mkv", model)
    frame, _ = first_frame(tmp_path / "out.mkv")
    assert (int(frame.color_trc), int(frame.color_primaries), int(frame.colorspace)) == (HLG, 9, 9)


def test_vp9_becomes_av1_since_hdr_in_eight_bits_has_bands(model: Enhancer, tmp_path: Path) -> None:
    hdr_film(tmp_path / "film.webm", PQ, "libsvtav1")
    info: Any = SimpleNamespace(codec="vp9", hdr=HdrFacts(PQ))
    assert choose_encoder(info, None) == "libsvtav1"
    assert choose_encoder(info, "libvpx-vp9") == "libvpx-vp9"
    info.codec = "prores"
    assert choose_encoder(info, None) == "libx265"
    assert enhance_film(tmp_path / "film.webm", tmp_path / "out.webm", model).encoder == "libsvtav1"


def stated(
    transfer: int, matrix: int = BT2020, data: dict[str, bytes] | None = None
) -> Callable[[int], HdrFacts | None]:
    frame = SimpleNamespace(color_trc=transfer, colorspace=matrix, side_data=data or {})
    return lambda container: hdr_facts(frame, container)


def test_what_no_encoder_writes_is_told() -> None:
    both = {"DOVI_METADATA": b"1", "DYNAMIC_HDR_PLUS": b"1"}
    assert stated(1)(PQ) is None, "the frame's own counts more"
    facts = stated(2)(HLG)
    assert facts == HdrFacts(HLG)
    facts = stated(PQ, data=both)(2)
    assert facts is not None
    assert facts.notes == (
        "its Dolby Vision data were left out: players show the result as HDR10",
        "its HDR10+ data were left out: players show the result as HDR10",
    )
    facts = stated(HLG, data={"DOVI_RPU_BUFFER": b"1"})(2)
    assert facts is not None
    assert facts.notes == ("its Dolby Vision data were left out: players show the result as HLG",)


@pytest.mark.parametrize(("matrix", "data"), [(14, {}), (15, {}), (2, {"DOVI_METADATA": b"1"})])
def test_colours_that_only_dolby_vision_shows_are_refused(matrix: int, data: dict[str, bytes]) -> None:
    with pytest.raises(PhotoError, match="only players with Dolby Vision show: convert it"):
        stated(2, matrix, data)(2)


def test_impossible_screens_are_not_passed_on() -> None:
    fractions = [(1, 2)] * 8 + [(1, 100), (1000, 1)]
    fine = struct.pack("=22i", *itertools.chain(*fractions), 1, 1)
    for number, change in ((1, 0), (0, -1), (17, 0), (18, 2_000_000), (20, 0), (21, 0)):
        numbers = list(struct.unpack("=22i", fine))
        numbers[number] = change
        facts = stated(PQ, data={"MASTERING_DISPLAY_METADATA": struct.pack("=22i", *numbers)})(2)
        assert facts == HdrFacts(PQ)
    facts = stated(PQ, data={"MASTERING_DISPLAY_METADATA": fine, "CONTENT_LIGHT_LEVEL": bytes(8)})(2)
    assert facts is not None
    assert encoder_metadata(facts, "libx265") == {
        "x265-params": "master-display="
        "G(25000,25000)B(25000,25000)R(25000,25000)WP(25000,25000)L(10000000,100)"
    }
    assert encoder_metadata(facts, "hevc_nvenc") == {}
    assert encoder_metadata(HdrFacts(PQ), "libx265") == {}
