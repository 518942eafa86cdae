"""How the network of a recipe is trained: the recipe's numbers, its loss, its descent, its rounding.

The light of a picture is smooth, so most of the training sees small pictures, of which many fit into a
step. The last steps see chosen pairs, and round as INT8 graphs round.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rave_runtime.arrays import Array
from rave_train.loop.device import pick_precision
from rave_train.network import EnhancementNetwork, Padding, relight
from rave_train.recipes.bank import Bank, Mix, batches, to_tensor, weigh
from rave_train.recipes.losses import light_error, preference_weights, similarity
from rave_train.recipes.recovery import Recovery
from rave_train.recipes.rounding import FakeQuantization

_CPU = torch.device("cpu")

_FIRST_LIGHT: Final = 0.7
"""The light of every pixel before the first step."""


@dataclass(frozen=True)
class Stage:
    """Steps at one size.

    Attributes:
        steps: number of steps of the optimizer.
        batch: pictures in a step.
        scale: factor on the sides of the bank's pictures.
    """

    steps: int
    batch: int
    scale: float


class Cycle(NamedTuple):
    """One cycle of the learning rate.

    Attributes:
        stages: its stages, in their order.
        rate: peak of the learning rate.
        squared_floor: see `Recipe`.
        shade_preference: see `Finish`.
        coarse_light: whether the last convolution, too, is in bf16 where the others are. It then rounds
            light that is nearly 1 to 1, so that a well-lit picture that hardly changes has no loss.
    """

    stages: tuple[Stage, ...]
    rate: float
    squared_floor: float
    shade_preference: float
    coarse_light: bool


@dataclass(frozen=True)
class Finish:
    """One way of going through the second cycle.

    Attributes:
        shade_preference: by how much too little light in the shade counts more than too much, 0 to 1, as
            `preference_weights` of `rave_train.recipes.losses` says. A photograph rarely tells how much its
            shade should rise, and who enhances it wants rather more than less.
        backlit_weight: see `rave_train.recipes.bank.weigh`.
    """

    shade_preference: float = 0.3
    backlit_weight: float = 3.0


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights besides the photographs and the panoramas.

    Attributes:
        channels: width of the network's outer blocks; the published networks have 32.
        padding: padding of its outer convolutions.
        long_side_px: long side of the bank's pictures.
        pairs: number of pairs, which are drawn once, before training.
        mix: shares of the kinds of pairs.
        small: the first steps, at half the size.
        large: the next steps, in the same cycle of the learning rate.
        chosen: the last steps, in a second cycle, on the pairs that `weigh` chooses, with INT8's rounding.
        learning_rate: peak of the first cycle.
        chosen_rate: peak of the second.
        squared_weight: weight of the mean squared error, beside the L1 loss.
        psnr_weight: weight of minus the PSNR of each picture, per dB. It rises fastest for pictures that are
            nearly right, so that photographs that need little change get little.
        squared_floor: squared error below which a picture is good enough in the first cycle: 37 dB.
        chosen_floor: the same in the second cycle: 27 dB. Well-lit pictures stay as they are by then, and
            the network should spend what it can still learn on the others.
        finishes: the second cycle is gone through once for each of these, from the same weights; the means of
            the weights are the result (a "soup": Wortsman et al., Model soups, 2022).
        ssim_weight: weight of one minus the structural similarity.
        clipped_weight: weight of the loss that has a gradient where the result is clipped.
        log_weight: weight of the error of the light's logarithm, in which shade and lit parts count the same.
        range_weight: weight of the largest magnitude of what is rounded, mean over the layers. Eight bits are
            too few for features of which one pixel in a million is a hundred times the rest.
        average_decay: decay of the moving average of the weights in each cycle.
        seed: seed of every random choice.
    """

    channels: int = 16
    padding: Padding = "reflect"
    long_side_px: int = 192
    pairs: int = 20000
    mix: Mix = field(default_factory=Mix)
    small: Stage = Stage(6000, 12, 0.5)
    large: Stage = Stage(2500, 6, 0.75)
    chosen: Stage = Stage(800, 6, 0.75)
    learning_rate: float = 3e-3
    chosen_rate: float = 1.5e-3
    squared_weight: float = 3.0
    psnr_weight: float = 0.02
    squared_floor: float = 2e-4
    chosen_floor: float = 2e-3
    finishes: tuple[Finish, ...] = (Finish(),)
    ssim_weight: float = 0.1
    clipped_weight: float = 0.1
    log_weight: float = 0.05
    range_weight: float = 0.3
    average_decay: float = 0.998
    seed: int = 0

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages, in their order."""
        return self.small, self.large, self.chosen

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ValueError: a number is out of its range.
        """
        steps = [stage.steps for stage in self.stages]
        if min(steps) < 0 or self.pairs < 1:
            raise ValueError(
                f"every stage needs 0 or more steps and the bank 1 or more pairs, got {steps} steps and "
                f"{self.pairs} pairs"
            )
        if self.seed < 0 or not min(self.learning_rate, self.chosen_rate) > 0:
            raise ValueError(
                f"the seed must be 0 or more and learning rates more than 0, got seed {self.seed} and rates "
                f"{self.learning_rate} and {self.chosen_rate}"
            )
        preferences = [each.shade_preference for each in self.finishes]
        backlit = [each.backlit_weight for each in self.finishes]
        if self.ssim_weight < 0 or not min(backlit) > 0 or not 0 <= min(preferences) <= max(preferences) <= 1:
            raise ValueError(
                "the weight of the structural similarity must be 0 or more, that of backlit pairs more than "
                f"0 and the preference in the shade from 0 to 1, got {self.ssim_weight}, {backlit} and "
                f"{preferences}"
            )


