from __future__ import annotations

import multiprocessing
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch

from rave_train.data import batches
from rave_train.data.batches import TrainingPictures, draw_batches
from rave_train.data.photographs import find_photographs


@pytest.fixture
def pictures(scenes: tuple[Path, Path]) -> TrainingPictures:
    backlit, truth = (find_photographs(side, "backlit").photographs for side in scenes)
    return TrainingPictures(backlit, truth, 24, seed=3)


Stream = list[tuple[torch.Tensor, torch.Tensor]]


def first(pictures: TrainingPictures, count: int, **changes: int) -> Stream:
    arguments = {"start": 0, "batch": 4, "rank": 0, "world": 1, "workers": 0} | changes
    return list(islice(draw_batches(pictures, **arguments), count))


def assert_same(left: Stream, right: Stream) -> None:
    assert len(left) == len(right)
    for a, b in zip(left, right, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def test_a_stream_can_be_taken_up_anywhere(pictures: TrainingPictures) -> None:
    assert_same(first(pictures, 7)[5:], first(pictures, 2, start=5))


def test_workers_do_not_change_what_is_drawn(pictures: TrainingPictures) -> None:
    assert_same(first(pictures, 3), first(pictures, 3, workers=2))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot fork safely")
def test_workers_get_no_copy_of_the_pictures(pictures: TrainingPictures) -> None:
    """From Python 3.14 on, processes are not forked by default, and up to 8 GiB were copied to each."""
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        pictures.unpicklable = lambda: None  # type: ignore[attr-defined]
        assert len(first(pictures, 1, workers=1)) == 1
    finally:
        multiprocessing.set_start_method(before, force=True)


def test_processes_share_one_stream(pictures: TrainingPictures) -> None:
    whole = first(pictures, 3)
    shares = [first(pictures, 3, rank=rank, world=2) for rank in (0, 1)]
    for step in range(3):
        for rank in (0, 1):
            assert torch.equal(shares[rank][step][0], whole[step][0][rank::2])


def test_every_picture_comes_once_per_epoch(pictures: TrainingPictures, scenes: tuple[Path, Path]) -> None:
    for _ in range(2):
        seen = []
        for sample in range(12):
            _ = pictures[sample]  # draws the epoch's order when its first sample is taken
            seen.append(pictures._order[1][sample % 6])
        assert sorted(seen[:6]) == sorted(seen[6:]) == list(range(6))
        assert seen[:6] != seen[6:]


def test_partners_are_placed_alike(pictures: TrainingPictures) -> None:
    for sample in range(12):
        backlit, truth = pictures[sample]
        assert backlit.shape == (3, 24, 24)
        assert (backlit - 0.3 * truth).abs().max() < 0.02


def test_a_small_container_keeps_fewer_pictures_in_memory(
    scenes: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 GiB of decoded pictures, which were kept anywhere, do not fit into a container of 4."""
    backlit = find_photographs(scenes[0], "backlit").photographs
    for allowed_mib, is_kept in ((0, False), (4096, True), (None, True)):
        monkeypatch.setattr(batches, "allowed_memory_mib", lambda allowed_mib=allowed_mib: allowed_mib)
        assert (TrainingPictures(backlit, None, 24, seed=3)._squares is not None) == is_kept


def test_pictures_too_many_for_memory_are_decoded_at_every_draw(
    scenes: tuple[Path, Path], pictures: TrainingPictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "IN_MEMORY_BYTES", 0)
    backlit, truth = (find_photographs(side, "backlit").photographs for side in scenes)
    lazy = TrainingPictures(backlit, truth, 24, seed=3)
    assert lazy._squares is None
    assert_same(first(lazy, 2), first(pictures, 2))
    alone = TrainingPictures(backlit, None, 24, seed=3)
    assert torch.equal(alone[5][0], pictures[5][0])
    assert alone[5][1].numel() == 0
