"""Photographs in object stores and on other machines: any place that fsspec has a URL for.

Only this module knows fsspec (extra `remote`). A file is read and written whole: object stores take an
object or do not, and elsewhere a file is renamed to its name when it is complete.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from rave_runtime.errors import PhotoError, RaveError, UsageError

_ATOMIC_PROTOCOLS: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
)
"""Stores in which an object is there whole or not at all."""


@dataclass(frozen=True)
class RemoteFile:
    """A file or folder that a URL names; what it offers is named as in `pathlib`.

    Attributes:
        url: without a slash at its end, such as `s3://bucket/photos/a.jpg`.
    """

    url: str

    @property
    def name(self) -> str:
        """The last part of the URL's path."""
        return posixpath.basename(self.url)

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot, or nothing."""
        return Path(self.name).suffix

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str | Path) -> RemoteFile:
        return RemoteFile(f"{self.url}/{Path(name).as_posix()}")

    def relative_to(self, folder: RemoteFile) -> str:
        """This file's name inside a folder above it."""
        return self.url.removeprefix(folder.url + "/")

    def exists(self) -> bool:
        """Whether a file or folder is there.

        Raises:
            UsageError: the store cannot be reached.
        """
        files, path = self._open()
        return bool(_asked(self.url, lambda: files.exists(path)))

    def is_dir(self) -> bool:
        """Whether it is a folder; in an object store, whether anything begins with its name.

        Raises:
            UsageError: the store cannot be reached.
        """
        files, path = self._open()
        return bool(_asked(self.url, lambda: files.isdir(path)))

    def names(self) -> Iterator[str]:
        """Files below this folder, relative to it, with slashes, in no particular order.

        Raises:
            UsageError: the store cannot be reached.
        """
        files, path = self._open()
        prefix = path.rstrip("/") + "/"
        walk = _asked(self.url, lambda: files.walk(path))
        while (found := _asked(self.url, lambda: next(walk, None))) is not None:
            root, _, names = found
            inner = (root.rstrip("/") + "/").removeprefix(prefix)
            yield from (inner + name for name in names if name)

    def matching(self, pattern: str) -> list[str]:
        """Names of files directly in this folder that match, in order; none where there is no folder.

        Raises:
            UsageError: the store cannot be reached.
        """
        files, path = self._open()
        files.invalidate_cache(path)
        found = _asked(self.url, lambda: files.glob(f"{path.rstrip('/')}/{pattern}"))
        return sorted(posixpath.basename(str(name)) for name in found)

    def read(self, limit_bytes: int | None = None) -> bytes:
        """The whole file, or its first `limit_bytes`.

        Raises:
            PhotoError: it cannot be read.
        """
        try:
            files, path = self._open()
            content: bytes = files.cat_file(path, end=limit_bytes)
        except RaveError:
            raise
        except Exception as error:  # every store has errors of its own
            raise PhotoError(f"cannot be read: {_reason(error)}") from error
        return content

    def write(self, content: bytes) -> None:
        """Writes the file so that it is there whole or not at all.

        Raises:
            PhotoError: it cannot be written.
        """
        try:
            files, path = self._open()
            if _protocol(self.url) in _ATOMIC_PROTOCOLS:
                files.pipe_file(path, content)
                return
            folder, name = posixpath.split(path)
            partial = posixpath.join(folder, f".{name}.rave-partial")
            files.makedirs(folder, exist_ok=True)
            files.pipe_file(partial, content)
            if files.exists(path):
                files.rm_file(path)
            files.mv(partial, path)
        except RaveError:
            raise
        except Exception as error:
            raise PhotoError(f"cannot be written to {self.url}: {_reason(error)}") from error

    def remove(self) -> None:
        """Deletes the file.

        Raises:
            PhotoError: it cannot be deleted.
        """
        try:
            files, path = self._open()
            files.rm_file(path)
        except Exception as error:
            raise PhotoError(f"cannot be deleted: {_reason(error)}") from error

    def size(self) -> int | None:
        """Of the file, in bytes; None where there is none."""
        try:
            files, path = self._open()
            # A store is asked, not what was listed before: others write into it as well.
            files.invalidate_cache(posixpath.dirname(path))
            size: int | None = files.info(path).get("size")
        except Exception:
            return None
        return size

    def _open(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise UsageError(f"{self.url} needs fsspec: pip install 'rave-backlit[remote]'") from error
        try:
            files, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self.url}: {_reason(error)}") from error
        return files, path


Location = Path | RemoteFile


def parse_location(text: str) -> Location:
    """A path, or what a URL names; `file://` URLs are paths.

    Raises:
        UsageError: a URL without a path.
    """
    if "://" not in text:
        return Path(text)
    if _protocol(text) in ("file", "local"):
        return Path(unquote(urlsplit(text).path))
    if not text.split("://", 1)[1].strip("/"):
        raise UsageError(f"{text} names no place: give a bucket or folder after ://")
    return RemoteFile(text.rstrip("/"))


def _protocol(url: str) -> str:
    return url.split("://", 1)[0].lower()


def _asked(url: str, ask: Any) -> Any:
    try:
        return ask()
    except RaveError:
        raise
    except Exception as error:
        raise UsageError(f"{url} cannot be reached: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]
