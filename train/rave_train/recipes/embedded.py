"""Trains a model to embed: `python -m rave_train.recipes.embedded PHOTOS... --panoramas DIR --output FILE`.

No pre-trained weight goes into the network: it learns from photographs and panoramas whose rights are
clear, made backlit here. `rave_train.recipes.study` measures what each choice below gains.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rave_train.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from rave_train.encoders import Encoder
from rave_train.encoders.opening import open_encoder
from rave_train.network import EnhancementNetwork, Padding, relight
from rave_train.recipes.bank import Bank, Mix, batches, load_sources, make_bank
from rave_train.recipes.scenes import SCENE
from rave_train.residual import Residual, mean_direction, residual_loss, residual_vector

_FORGET = 0.998
"""Of the ranges of quantization, a step."""

_DIM, _GLARING = 0.02, 0.97
"""What is darker or brighter than this says nothing of the light."""

_LEAST_SQUARED = 1e-4
"""40 dB: better than that is not asked for."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights besides the photographs.

    Attributes:
        channels: of the network's outer blocks; the published networks have 32.
        padding: of its outer convolutions.
        steps: of the optimizer.
        batch: pictures a step.
        area_px: of one training picture.
        pairs: drawn once, before training.
        mix: of the kinds of pairs.
        whole: share of the photographs taken whole instead of cropped.
        scales: factors by which a batch is resized, drawn uniformly.
        learning_rate: peak of the one-cycle schedule.
        squared_weight: of the mean squared error beside the L1 loss.
        psnr_weight: of minus the PSNR of each picture, per dB: it weighs pictures by how well they are
            met already, so that a photograph that needs little change gets little.
        ssim_weight: of one minus the structural similarity.
        clipped_weight: of the loss that still sees what clipped.
        log_weight: of the error of the light in the log domain, which shadows and lit parts share alike.
        finishing_steps: after those, with rounding as INT8 does it and a rate that starts again.
        finishing_rate: peak of their one-cycle schedule.
        range_weight: then, of the largest magnitude of what is rounded, mean over the layers: eight bits
            have no room for features of which one pixel in a million is a hundred times the rest.
        guidance_weight: of RAVE's guidance, 0 for none; it needs an encoder.
        average_decay: of the moving average of the weights.
        seed: of every random choice.
    """

    channels: int = 16
    padding: Padding = "reflect"
    steps: int = 10000
    batch: int = 8
    area_px: int = 96 * 96
    pairs: int = 48000
    mix: Mix = field(default_factory=Mix)
    whole: float = 0.3
    scales: tuple[float, ...] = (1.0, 1.0, 1.0, 1.5)
    learning_rate: float = 2.5e-3
    squared_weight: float = 3.0
    psnr_weight: float = 0.01
    ssim_weight: float = 0.1
    clipped_weight: float = 0.1
    log_weight: float = 0.05
    finishing_steps: int = 1000
    finishing_rate: float = 5e-4
    range_weight: float = 0.05
    guidance_weight: float = 0.0
    average_decay: float = 0.998
    seed: int = 0


class FakeQuantization:
    """Eight-bit rounding of all that INT8 graphs round, with its gradient passed straight through.

    The input and the output of every 3x3 convolution but the first and the last, which stay float32 in
    the exported graphs, as do the pooled grids that PPM's convolution reads. Ranges are the widest seen,
    as calibration takes them, with some room.

    Sources: Jacob et al., Quantization and Training of Neural Networks, 2018, section 3; for `spread`,
    Kundu et al., R2 Loss: Range Restriction Loss for Model Compression and Quantization, 2023, its L-inf.
    """

    def __init__(self, network: EnhancementNetwork, headroom: float = 1.1) -> None:
        self._headroom = headroom
        self._pooled_from = {"PPM1.fuse.0": network.channels}
        self._ranges: dict[tuple[str, bool], tuple[float, float]] = {}
        self._peaks: list[Tensor] = []
        spared = (network.cond1, network.cond_add1)
        self._handles = []
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3) and module not in spared:
                self._handles += [
                    module.register_forward_pre_hook(partial(self._round_input, name)),
                    module.register_forward_hook(partial(self._round_output, name)),
                ]

    def spread(self) -> Tensor:
        """Largest magnitude since the last call, mean over what is rounded: [] with gradient."""
        peaks, self._peaks = self._peaks, []
        return torch.stack(peaks).mean()

    def remove(self) -> None:
        """Takes the rounding off again."""
        for handle in self._handles:
            handle.remove()

    def _round_input(self, name: str, _module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = inputs[0]
        if (start := self._pooled_from.get(name)) is None:
            return (self._round((name, False), x),)
        return (torch.cat([self._round((name, False), x[:, :start]), x[:, start:]], 1),)

    def _round_output(
        self, name: str, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor
    ) -> Tensor:
        return self._round((name, True), output)

    def _round(self, place: tuple[str, bool], x: Tensor) -> Tensor:
        low, high = self._ranges.get(place, (0.0, 0.0))
        lowest, highest = torch.aminmax(x)
        self._peaks.append(torch.maximum(-lowest, highest).float())
        seen_low, seen_high = (float(bound.detach()) * self._headroom for bound in (lowest, highest))
        # Forgets slowly: weights move, and with them what is the widest.
        low, high = min(seen_low, low * _FORGET, 0.0), max(seen_high, high * _FORGET, 1e-6)
        self._ranges[place] = low, high
        step = (high - low) / 255
        return torch.fake_quantize_per_tensor_affine(x, step, round(-low / step), 0, 255)


class ResidualGuidance:
    """RAVE's guidance (eq. 12) with the encoder frozen, the vector from the bank's own pictures."""

    def __init__(self, encoder: Encoder, bank: Bank, pictures: int = 192) -> None:
        self._encoder = encoder
        sides = [
            torch.cat([self._embed(pixels[: pictures // len(side)]) for pixels in side])
            for side in (bank.backlit, bank.truth)
        ]
        direction = residual_vector(*sides)
        self._residual = Residual(direction, torch.dot(mean_direction(sides[1]), direction))

    def __call__(self, enhanced: Tensor) -> Tensor:
        """[n, 3, h, w] in [0, 1] -> [] loss."""
        return residual_loss(self._encoder.embed(enhanced), self._residual)

    @torch.no_grad()
    def _embed(self, pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
        return torch.cat([self._encoder.embed(part) for part in torch.split(_to_tensor(pixels), 16)])


def train(
    recipe: Recipe, bank: Bank, encoder: Encoder | None = None, start: EnhancementNetwork | None = None
) -> EnhancementNetwork:
    """Trains, from scratch unless there is a network to start from, then for eight bits.

    Returns:
        The moving average of the weights.

    Raises:
        ValueError: guidance is asked for without an encoder.
    """
    if recipe.guidance_weight and encoder is None:
        raise ValueError("guidance needs an encoder")
    torch.manual_seed(recipe.seed)
    network = EnhancementNetwork(recipe.channels, recipe.padding).to(memory_format=torch.channels_last)
    assert network.cond_add1.bias is not None
    torch.nn.init.constant_(network.cond_add1.bias, 0.7)
    if start is not None:
        network.load_state_dict(start.state_dict())
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay),  # type: ignore[no-untyped-call]
    )
    guidance = ResidualGuidance(encoder, bank) if encoder and recipe.guidance_weight else None
    drawn = draw_batches(recipe, bank, np.random.default_rng(recipe.seed))
    _descend(recipe, network, average, drawn, guidance, recipe.steps, recipe.learning_rate)
    network.load_state_dict(average.module.state_dict())
    rounding = FakeQuantization(network)
    drawn = draw_batches(recipe, bank, np.random.default_rng([recipe.seed, 1]))
    _descend(
        recipe, network, average, drawn, guidance, recipe.finishing_steps, recipe.finishing_rate, rounding
    )
    rounding.remove()
    trained = EnhancementNetwork(recipe.channels, recipe.padding)
    trained.load_state_dict(average.module.state_dict())
    return trained.eval()


def _descend(
    recipe: Recipe,
    network: EnhancementNetwork,
    average: AveragedModel,
    drawn: Iterator[tuple[Tensor, Tensor]],
    guidance: ResidualGuidance | None,
    steps: int,
    peak_rate: float,
    rounding: FakeQuantization | None = None,
) -> None:
    """One cycle of the learning rate."""
    optimizer = torch.optim.AdamW(network.parameters(), peak_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, max(steps, 1), pct_start=0.1)
    started, shown = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        backlit, truth = next(drawn)
        with torch.autocast("cpu", torch.bfloat16):
            light = network(backlit.contiguous(memory_format=torch.channels_last))
        loss = loss_of(recipe, backlit, truth, light.float(), guidance)
        if rounding is not None:
            loss = loss + recipe.range_weight * rounding.spread()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        shown = loss.item() if step == 1 else 0.98 * shown + 0.02 * loss.item()
        if step % 50 == 0 or step == steps:
            elapsed_s = time.monotonic() - started
            print(
                f"step {step}/{steps}  loss {shown:.4f}  {elapsed_s / step:.2f} s/step",
                file=sys.stderr,
                flush=True,
            )


def draw_batches(recipe: Recipe, bank: Bank, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches [batch, 3, h, w] float32 in [0, 1] at the recipe's scales."""
    for backlit_pixels, truth_pixels in batches(bank, recipe.batch, rng):
        backlit, truth = _to_tensor(backlit_pixels), _to_tensor(truth_pixels)
        scale = float(rng.choice(recipe.scales))
        if scale != 1:
            size = [round(side * scale) for side in backlit.shape[2:]]
            backlit, truth = (
                F.interpolate(side, size, mode="bilinear", antialias=scale < 1).clamp(0, 1)
                for side in (backlit, truth)
            )
        yield backlit, truth


