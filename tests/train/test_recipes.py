"""The embedded model's recipe: where its pairs come from, and that a run repeats itself."""

from __future__ import annotations

import base64
import dataclasses
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rave_runtime.arrays import Array
from rave_train.data.synthesis import ToneCurve, linear_to_srgb
from rave_train.network import EnhancementNetwork, relight
from rave_train.recipes.bank import (
    SHAPES,
    Mix,
    batches,
    draw_pairs,
    load_sources,
    make_bank,
    save_samples,
    weigh,
)
from rave_train.recipes.brackets import Brackets, find_exposure, stretch, take_brackets
from rave_train.recipes.losses import light_error, similarity
from rave_train.recipes.panoramas import Direction, find_panoramas, load_panorama, view_into
from rave_train.recipes.rounding import FakeQuantization
from rave_train.recipes.scenes import (
    Sources,
    _spot_lit,
    draw_lit,
    draw_shade,
    draw_subject,
    draw_view,
    lifted_stops,
    place_subject,
)
from rave_train.recipes.subjects import draw_mask
from rave_train.recipes.training import Recipe, Stage, draw_batches, loss_of, train

PLAIN = ToneCurve(0.0, 1.0)


def make_panorama(height: int = 64) -> Array:
    """A bright window straight ahead, in a room a hundred times darker."""
    rng = np.random.default_rng(0)
    room = rng.uniform(0.02, 0.05, (height, 2 * height, 3)).astype(np.float32)
    room[height // 3 : height // 2, height - 8 : height + 8] = 4
    return room


@pytest.fixture(scope="module")
def sources() -> Sources:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:1:96j, 0:1:128j]
    waves = [np.sin(rng.uniform(3, 25) * x + rng.uniform(3, 25) * y) for _ in range(3)]
    picture = np.clip(0.55 + 0.2 * np.stack(waves, -1) - 0.2 * y[..., None], 0, 1)
    return Sources([picture.astype(np.float32)] * 3, [make_panorama()])


def test_a_view_looks_where_it_is_told() -> None:
    height = 180
    rows, cols = np.mgrid[0:height, 0 : 2 * height].astype(np.float32)
    longitude = (cols + 0.5) / (2 * height) * 360 - 180
    latitude = 90 - (rows + 0.5) / height * 180
    panorama = np.stack([longitude, latitude, np.zeros_like(longitude)], -1)
    ahead = view_into(panorama, Direction(30, 10, 60), 21, 31)
    np.testing.assert_allclose(ahead[10, 15, :2], [30, 10], atol=0.6)
    level = view_into(panorama, Direction(0, 0, 90), 11, 91)
    # A rectilinear image shows the angle's tangent: at the edge of 90 degrees, 45 degrees.
    expected = np.rad2deg(np.arctan(np.linspace(-1, 1, 91) * 90 / 91))
    np.testing.assert_allclose(level[5, :, 0], expected, atol=0.6)
    up = view_into(panorama, Direction(0, 40, 60), 21, 21)
    assert up[0, 10, 1] > up[20, 10, 1] + 40
    rolled = view_into(panorama, Direction(0, 0, 60, roll_deg=90), 21, 21)
    assert abs(rolled[10, 20, 1]) > 20  # what was right of the camera lies above or below it


def test_a_view_across_the_seam_is_whole() -> None:
    panorama = make_panorama()
    turned = np.roll(panorama, 64, 1)
    np.testing.assert_allclose(
        view_into(turned, Direction(180, 0, 70), 32, 48),
        view_into(panorama, Direction(0, 0, 70), 32, 48),
        atol=1e-3,
    )


def test_an_exposure_gives_the_mean_that_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    linear = rng.lognormal(0, 1.5, (64, 96, 3)).astype(np.float32) * np.float32(7)
    for mean in (0.2, 0.5):
        exposed = linear_to_srgb(np.minimum(linear * np.float32(find_exposure(linear, mean, PLAIN)), 1))
        assert float(exposed.mean()) == pytest.approx(mean, abs=0.02)


def test_fused_brackets_show_the_room_and_the_window() -> None:
    panorama = make_panorama()
    brackets = Brackets(panorama, 0.2, 6.5, PLAIN)
    fused = brackets.fuse()
    assert 0.3 < fused[50:].mean() < 0.8
    assert fused[24, 64].mean() > 0.6
    dark = linear_to_srgb(np.minimum(panorama * 0.2, 1))
    assert fused[50:].mean() > 3 * dark[50:].mean()