def train(
    recipe: Recipe, bank: Bank, start: EnhancementNetwork | None = None, device: torch.device = _CPU
) -> EnhancementNetwork:
    """Trains, from scratch unless there is a network to start from, then for eight bits.

    Convolutions are in bf16 where the processor multiplies it; emulated, it would be far slower than float32.
    A GPU draws the same batches and starts from the same weights as a CPU; sums are rounded differently.

    Returns:
        The moving average of the weights, the mean of all finishes, on the CPU.

    Raises:
        TrainingError: the training diverges again and again.
    """
    torch.manual_seed(recipe.seed)
    network = EnhancementNetwork(recipe.channels, recipe.padding)
    network = network.to(device).to(memory_format=torch.channels_last)
    assert network.cond_add1.bias is not None
    torch.nn.init.constant_(network.cond_add1.bias, _FIRST_LIGHT)
    if start is not None:
        network.load_state_dict(start.state_dict())
    first = Cycle(
        (recipe.small, recipe.large), recipe.learning_rate, recipe.squared_floor, 0.0, coarse_light=True
    )
    _descend(recipe, first, network, bank)
    begun = copy.deepcopy(network.state_dict())
    finished = []
    for finish in recipe.finishes:
        network.load_state_dict(begun)
        # Rounding in a cycle after the second one undid what the second one had chosen.
        rounding = FakeQuantization(network)
        preference, weights = finish.shade_preference, weigh(bank, finish.backlit_weight)
        second = Cycle((recipe.chosen,), recipe.chosen_rate, recipe.chosen_floor, preference, False)
        _descend(recipe, second, network, bank, weights, rounding)
        rounding.remove()
        finished.append(copy.deepcopy(network.state_dict()))
    trained = EnhancementNetwork(recipe.channels, recipe.padding)
    trained.load_state_dict(
        {name: torch.stack([each[name] for each in finished]).mean(0) for name in finished[0]}
    )
    return trained.eval()


