"""Photographs in object stores and on other machines: any place that fsspec has a URL for.

Only this module knows fsspec (extra `remote`). A file is read and written whole: object stores take an
object whole or not at all, and elsewhere a file gets its name when it is complete.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from rave_runtime.errors import PhotoError, RaveError, UsageError
from rave_runtime.files.media_types import media_type_argument
from rave_runtime.files.secrets import without_secrets

_ATOMIC_PROTOCOLS: Final = frozenset(
    {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "memory"}
)
"""Stores in which an object is there whole or not at all."""

_FLAT_PROTOCOLS: Final = frozenset({"s3", "s3a", "gs", "gcs"})
"""Stores that list everything below a name in one request, which fails as a whole if it fails."""

_MAX_DEPTH: Final = 100
"""Deepest nesting of folders: pages of a web server that list themselves would go on for ever."""


@dataclass(frozen=True)
class RemoteFile:
    """A file or folder in a store; its methods are named as in `pathlib`.

    Attributes:
        url: the URL of a folder or file, without a slash at its end, such as `s3://bucket/photos`.
        inner: a name below it, taken literally, even where its characters have a meaning in URLs.
    """

    url: str
    inner: str = ""

    @property
    def name(self) -> str:
        """The last part of the path; for a web address it is decoded and has no query."""
        if self.inner:
            return posixpath.basename(self.inner)
        first, _, rest = self.url.partition("::")  # such as zip://holiday/a.jpg::https://host/photos.zip
        path = first.partition("://")[2] if "://" in first else ""
        if rest and "://" not in first:
            return RemoteFile(rest).name  # such as simplecache::https://host/a.jpg
        if rest and not path.strip("/"):
            return PurePosixPath(RemoteFile(rest).name).stem  # the archive as a folder
        if self.protocol in ("http", "https"):
            return posixpath.basename(unquote(urlsplit(first).path)) or urlsplit(first).hostname or ""
        return posixpath.basename(first)

    @property
    def protocol(self) -> str:
        """The part of the URL before `://`, in lower case."""
        return _protocol(self.url)

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot; empty where it has none."""
        return Path(self.name).suffix

    def __str__(self) -> str:
        """Returns the place as people read it, without passwords and tokens of its URL."""
        shown = without_secrets(self.url)
        return f"{shown}/{self.inner}" if self.inner else shown

    @property
    def key(self) -> str:
        """The text that identifies this place. It may hold secrets: show `str` of the place instead."""
        return f"{self.url}/{self.inner}" if self.inner else self.url

    def __truediv__(self, name: str | Path) -> RemoteFile:
        text = name.as_posix() if isinstance(name, Path) else name
        return RemoteFile(self.url, f"{self.inner}/{text}" if self.inner else text)

    def relative_to(self, folder: RemoteFile) -> str:
        """Returns this file's name inside a folder above it."""
        return self.key.removeprefix(folder.key + "/")

    def exists(self) -> bool:
        """Tells whether a file or folder is there.

        Raises:
            UsageError: the store cannot be reached.
        """

        with self._opened(UsageError, f"{self} cannot be reached") as (files, path):
            files.invalidate_cache(path)  # others write there as well
            return bool(files.exists(path))

    def is_dir(self) -> bool:
        """Tells whether it is a folder; in an object store, whether anything begins with its name.

        Raises:
            UsageError: the store cannot be reached.
        """

        with self._opened(UsageError, f"{self} cannot be reached") as (files, path):
            return bool(files.isdir(path))

    def names(self) -> Iterator[str]:
        """Yields the names of files below this folder, relative to it, with slashes, in no particular order.

        Raises:
            UsageError: the store cannot be reached, or a folder cannot be listed.
        """
        with self._opened(UsageError, f"{self} cannot be reached") as (files, path):
            root = path.rstrip("/")
            files.invalidate_cache(path)
            if self.protocol in _FLAT_PROTOCOLS:
                yield from (name.removeprefix(root + "/") for name in files.find(path))
            else:
                yield from self._walk(files, path, root)
            files.invalidate_cache(path)  # or it would hold every name for the rest of the run

    def _walk(self, files: Any, path: str, root: str) -> Iterator[str]:
        """Yields names folder by folder; fsspec's own walk silently leaves out what it cannot list."""
        folders = [(path, 0)]
        seen = {root, root + "/"}
        while folders:
            here, depth = folders.pop()
            for entry in files.ls(here, detail=True):
                place = str(entry["name"])
                if place in seen or "/./" in place or not place.startswith(root + "/" if root else ""):
                    continue  # a page of a web server that links to itself, or elsewhere
                seen.add(place)
                if entry["type"] != "directory":
                    yield place.removeprefix(root + "/")
                elif depth < _MAX_DEPTH:
                    folders.append((entry["name"], depth + 1))
                else:
                    raise UsageError(f"{self} has folders inside each other without end: give one of them")

    def matching(self, pattern: str) -> list[str]:
        """Returns the sorted names of matching files directly in this folder; none where there is no folder.

        Raises:
            UsageError: the store cannot be reached.
        """

        with self._opened(UsageError, f"{self} cannot be reached") as (files, path):
            files.invalidate_cache(path)
            paths = files.glob(f"{glob.escape(path.rstrip('/'))}/{pattern}")
            return sorted(posixpath.basename(str(name)) for name in paths)

    def read(self, limit_bytes: int | None = None) -> bytes:
        """Reads the whole file, or its first `limit_bytes`.

        Raises:
            PhotoError: it cannot be read.
        """
        with self._opened(PhotoError, "cannot be read") as (files, path):
            if self.size() == 0:
                return b""  # stores fail when asked for the first bytes of an empty file
            return bytes(files.cat_file(path, end=limit_bytes))

    def write(self, content: bytes) -> None:
        """Writes the file so that it is there whole or not at all.

        On a server that can only rename onto a free name, an old file is missing for a moment.

        Raises:
            PhotoError: it cannot be written.
        """
        with self._opened(PhotoError, f"cannot be written to {self}") as (files, path):
            if self.protocol in _ATOMIC_PROTOCOLS:
                files.pipe_file(path, content, **media_type_argument(self.protocol, self.name))
                return
            folder, name = posixpath.split(path)
            short = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
            partial = posixpath.join(folder, f".{short}-{os.urandom(8).hex()}.rave-partial")
            files.makedirs(folder, exist_ok=True)
            try:
                files.pipe_file(partial, content)
                if files.exists(path):
                    files.rm_file(path)
                files.mv(partial, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    files.rm_file(partial)
                raise

    def remove(self) -> None:
        """Deletes the file.

        Raises:
            PhotoError: it cannot be deleted.
        """
        with self._opened(PhotoError, "cannot be deleted") as (files, path):
            files.rm_file(path)

    def is_free(self) -> bool:
        """Tells whether no file has this name.

        Raises:
            PhotoError: the store does not tell.
        """
        try:
            files, path = self._open()
            files.invalidate_cache(posixpath.dirname(path))
            files.info(path)
        except FileNotFoundError:
            return True
        except RaveError:
            raise
        except Exception as error:
            raise PhotoError(
                f"is not written, since {self} does not tell whether a file is there ({_reason(error)}): "
                "--overwrite always writes it all the same"
            ) from error
        return False

    def size(self) -> int | None:
        """Returns the size of the file in bytes; None where there is no file or the store cannot be asked."""
        try:
            files, path = self._open()
            files.invalidate_cache(posixpath.dirname(path))
            return int(files.info(path)["size"])
        except Exception:
            return None

    def _open(self) -> tuple[Any, str]:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise UsageError(f"{self} needs fsspec: pip install 'rave-backlit[remote]'") from error
        if "?versionId=" in self.inner:
            raise PhotoError("has '?versionId=' in its name, which stores take for a version: rename it")
        try:
            files, path = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"{self}: {_reason(error)}") from error
        return files, f"{path.rstrip('/')}/{self.inner}" if self.inner else path

    @contextlib.contextmanager
    def _opened(self, kind: type[RaveError], problem: str) -> Iterator[tuple[Any, str]]:
        """Yields fsspec's file system and path; what a store raises becomes an error of that kind."""
        try:
            yield self._open()
        except RaveError:
            raise
        except Exception as error:  # every store has other errors
            raise kind(f"{problem}: {_reason(error)}") from error