def test_photographs_of_a_scene_lie_where_they_are_asked_for() -> None:
    brackets = Brackets(make_panorama(), 0.2, 6.0, PLAIN)
    middle, below, far = (
        float(brackets.photograph(stops, np.random.default_rng(0)).mean()) for stops in (0.0, 1.5, 9.0)
    )
    assert middle > below > far
    darkest = float(brackets.photograph(3.0, np.random.default_rng(0)).mean())
    assert far == darkest  # never below the dark exposure


def test_even_light_is_no_scene_against_it() -> None:
    even = np.full((32, 48, 3), 0.3, np.float32)
    rng = np.random.default_rng(0)
    spans = [taken.span_stops for _ in range(400) if (taken := take_brackets(make_panorama(), rng))]
    assert spans
    assert 4 < min(spans) <= max(spans) < 7
    # A grey wall is bracketed only where the middle is exposed brightly: its dark shot would be black.
    found = [taken for _ in range(40) if (taken := take_brackets(even, rng))]
    assert len(found) < 20


def test_stretched_light_keeps_its_middle_and_widens() -> None:
    linear = np.random.default_rng(0).lognormal(0, 1, (40, 40, 3)).astype(np.float32)
    wide = stretch(linear, np.random.default_rng(1))
    assert float(np.median(wide)) == pytest.approx(float(np.median(linear)), rel=1e-3)
    assert np.log(wide).std() > np.log(linear).std()


def test_views_are_darker_than_their_truths(sources: Sources) -> None:
    rng = np.random.default_rng(0)
    pairs = [pair for _ in range(60) for pair in draw_view(sources, rng, 40, 60)]
    assert len(pairs) >= 6
    assert np.mean([photograph.mean() < truth.mean() for photograph, truth in pairs]) > 0.6
    assert all(side.shape == (40, 60, 3) for pair in pairs for side in pair)


def test_lifted_stops_are_those_of_shade_and_light() -> None:
    truth = np.full((60, 40, 3), 0.7, np.float32)
    truth[:, 20:] = 0.8
    taken = truth.copy()
    linear = ((truth + 0.055) / 1.055) ** 2.4
    taken[:, :20] = linear_to_srgb((linear[:, :20] / 4).astype(np.float32))
    shade, bright = lifted_stops(taken, truth)
    assert shade == pytest.approx(2, abs=0.02)
    assert bright == pytest.approx(0, abs=0.02)


def test_chosen_pairs_are_lifted_or_stay(sources: Sources) -> None:
    bank = make_bank(sources, Mix(0.4, 0.1, 0.2, 0.1, 0.2), 96, 72, 5, 1)
    weights = weigh(bank)
    assert [len(side) for side in weights] == [len(side) for side in bank.photographs]
    drawn = set()
    for photographs, truths in islice(batches(bank, 8, np.random.default_rng(0), weights), 60):
        for pair in zip(photographs, truths, strict=True):
            taken, truth = (side.transpose(1, 2, 0).astype(np.float32) / 255 for side in pair)
            stays = bool(np.abs(taken - truth).mean() < 8 / 255)
            # Mirrored pictures are measured on other pixels, which makes a little difference.
            assert stays or lifted_stops(taken, truth)[0] > -0.05
            drawn.add(stays)
    assert drawn == {True, False}
    every = {float(weight) for side in weights for weight in side}
    assert every == {0, float(np.float32(0.45)), 1, float(np.float32(1.6)), 2.5}


def test_spot_lit_pictures_have_a_dark_background(sources: Sources) -> None:
    rng = np.random.default_rng(5)
    pictures = [_spot_lit(sources, rng, 48, 72) for _ in range(12)]
    assert all(
        picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1 for picture in pictures
    )
    spreads = [float(np.quantile(one, 0.95)) / max(float(np.quantile(one, 0.05)), 1e-3) for one in pictures]
    assert np.median(spreads) > 2


def test_a_subject_is_darker_than_what_is_behind_it() -> None:
    rng = np.random.default_rng(3)
    behind = np.full((60, 90, 3), 0.8, np.float32)
    for _ in range(12):
        placed = place_subject(behind, np.full((60, 90, 3), 0.5, np.float32), rng)
        assert placed.shape == behind.shape
        assert placed.min() < 0.5 * 0.8  # at least 1.5 stops and a quarter of it reflected
        assert placed.max() <= 0.8 + 1e-4


