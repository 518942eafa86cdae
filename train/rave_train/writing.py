"""The one way in which files are written here: whole or not at all."""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rave_runtime.errors import PhotoError


def write_whole(file: Path, content: bytes | str) -> None:
    """Writes beside the file and puts the result in its place; several processes may do so at once.

    Args:
        file: the file to make or replace; its folder is made where it is missing.
        content: all of it; text is written in UTF-8.

    Raises:
        OSError: it cannot be written, such as on a full disk; what was there before is still there.
    """
    from rave_runtime.files.atomic import write_atomically  # here, so that help need not wait for its imports

    if isinstance(content, str):
        content = content.encode("utf-8", "backslashreplace")
    try:
        write_atomically(file, content)
    except PhotoError as error:
        cause = error.__cause__
        reason = getattr(cause, "strerror", None) or str(cause or error)
        full = getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        raise OSError(f"{file} cannot be written: {reason}{'; is the disk full?' if full else ''}") from error


def write_table(file: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes rows as CSV in UTF-8, whole or not at all; the first one names the columns."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    write_whole(file, buffer.getvalue())


def torch_file(content: dict[str, Any]) -> bytes:
    """What `torch.save` writes of a dictionary, as bytes."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
