from __future__ import annotations

import csv
import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from rave_train.data.photographs import find_photographs
from rave_train.encoders import Encoder, open_encoder
from rave_train.errors import ConfigError, EncoderError
from rave_train.guidance.embeddings import embed_photographs, embed_vocabulary
from rave_train.guidance.options import RaveOptions
from rave_train.loop.config import DataOptions, NetworkOptions, RunConfig
from rave_train.loop.training import train
from rave_train.measure.interpretation import Interpretation, interpret_run, write_interpretation


@pytest.fixture
def config(scenes: tuple[Path, Path], toy_resnet: str, tmp_path: Path) -> RunConfig:
    return RunConfig(
        "rave",
        RaveOptions(iterations=1),
        DataOptions(str(scenes[0]), str(scenes[1])),
        NetworkOptions(size_px=16, batch=2, warm_up=0),
        encoder=toy_resnet,
        cache=str(tmp_path / "cache"),
    )


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(x, dim=-1)


def test_tables_2_and_3_of_a_run(config: RunConfig, toy_clip: Encoder, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(config, run)
    found = interpret_run(run, 5, ["dark", "silhouette"])

    direction = load_file(run / "guidance.safetensors")["direction"]
    vocabulary = embed_vocabulary(toy_clip, tmp_path / "cache")
    similarities = unit(vocabulary) @ direction
    names = toy_clip.require_text("this test").vocabulary()
    best, worst = similarities.topk(5), similarities.topk(5, largest=False)
    assert [name for name, _ in found.nearest] == [names[i] for i in best.indices]
    assert [value for _, value in found.farthest] == pytest.approx(worst.values.tolist(), abs=1e-6)
    sets = [
        embed_photographs(toy_clip, found_side.photographs, tmp_path / "c", torch.device("cpu"))
        for found_side in (
            find_photographs(Path(side), "backlit") for side in (config.data.backlit, config.data.well_lit)
        )
    ]
    word = unit(toy_clip.require_text("this test").embed_words(["silhouette"])[0])
    assert found.words[1][0] == "silhouette"
    assert found.words[1][1:] == pytest.approx([(unit(s) @ word).mean().item() for s in sets], abs=1e-5)

    folder = write_interpretation(found, tmp_path / "out")
    assert "lowest similarity" in (folder / "interpretation.txt").read_text()
    with (folder / "tokens.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["token"] for row in rows if row["end"] == "highest"] == [name for name, _ in found.nearest]
    with (folder / "words.csv").open(newline="") as stream:
        assert [row["word"] for row in csv.DictReader(stream)] == ["dark", "silhouette"]
    with Image.open(folder / "tokens.png") as plot:
        assert plot.width > 300


def test_guidance_by_a_word_and_shifted(config: RunConfig, toy_clip: Encoder, tmp_path: Path) -> None:
    word = dataclasses.replace(config, options=RaveOptions(1, guide_token="darkness"))
    train(word, tmp_path / "word")
    direction = load_file(tmp_path / "word" / "guidance.safetensors")["direction"]
    expected = unit(toy_clip.require_text("this test").embed_words(["darkness"])[0])
    assert abs(direction @ expected).item() == pytest.approx(1, abs=1e-5)

    train(config, tmp_path / "plain")
    train(dataclasses.replace(config, options=RaveOptions(1, shift_tokens=15)), tmp_path / "shifted")
    plain, shifted = (
        load_file(tmp_path / run / "guidance.safetensors")["direction"] for run in ("plain", "shifted")
    )
    assert (plain @ shifted).item() < 0.999
    similarities = unit(embed_vocabulary(toy_clip, tmp_path / "cache")) @ shifted
    assert similarities.abs().max() <= 1


def test_no_run_no_text_no_guidance(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not the folder of a rave-train run"):
        interpret_run(tmp_path, 5)
    run = tmp_path / "run"
    train(config, run)
    (run / "guidance.safetensors").unlink()
    with pytest.raises(ConfigError, match="stopped before its guidance was written"):
        interpret_run(run, 5)
    wordless = dataclasses.replace(config, encoder="timm:resnet10t,size=32@random")
    train(wordless, tmp_path / "wordless")
    assert open_encoder(wordless.encoder).text is None
    with pytest.raises(
        EncoderError, match=r"interpreting a run needs a text encoder, .* in a run guided by an open"
    ):
        interpret_run(tmp_path / "wordless", 5)


def test_other_pictures_than_the_runs_are_refused(config: RunConfig, tmp_path: Path) -> None:
    side = tmp_path / "copy"
    shutil.copytree(config.data.backlit, side)
    train(dataclasses.replace(config, data=DataOptions(str(side), config.data.well_lit)), tmp_path / "run")
    first = min(side.iterdir())
    with Image.open(first) as picture:
        brighter = picture.point([min(255, value + 9) for value in range(256)] * len(picture.getbands()))
    brighter.save(first)
    with pytest.raises(ConfigError, match=r"was begun with other backlit pictures: bring the same data"):
        interpret_run(tmp_path / "run", 5)


def test_tokens_that_look_like_formulas_are_drawn(tmp_path: Path) -> None:
    found = Interpretation((("$$", 0.1),), (("sun☀$x_", -0.1),), ())
    write_interpretation(found, tmp_path / "out")
    assert (tmp_path / "out" / "tokens.png").stat().st_size > 1000


def test_a_phrase_does_not_move_the_columns_of_the_table() -> None:
    words = (("dark", 0.1, 0.2), ("a photo that was shot against the light", 0.3, 0.4))
    *_, header, short, long = Interpretation((), (), words).as_text().splitlines()
    assert len(header) == len(short) == len(long)