def test_outlines_cover_a_part_of_the_picture() -> None:
    rng = np.random.default_rng(5)
    covered = [float(draw_mask(60, 90, rng).mean()) for _ in range(60)]
    assert 0.1 < np.mean(covered) < 0.9
    assert all(0 <= share <= 1 for share in covered)
    assert draw_mask(30, 50, rng).shape == (30, 50, 1)


def test_subjects_and_shades_are_darker_than_their_truths(sources: Sources) -> None:
    rng = np.random.default_rng(2)
    for draw in (draw_subject, draw_shade):
        pairs = [pair for _ in range(20) for pair in draw(sources, rng, 40, 60)]
        assert len(pairs) >= 10
        assert np.mean([photograph.mean() < truth.mean() for photograph, truth in pairs]) > 0.6


def test_lit_pictures_stay(sources: Sources) -> None:
    rng = np.random.default_rng(4)
    pairs = [pair for _ in range(30) for pair in draw_lit(sources, rng, 40, 60)]
    assert np.mean([np.array_equal(photograph, truth) for photograph, truth in pairs]) > 0.3
    assert max(np.abs(photograph - truth).mean() for photograph, truth in pairs) < 0.06


def test_every_kind_gives_two_pairs_even_without_panoramas(sources: Sources) -> None:
    rng = np.random.default_rng(0)
    without = Sources(sources.photographs, [])
    for mix in (
        Mix(1, 0, 0, 0, 0),
        Mix(0, 1, 0, 0, 0),
        Mix(0, 0, 1, 0, 0),
        Mix(0, 0, 0, 1, 0),
        Mix(0, 0, 0, 0, 1),
    ):
        assert len(draw_pairs(sources, mix, rng, 24, 36)) == 2
    for mix in (Mix(0, 0, 1, 0, 0), Mix(0, 0, 0, 1, 0), Mix(1, 1, 0, 0, 1)):
        assert len(draw_pairs(without, mix, rng, 24, 36)) == 2


