"""QuickGELU is chosen by setting, by tag and by file, or the encoder is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rave_train.encoders import Encoder, open_encoder
from rave_train.errors import EncoderError


def activations(encoder: Encoder) -> set[str]:
    return {type(m).__name__ for m in encoder.modules() if "GELU" in type(m).__name__}


def test_quickgelu_is_chosen_by_setting_and_by_tag(toy_vit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert activations(open_encoder(toy_vit)) == {"GELU"}
    assert activations(open_encoder(toy_vit.replace("@", ",quickgelu=yes@"))) == {"QuickGELU"}
    asked: dict[str, object] = {}

    def create(name: str, **arguments: object) -> object:
        asked.update(arguments, name=name)
        raise RuntimeError("no more is needed")

    monkeypatch.setattr("open_clip.create_model", create)
    monkeypatch.setattr("rave_train.encoders.open_clip.fetch_from_hub", lambda *_: Path("weights"))
    for tag, quick in (("openai", True), ("laion2b_s34b_b79k", False)):
        with pytest.raises(EncoderError, match="weights does not hold the weights of ViT-B-32: no more is"):
            open_encoder(f"open_clip:ViT-B-32@{tag}")
        assert asked["force_quick_gelu"] is quick
        assert asked["force_preprocess_cfg"]["mean"][0] == pytest.approx(0.48145466)  # type: ignore[index]


def test_a_file_that_needs_quickgelu_is_recognised_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's file of OpenAI's ViT-B-32 ran with GELU, silently."""
    asked: dict[str, object] = {}

    def create(name: str, **arguments: object) -> object:
        asked.update(arguments)
        raise RuntimeError("no more is needed")

    monkeypatch.setattr("open_clip.create_model", create)

    def quickgelu_of(model: str, file: Path) -> object:
        asked.clear()
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({"a": torch.zeros(1)}, file)
        with pytest.raises(EncoderError):
            open_encoder(f"open_clip:{model}@{file}")
        return asked.get("force_quick_gelu")

    file = tmp_path / "open_clip_model.safetensors"
    assert quickgelu_of("ViT-B-32", file) is None, "refused before anything is built"
    with pytest.raises(EncoderError, match=r"does not tell .*give open_clip:ViT-B-32,quickgelu=yes@"):
        open_encoder(f"open_clip:ViT-B-32@{file}")
    assert quickgelu_of("ViT-B-32,quickgelu=yes", file) is True
    assert quickgelu_of("ViT-B-32,quickgelu=no", file) is False
    assert quickgelu_of("RN101", file) is True, "all published weights of this model need it"
    cached = tmp_path / "models--timm--vit_base_patch32_clip_224.openai" / "snapshots" / file.name
    assert quickgelu_of("ViT-B-32", cached) is True
    plain = tmp_path / "models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K" / file.name
    assert quickgelu_of("ViT-B-32", plain) is False
