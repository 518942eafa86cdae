"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError


def write_whole(file: Path, write: Callable[[Path], None]) -> None:
    """Writes beside the file and puts the result in its place; several processes may do so at once.

    Args:
        file: to make or replace.
        write: called with the path to write to.

    Raises:
        OSError: it cannot be written, such as on a full disk, whatever the writing library calls that;
            what was there before is still there.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        write(partial)
        partial.chmod(mode)  # safetensors makes files that only their owner can read
        partial.replace(file)
    except (OSError, RuntimeError, SafetensorError) as error:
        known = isinstance(error, OSError) and error.errno != errno.ENOSPC
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise OSError(
            f"{file} cannot be written: {reason}{'' if known else '; is the disk full?'}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
