"""The embedded model's recipe: where its pairs come from, and that a run repeats itself."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from rave_train.data.synthesis import linear_to_srgb
from rave_train.network import EnhancementNetwork, relight
from rave_train.recipes.bank import SHAPES, Drawing, Mix, Sources, batches, draw_pair, load_sources, make_bank
from rave_train.recipes.losses import light_error, similarity
from rave_train.recipes.rounding import FakeQuantization
from rave_train.recipes.scenes import (
    SCENE,
    SHADES,
    Array,
    draw_subject,
    draw_view,
    find_panoramas,
    fuse_brackets,
    load_panorama,
    look,
)
from rave_train.recipes.study import TestSet, enhance_by_gamma, enhance_reduced, measure
from rave_train.recipes.training import Recipe, loss_of, mean_network, train

KINDS = ("shade", "subject", "view", "lit")


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


def only(kind: str) -> Mix:
    return Mix(**{name: float(name == kind) for name in KINDS})


def test_a_view_looks_where_it_is_told() -> None:
    height = 180
    rows, cols = np.mgrid[0:height, 0 : 2 * height].astype(np.float32)
    longitude = (cols + 0.5) / (2 * height) * 360 - 180
    latitude = 90 - (rows + 0.5) / height * 180
    panorama = np.stack([longitude, latitude, np.zeros_like(longitude)], -1)
    ahead = look(panorama, 30, 10, 60, 21, 31)
    np.testing.assert_allclose(ahead[10, 15, :2], [30, 10], atol=0.6)
    level = look(panorama, 0, 0, 90, 11, 91)
    # A rectilinear image shows the angle's tangent: at the edge of 90 degrees, 45 degrees.
    expected = np.rad2deg(np.arctan(np.linspace(-1, 1, 91) * 90 / 91))
    np.testing.assert_allclose(level[5, :, 0], expected, atol=0.6)
    assert look(panorama, 0, 40, 60, 21, 21)[0, 10, 1] > look(panorama, 0, 40, 60, 21, 21)[20, 10, 1]


def test_a_view_across_the_seam_is_whole() -> None:
    panorama = make_panorama()
    turned = np.roll(panorama, 64, 1)
    np.testing.assert_allclose(look(turned, 180, 0, 70, 32, 48), look(panorama, 0, 0, 70, 32, 48), atol=1e-4)


def test_fused_brackets_show_the_room_and_the_window() -> None:
    panorama = make_panorama()
    exposures = np.array([0.2, 1, 5, 20], np.float32)
    fused = fuse_brackets(panorama, exposures)
    window = fused[24, 64].mean()
    assert 0.3 < fused[50:].mean() < 0.8
    assert window > 0.6
    dark = linear_to_srgb(np.minimum(panorama * 0.2, 1))
    assert fused[50:].mean() > 3 * dark[50:].mean()


def test_views_are_darker_than_their_truths_and_even_ones_are_left_out() -> None:
    rng = np.random.default_rng(0)
    pairs = [draw_view(make_panorama(), rng, 40, 60) for _ in range(30)]
    drawn = [pair for pair in pairs if pair is not None]
    assert len(drawn) >= 4
    assert np.mean([backlit.mean() < truth.mean() for backlit, truth in drawn]) > 0.7
    even = np.full((32, 64, 3), 0.3, np.float32)
    assert all(draw_view(even, rng, 20, 30) is None for _ in range(5))


def test_a_subject_is_dark_where_it_is_and_lit_around(sources: Sources) -> None:
    rng = np.random.default_rng(3)
    background, subject = np.full((60, 80, 3), 0.8, np.float32), np.full((60, 80, 3), 0.5, np.float32)
    for _ in range(8):
        backlit, truth = draw_subject(background, subject, rng)
        inside = np.abs(truth.mean(2) - 0.5) < 0.02
        outside = np.abs(truth.mean(2) - 0.8) < 0.02
        assert inside.sum() + outside.sum() > 0.5 * inside.size
        if inside.sum() > 50:
            assert backlit[inside].mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_of_each_kind(kind: str, sources: Sources) -> None:
    rng = np.random.default_rng(5)
    for _ in range(6):
        backlit, truth = draw_pair(sources, Drawing(only(kind), 0.5), rng, 40, 60)
        for side in (backlit, truth):
            assert side.shape == (40, 60, 3)
            assert side.dtype == np.float32
            assert 0 <= side.min() <= side.max() <= 1
        assert kind != "lit" or np.abs(backlit - truth).mean() < 0.06


def test_what_is_bright_stays_so_in_bright_shades_only(sources: Sources) -> None:
    def loss_of_the_brightest(shade: str) -> float:
        rng = np.random.default_rng(2)
        drawing = Drawing(only("shade"), shades=(SHADES[shade],))
        lost = []
        for _ in range(40):
            backlit, truth = (side.mean(2) for side in draw_pair(sources, drawing, rng, 40, 60))
            brightest = truth >= np.quantile(truth, 0.8)
            lost.append((truth - backlit)[brightest].mean())
        return float(np.mean(lost))

    assert loss_of_the_brightest("bright") < 0.6 * loss_of_the_brightest("wide")


def test_each_pair_draws_one_of_the_shades(sources: Sources) -> None:
    shades = [
        dataclasses.replace(SCENE, foreground_stops=(s, s), background_stops=(s, s), untouched=0.0)
        for s in (-4, 0)
    ]
    drawing = Drawing(only("shade"), shades=tuple(shades))
    rng = np.random.default_rng(4)
    kept = []
    for _ in range(40):
        backlit, truth = draw_pair(sources, drawing, rng, 20, 30)
        kept.append(backlit.mean() / truth.mean())
    dark, light = sum(share < 0.5 for share in kept), sum(share > 0.8 for share in kept)
    assert dark + light == 40
    assert min(dark, light) >= 10


def test_a_mean_of_networks_is_that_of_their_weights() -> None:
    networks = [EnhancementNetwork(4) for _ in range(3)]
    mean = mean_network(networks)
    assert mean is not None
    for name, weight in mean.named_parameters():
        wanted = sum(network.get_parameter(name) for network in networks) / 3
        torch.testing.assert_close(weight, wanted)
    assert mean.cond1 is not networks[0].cond1
    with pytest.raises(ValueError, match="no networks to average"):
        mean_network([])


@pytest.mark.gpu
def test_a_gpu_learns_what_a_cpu_learns(sources: Sources) -> None:
    recipe = Recipe(channels=4, steps=20, finishing_steps=5, batch=2, area_px=24 * 24, pairs=12)
    bank = make_bank(sources, recipe.drawing, recipe.pairs, recipe.area_px, recipe.seed, processes=1)
    here, there = (train(recipe, bank, device=torch.device(name)) for name in ("cpu", "cuda"))
    image = torch.rand(1, 3, 24, 24)
    assert next(there.parameters()).device.type == "cpu"
    with torch.no_grad():
        assert float((here(image) - there(image)).abs().mean()) < 0.05


def test_without_panoramas_there_are_no_views(sources: Sources) -> None:
    rng = np.random.default_rng(0)
    without = Sources(sources.photographs, [])
    assert all(draw_pair(without, Drawing(whole=0.5), rng, 20, 30)[0].shape == (20, 30, 3) for _ in range(10))


def test_a_bank_depends_on_its_seed_alone(sources: Sources) -> None:
    one = make_bank(sources, Drawing(), 24, 24 * 24, 7, processes=1)
    two = make_bank(sources, Drawing(), 24, 24 * 24, 7, processes=2)
    other = make_bank(sources, Drawing(), 24, 24 * 24, 8, processes=1)
    assert len(one) == 24
    for a, b, c, (high, wide) in zip(one.backlit, two.backlit, other.backlit, SHAPES, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
        assert a.shape[2] * wide == pytest.approx(a.shape[3] * high, rel=0.1)
    drawn = batches(one, 4, np.random.default_rng(0))
    backlit, truth = next(drawn)
    assert backlit.shape == truth.shape
    assert backlit.dtype == np.uint8


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
    with pytest.raises(ValueError, match="not an equirectangular panorama, 16x16"):
        load_panorama(write_panorama(tmp_path / "b.exr", pixels[:, :16].copy()))


def test_panoramas_of_folders_and_modules(tmp_path: Path) -> None:
    """Night is left out, and what is for measuring; views of the rest join the well-lit photographs."""
    pixels = make_panorama(64)
    file = write_panorama(tmp_path / "hdri" / "one.exr", pixels)
    encoded = base64.b64encode(file.read_bytes()).decode()
    module = f"export default 'data:application/exr;base64,{encoded}'"
    (tmp_path / "hdri" / "two.exr.js").write_text(module)
    (tmp_path / "hdri" / "two.exr.d.ts").write_text("")
    write_panorama(tmp_path / "world" / "night.exr", pixels)
    write_panorama(tmp_path / "world" / "city.exr", pixels)
    folders = [tmp_path / "hdri", tmp_path / "world"]
    found = find_panoramas(folders)
    assert list(found) == ["hdri/one", "hdri/two", "world/city", "world/night"]
    np.testing.assert_array_equal(load_panorama(found["hdri/one"]), load_panorama(found["hdri/two"]))
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    loaded = load_sources([tmp_path / "p.png"], folders)
    assert len(loaded.panoramas) == 2
    assert len(loaded.photographs) == 1
    means = [float(view.mean()) for view in loaded.lit_views]
    assert len(means) >= 20
    assert 0.36 < np.mean(means) < 0.5  # as photographs are, not as bright as fused brackets


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
    recipe = Recipe()
    at_truth = float(loss_of(recipe, backlit, truth, light, None))
    for factor in (0.7, 0.9, 1.1, 1.5):
        assert float(loss_of(recipe, backlit, truth, light * factor, None)) > at_truth


def test_what_clipped_still_has_a_gradient() -> None:
    truth, backlit = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.4)
    light = torch.full((1, 1, 16, 16), 0.1, requires_grad=True)
    loss_of(Recipe(ssim_weight=0), backlit, truth, light, None).backward()  # type: ignore[no-untyped-call]
    assert light.grad is not None
    assert (light.grad < 0).all()  # more light, please


SMALL = Recipe(
    channels=8, steps=12, finishing_steps=2, batch=4, area_px=32 * 32, pairs=24, learning_rate=3e-3
)


def test_a_run_learns_and_repeats_itself(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.drawing, SMALL.pairs, SMALL.area_px, 0, processes=1)
    first, again = train(SMALL, bank), train(SMALL, bank)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    long = train(dataclasses.replace(SMALL, steps=60, average_decay=0.9), bank)
    backlit = torch.from_numpy(bank.backlit[0]).float() / 255
    truth = torch.from_numpy(bank.truth[0]).float() / 255
    with torch.no_grad():
        after = (relight(backlit, long(backlit)) - truth).square().mean()
    assert float(after) < 0.8 * float((backlit - truth).square().mean())


def test_a_share_of_the_start_stays_in_the_result(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.drawing, SMALL.pairs, SMALL.area_px, 0, processes=1)
    recipe = dataclasses.replace(SMALL, steps=3, finishing_steps=0)
    start = train(dataclasses.replace(recipe, seed=1), bank)
    free, half, none = (
        train(dataclasses.replace(recipe, start_share=share), bank, start=start) for share in (0.0, 0.5, 1.0)
    )
    for a, b, middle, same in zip(*(net.parameters() for net in (start, free, half, none)), strict=True):
        torch.testing.assert_close(middle, (a + b) / 2)
        torch.testing.assert_close(same, a)
    assert not torch.equal(start.condx.weight, free.condx.weight)


def test_guidance_needs_an_encoder(sources: Sources) -> None:
    bank = make_bank(sources, SMALL.drawing, 6, SMALL.area_px, 0, processes=1)
    with pytest.raises(ValueError, match="needs an encoder"):
        train(dataclasses.replace(SMALL, guidance_weight=0.1), bank)


def test_guidance_by_an_encoder_changes_the_weights(sources: Sources) -> None:
    from rave_train.encoders.opening import open_encoder

    encoder = open_encoder("timm:mobilenetv3_small_050,size=32@random")
    bank = make_bank(sources, SMALL.drawing, SMALL.pairs, SMALL.area_px, 0, processes=1)
    recipe = dataclasses.replace(SMALL, steps=3)
    plain = train(recipe, bank)
    guided = train(dataclasses.replace(recipe, guidance_weight=10.0), bank, encoder)
    assert not torch.equal(plain.condx.weight, guided.condx.weight)


def test_the_study_measures_what_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(60, 200, (40, 60, 3), np.uint8)
    dark = (truth * 0.5).astype(np.uint8)
    sets = [TestSet("pairs", [(dark, truth)]), TestSet("same", [(truth, truth)])]
    kept = measure(lambda pixels: pixels, sets)
    assert kept["same"] == pytest.approx((60.0, 1.0), abs=1e-4)
    lighter = measure(enhance_by_gamma(0.6), sets)
    assert lighter["pairs"][0] > kept["pairs"][0] + 3
    network = EnhancementNetwork(8).eval()
    assert network.cond_add1.bias is not None
    for parameter in network.cond_add1.parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(network.cond_add1.bias, 0.5)  # a light of one half everywhere undoes the darkness
    assert measure(enhance_reduced(network, 32), sets)["pairs"][0] > 45
