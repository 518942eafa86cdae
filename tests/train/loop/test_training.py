"""A run from its first step to its last: its files, its losses, and what it is refused for."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rave_train.checkpoint import read_checkpoint
from rave_train.errors import (
    DataError,
)
from rave_train.guidance.options import ClipLitOptions
from rave_train.loop.config import RunConfig, read_config
from rave_train.loop.events import Event, Note
from rave_train.loop.losses_log import LossesLog
from rave_train.loop.schedule import Position, begin, expected_total
from rave_train.loop.steps import describe_separation
from rave_train.loop.training import train
from tests.train.conftest import make_scenes
from tests.train.small_runs import SMALL_NETWORK, SMALL_PAIR, of_method, rows_of


@pytest.mark.parametrize("method", ["rave", "clip-lit", "clip-lit-latent"])
def test_a_run_leaves_all_its_files(config: RunConfig, tmp_path: Path, method: str) -> None:
    config = of_method(config, method)
    events: list[Event] = []
    outcome = train(config, tmp_path / "run", listen=events.append)
    assert outcome.finished
    schedule = config.schedule()
    assert outcome.steps == expected_total(schedule, begin(schedule)) == len(rows_of(tmp_path / "run"))
    found = {str(file.relative_to(tmp_path / "run")).split("/")[0] for file in (tmp_path / "run").rglob("*")}
    assert found >= {
        "config.json", "made_of.json", "data.txt", "losses.csv", "tensorboard", "grids", "checkpoints",
        "guidance.safetensors", "state.pt",
    }  # fmt: skip
    assert read_config(tmp_path / "run" / "config.json") == config
    made = json.loads((tmp_path / "run" / "made_of.json").read_text())
    assert made["packages"]["torch"] == torch.__version__.split("+")[0] or made["packages"]["torch"]
    assert len(made["backlit_hash"]) == 32
    checkpoint = read_checkpoint(outcome.best)
    assert checkpoint.provenance["method"] == method
    assert checkpoint.provenance["training_size_px"] == 16
    assert load_file(tmp_path / "run" / "guidance.safetensors")["direction"].norm().item() == pytest.approx(1)
    assert any(isinstance(event, Note) and "6 pairs matched" in event.text for event in events)
    grid = next((tmp_path / "run" / "grids").iterdir())
    with Image.open(grid) as picture:
        assert picture.width > 3 * 16


def test_clip_lit_learns_to_tell_the_sets_apart(config: RunConfig, tmp_path: Path, toy_vit: str) -> None:
    """Both prompts start equal, so their cross-entropy starts at log 2."""
    changes = {"initialize_steps": 40, "rounds": 1}
    options = ClipLitOptions(**{**SMALL_PAIR, **changes})  # type: ignore[arg-type]
    config = dataclasses.replace(config, method="clip-lit", options=options, encoder=toy_vit)
    events: list[Event] = []
    train(config, tmp_path / "run", listen=events.append)
    losses = [float(row["loss"]) for row in rows_of(tmp_path / "run") if row["phase"] == "initialize"]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-4)
    assert np.mean(losses[-10:]) < 0.5 * losses[0]
    scores = next(e.text for e in events if isinstance(e, Note) and "score" in e.text)
    backlit, well_lit = map(float, re.findall(r"\d\.\d{3}", scores))
    assert scores.endswith("(the first should be higher)")
    assert backlit > well_lit + 0.3


def test_a_guidance_that_points_the_wrong_way_is_told() -> None:
    told = describe_separation(0.654, 0.690)
    assert "backlit ones 0.654, well-lit ones 0.690. It points the wrong way" in told
    assert "--initialize-steps" in told


def test_validation_pictures_choose_the_best(config: RunConfig, tmp_path: Path) -> None:
    sides = []
    for name, gain in (("vb", 0.4), ("vw", 1.0)):
        (tmp_path / name).mkdir()
        for index in range(2):
            pixels = np.full((20, 20, 3), int(200 * gain) + index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
        sides.append(str(tmp_path / name))
    data = dataclasses.replace(config.data, validation_backlit=sides[0], validation_well_lit=sides[1])
    outcome = train(dataclasses.replace(config, data=data), tmp_path / "run")
    assert outcome.psnr_db is not None
    with (tmp_path / "run" / "validation.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert max(float(row["psnr_db"]) for row in rows) == pytest.approx(outcome.psnr_db, abs=1e-3)
    assert float(rows[0]["psnr_input_db"]) == pytest.approx(-20 * np.log10(0.6 * 200 / 255), abs=0.05)
    leaked = dataclasses.replace(
        config.data, validation_backlit=config.data.backlit, validation_well_lit=config.data.well_lit
    )
    with pytest.raises(DataError, match="is both a training and a validation picture"):
        train(dataclasses.replace(config, data=leaked), tmp_path / "leak")


def test_a_narrow_network_is_trained(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, channels=16)
    outcome = train(dataclasses.replace(config, network=network), tmp_path / "run")
    assert read_checkpoint(outcome.best).network.channels == 16


def test_unpaired_data_uses_all_of_both_folders(config: RunConfig, tmp_path: Path) -> None:
    Path(config.data.backlit, "scene0.png").rename(Path(config.data.backlit, "alone.png"))
    for paired, counts in ((True, [5, 5]), (False, [6, 6]), (None, [5, 5])):
        run = tmp_path / f"run_{paired}"
        train(dataclasses.replace(config, data=dataclasses.replace(config.data, paired=paired)), run)
        made = json.loads((run / "made_of.json").read_text())
        assert [made["backlit_pictures"], made["well_lit_pictures"]] == counts
    assert "1 backlit without a partner: alone.png" in (tmp_path / "run_True" / "data.txt").read_text()


def test_the_pixel_loss_takes_part(config: RunConfig, tmp_path: Path) -> None:
    network = dataclasses.replace(SMALL_NETWORK, pixel_loss=10.0)
    train(dataclasses.replace(config, network=network), tmp_path / "run")
    assert all(float(row["pixel"]) > 0 for row in rows_of(tmp_path / "run") if row["phase"] == "enhance")


def turn(file: Path) -> None:
    with Image.open(file) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(file)


def test_partners_of_another_shape_take_no_part_in_the_pixel_loss(config: RunConfig, tmp_path: Path) -> None:
    """Squashed to one square, a turned partner was compared as if it were upright."""
    turn(Path(config.data.well_lit, "scene1.png"))
    network = dataclasses.replace(SMALL_NETWORK, pixel_loss=10.0)
    train(dataclasses.replace(config, network=network), tmp_path / "run")
    made = json.loads((tmp_path / "run" / "made_of.json").read_text())
    assert [made["backlit_pictures"], made["well_lit_pictures"]] == [5, 5]
    left_out = f"scene1.png: 48x36 pixels cannot be compared with {config.data.well_lit}/scene1.png, 36x48"
    assert left_out in (tmp_path / "run" / "data.txt").read_text()
    train(config, tmp_path / "without")
    assert json.loads((tmp_path / "without" / "made_of.json").read_text())["backlit_pictures"] == 6
    said = (tmp_path / "without" / "data.txt").read_text()
    assert "1 pair differs in shape, which only --pixel-loss would mind" in said
    for number in (0, 2, 3, 4):
        turn(Path(config.data.well_lit, f"scene{number}.png"))
    with pytest.raises(DataError, match="at least 2 pairs of one shape are needed: crop and turn both"):
        train(dataclasses.replace(config, network=network), tmp_path / "never")


def test_validation_pictures_of_another_shape_are_left_out_by_name(config: RunConfig, tmp_path: Path) -> None:
    held_out = make_scenes(tmp_path / "held", 3, (40, 30))
    turn(held_out[1] / "scene0.png")
    data = dataclasses.replace(
        config.data, validation_backlit=str(held_out[0]), validation_well_lit=str(held_out[1])
    )
    events: list[Event] = []
    train(dataclasses.replace(config, data=data), tmp_path / "run", listen=events.append)
    line = f"validation: skipped {held_out[0]}/scene0.png: 40x30 pixels cannot be compared with"
    assert any(isinstance(event, Note) and line in event.text for event in events)
    assert line in (tmp_path / "run" / "data.txt").read_text()


@pytest.mark.gpu
def test_mixed_precision_on_a_gpu(config: RunConfig, tmp_path: Path) -> None:
    for precision in ("bf16", "fp16"):
        outcome = train(dataclasses.replace(config, precision=precision), tmp_path / precision)
        assert outcome.finished


def test_a_term_without_a_column_is_not_lost(tmp_path: Path) -> None:
    log = LossesLog(tmp_path, 0)
    with pytest.raises(ValueError, match="contour"):
        log.log(Position("enhance"), {"loss": 3.0, "contour": 1.0}, 3.0, 0.1)
    log.close()
