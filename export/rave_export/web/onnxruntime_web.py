"""Fetches onnxruntime for browsers: one version of its npm package, checked by the hash that npm states."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from rave_export.errors import ExportError, InputError
from rave_runtime.errors import reason_of
from rave_runtime.files.cache_folder import cache_folder

VERSION: Final = "1.30.0"
PACKAGE: Final = f"onnxruntime-web@{VERSION}"
SHA512: Final = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""The hash of the package's archive, in base64, as npm states it."""

FILES: Final = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""The files of the package's folder `dist` that a page needs, for WebAssembly and for WebGPU."""


def name_on_page(name: str) -> str:
    """Returns the name in a page of a file of the package: its modules end in .js there.

    nginx and other web servers do not know that .mjs is JavaScript, and a browser then does not run it.
    """
    return re.sub(r"\.mjs$", ".js", name)


_NPM_PREFIX: Final = re.compile(r"^npm (error|ERR!)")

_LICENSE: Final = f"""onnxruntime-web {VERSION}, Copyright (c) Microsoft Corporation, MIT License
https://github.com/microsoft/onnxruntime/blob/v{VERSION}/LICENSE
"""


def read_package(archive: Path | None = None) -> bytes:
    """The npm package of onnxruntime for browsers.

    Args:
        archive: the package as a file; None takes it from the cache folder, or asks npm for it.

    Raises:
        ExportError: the package cannot be fetched or read, or its hash is not `SHA512`.
    """
    return _read_archive(archive) if archive is not None else _cached_or_fetched()


def place_runtime(folder: Path, package: bytes) -> None:
    """Puts the files of a package that a page needs, and the licence, into a folder."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for name in FILES:
            member = archive.extractfile(f"package/dist/{name}")
            assert member is not None, "the hash is that of a package that has these files"
            (folder / name_on_page(name)).write_bytes(member.read())
    (folder / "LICENSE.txt").write_text(_LICENSE, "utf-8")


def _read_archive(archive: Path) -> bytes:
    """Reads an archive and checks that its bytes are those that npm published.

    Raises:
        InputError: it cannot be read, or is another file.
    """
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise InputError(f"{archive} cannot be read: {error.strerror}") from error
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != SHA512:
        raise InputError(f"{archive} is not {PACKAGE} as npm published it: get it with npm pack {PACKAGE}")
    return content


def _cached_or_fetched() -> bytes:
    """The archive from the cache folder, or from npm, after which it is put into that folder."""
    folder = cache_folder("downloads")
    cached = None if folder is None else folder / f"onnxruntime-web-{VERSION}.tgz"
    if cached is not None and cached.is_file():
        try:
            return _read_archive(cached)
        except ExportError:
            cached.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as work:
        content = _read_archive(_fetch(Path(work)))
    if cached is not None:
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            cached.write_bytes(content)
        except OSError:
            cached.unlink(missing_ok=True)
    return content


def _fetch(folder: Path) -> Path:
    """Fetches the package's archive into a folder by the npm client, from the registry that npm is set to.

    Raises:
        ExportError: npm is not installed, or could not fetch it.
    """
    npm = shutil.which("npm")
    by_hand = f"get the file with npm pack {PACKAGE} elsewhere and give it as --web-runtime"
    if npm is None:
        raise ExportError(f"--web needs {PACKAGE}, and npm is not installed: install Node.js, or {by_hand}")
    options = ["--ignore-scripts", "--loglevel=error", "--pack-destination", str(folder)]
    try:
        subprocess.run(
            [npm, "pack", PACKAGE, *options],
            check=True,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=600,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ExportError(f"npm could not fetch {PACKAGE} ({_reason_of_npm(error)}): {by_hand}") from error
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise ExportError(f"npm wrote no archive of {PACKAGE}: {by_hand}")
    return archives[0]


def _reason_of_npm(error: OSError | subprocess.SubprocessError) -> str:
    """The first sentence of what npm says went wrong, after lines that hold only a code."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = [_NPM_PREFIX.sub("", line).strip() for line in error.stderr.splitlines()]
        sentences = [line for line in lines if len(line.split()) > 2]
        if sentences:
            return reason_of(RuntimeError(sentences[0]))
    return reason_of(error)
