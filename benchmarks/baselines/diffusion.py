"""Linear noise schedules, and two ways of sampling by them: all steps, or the few of DDIM.

Sources: Ho et al., arXiv 2006.11239 (eqs. 6, 7, 15); Song et al., arXiv 2010.02502 (eqs. 12, 16).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Predictor = Callable[[Tensor, Tensor], Tensor]
"""A function from a picture [n, c, h, w] and a noise level [n, 1] to a picture."""


@dataclass(frozen=True)
class Schedule:
    """A linear noise schedule.

    Attributes:
        first: variance of the noise that the first step adds.
        last: variance of the noise that the last step adds.
        steps: number of steps.
    """

    first: float
    last: float
    steps: int = 1000

    def signal_shares(self) -> list[float]:
        """Share of the signal's variance that is left after 0, 1, ... steps, `steps + 1` falling numbers."""
        betas = np.linspace(self.first, self.last, self.steps)
        return [1.0, *(float(share) for share in np.cumprod(1 - betas))]


def ddim_times(steps: int, samples: int) -> list[int]:
    """The numbers of the steps that DDIM takes, in falling order from the last step, evenly spaced.

    Args:
        steps: number of steps of the schedule.
        samples: how many of them to take.

    Raises:
        ValueError: `samples` is less than 1 or more than `steps`.
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

    Each step estimates the noise and from it the clean picture, which is then refined. The refined picture
    and the noise make the next noisy picture.

    Args:
        condition: [n, c, h, w] in [-1, 1]; the result has the same shape.
        schedule: the schedule of the noise.
        predict_noise: estimates the noise from the condition and the noisy picture, [n, 2 c, h, w], and the
            noise level.
        refine: refines the clean picture, from the condition and that picture, [n, 2 c, h, w], and the level.
        samples: DDIM steps, or None for every step of the schedule.
        eta: amount of noise added between steps: 0 adds none, 1 as much as full sampling.
        generator: source of the noise; None is torch's global one.

    Returns:
        [n, c, h, w] in [-1, 1].

    Raises:
        ValueError: `samples` is less than 1 or more than the schedule's steps.
    """
    shares = schedule.signal_shares()
    times = ddim_times(schedule.steps, schedule.steps if samples is None else samples)
    picture = _noise_like(condition, generator)
    for time, before in zip(times, [*times[1:], 0], strict=True):
        now, then = shares[time], shares[before]
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