def loss_of(
    recipe: Recipe, backlit: Tensor, truth: Tensor, light: Tensor, guidance: ResidualGuidance | None
) -> Tensor:
    """The recipe's weighted sum, []."""
    enhanced = relight(backlit, light)
    squared = (enhanced - truth).square().mean((1, 2, 3))
    loss = F.l1_loss(enhanced, truth) + recipe.squared_weight * squared.mean()
    loss = loss + recipe.psnr_weight * 10 * (squared + _LEAST_SQUARED).log10().mean()
    # What clipped has no gradient: the same equation without the division still has.
    loss = loss + recipe.clipped_weight * F.l1_loss(light * truth, backlit)
    if recipe.log_weight:
        loss = loss + recipe.log_weight * light_error(backlit, truth, light)
    if recipe.ssim_weight:
        loss = loss + recipe.ssim_weight * (1 - similarity(enhanced.mean(1, True), truth.mean(1, True)))
    if guidance is not None:
        loss = loss + recipe.guidance_weight * guidance(enhanced)
    return loss


def light_error(backlit: Tensor, truth: Tensor, light: Tensor) -> Tensor:
    """Mean absolute error of the light in the log domain, where the pictures tell the true one.

    Args:
        backlit: [n, 3, h, w] in [0, 1].
        truth: likewise.
        light: [n, 1, h, w].

    Returns:
        [] in nepers; pixels that are black in the backlit picture or white in the true one do not count.
    """
    true = (backlit * truth).sum(1, True) / (truth.square().sum(1, True) + _DIM**2)
    known = ((backlit.amax(1, True) > _DIM) & (truth.amin(1, True) < _GLARING)).float()
    error = ((light + _DIM) / (true + _DIM)).log().abs()
    return (error * known).sum() / known.sum().clamp_min(1)


