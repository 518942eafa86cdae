"""Toys that build in milliseconds: encoders from open_clip's own config, folders of tiny pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rave_train.encoders import Encoder, open_encoder
from rave_train.guidance.options import RaveOptions
from rave_train.loop.config import DataOptions, RunConfig
from tests.train.small_runs import SMALL_NETWORK

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny tensors are slower on more threads, here and in programs, and bits stay the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def toy_resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a CLIP with a ResNet of five stages and random weights."""
    vision = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    return _toy_clip(tmp_path_factory, "toy-resnet", vision)


@pytest.fixture(scope="session")
def toy_vit(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a CLIP with a ViT of three blocks and random weights."""
    vision: dict[str, object] = {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8}
    return _toy_clip(tmp_path_factory, "toy-vit", vision)


@pytest.fixture(scope="session")
def toy_clip(toy_resnet: str) -> Encoder:
    return open_encoder(toy_resnet)


@pytest.fixture
def scenes(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of six backlit pictures and their partners."""
    return make_scenes(tmp_path, 6)


def make_scenes(folder: Path, count: int, size: tuple[int, int] = (48, 36)) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    sides = folder / "backlit", folder / "well_lit"
    for side in sides:
        side.mkdir(parents=True)
    for index in range(count):
        colors = (rng.random((4, 5, 3)) * 255).astype(np.uint8)
        bright = Image.fromarray(colors).resize(size, Image.Resampling.BICUBIC)
        bright.save(sides[1] / f"scene{index}.png")
        Image.fromarray((np.asarray(bright) * 0.3).astype(np.uint8)).save(sides[0] / f"scene{index}.png")
    return sides


def _toy_clip(factory: pytest.TempPathFactory, name: str, vision: dict[str, object]) -> str:
    config = factory.mktemp("clip") / f"{name}.json"
    config.write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}))
    return f"open_clip:{config}@random"


@pytest.fixture
def config(scenes: tuple[Path, Path], toy_resnet: str, tmp_path: Path) -> RunConfig:
    return RunConfig(
        "rave",
        RaveOptions(iterations=4),
        DataOptions(str(scenes[0]), str(scenes[1])),
        SMALL_NETWORK,
        encoder=toy_resnet,
        cache=str(tmp_path / "cache"),
        save_every=2,
    )


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three pictures and the same ones with noise and less light."""
    rng = np.random.default_rng(0)
    for index in range(3):
        true = (rng.random((6, 8, 3)) * 255).astype(np.uint8)
        picture = np.asarray(Image.fromarray(true).resize((120, 96), Image.Resampling.BICUBIC))
        worse = (picture * 0.8 + rng.normal(0, 6, picture.shape)).clip(0, 255).astype(np.uint8)
        for side, pixels in (("enhanced", worse), ("truth", picture)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / side / f"{index}.png")
    return tmp_path / "enhanced", tmp_path / "truth"


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(2, 3, 40, 30, generator=torch.Generator().manual_seed(0))
