"""A run's folder: what was asked, what it was made of, how it went, and what came out.

```
config.json        method, options and seed: `rave-train resume RUN` needs nothing else
made_of.json       hashes of data and encoders, versions of packages, where it was started
data.txt           pairs that matched, pictures that did not or were skipped
losses.csv         every step; validation.csv: every epoch
tensorboard/       the same for TensorBoard
grids/             pictures at every epoch: backlit, enhanced, and the partner where there is one
checkpoints/       best.safetensors, last.safetensors
guidance.safetensors   the residual vector or the learned pair
state.pt           everything needed to go on
```
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from rave_train.errors import RunFolderError
from rave_train.writing import write_whole

_PACKAGES: Final = ("rave-backlit", "torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow")


class RunFolder:
    """Writes a run's files. One process of a run uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def config_file(self) -> Path:
        """config.json."""
        return self.folder / "config.json"

    @property
    def state_file(self) -> Path:
        """state.pt."""
        return self.folder / "state.pt"

    @property
    def guidance_file(self) -> Path:
        """guidance.safetensors."""
        return self.folder / "guidance.safetensors"

    def checkpoint_file(self, name: str) -> Path:
        """A checkpoint's file: "best" or "last"."""
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def grid_file(self, total: int) -> Path:
        """The picture grid after so many steps."""
        return self.folder / "grids" / f"step_{total:06d}.png"

    def require_free(self) -> None:
        """Makes sure that a run may begin here, before hours of work.

        Raises:
            RunFolderError: it holds another run, or anything else, or cannot be made.
        """
        if self.config_file.is_file():
            raise RunFolderError(
                f"{self.folder} holds a run already: continue it with `rave-train resume {self.folder}`, "
                "or give another --out"
            )
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise RunFolderError(f"{self.folder} is not empty: give another --out")
        there = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise RunFolderError(f"{self.folder} cannot be made: {error.strerror}") from error

    def create(self) -> None:
        """Makes the folder.

        Raises:
            RunFolderError: it cannot be made.
        """
        try:
            for name in ("checkpoints", "grids"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.folder} cannot be made: {error.strerror}") from error

    def describe(self, made_of: dict[str, Any], data: str) -> None:
        """Writes what the run is made of."""
        content = {
            **made_of,
            "python": platform.python_version(),
            "packages": installed_versions(),
            "started_in": str(Path.cwd()),
        }
        write_whole(self.folder / "made_of.json", json.dumps(content, indent=2) + "\n")
        write_whole(self.folder / "data.txt", data + "\n")

    def made_of(self) -> dict[str, Any]:
        """What `describe` wrote."""
        file = self.folder / "made_of.json"
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return content

    @contextmanager
    def where_it_started(self) -> Iterator[None]:
        """Relative paths mean what they meant at the beginning, if that folder is still there."""
        started_in, here = self.made_of().get("started_in"), Path.cwd()
        if started_in and Path(started_in).is_dir():
            os.chdir(started_in)
        try:
            yield
        finally:
            os.chdir(here)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result may depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
