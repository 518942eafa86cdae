"""How the network of a recipe is trained: the recipe's numbers, its loss, its descent, its rounding.

No pre-trained weight goes into the network unless it is given one to start from. `rave_train.recipes.study`
measures what each choice below gains.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rave_train.encoders import Encoder
from rave_train.loop.device import pick_precision
from rave_train.network import EnhancementNetwork, Padding, relight
from rave_train.recipes.bank import EXPOSURE_SPREAD, Bank, Drawing, Mix, batches, to_tensor
from rave_train.recipes.losses import ResidualGuidance, light_error, similarity
from rave_train.recipes.rounding import FakeQuantization
from rave_train.recipes.scenes import SHADES

_CPU = torch.device("cpu")

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
        shades: how photographs are darkened, names in `rave_train.recipes.scenes.SHADES`; a pair draws one.
        exposure_spread: of the photographs, see `rave_train.recipes.bank.Drawing`.
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
        start_share: of the weights it went on from, mixed in before the finishing steps: half-way to what
            the new pairs teach, most of it is learned and hardly anything forgotten. Source: Wortsman et
            al., Robust Fine-Tuning of Zero-Shot Models, 2022.
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
    shades: tuple[str, ...] = ("wide",)
    exposure_spread: float = EXPOSURE_SPREAD
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
    start_share: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: a number is out of its range.
        """
        if min(self.steps, self.finishing_steps) < 0 or self.pairs < 1:
            raise ValueError(
                f"there must be 0 or more steps and 1 or more pairs, got {self.steps} steps, "
                f"{self.finishing_steps} finishing steps and {self.pairs} pairs"
            )
        if not 0 <= self.start_share <= 1:
            raise ValueError(f"the start's share must be from 0 to 1, got {self.start_share}")

    @property
    def drawing(self) -> Drawing:
        """How its pairs are drawn."""
        return Drawing(
            self.mix, self.whole, tuple(SHADES[name] for name in self.shades), self.exposure_spread
        )


def train(
    recipe: Recipe,
    bank: Bank,
    encoder: Encoder | None = None,
    start: EnhancementNetwork | None = None,
    device: torch.device = _CPU,
) -> EnhancementNetwork:
    """Trains, from scratch unless there is a network to start from, then for eight bits.

    Convolutions are in bf16 where the processor multiplies it; emulated, it would be far slower than float32.
    A GPU draws the same batches and starts from the same weights as a CPU; sums are rounded differently.

    Returns:
        The moving average of the weights, on the CPU.

    Raises:
        ValueError: guidance is asked for without an encoder.
    """
    if recipe.guidance_weight and encoder is None:
        raise ValueError("guidance needs an encoder")
    torch.manual_seed(recipe.seed)
    network = EnhancementNetwork(recipe.channels, recipe.padding)
    network = network.to(device).to(memory_format=torch.channels_last)
    assert network.cond_add1.bias is not None
    torch.nn.init.constant_(network.cond_add1.bias, 0.7)
    if start is not None:
        network.load_state_dict(start.state_dict())
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay),  # type: ignore[no-untyped-call]
    )
    guidance = ResidualGuidance(encoder.to(device), bank) if encoder and recipe.guidance_weight else None
    drawn = draw_batches(recipe, bank, np.random.default_rng(recipe.seed), device)
    _descend(recipe, network, average, drawn, guidance, recipe.steps, recipe.learning_rate)
    network.load_state_dict(average.module.state_dict())
    # Before the rounding: what that has learned does not average.
    if start is not None and recipe.start_share:
        _mix_weights(network, start, recipe.start_share)
        average.module.load_state_dict(network.state_dict())
    rounding = FakeQuantization(network)
    drawn = draw_batches(recipe, bank, np.random.default_rng([recipe.seed, 1]), device)
    _descend(
        recipe, network, average, drawn, guidance, recipe.finishing_steps, recipe.finishing_rate, rounding
    )
    rounding.remove()
    trained = EnhancementNetwork(recipe.channels, recipe.padding)
    trained.load_state_dict(average.module.state_dict())
    return trained.eval()


@torch.no_grad()
def _mix_weights(network: EnhancementNetwork, other: EnhancementNetwork, share: float) -> None:
    """Moves a network's weights by that share of the way to another's of the same shape."""
    for weight, there in zip(network.parameters(), other.parameters(), strict=True):
        weight.lerp_(there.to(weight.device), share)


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
    device = next(network.parameters()).device
    precision = pick_precision("auto", device)
    started, shown = time.monotonic(), torch.zeros((), device=device)
    for step in range(1, steps + 1):
        backlit, truth = next(drawn)
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
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
        shown = loss.detach() if step == 1 else shown.lerp(loss.detach(), 0.02)
        if step % 50 == 0 or step == steps:
            elapsed_s = time.monotonic() - started
            print(
                f"step {step}/{steps}  loss {shown:.4f}  {elapsed_s / step:.2f} s/step",
                file=sys.stderr,
                flush=True,
            )


def draw_batches(
    recipe: Recipe, bank: Bank, rng: np.random.Generator, device: torch.device = _CPU
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches [batch, 3, h, w] float32 in [0, 1] at the recipe's scales."""
    for backlit_pixels, truth_pixels in batches(bank, recipe.batch, rng):
        backlit, truth = to_tensor(backlit_pixels, device), to_tensor(truth_pixels, device)
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


@torch.no_grad()
def mean_network(networks: Sequence[EnhancementNetwork]) -> EnhancementNetwork:
    """A network of the mean weights of networks of the same shape that went on from the same one.

    Between such, weights average as results would. Source: Wortsman et al., Model Soups, 2022.

    Raises:
        ValueError: there is none to average.
    """
    if not networks:
        raise ValueError("there are no networks to average")
    mean = deepcopy(networks[0])
    for name, weight in mean.named_parameters():
        weight.copy_(torch.stack([network.get_parameter(name) for network in networks]).mean(0))
    return mean