def similarity(picture: Tensor, truth: Tensor, window: int = 7) -> Tensor:
    """Mean structural similarity over square windows, [n, 1, h, w] in [0, 1] each -> [].

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity,
    2004, eq. 13, with its constants.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window, 1)

    mean_x, mean_y = mean(picture), mean(truth)
    var_x, var_y = mean(picture**2) - mean_x**2, mean(truth**2) - mean_y**2
    covariance = mean(picture * truth) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return (alike / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean()


def main() -> None:
    """Parses, trains, saves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", nargs="+", type=Path, help="well-lit photographs, or folders of them")
    parser.add_argument("--panoramas", nargs="*", type=Path, default=[], help="folders of .exr, .exr.js")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint, .safetensors or .pth")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--pairs", type=int, default=Recipe.pairs)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument(
        "--mix",
        nargs=4,
        type=float,
        default=astuple(Mix()),
        metavar=("SHADE", "SUBJECT", "VIEW", "LIT"),
        help="shares of the kinds of pairs",
    )
    parser.add_argument("--start", type=Path, help="a checkpoint of the same width to go on from")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--encoder", help="that guides as RAVE does: timm:mobilenetv2_100@FILE, for one")
    parser.add_argument("--guidance-weight", type=float, default=1.0, help="with --encoder")
    parser.add_argument(
        "--threads", type=int, help="of torch; every core unless given. The same number gives the same bits"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    recipe = Recipe(
        steps=options.steps,
        pairs=options.pairs,
        learning_rate=options.learning_rate,
        mix=Mix(*options.mix),
        seed=options.seed,
        guidance_weight=options.guidance_weight if options.encoder else 0.0,
    )
    encoder = open_encoder(options.encoder) if options.encoder else None
    sources = load_sources(options.photos, options.panoramas)
    bank = make_bank(sources, recipe.mix, recipe.pairs, recipe.area_px, recipe.seed, recipe.whole)
    start = load_checkpoint(options.start) if options.start else None
    network = train(recipe, bank, encoder, start)
    provenance = {
        "recipe": "rave_train.recipes.embedded",
        **asdict(recipe),
        "photographs": len(sources.photographs),
        "panoramas": len(sources.panoramas),
        "synthesis": asdict(SCENE),
        "encoder": options.encoder,
        "start": None if start is None else read_checkpoint(options.start).provenance,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "training_size_px": round(recipe.area_px**0.5 * max(recipe.scales)),
    }
    save_checkpoint(network, options.output, provenance)


def _to_tensor(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(pixels).float() / 255


if __name__ == "__main__":
    main()
