"""Encoders of every kind: stages, embeddings, weights, and layers that are replaced."""

from __future__ import annotations

import copy
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from rave_train.encoders import Encoder, open_encoder
from rave_train.encoders.attention import replace_self_attention
from rave_train.encoders.encoder import spread_stages
from rave_train.encoders.folding import fold_batch_norms
from rave_train.encoders.spec import parse_spec
from rave_train.errors import EncoderError


@pytest.mark.parametrize(
    ("kind", "stages"),
    [
        ("toy_resnet", [8, 32, 64, 128, 256]),
        ("toy_vit", [64, 64, 64]),
        ("timm:resnet10t,size=64@random", [64, 64, 128, 256, 512]),
        ("timm:vit_tiny_patch16_224,img_size=64,size=64@random", [192] * 5),
        ("timm:mobilenetv3_small_050,size=64@random", [16, 8, 16, 24, 288]),
    ],
)
def test_stages_and_embedding_of_every_kind(
    kind: str, stages: list[int], images: torch.Tensor, request: pytest.FixtureRequest
) -> None:
    encoder = open_encoder(kind if ":" in kind else request.getfixturevalue(kind))
    embedding, features = encoder.embed_with_stages(images)
    assert [feature.shape[1] for feature in features] == stages
    assert embedding.shape == (2, encoder.dimension())
    torch.testing.assert_close(embedding, encoder.embed(images), rtol=1e-4, atol=1e-5)
    for alone, together in zip(encoder.stages(images), features, strict=True):
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_pictures_and_not_the_weights(toy_clip: Encoder, images: torch.Tensor) -> None:
    pictures = images.clone().requires_grad_()
    embedding, stages = toy_clip.embed_with_stages(pictures)
    (embedding.sum() + sum(stage.sum() for stage in stages)).backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in toy_clip.parameters())


def test_random_weights_are_the_same_every_time(toy_resnet: str) -> None:
    torch.manual_seed(1)
    first = open_encoder(toy_resnet)
    after = torch.rand(1)
    second = open_encoder(toy_resnet)
    assert first.fingerprint() == second.fingerprint()
    torch.manual_seed(1)
    torch.testing.assert_close(torch.rand(1), after)


def test_local_weights_are_loaded_and_the_classifier_left(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("mobilenetv3_small_050", num_classes=7)
    file = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), file)
    encoder = open_encoder(f"timm:mobilenetv3_small_050@{file}")
    loaded = encoder.state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith("classifier"):
            torch.testing.assert_close(loaded[f"model.{name}"], value)
    other = f"timm:resnet10t@{file}"
    with pytest.raises(EncoderError, match=r"holds the weights of another model than resnet10t: missing"):
        open_encoder(other)
    file.write_bytes(b"not weights at all, just words")
    with pytest.raises(EncoderError, match="does not hold weights"):
        open_encoder(f"timm:mobilenetv3_small_050@{file}")


@pytest.mark.parametrize("zipped", [True, False])
def test_nobody_is_advised_to_run_what_a_file_of_weights_holds(
    zipped: bool, toy_vit: str, tmp_path: Path
) -> None:
    """The words of torch tell how to load such a file nevertheless."""
    file = tmp_path / "weights.pth"
    torch.save({"weight": Path}, file, _use_new_zipfile_serialization=zipped)
    for spec in (f"timm:mobilenetv3_small_050@{file}", toy_vit.replace("random", str(file))):
        with pytest.raises(EncoderError, match="which is never run") as caught:
            open_encoder(spec)
        assert "weights_only" not in str(caught.value)


