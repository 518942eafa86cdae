"""Limits of a bundle's files and of the numbers in its manifest.

A bundle may come from anybody, so its numbers are compared with these limits before memory is allocated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from rave_runtime.bundle.records import check_sizes, shorten

if TYPE_CHECKING:
    from rave_runtime.bundle import Manifest

MAX_MANIFEST_BYTES: Final = 4 << 20
"""A longer manifest is not read: rave-export writes about 20 KB."""

MAX_FILE_BYTES: Final = 1 << 29
"""A larger graph, engine or checkpoint is not read: exported graphs have a few MB."""

MAX_ITEMS: Final = 1000
"""The longest list in a manifest."""

MAX_DEPTH: Final = 32
"""How deep lists and objects of a manifest may be nested."""

MAX_BINS: Final = 64
"""The greatest sum of the pooling grids' sides. Pooled grids hold channels times its square values."""

MAX_CHANNELS: Final = 256
"""The published networks have 32. The memory of a tile grows with the channels."""
MAX_HALO_PX: Final = 128
"""Two halos must leave room for a core in a tile of the usual size."""

MAX_WORKING_SIZE_PX: Final = 1 << 16


def read_content(file: Path, max_bytes: int) -> bytes:
    """Returns a file's bytes, at most `max_bytes` of them.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is longer than that, or is a pipe or a device, which may never end.
    """
    if file.exists() and not file.is_file():
        raise ValueError("it is not a file")
    with file.open("rb") as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is longer than {max_bytes >> 20} MiB, which no file of a bundle is")
    return content


def parse_manifest(content: bytes) -> Any:
    """Parses a manifest's JSON. Only its nesting and the lengths of its lists are checked.

    Raises:
        ValueError: it is not JSON, is nested too deep, or holds a list or object that is too long.
    """
    try:
        value = json.loads(content, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(f"manifest is nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error
    check_sizes(value, "manifest", MAX_DEPTH, MAX_ITEMS)
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def check_manifest(manifest: Manifest) -> None:
    """Refuses values out of range, before memory is allocated by them, and names that are unsafe or repeated.

    Raises:
        ValueError: the message says which value, and its range.
    """
    network = manifest.network
    if not manifest.graphs:
        raise ValueError("manifest.graphs is empty")
    if not network.bins or min(network.bins) < 1 or sum(network.bins) > MAX_BINS:
        raise ValueError(
            f"manifest.network.bins is {shorten(list(network.bins))}, "
            f"sizes of at least 1 that add up to at most {MAX_BINS} are needed"
        )
    for name, value, low, high in (
        ("network.channels", network.channels, 1, MAX_CHANNELS),
        ("network.halo_px", network.halo_px, 0, MAX_HALO_PX),
        ("network.context_halo_px", network.context_halo_px, 0, network.halo_px),
    ):
        if not low <= value <= high:
            raise ValueError(f"manifest.{name} is {shorten(value)}, a number from {low} to {high} is needed")
    size = manifest.working_size_px
    if size is not None and not 2 <= size <= MAX_WORKING_SIZE_PX:
        raise ValueError(
            f"manifest.working_size_px is {shorten(size)}, at least 2 is needed "
            f"and at most {MAX_WORKING_SIZE_PX}"
        )
    names = [item.file for item in manifest.files()]
    for name in names:
        is_plain = Path(name).name == name and name not in {"", ".", ".."} and len(name) <= 200
        if not is_plain or "\\" in name or not name.isprintable():
            raise ValueError(f"file {shorten(name)} must be a plain name inside the bundle")
    roles = [(graph.part, graph.precision, graph.image) for graph in manifest.graphs]
    if len(set(names)) != len(names) or len(set(roles)) != len(roles):
        raise ValueError("the manifest names a file twice, or two files for the same part")
    if any(engine.batch < 1 for engine in manifest.engines):
        raise ValueError("the manifest has an engine that takes no windows (batch is less than 1)")