@pytest.mark.parametrize("shares", [(0, 0, 0, 0, 0), (1, -0.1, 0, 0, 1)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more and not all 0"):
        Mix(*shares)


def test_a_bank_depends_on_its_seed_alone(sources: Sources) -> None:
    one = make_bank(sources, Mix(), 24, 36, 7, processes=1)
    two = make_bank(sources, Mix(), 24, 36, 7, processes=2)
    other = make_bank(sources, Mix(), 24, 36, 8, processes=1)
    assert len(one) == 24
    assert [side.shape for side in one.photographs] == [(18, 3, 24, 36), (6, 3, 36, 24)]
    for a, b, c in zip(one.photographs, two.photographs, other.photographs, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    drawn = batches(one, 4, np.random.default_rng(0))
    photographs, truths = next(drawn)
    assert photographs.shape == truths.shape
    assert photographs.dtype == np.uint8
    shapes = {next(drawn)[0].shape[2:] for _ in range(40)}
    assert shapes == {(24, 36), (36, 24)}
    assert len(SHAPES) == 4


def test_samples_are_pairs_of_the_bank(sources: Sources, tmp_path: Path) -> None:
    bank = make_bank(sources, Mix(), 8, 36, 0, processes=1)
    save_samples(bank, tmp_path, 4)
    names = [f"{i:03}.png" for i in range(4)]
    for kind, side in (("photographs", bank.photographs), ("truths", bank.truths)):
        assert sorted(file.name for file in (tmp_path / kind).iterdir()) == names
        first = np.asarray(Image.open(tmp_path / kind / "000.png"))
        np.testing.assert_array_equal(first, side[0][0].transpose(1, 2, 0))


def test_stages_give_their_batches_at_their_sizes(sources: Sources) -> None:
    bank = make_bank(sources, Mix(), 8, 36, 0, processes=1)
    drawn = list(draw_batches(bank, (Stage(2, 3, 0.5), Stage(1, 2, 1.0)), np.random.default_rng(0)))
    assert [(len(photographs), max(photographs.shape[2:])) for photographs, _ in drawn] == [
        (3, 18),
        (3, 18),
        (2, 36),
    ]
    assert all(float(side.min()) >= 0 and float(side.max()) <= 1 for pair in drawn for side in pair)


def test_sources_are_files_and_folders(tmp_path: Path) -> None:
    Image.new("RGB", (1000, 500), "red").save(tmp_path / "wide.png")
    (tmp_path / "more").mkdir()
    Image.new("L", (20, 30)).save(tmp_path / "more" / "grey.jpg")
    (tmp_path / "more" / "note.txt").touch()
    loaded = load_sources([tmp_path / "wide.png", tmp_path / "more"])
    assert [p.shape for p in loaded.photographs] == [(320, 640, 3), (30, 20, 3)]
    assert loaded.panoramas == []
    with pytest.raises(FileNotFoundError, match=r"no \.png or \.jpg"):
        load_sources([])
    with pytest.raises(FileNotFoundError, match=r"no \.hdr, \.exr, \.exr\.js in"):
        load_sources([tmp_path / "wide.png"], [tmp_path / "more"])


def write_panorama(file: Path, pixels: Array) -> Path:
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    file.parent.mkdir(exist_ok=True)
    OpenEXR.File(header, {"RGB": pixels}).write(str(file))
    return file


def test_panoramas_are_read_and_checked(tmp_path: Path) -> None:
    pixels = make_panorama(16)
    pixels[0, 0] = -1
    np.testing.assert_allclose(
        load_panorama(write_panorama(tmp_path / "a.exr", pixels)), np.maximum(pixels, 0)
    )
    with pytest.raises(ValueError, match="16x16: an equirectangular panorama is twice as wide"):
        load_panorama(write_panorama(tmp_path / "b.exr", pixels[:, :16].copy()))
    pixels[..., 0] *= 2
    cv2.imwrite(str(tmp_path / "c.hdr"), np.maximum(pixels, 0)[..., ::-1])
    # Radiance files share one exponent among the three colours of a pixel.
    np.testing.assert_allclose(load_panorama(tmp_path / "c.hdr"), np.maximum(pixels, 0), rtol=0.05, atol=2e-3)
    (tmp_path / "d.hdr").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"d\.hdr cannot be read as a Radiance picture"):
        load_panorama(tmp_path / "d.hdr")


def test_panoramas_of_folders_and_modules(tmp_path: Path) -> None:
    """What no camera took is left out, and what is for measuring."""
    pixels = make_panorama(64)
    file = write_panorama(tmp_path / "hdri" / "one.exr", pixels)
    encoded = base64.b64encode(file.read_bytes()).decode()
    module = f"export default 'data:application/exr;base64,{encoded}'"
    (tmp_path / "hdri" / "two.exr.js").write_text(module)
    (tmp_path / "hdri" / "two.exr.d.ts").write_text("")
    write_panorama(tmp_path / "world" / "sky.exr", pixels)
    write_panorama(tmp_path / "world" / "city.exr", pixels)
    folders = [tmp_path / "hdri", tmp_path / "world"]
    found = find_panoramas(folders)
    assert list(found) == ["hdri/one", "hdri/two", "world/city", "world/sky"]
    np.testing.assert_array_equal(load_panorama(found["hdri/one"]), load_panorama(found["hdri/two"]))
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    loaded = load_sources([tmp_path / "p.png"], folders)
    assert len(loaded.panoramas) == 2
    assert len(loaded.photographs) == 1


def test_rounding_is_that_of_eight_bits_and_goes_away() -> None:
    torch.manual_seed(0)
    network = EnhancementNetwork(8).eval()
    image = torch.rand(2, 3, 24, 24)
    clean = network(image).detach()
    rounding = FakeQuantization(network, headroom=1.0)
    # Every inner convolution is disturbed, so compare one whose input is known: of the first block.
    got: list[torch.Tensor] = []
    second = network.ResidualBlock1.conv1.register_forward_hook(
        lambda _m, inputs, _o: got.append(inputs[0].detach())
    )
    rounded = network(image)
    wanted = nn.functional.leaky_relu(network.cond1(image), 0.2).detach()
    step = float(wanted.amax() - wanted.amin()) / 255
    assert 0.45 * step < float((got[0] - wanted).abs().max()) <= 0.5 * step * 1.01
    assert len(torch.unique(got[0])) <= 256
    assert not torch.equal(rounded, clean)
    gradient = torch.autograd.grad(rounded.sum(), network.ResidualBlock1.conv1.weight)[0]
    assert float(gradient.abs().sum()) > 0
    network(image / 4)
    narrow = got[1]
    assert len(torch.unique(narrow)) < 128  # a darker picture keeps the range of the brighter one
    rounding.spread()
    network(image)
    spread = rounding.spread()
    assert float(spread.detach()) > 0
    (pull,) = torch.autograd.grad(spread, network.ResidualBlock1.conv1.weight)
    assert float(pull.abs().sum()) > 0
    rounding.remove()
    second.remove()
    torch.testing.assert_close(network(image).detach(), clean)


def test_the_error_of_the_light_counts_where_the_pictures_tell_it() -> None:
    truth = torch.full((1, 3, 8, 8), 0.5)
    truth[..., :4] = 1.0  # blown out: nobody knows
    light = torch.full((1, 1, 8, 8), 0.4)
    backlit = truth * light
    assert float(light_error(backlit, truth, light)) < 0.01
    assert float(light_error(backlit, truth, 2 * light)) == pytest.approx(np.log(2), rel=0.05)
    light[..., :4] = 7.0
    assert float(light_error(backlit, truth, light)) < 0.01
    assert float(light_error(torch.zeros_like(truth), truth, light)) == 0


def test_similarity_is_one_for_equal_pictures_and_falls() -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 1, 32, 32)
    assert float(similarity(picture, picture)) == pytest.approx(1, abs=1e-5)
    values = [
        float(similarity(picture, (picture + k * torch.rand_like(picture)).clamp(0, 1))) for k in (0.1, 0.5)
    ]
    assert 1 > values[0] > values[1]


def test_the_loss_is_least_at_the_true_light() -> None:
    torch.manual_seed(0)
    truth = torch.rand(2, 3, 32, 32) * 0.9
    light = torch.full((2, 1, 32, 32), 0.4)
    backlit = truth * light
    at_truth = float(loss_of(Recipe(), backlit, truth, light, 2e-4))
    for factor in (0.7, 0.9, 1.1, 1.5):
        assert float(loss_of(Recipe(), backlit, truth, light * factor, 2e-4)) > at_truth


def test_what_clipped_still_has_a_gradient() -> None:
    truth, backlit = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.4)
    light = torch.full((1, 1, 16, 16), 0.1, requires_grad=True)
    loss_of(Recipe(ssim_weight=0), backlit, truth, light, 2e-4).backward()
    assert light.grad is not None
    assert (light.grad < 0).all()  # more light, please