Location = Path | RemoteFile


def parse_location(text: str) -> Location:
    """Returns the path or remote file that a text names; `file:///` and `local:///` URLs are paths.

    Raises:
        UsageError: a URL without a path, or a `file` URL of another machine.
    """
    if "://" not in text:
        return Path(text)
    rest = text.split("://", 1)[1]
    if _protocol(text) in ("file", "local"):  # fsspec's two names of this machine
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise UsageError(
                f"{without_secrets(text)} names another machine, or lacks a slash: write file:///folder"
            )
        from urllib.request import url2pathname  # here, because it loads all of http

        return Path(url2pathname("/" + path))
    if not rest.strip("/"):
        raise UsageError(f"{without_secrets(text)} names no place: give a bucket or folder after ://")
    return RemoteFile(_protocol(text) + text.rstrip("/")[len(_protocol(text)) :])


def name_inside(folder: Location, target: Location) -> str:
    """Returns a result's name inside the folder of all results, with slashes on every system."""
    if isinstance(folder, RemoteFile) and isinstance(target, RemoteFile):
        return target.relative_to(folder)
    return Path(str(target)).relative_to(str(folder)).as_posix()


def _protocol(url: str) -> str:
    return url.split("://", 1)[0].lower()


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return without_secrets(text.splitlines()[0])[:300]
