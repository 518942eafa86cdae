"""Everything that can go wrong, as one tree:

RaveError
├── BundleError    the model's folder is missing, damaged or of another format
├── DeviceError    a device or precision that was asked for is not there
├── PhotoError     a photograph cannot be read, written or handled
└── UsageError     the call itself makes no sense
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class RaveError(Exception):
    """Base of every error this package raises on purpose; its message is meant for people."""


class BundleError(RaveError):
    """A bundle is missing, damaged, or written for another version."""


class DeviceError(RaveError):
    """A device or precision that was asked for cannot be had here; the message says what to do."""


class PhotoError(RaveError):
    """A photograph cannot be read, enhanced or written."""


class UsageError(RaveError, ValueError):
    """Arguments that contradict each other or make no sense."""


def printable(text: str) -> str:
    """A text on one line, without signs that would move, colour or command a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def reason_of(error: Exception) -> str:
    """An error of another library in one short line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def with_near_options(message: str, known: Iterable[str]) -> str:
    """An error of a command line, followed by the options that may have been meant.

    Args:
        message: what argparse says.
        known: all options of the program, such as `--device`.
    """
    _, is_unknown, rest = message.partition("unrecognized arguments: ")
    options = [word.partition("=")[0] for word in rest.split() if word.startswith("--")]
    near = [name for option in options for name in get_close_matches(option, list(known), n=2, cutoff=0.7)]
    return f"{message}; did you mean {' or '.join(dict.fromkeys(near))}?" if is_unknown and near else message
