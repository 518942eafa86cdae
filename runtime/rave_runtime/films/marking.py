"""Reads and writes the mark of an enhanced film: a sentence in its comment, which most players show.

XMP would be lost in the next program that copies the film into another file: FFmpeg, on which most such
programs are built, keeps the comment and drops XMP.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

from rave_runtime.films.opening import open_film
from rave_runtime.photos.metadata.mark import Mark, read_words, with_words

_COMMENT: Final = "comment"
_WITHOUT_COMMENT: Final = ("mpegts", "mpeg", "3gp", "3g2")
"""FFmpeg's names of the containers that have no place for a comment."""


def can_hold_mark(container: str) -> bool:
    """Whether a container, by FFmpeg's name, has a place for the mark."""
    return container not in _WITHOUT_COMMENT


def mark_of_film(container: Any) -> Mark | None:
    """Returns the mark in an opened film, or None."""
    return read_words(_comment_of(container.metadata))


def read_film_mark(film: Path) -> Mark | None:
    """Returns the mark in a film's file, or None.

    Raises:
        UsageError: PyAV is missing.
        PhotoError: the file cannot be read as a film.
    """
    with open_film(film) as container:
        return mark_of_film(container)


def mark_film(metadata: MutableMapping[str, str], mark: Mark) -> None:
    """Writes a mark into a film's metadata, after the comment if there is one; it replaces an older mark."""
    comment = _comment_of(metadata)
    for key in [key for key in metadata if key.lower() == _COMMENT]:
        del metadata[key]
    metadata[_COMMENT] = with_words(comment, mark)


def _comment_of(metadata: MutableMapping[str, str]) -> str:
    """Returns the comment, whose key is in capitals in Matroska; an empty text if there is none."""
    return next((text for key, text in metadata.items() if key.lower() == _COMMENT), "")
