"""The bank of pairs: where it comes from, and how it is drawn."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_train.recipes import bank
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
from rave_train.recipes.scenes import Sources, lifted_stops
from rave_train.recipes.training import Stage, draw_batches


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


def test_processes_that_are_no_forks_draw_the_same(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, and on Windows, which has no forks: there every recipe ended with a traceback."""
    forked = make_bank(sources, Mix(), 8, 36, 7, processes=1)
    monkeypatch.setattr(bank, "WORKERS_START", "spawn")
    spawned = make_bank(sources, Mix(), 8, 36, 7, processes=1)
    for a, b in zip(forked.photographs, spawned.photographs, strict=True):
        np.testing.assert_array_equal(a, b)


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


def test_chosen_pairs_are_lifted_or_stay(sources: Sources) -> None:
    bank = make_bank(sources, Mix(0.4, 0.1, 0.2, 0.1, 0.2), 96, 72, 5, 1)
    weights = weigh(bank, 3)
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
    assert every == {0, float(np.float32(1.2)), 1, float(np.float32(1.6)), 3}


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
