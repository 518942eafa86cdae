from __future__ import annotations

import dataclasses

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from timm.data.config import resolve_model_data_config
from timm.data.transforms_factory import create_transform
from torch.nn import functional as F
from torchvision.transforms.functional import InterpolationMode, resize

from rave_train.data.batches import to_tensor
from rave_train.encoders import Encoder, open_encoder
from rave_train.encoders.preprocessing import Preprocessing


def photograph(size: tuple[int, int]) -> Image.Image:
    """Smooth colours with some texture, which tells antialiased resizing from the other kind."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray((rng.random((7, 9, 3)) * 255).astype(np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    texture = rng.integers(-25, 25, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(coarse) + texture).clip(0, 255).astype(np.uint8))


def assert_equal_but_for_rounding(
    found: torch.Tensor, expected: torch.Tensor, preprocessing: Preprocessing
) -> None:
    """Pillow rounds to 8 bits and cuts overshoots after each of its two passes."""
    levels = (found - expected).abs() * 255 * min(preprocessing.std)
    assert levels.mean() < 0.5
    assert levels.max() < 5


@pytest.mark.parametrize("size", [(90, 70), (64, 131), (33, 33), (20, 28)])
def test_clip_input_and_embedding_are_open_clips_own(toy_clip: Encoder, size: tuple[int, int]) -> None:
    preprocessing = toy_clip.preprocessing
    own = open_clip.image_transform(
        preprocessing.size_px, is_train=False, mean=preprocessing.mean, std=preprocessing.std
    )
    picture = photograph(size)
    expected = own(picture)[None]
    found = preprocessing.frame(to_tensor(np.asarray(picture))[None])
    assert_equal_but_for_rounding(found, expected, preprocessing)
    with torch.no_grad():
        ours, theirs = (toy_clip(pixels, True, False)[0] for pixels in (found, expected))
    assert F.cosine_similarity(ours, theirs).item() > 0.9999


def test_timm_input_is_timms_own() -> None:
    spec = "timm:mobilenetv3_small_050@random"
    encoder = open_encoder(spec)
    transform = create_transform(**resolve_model_data_config(timm.create_model("mobilenetv3_small_050")))
    picture = photograph((300, 260))
    found = encoder.preprocessing.frame(to_tensor(np.asarray(picture))[None])[0]
    assert_equal_but_for_rounding(found, transform(picture), encoder.preprocessing)


def test_it_is_differentiable_and_antialiased() -> None:
    preprocessing = Preprocessing(8, 8, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    for made in (preprocessing.squash(images), preprocessing.frame(images)):
        (gradient,) = torch.autograd.grad(made.square().sum(), images)
        # Without antialiasing most pixels of a fourfold reduction would not matter.
        assert (gradient.abs() > 0).float().mean() > 0.95


def test_squashing_shows_the_whole_picture() -> None:
    preprocessing = Preprocessing(8, 8, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    image = torch.zeros(1, 3, 16, 64)
    image[..., -8:] = 1
    assert preprocessing.squash(image)[0, 0, 4, -1] > 0.8
    assert preprocessing.frame(image).max() < 0.05


@pytest.mark.network
def test_the_real_clip_sees_what_open_clip_sees() -> None:
    encoder = open_encoder("open_clip:ViT-B-32@openai")
    model, _, own = open_clip.create_model_and_transforms("ViT-B-32-quickgelu", "openai")
    picture = photograph((640, 480))
    with torch.no_grad():
        theirs = model.eval().encode_image(own(picture)[None])
        ours, _ = encoder(encoder.preprocessing.frame(to_tensor(np.asarray(picture))[None]), True, False)
    assert F.cosine_similarity(ours, theirs).item() > 0.9995


def test_the_published_squash_is_bilinear_without_antialiasing() -> None:
    images = torch.rand(2, 3, 50, 40, generator=torch.Generator().manual_seed(0))
    ours = Preprocessing(16, None, "bicubic", (0.0,) * 3, (1.0,) * 3)
    theirs = dataclasses.replace(ours, squash_by="bilinear")
    expected = resize(images, [16, 16], InterpolationMode.BILINEAR, antialias=False)
    torch.testing.assert_close(theirs.squash(images), expected)
    assert not torch.allclose(ours.squash(images), expected, atol=0.05)
    assert repr(ours) == repr(theirs), "the cached embeddings are of framed pictures"