def test_local_open_clip_weights(toy_resnet: str, toy_vit: str, tmp_path: Path) -> None:
    import open_clip

    open_encoder(toy_resnet)
    torch.manual_seed(5)
    model = open_clip.create_model("toy-resnet")
    file = tmp_path / "clip.safetensors"
    save_file({name: value.clone() for name, value in model.state_dict().items()}, file)
    encoder = open_encoder(toy_resnet.replace("random", str(file)))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        own = model.eval().encode_image(pixels)
    torch.testing.assert_close(encoder(pixels, True, False)[0], own, rtol=1e-4, atol=1e-6)
    with pytest.raises(EncoderError, match="does not hold the weights of toy-vit"):
        open_encoder(toy_vit.replace("random", str(file)))


def test_folded_batch_norms_change_nothing(toy_resnet: str) -> None:
    """With statistics that are not the initial zeros and ones, which any folding would get right."""
    import open_clip

    open_encoder(toy_resnet)
    visual = open_clip.create_model("toy-resnet").visual
    generator = torch.Generator().manual_seed(0)
    norms = [module for module in visual.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        for value, low in (
            (norm.weight, 0.5),
            (norm.bias, -0.2),
            (norm.running_mean, -0.3),
            (norm.running_var, 0.4),
        ):
            assert value is not None
            value.data.copy_(torch.rand(value.shape, generator=generator) + low)
    visual.eval()
    pixels = torch.randn(2, 3, 32, 32, generator=generator)
    with torch.no_grad():
        before = visual.forward_intermediates(pixels)
        assert fold_batch_norms(visual) == len(norms) > 10
        after = visual.forward_intermediates(pixels)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in visual.modules())
    torch.testing.assert_close(after["image_features"], before["image_features"], rtol=1e-3, atol=1e-5)
    for old, new in zip(before["image_intermediates"], after["image_intermediates"], strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4)


def test_replaced_attention_changes_nothing(toy_vit: str) -> None:
    """Nor its gradient, its parameters' names and what it cannot do."""
    torch.manual_seed(0)
    open_encoder(toy_vit)  # makes its config known
    original = open_clip.create_model(Path(parse_spec(toy_vit).model).stem).visual.eval()
    replaced = copy.deepcopy(original)
    assert replace_self_attention(replaced.transformer) == len(original.transformer.resblocks)
    assert list(replaced.state_dict()) == list(original.state_dict())
    size = original.image_size[0]
    results = []
    for visual in (original, replaced):
        pixels = torch.linspace(-1, 1, 2 * 3 * size * size).reshape(2, 3, size, size).requires_grad_()
        embedding = visual(pixels)
        (gradient,) = torch.autograd.grad(embedding.square().sum(), pixels)
        results.append((embedding.detach(), gradient))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    tokens = torch.zeros(1, 2, replaced.transformer.width)
    attention = replaced.transformer.resblocks[0].attn
    with pytest.raises(ValueError, match="only self-attention without a mask"):
        attention(tokens, tokens + 1, tokens)
    with pytest.raises(ValueError, match="only self-attention without a mask"):
        attention(tokens, attn_mask=torch.zeros(2, 2))


def test_stages_are_spread_to_the_last_block() -> None:
    assert spread_stages(12) == [1, 4, 6, 9, 11]
    assert spread_stages(5) == [0, 1, 2, 3, 4]
    assert spread_stages(3) == [0, 1, 2]


@pytest.mark.shared
def test_the_shared_mobilenet_opens(shared: Path, images: torch.Tensor) -> None:
    file = shared / "encoders" / "mobilenetv2_100_tf.safetensors"
    encoder = open_encoder(f"timm:mobilenetv2_100,pad_type=same,mean=0.5,std=0.5@{file}")
    assert encoder.preprocessing.mean == (0.5, 0.5, 0.5)
    assert encoder.embed(images).shape == (2, 1280)
    assert len(encoder.stages(images)) == 5


def test_a_setting_that_changes_what_the_same_weights_compute_changes_the_fingerprint() -> None:
    plain, padded = (
        open_encoder(f"timm:mobilenetv3_small_050,size=32{setting}@random")
        for setting in ("", ",pad_type=same")
    )
    assert plain.fingerprint() != padded.fingerprint()
