"""The identity loss has the scale of its encoder, and the published pair is known by name or file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from rave_train.data.batches import to_tensor
from rave_train.data.photographs import find_photographs, load_square
from rave_train.encoders import open_encoder
from rave_train.encoders.spec import PUBLISHED_IDENTITY_ENCODER, is_published_identity
from rave_train.guidance.identity import PUBLISHED_COST_OF_HALVING, identity_loss
from rave_train.loop.config import RunConfig, read_config
from rave_train.loop.training import train


def test_the_identity_weight_is_in_the_encoders_own_scale(
    config: RunConfig, tmp_path: Path, toy_resnet: str, toy_vit: str
) -> None:
    """Encoders whose features differ in size give identity losses of one size."""
    sizes: list[float] = []
    for name in (toy_resnet, toy_vit):
        run = tmp_path / str(len(sizes))
        train(dataclasses.replace(config, encoder=name), run)
        scale = json.loads((run / "made_of.json").read_text())["identity_scale"]
        photographs = find_photographs(Path(config.data.well_lit), "well-lit").photographs
        encoder = open_encoder(name)
        side = encoder.preprocessing.size_px
        pictures = torch.stack([to_tensor(load_square(p.file, side)) for p in photographs])
        before, after = encoder.stages(pictures), encoder.stages(pictures / 2)
        sizes.append(scale * float(identity_loss(before, after, [1.0] * len(before))))
        mended = {**json.loads((run / "made_of.json").read_text()), "identity_scale": 2 * scale}
        (run / "made_of.json").write_text(json.dumps(mended))
        train(read_config(run / "config.json"), run, resume=True)  # keeps the factor it began with
    assert sizes == pytest.approx([PUBLISHED_COST_OF_HALVING] * 2, rel=0.01)
    assert is_published_identity("open_clip:RN101@weights.safetensors")
    assert not is_published_identity("open_clip:RN50@openai")


@pytest.mark.parametrize(
    ("encoder", "identity"),
    [
        ("open_clip:ViT-B-32@openai", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32,quickgelu=yes@dir/open_clip_model.safetensors", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32-quickgelu@ViT-B-32.pt", PUBLISHED_IDENTITY_ENCODER),
        ("open_clip:ViT-B-32,quickgelu=no@laion.safetensors", None),
        ("open_clip:ViT-B-32@laion2b_s34b_b79k", None),
        ("timm:resnet50@weights.safetensors", None),
    ],
)
def test_the_published_pair_may_be_named_by_files(
    config: RunConfig, encoder: str, identity: str | None
) -> None:
    """Naming the file as the offline advice says made the identity encoder that ViT, silently."""
    assert dataclasses.replace(config, encoder=encoder).identity_encoder_name == (identity or encoder)
