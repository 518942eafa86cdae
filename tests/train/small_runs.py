"""Runs of a few steps on tiny networks, and the losses that they leave."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from rave_train.guidance.options import ClipLitLatentOptions, ClipLitOptions
from rave_train.loop.config import NetworkOptions, RunConfig

SMALL_PAIR = {
    "rounds": 2, "initialize_steps": 20, "enhance_steps": 3, "refine_steps": 4,
    "guidance_learning_rate": 0.02, "views": 2, "view_size_px": 16, "extensions": 0,
}  # fmt: skip
SMALL_NETWORK = NetworkOptions(size_px=16, batch=2, warm_up=2, light_bias=0.7)


def of_method(config: RunConfig, method: str) -> RunConfig:
    options = {
        "rave": config.options,
        "clip-lit": ClipLitOptions(**SMALL_PAIR),  # type: ignore[arg-type]
        "clip-lit-latent": ClipLitLatentOptions(**SMALL_PAIR),  # type: ignore[arg-type]
    }[method]
    return dataclasses.replace(config, method=method, options=options)


def after_steps(count: int) -> Callable[[], bool]:
    """What stops a run after so many steps, at each of which it is asked once."""
    asked = itertools.count(1)
    return lambda: next(asked) == count


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))
