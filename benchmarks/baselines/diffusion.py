"""Linear noise schedules and the two ways to sample: all steps, or DDIM's few.

Sources: Ho et al., arXiv 2006.11239 (eqs. 6, 7, 15); Song et al., arXiv 2010.02502 (eqs. 12, 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Predictor = Callable[[Tensor, Tensor], Tensor]
"""(picture [n, c, h, w], noise level [n, 1]) -> picture."""


@dataclass(frozen=True)
class Schedule:
    """A linear noise schedule.

    Attributes:
        first, last: variance of the noise added by the first and the last step.
        steps: number of steps.
    """

    first: float
    last: float
    steps: int = 1000

    def kept(self) -> list[float]:
        """Share of the signal's variance left after 0, 1, ... steps: `steps + 1` numbers from 1 down."""
        betas = np.linspace(self.first, self.last, self.steps)
        return [1.0, *(float(share) for share in np.cumprod(1 - betas))]


def ddim_times(steps: int, samples: int) -> list[int]:
    """Steps at which DDIM looks, last first: evenly spaced, ending with the schedule's last step.

    Raises:
        ValueError: no sample, or more than the schedule has steps.
    """
    if not 1 <= samples <= steps:
        raise ValueError(f"samples must be from 1 to {steps}, got {samples}")
    return list(range(steps, 0, -(steps // samples)))[:samples]


def sample(
    condition: Tensor,
    schedule: Schedule,
    predict_noise: Predictor,
    refine: Predictor,
    samples: int | None = None,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draws a picture under a condition.

    Each step estimates the noise, from it the clean picture, and has that refined; the next noisy
    picture is made of the refined one and the noise.

    Args:
        condition: [n, c, h, w] in [-1, 1]; the picture drawn has the same shape.
        schedule: the schedule of the noise.
        predict_noise: takes condition and noisy picture, [n, 2c, h, w], and the level.
        refine: takes the condition and the estimated clean picture.
        samples: DDIM steps, or None for every step of the schedule.
        eta: 0 adds no noise between steps, 1 as much as full sampling.
        generator: source of the noise.

    Returns:
        [n, c, h, w] in [-1, 1].

    Raises:
        ValueError: no sample, or more than the schedule has steps.
    """
    kept = schedule.kept()
    times = ddim_times(schedule.steps, schedule.steps if samples is None else samples)
    picture = _noise_like(condition, generator)
    for time, before in zip(times, [*times[1:], 0], strict=True):
        now, then = kept[time], kept[before]
        level = condition.new_full((len(condition), 1), now**0.5)
        noise = predict_noise(torch.cat([condition, picture], 1), level)
        clean = ((picture - (1 - now) ** 0.5 * noise) / now**0.5).clamp(-1, 1)
        clean = refine(torch.cat([condition, clean], 1), level).clamp(-1, 1)
        spread = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
        direction = max(1 - then - spread**2, 0.0) ** 0.5
        picture = then**0.5 * clean + direction * noise
        if spread > 0:
            picture = picture + spread * _noise_like(condition, generator)
    return picture


def _noise_like(picture: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.randn(picture.shape, generator=generator, device=picture.device, dtype=picture.dtype)
