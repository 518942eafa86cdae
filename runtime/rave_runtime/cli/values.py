"""What the programs' parsers make of the values of options."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path


def number(
    kind: type[int] | type[float], minimum: float, maximum: float = math.inf
) -> Callable[[str], float]:
    """Returns a function that parses a number within limits, for argparse."""

    def parse(text: str) -> float:
        value = kind(text)
        if not minimum <= value <= maximum:
            has_maximum = maximum < math.inf
            limit = f"from {minimum:.15g} to {maximum:.15g}" if has_maximum else f"at least {minimum:.15g}"
            raise argparse.ArgumentTypeError(f"{text} is not {limit}")
        return value

    parse.__name__ = kind.__name__  # argparse shows this name when the text is not a number
    return parse


def path(text: str) -> Path:
    """Returns a path, for argparse; an empty text is refused, which pathlib takes for the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: is a variable not set?")
    return Path(text)
