"""Trains the embedded model: `python -m rave_train.recipes.embedded PHOTOS... --output FILE`.

A short, honest first model: random crops of well-lit photographs, their synthetic backlit partners,
an L1 loss, an average of the weights over the run. No pre-trained weights of any kind go in.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rave_train.checkpoint import save_checkpoint
from rave_train.network import EnhancementNetwork, relight
from rave_train.synthesis import SynthesisRange, synthesize_backlit

Array = NDArray[np.float32]


def load_photographs(folders: list[Path], long_side_px: int) -> list[Array]:
    """Every picture in the folders, reduced to a long side, [h, w, 3] float32 in [0, 1]."""
    pictures = []
    for folder in folders:
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in {".png", ".jpg", ".jpeg"}:
                image = Image.open(file).convert("RGB")
                image.thumbnail((long_side_px, long_side_px), Image.Resampling.LANCZOS)
                pictures.append(np.asarray(image, np.float32) / np.float32(255))
    if not pictures:
        raise FileNotFoundError(f"no .png or .jpg in {', '.join(map(str, folders))}")
    return pictures


def draw_pair(pictures: list[Array], rng: np.random.Generator, size_px: int) -> tuple[Array, Array]:
    """A random crop, turned and squashed to a square, and its backlit partner."""
    picture = pictures[rng.integers(len(pictures))]
    height, width = picture.shape[:2]
    share = rng.uniform(0.5, 1.0, 2)
    crop_h, crop_w = int(height * share[0]), int(width * share[1])
    top, left = rng.integers(height - crop_h + 1), rng.integers(width - crop_w + 1)
    crop = picture[top : top + crop_h, left : left + crop_w]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    resized = Image.fromarray((crop * 255 + 0.5).astype(np.uint8)).resize(
        (size_px, size_px), Image.Resampling.BOX, reducing_gap=2.0
    )
    truth = np.asarray(resized, np.float32) / 255
    exposure = 2.0 ** rng.uniform(-0.15, 0.1)
    truth = np.clip(truth * exposure, 0, 1).astype(np.float32)
    return synthesize_backlit(truth, rng), truth


def draw_batch(
    pictures: list[Array], rng: np.random.Generator, batch: int, size_px: int
) -> tuple[Tensor, Tensor]:
    """Backlit and true pictures, [batch, 3, size, size] each."""
    pairs = [draw_pair(pictures, rng, size_px) for _ in range(batch)]
    backlit, truth = (np.stack(side).transpose(0, 3, 1, 2) for side in zip(*pairs, strict=True))
    return torch.from_numpy(backlit.copy()), torch.from_numpy(truth.copy())


def train(
    pictures: list[Array], steps: int, batch: int, size_px: int, seed: int, learning_rate: float
) -> EnhancementNetwork:
    """Trains from scratch and returns the exponential moving average of the weights."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = EnhancementNetwork().to(memory_format=torch.channels_last)
    assert network.cond_add1.bias is not None
    torch.nn.init.constant_(network.cond_add1.bias, 0.7)
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(0.98),  # type: ignore[no-untyped-call]
    )
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, steps, pct_start=0.15)
    started, shown = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        size = int(rng.choice([size_px * 3 // 4, size_px, size_px * 5 // 4], p=[0.3, 0.5, 0.2]))
        backlit, truth = draw_batch(pictures, rng, batch, size)
        light = network(backlit.contiguous(memory_format=torch.channels_last))
        # The clipped result has no gradient where it is white: pull those pixels back unclipped.
        loss = F.l1_loss(relight(backlit, light), truth) + 0.1 * F.l1_loss(light * truth, backlit)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        shown = loss.item() if step == 1 else 0.95 * shown + 0.05 * loss.item()
        if step % 20 == 0 or step == steps:
            elapsed_s = time.monotonic() - started
            print(
                f"step {step}/{steps}  loss {shown:.4f}  {elapsed_s / step:.2f} s/step",
                file=sys.stderr,
                flush=True,
            )
    averaged = average.module
    assert isinstance(averaged, EnhancementNetwork)
    return averaged.eval()


def main() -> None:
    """Parses, trains, saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", nargs="+", type=Path, help="folders of well-lit photographs")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint, .safetensors or .pth")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="side of the training squares, pixels")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    pictures = load_photographs(options.photos, long_side_px=512)
    network = train(pictures, options.steps, options.batch, options.size, options.seed, options.learning_rate)
    provenance = {
        "recipe": "rave_train.recipes.embedded",
        "method": "L1 on synthetic pairs, exponential moving average of the weights",
        "photographs": len(pictures),
        "synthesis": SynthesisRange().__dict__,
        "steps": options.steps,
        "batch": options.batch,
        "size_px": options.size,
        "learning_rate": options.learning_rate,
        "seed": options.seed,
        "torch": torch.__version__,
        "training_size_px": options.size,
    }
    save_checkpoint(network, options.output, provenance)


if __name__ == "__main__":
    main()