SMALL = Recipe(
    channels=8,
    long_side_px=36,
    pairs=24,
    small=Stage(8, 4, 0.5),
    large=Stage(4, 4, 0.75),
    chosen=Stage(3, 4, 0.75),
    rounded=Stage(2, 4, 1.0),
)


def test_a_run_learns_and_repeats_itself(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.mix, SMALL.pairs, SMALL.long_side_px, 0, processes=1)
    first, again = train(SMALL, bank), train(SMALL, bank)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    scenes = make_bank(sources, Mix(1, 0, 0, 0, 0), 24, 36, 0, processes=1)
    long = train(dataclasses.replace(SMALL, large=Stage(60, 4, 1.0), average_decay=0.9), scenes)
    photographs = torch.from_numpy(scenes.photographs[0]).float() / 255
    truths = torch.from_numpy(scenes.truths[0]).float() / 255
    with torch.no_grad():
        after = (relight(photographs, long(photographs)) - truths).square().mean()
    assert float(after) < 0.8 * float((photographs - truths).square().mean())


def test_a_run_goes_on_from_a_network(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.mix, 8, SMALL.long_side_px, 0, processes=1)
    torch.manual_seed(9)
    start = EnhancementNetwork(8, "reflect")
    nothing = Stage(0, 4, 1.0)
    still = dataclasses.replace(SMALL, small=nothing, large=nothing, chosen=nothing, rounded=nothing)
    kept = train(still, bank, start)
    for a, b in zip(kept.parameters(), start.parameters(), strict=True):
        assert torch.equal(a, b)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or more steps"):
        Recipe(small=Stage(-1, 4, 0.5))
    with pytest.raises(ValueError, match="1 or more pairs"):
        Recipe(pairs=0)
