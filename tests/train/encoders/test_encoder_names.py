"""Names of encoders: how they are read, and what is wrong with others."""

from __future__ import annotations

import time
import urllib.error
from pathlib import Path

import pytest

from rave_train.encoders import open_encoder
from rave_train.encoders.spec import EncoderSpec, parse_spec
from rave_train.errors import EncoderError


def test_a_name_is_taken_apart() -> None:
    assert parse_spec("timm:mobilenetv2_100,pad_type=same,mean=0.5@dir/w.safetensors") == EncoderSpec(
        "timm", "mobilenetv2_100", {"pad_type": "same", "mean": "0.5"}, "dir/w.safetensors"
    )
    assert parse_spec("open_clip:ViT-B-32") == EncoderSpec("open_clip", "ViT-B-32", {}, "")


@pytest.mark.parametrize("name", ["ViT-B-32", "keras:vgg", "timm:", "timm:resnet18,small@random"])
def test_other_names_are_errors(name: str) -> None:
    with pytest.raises(
        EncoderError, match=r"is not the name of an encoder: SOURCE:MODEL\[,key=value...\]\[@WEIGHTS\]"
    ):
        parse_spec(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "open_clip:ViT-B-32@openai",
            r"downloaded \(huggingface.co cannot be reached: no way\): fetch open_clip_model.safetensors "
            r"from https://huggingface.co/timm/vit_base_patch32_clip_224.openai on another machine and give "
            r"open_clip:ViT-B-32,quickgelu=yes@FILE$",
        ),
        (
            "timm:mobilenetv2_100",
            r"fetch model.safetensors from https://huggingface.co/timm/mobilenetv2_100.ra_in1k on another "
            r"machine and give timm:mobilenetv2_100@FILE$",
        ),
    ],
)
def test_no_connection_is_said_at_once_and_once(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The hub's client alone tries for a minute, in forty lines."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError(OSError(-2, "no way"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    started = time.monotonic()
    with pytest.raises(EncoderError, match=words):
        open_encoder(name)
    assert time.monotonic() - started < 10
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("open_clip:ViT-B32@openai", r"open_clip has no model 'ViT-B32' \(did you mean ViT-B-32"),
        ("timm:mobilnetv2_100@random", r"timm has no model .* \(did you mean mobilenetv2_100"),
        ("open_clip:RN101@opnai", r"'opnai' is neither a pretrained tag of RN101 \(openai, .*\) nor a file"),
        ("open_clip:RN101,gelu=yes@random", "unknown setting 'gelu': open_clip takes size and quickgelu"),
        ("open_clip:RN101,size=big@random", "size a number of pixels"),
        ("open_clip:absent.json@random", "absent.json is not a file: a model config"),
        ("timm:resnet10t,colour=1@random", "timm's model resnet10t has no setting 'colour'"),
        ("timm:resnet10t,num_classes=1001@random", "only features are used, .*: omit num_classes"),
        ("timm:resnet10t,mean=grey@random", "size, mean and std are numbers"),
        ("timm:resnet10t@absent.safetensors", "absent.safetensors is not a file: the weights of resnet10t"),
    ],
)
def test_every_wrong_name_says_what_is_wrong(name: str, words: str) -> None:
    with pytest.raises(EncoderError, match=words):
        open_encoder(name)


def test_an_encoder_without_text_says_the_remedy() -> None:
    encoder = open_encoder("timm:resnet10t,size=32@random")
    with pytest.raises(EncoderError, match=r"this needs a text encoder, and timm:.*: give an open_clip CLIP"):
        encoder.require_text("this")


def test_a_size_that_an_encoder_cannot_take_is_said_at_once() -> None:
    with pytest.raises(EncoderError, match=r"cannot take pictures of 64x64 px.*img_size"):
        open_encoder("timm:vit_tiny_patch16_224,size=64@random")
