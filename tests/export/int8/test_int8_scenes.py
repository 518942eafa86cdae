"""The sheet of built-in scenes is made again by its recipe."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rave_export.int8 import make_scenes
from rave_export.int8.calibration import COLUMNS, SCENE_PX
from rave_runtime.arrays import Array


@pytest.fixture
def panorama() -> Array:
    """A bright window in a dark room, [128, 256, 3] float32, linear light."""
    rng = np.random.default_rng(0)
    room = rng.uniform(0.01, 0.05, (128, 256, 3))
    room[40:80, ::32] += 2.0
    room[40:80, 1::32] += 2.0
    return room.astype(np.float32)


def test_scenes_are_pairs_of_the_size_of_light_estimation_and_the_same_every_time(panorama: Array) -> None:
    scenes = make_scenes.draw_scenes(panorama, "room", 1)
    assert scenes
    assert {scene.shape for scene in scenes} == {(*SCENE_PX, 3)}
    assert len(scenes) % 2 == 0
    assert scenes[0].mean() < scenes[1].mean(), "each photograph is followed by the fusion of its brackets"
    for one, other in zip(scenes, make_scenes.draw_scenes(panorama, "room", 1), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_sheet_ends_with_the_views_of_the_proof(
    panorama: Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c", "d", "e", "z"):
        cv2.imwrite(str(tmp_path / f"{name}.hdr"), panorama)
    monkeypatch.setattr(make_scenes, "PROVEN_ON", ("a", "c", "d", "e"))
    count = sum(len(make_scenes.draw_scenes(panorama, name, 7)) for name in ("a", "c", "d", "e"))
    monkeypatch.setattr(make_scenes, "PROOF_SCENES", count)
    sheet = make_scenes.make_sheet(tmp_path, 7)
    assert sheet.shape[1] == COLUMNS * SCENE_PX[1]
    monkeypatch.setattr(make_scenes, "PROOF_SCENES", count + 2)
    with pytest.raises(ValueError, match=f"{count} views for the proof, {count + 2} are needed"):
        make_scenes.make_sheet(tmp_path, 7)
