"""Writes files whole or not at all; this package writes its results through these functions."""

from __future__ import annotations

import csv
import errno
import io
import json
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rave_runtime.errors import PhotoError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

_HEADER_MULTIPLE: Final = 8
"""The length of a safetensors header is a multiple of this many bytes, so that all numbers are aligned."""


def write_whole(file: Path, content: bytes | str) -> None:
    """Writes a file beside its place and then moves it there; several processes may do so at once.

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


def make_folder_of(photographs: Iterable[Path], folder: Path) -> None:
    """Makes a folder for results made of photographs, readable to those only who can read all of these.

    Args:
        photographs: files that are there.
        folder: the folder to make. One that exists stays as it is.

    Raises:
        OSError: the folder cannot be made.
    """
    mode = 0o777
    for photograph in photographs:
        of_file, of_folder = photograph.stat().st_mode, photograph.parent.stat().st_mode
        if not (of_file & stat.S_IRGRP and of_folder & stat.S_IXGRP):
            mode &= ~stat.S_IRWXG
        if not (of_file & stat.S_IROTH and of_folder & stat.S_IXOTH):
            mode &= ~stat.S_IRWXO
    folder.mkdir(mode, parents=True, exist_ok=True)


def write_table(file: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes rows as CSV in UTF-8, whole or not at all; the first one names the columns."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    write_whole(file, buffer.getvalue())


def write_png(file: Path, picture: Image.Image) -> None:
    """Writes a picture as PNG, whole or not at all, so that no half of one is ever trained on."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_whole(file, buffer.getvalue())


def safetensors_file(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file, which are equal wherever tensors and metadata are.

    The library writes the metadata in another order in every process, so its header is sorted here.

    Args:
        tensors: contiguous tensors on the CPU, by name.
        metadata: texts by name.
    """
    from safetensors.torch import save

    content = save(tensors, metadata)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    ordered = {
        "__metadata__": dict(sorted(header.pop("__metadata__").items())),
        **dict(sorted(header.items())),
    }
    text = json.dumps(ordered, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _HEADER_MULTIPLE)  # the numbers begin where any of their types may
    return len(text).to_bytes(8, "little") + text + content[end:]


def torch_file(content: dict[str, Any]) -> bytes:
    """The bytes that `torch.save` writes for a dictionary."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
