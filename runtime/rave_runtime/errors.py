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
from typing import Final

_MOST_REASON: Final = 200
"""Characters of another library's error that a message repeats."""


class RaveError(Exception):
    """Base of every error that this package raises on purpose; its message is meant for users."""


class BundleError(RaveError):
    """A bundle is missing, damaged, or written for another version."""


class DeviceError(RaveError):
    """A device or precision that was asked for cannot be had here; the message says what to do."""


class PhotoError(RaveError):
    """A photograph cannot be read, enhanced or written."""


class UsageError(RaveError, ValueError):
    """Arguments that contradict each other or make no sense."""


def printable(text: str) -> str:
    """Returns a text on one line, with the characters escaped that would control a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def reason_of(error: Exception) -> str:
    """Returns the first line of another library's error, or as many whole sentences as 200 characters hold.

    A first sentence that is longer ends between two words, with an ellipsis.
    """
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if len(line) <= _MOST_REASON:
        return line
    start = line[: _MOST_REASON + 1]
    sentences, ends, _ = start.rpartition(". ")
    if ends:
        return sentences
    words = start.rpartition(" ")[0] or line[:_MOST_REASON]
    return f"{words.rstrip(',;:')} ..."


def with_near_options(message: str, known_options: Iterable[str]) -> str:
    """Returns argparse's message about a command line, and the options that may have been meant.

    Args:
        message: argparse's message.
        known_options: all options of the program, such as `--device`.
    """
    _, is_unknown, rest = message.partition("unrecognized arguments: ")
    options = [word.partition("=")[0] for word in rest.split() if word.startswith("--")]
    names = list(known_options)
    near_names = [name for option in options for name in get_close_matches(option, names, n=2, cutoff=0.7)]
    if not (is_unknown and near_names):
        return message
    return f"{message}; did you mean {' or '.join(dict.fromkeys(near_names))}?"