def _descend(
    recipe: Recipe,
    cycle: Cycle,
    network: EnhancementNetwork,
    bank: Bank,
    weights: list[Array] | None = None,
    rounding: FakeQuantization | None = None,
) -> None:
    """One cycle of the learning rate, after which the network has the moving average of its weights."""
    average = AveragedModel(
        network,
        multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay),  # type: ignore[no-untyped-call]
    )
    steps = sum(stage.steps for stage in cycle.stages)
    optimizer = torch.optim.AdamW(network.parameters(), cycle.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, cycle.rate, max(steps, 1), pct_start=0.1)
    device = next(network.parameters()).device
    precision = pick_precision("auto", device)
    rng = np.random.default_rng([recipe.seed, int(weights is not None)])
    drawn = draw_batches(bank, cycle.stages, rng, device, weights)
    started, shown = time.monotonic(), torch.zeros((), device=device)
    recovery, is_new = Recovery(network, average, optimizer), True
    for step, (photographs, truths) in enumerate(drawn, 1):
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            light = _light(network, photographs, cycle.coarse_light)
        loss = loss_of(
            recipe, photographs, truths, light.float(), cycle.squared_floor, cycle.shade_preference
        )
        if rounding is not None:
            loss = loss + recipe.range_weight * rounding.spread()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
        shown = loss.detach() if is_new else shown.lerp(loss.detach(), 0.02)
        is_new = recovery.check(step, shown)
        if is_new:
            print(
                f"step {step}/{steps}  diverged: goes on from the average of the weights, at half the rate",
                file=sys.stderr,
                flush=True,
            )
        if step % 50 == 0 or step == steps:
            elapsed_s = time.monotonic() - started
            print(
                f"step {step}/{steps}  loss {shown:.4f}  {elapsed_s / step:.2f} s/step",
                file=sys.stderr,
                flush=True,
            )
    network.load_state_dict(average.module.state_dict())


def _light(network: EnhancementNetwork, photographs: Tensor, is_coarse: bool) -> Tensor:
    """Returns the illumination map, [n, 1, h, w]; its last convolution is in float32 unless it is coarse."""
    image = photographs.contiguous(memory_format=torch.channels_last)
    if not is_coarse:
        return network(image)  # type: ignore[no-any-return]
    features = network.light_features(network.PPM1(network.features(image)))
    return F.relu(network.cond_add1(features))


def draw_batches(
    bank: Bank,
    stages: tuple[Stage, ...],
    rng: np.random.Generator,
    device: torch.device = _CPU,
    weights: list[Array] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """The stages' batches [batch, 3, h, w] float32 in [0, 1], photographs and truths."""
    for stage in stages:
        drawn = batches(bank, stage.batch, rng, weights)
        for _ in range(stage.steps):
            photographs, truths = (to_tensor(side, device) for side in next(drawn))
            if stage.scale != 1:
                size = [round(side * stage.scale) for side in photographs.shape[2:]]
                photographs, truths = (
                    F.interpolate(side, size, mode="bilinear", antialias=True).clamp(0, 1)
                    for side in (photographs, truths)
                )
            yield photographs, truths


def loss_of(
    recipe: Recipe,
    photographs: Tensor,
    truths: Tensor,
    light: Tensor,
    squared_floor: float,
    shade_preference: float = 0.0,
) -> Tensor:
    """The recipe's weighted sum, []; no more is asked for where a picture's squared error is at the floor."""
    enhanced = relight(photographs, light)
    error = enhanced - truths
    weights = preference_weights(photographs, truths, error, shade_preference)
    squared = (weights * error.square()).mean((1, 2, 3))
    loss = (weights * error.abs()).mean() + recipe.squared_weight * squared.mean()
    loss = loss + recipe.psnr_weight * 10 * (squared + squared_floor).log10().mean()
    # What clipped has no gradient: the same equation without the division still has.
    loss = loss + recipe.clipped_weight * F.l1_loss(light * truths, photographs)
    if recipe.log_weight:
        loss = loss + recipe.log_weight * light_error(photographs, truths, light)
    if recipe.ssim_weight:
        loss = loss + recipe.ssim_weight * (1 - similarity(enhanced, truths))
    return loss
