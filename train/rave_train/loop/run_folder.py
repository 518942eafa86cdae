"""The folder of a run: what was asked for, what the run is made of, how it went, and its results.

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
failed.txt         why the run cannot go on, where that is so
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

from rave_train.errors import RunFolderError, TrainingError
from rave_train.whole_files import write_whole

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_PACKAGES: Final = ("rave-backlit", "torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow")


class RunFolder:
    """Names and writes the files of a run's folder. Only the leading process of a run writes.

    Args:
        folder: the folder, which need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: int | None = None

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

    @property
    def failed_file(self) -> Path:
        """failed.txt."""
        return self.folder / "failed.txt"

    def checkpoint_file(self, name: str) -> Path:
        """The file of a checkpoint, by its name: "best" or "last"."""
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def grid_file(self, total: int) -> Path:
        """The file of the picture grid after `total` steps."""
        return self.folder / "grids" / f"step_{total:06d}.png"

    def require_free(self) -> None:
        """Makes sure, before hours of work, that a run may begin in this folder.

        Raises:
            RunFolderError: the folder holds another run or other files, or cannot be made.
        """
        if self.failed_file.is_file():
            raise RunFolderError(f"{self.folder} holds a run that failed: give another --out")
        if self.config_file.is_file():
            raise RunFolderError(
                f"{self.folder} holds a run already: continue it with `rave-train resume {self.folder}`, "
                "or give another --out"
            )
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise RunFolderError(f"{self.folder} is not empty: give another --out")
        existing = next(place for place in (self.folder, *self.folder.absolute().parents) if place.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise RunFolderError(f"{self.folder} cannot be made: {error.strerror}") from error

    def hold(self) -> None:
        """Keeps other processes from training in this folder, which exists, until `release` or the end.

        Two trainings would mix their losses and replace each other's checkpoints. A system or a file system
        that has no such locks lets them.

        Raises:
            RunFolderError: another process trains in it.
        """
        if fcntl is None:
            return
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise RunFolderError(
                f"another process trains in {self.folder}: wait for its end, or give another --out"
            ) from error
        except OSError:  # no locks of folders there
            pass
        self._held = descriptor

    def release(self) -> None:
        """Ends `hold`, if it was called."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def require_sound(self) -> None:
        """Makes sure that a run may be resumed: from its saved state, it would only fail again.

        Raises:
            RunFolderError: the run ended with a failure.
        """
        if self.failed_file.is_file():
            reason = self.failed_file.read_text(encoding="utf-8").strip()
            raise RunFolderError(f"{self.folder} cannot be resumed: {reason}")

    @contextmanager
    def remember_failure(self, writes: bool) -> Iterator[None]:
        """Writes failed.txt where the block raises a TrainingError.

        Args:
            writes: whether this process writes the files of the run.
        """
        try:
            yield
        except TrainingError as error:
            if writes:
                write_whole(self.failed_file, f"{error}\n")
            raise

    def create(self) -> None:
        """Makes the folder and the folders in it.

        Raises:
            RunFolderError: one cannot be made.
        """
        try:
            for name in ("checkpoints", "grids"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(f"{self.folder} cannot be made: {error.strerror}") from error

    def describe(self, made_of: dict[str, Any], data: str) -> None:
        """Writes made_of.json and data.txt.

        Args:
            made_of: JSON values by name; versions of packages and the current folder are added.
            data: lines about the pictures, for data.txt.
        """
        content = {
            **made_of,
            "python": platform.python_version(),
            "packages": installed_versions(),
            "started_in": str(Path.cwd()),
        }
        write_whole(self.folder / "made_of.json", json.dumps(content, indent=2) + "\n")
        write_whole(self.folder / "data.txt", data + "\n")

    def made_of(self) -> dict[str, Any]:
        """The values of made_of.json; none where there is no such file.

        Raises:
            RunFolderError: it cannot be read.
        """
        file = self.folder / "made_of.json"
        try:
            content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise RunFolderError(
                f"{file} is damaged: bring back a copy, or remove it; nothing tells then whether the data "
                "and the encoders are those of the beginning"
            )
        return content

    @contextmanager
    def where_it_started(self) -> Iterator[None]:
        """Runs the block in the folder from which the run was started, if that still exists.

        Relative paths in the config then mean what they meant at the beginning.
        """
        started_in, here = self.made_of().get("started_in"), Path.cwd()
        if started_in and Path(started_in).is_dir():
            os.chdir(started_in)
        try:
            yield
        finally:
            os.chdir(here)


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result may depend on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
