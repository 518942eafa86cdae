"""Everything that can go wrong, as one tree:

RaveError
├── BundleError    the model's folder is missing, damaged or of another format
├── DeviceError    a device or precision that was asked for is not there
├── PhotoError     a photograph cannot be read, written or handled
└── UsageError     the call itself makes no sense
"""

from __future__ import annotations


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
