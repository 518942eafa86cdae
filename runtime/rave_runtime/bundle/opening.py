"""Opens a model from a bundle's folder, or from bytes that another process sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from rave_runtime.bundle import Bundle, BundleFile, embedded_bundle, read_bundle

Model = str | os.PathLike[str] | Bundle | None
"""A bundle's folder, or a bundle that was read; None is the embedded one."""


@dataclass(frozen=True)
class CarriedBundle(Bundle):
    """A bundle whose files are in memory, so that a process that is killed leaves no files behind.

    Attributes:
        contents: by name, the bytes of the files that the runtime may need; their hashes were checked.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def read_file(self, item: BundleFile) -> bytes:
        """Returns a file's bytes."""
        return self.contents[item.file]


def open_bundle(model: Model) -> Bundle:
    """Returns the bundle that a caller names, reading it if necessary.

    Raises:
        BundleError: as `read_bundle`.
    """
    if isinstance(model, Bundle):
        return model
    return read_bundle(embedded_bundle() if model is None else model)


def carry_bundle(folder: str | os.PathLike[str]) -> CarriedBundle:
    """Reads into memory all files of a bundle that the runtime may need, which excludes the checkpoint.

    Raises:
        BundleError: as `read_bundle`, or a file is not the one that was exported.
    """
    bundle = read_bundle(folder)
    contents = {item.file: bundle.read_file(item) for item in bundle.manifest.running_files()}
    return CarriedBundle(bundle.folder, bundle.manifest, contents)
