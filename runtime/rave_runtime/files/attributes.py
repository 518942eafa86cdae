"""Times and extended attributes of files, such as tags and ratings that file managers keep beside a file."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Final

_ABOUT_BYTES: Final = re.compile(r"hash|sha\d|md5|checksum|crc", re.IGNORECASE)
"""Names of attributes that describe a file's bytes: they are wrong for a file of other bytes."""


def copy_attributes(source: Path, target: Path | int) -> None:
    """Gives a file the times of change and access and the user's extended attributes of another one.

    Attributes that a file system cannot keep are left out without an error: the file itself matters more.
    The time of creation cannot be set from Python.

    Args:
        source: a file, which may have gone meanwhile.
        target: a file that this process has written, or its descriptor.
    """
    with contextlib.suppress(OSError):
        if hasattr(os, "listxattr"):
            for name in os.listxattr(source):
                if name.startswith("user.") and not _ABOUT_BYTES.search(name):
                    with contextlib.suppress(OSError):
                        os.setxattr(target, name, os.getxattr(source, name))
    with contextlib.suppress(OSError):
        status = source.stat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
