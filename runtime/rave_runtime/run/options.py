"""The options of a run, and the enhancer that they describe."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rave_runtime.bundle import Bundle
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import UsageError
from rave_runtime.files.atomic import is_stream_name
from rave_runtime.files.windows import can_be_named
from rave_runtime.light.score import BACKLIT_SCORE
from rave_runtime.photos.formats import KNOWN_ENDINGS, format_named, parse_format
from rave_runtime.photos.photo import DEFAULT_MAX_MEGAPIXELS
from rave_runtime.run.inputs import Selection
from rave_runtime.run.jobs import Naming, parse_shard
from rave_runtime.run.memory import choose_tile_size, default_limit_mib

Mode = Literal["folder", "watch", "stream", "film"]


@dataclass(frozen=True)
class RunOptions:
    """The options of `rave-run`, as its help describes them."""

    model: Path | None = None
    strength: float = 1.0
    highlights: float | None = None
    only_backlit: bool = False
    backlit_from: float | None = None
    again: bool = False
    hdr: bool = False
    working_size: int | Literal["recommended"] | None = "recommended"
    tile_size: int | None = None
    precision: str = "auto"
    device: str = "auto"
    format: str | None = None
    quality: int | None = None
    film_encoder: str | None = None
    suffix: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    overwrite: str = "never"
    keep_times: bool = True
    companions: bool = True
    skip_existing: bool = False
    log: Path | None = None
    report: Path | None = None
    memory_limit_mib: int | None = None
    max_megapixels: float = DEFAULT_MAX_MEGAPIXELS
    workers: int | None = None
    shard: str | None = None
    cluster: str | None = None
    actors: int | None = None

    def check(self, mode: Mode) -> None:
        """Refuses options that contradict each other or do not apply to this mode.

        Args:
            mode: what the run works on: "folder" (or one file), "watch" (a folder for as long as the run
                lasts), "stream" (one photograph from standard input or to standard output) or "film" (one).

        Raises:
            UsageError: the message says which options do not fit, and what to do.
        """
        written = self.format_name
        if written is not None and self.quality is not None and not format_named(written).has_quality:
            warnings.warn(f"--quality does not apply to {written}, which is lossless", stacklevel=1)
        if any(sign in self.suffix for sign in "/\\\0"):
            raise UsageError(f"--suffix {self.suffix} cannot be part of a file's name: leave out slashes")
        if not can_be_named(f"a{self.suffix}.jpg"):
            raise UsageError(f"--suffix {self.suffix} cannot be part of a file's name: leave out colons")
        if self.shard is not None:
            parse_shard(self.shard)
        if self.actors is not None and self.cluster is None:
            raise UsageError("--actors is for a cluster: give --cluster as well, or --workers")
        for name, file in (("--log", self.log), ("--report", self.report)):
            if file is not None and file.suffix.lower() in KNOWN_ENDINGS:
                raise UsageError(f"{name} {file} has the name of a photograph: choose another")
        if self.log is not None and self.report is not None and _is_one(self.log, self.report):
            raise UsageError(
                f"--log and --report are one file, {self.log}: choose another name for one of them"
            )
        for name, file in (("--log", self.log), ("--report", self.report)):
            if file is not None and os.path.islink(file) and not is_stream_name(file):
                raise UsageError(f"{name} {file} is a symbolic link: name the file that it leads to")
        if mode == "film":
            self._check_film()
        if self.film_encoder is not None:
            from rave_runtime.films.encoders import require_encoder

            require_encoder(self.film_encoder, is_used_here=self.cluster is None)
        if mode in ("stream", "film"):
            self._check_stream("one film" if mode == "film" else "standard input or output")
        elif mode == "watch":
            self._check_watch()

    def _check_stream(self, what: str) -> None:
        if self.cluster is not None or self.shard is not None:
            raise UsageError(f"--cluster and --shard are for folders, not for {what}")
        if self.skip_existing or self.log is not None or self.report is not None:
            raise UsageError(f"--skip-existing, --log and --report are for folders, not for {what}")
        if self.include or self.exclude or self.suffix:
            kind = "folders" if what == "one film" else "files"
            raise UsageError(f"--include, --exclude and --suffix are for {kind}, not for {what}")

    def _check_film(self) -> None:
        for name, is_given in (
            ("--format", self.format is not None),
            ("--only-backlit", self.only_backlit),
            ("--backlit-from", self.backlit_from is not None),
            ("--hdr", self.hdr),
            ("--full-resolution", self.working_size is None),
        ):
            if is_given:
                raise UsageError(f"{name} is for photographs: leave it out for a film")

    def _check_watch(self) -> None:
        if self.cluster is not None or self.shard is not None:
            raise UsageError(
                "--watch works on one machine and on all photographs: leave out --cluster and --shard"
            )
        if self.report is not None:
            raise UsageError("--report is written when a run ends, and --watch does not end: use --log")
        if self.overwrite == "ask":
            raise UsageError("--watch runs unattended and cannot ask: give --overwrite never or always")

    @property
    def least_score(self) -> float:
        """The score from which on photographs are enhanced; 0 enhances all."""
        if self.backlit_from is not None:
            return self.backlit_from
        return BACKLIT_SCORE if self.only_backlit else 0.0

    @property
    def limit_mib(self) -> int:
        """The memory for the photographs and tiles of one process, in MiB."""
        return self.memory_limit_mib or default_limit_mib()

    @property
    def selection(self) -> Selection:
        """The names of photographs that the run takes."""
        return Selection(self.include, self.exclude)

    @property
    def naming(self) -> Naming:
        """How results are named after their photographs.

        Raises:
            UsageError: as `format_name`.
        """
        return Naming(self.format_name, self.suffix, self.companions)

    @property
    def overwrites(self) -> bool:
        """Whether files that no run of rave-run wrote are replaced."""
        return self.overwrite == "always"

    @property
    def format_name(self) -> str | None:
        """The name that the table of formats has for `format`; None keeps each photograph's own format.

        Raises:
            UsageError: no written format has that name.
        """
        return None if self.format is None else parse_format(self.format)


def make_enhancer(
    options: RunOptions,
    workers: int,
    threads: int,
    model: Bundle | None = None,
) -> Enhancer:
    """Makes the enhancer that these options describe.

    Args:
        options: the options of the run.
        workers: photographs in work at a time, which share the memory limit.
        threads: processors for each call of the network.
        model: replaces the options' model; None keeps that.

    Raises:
        RaveError: as `Enhancer`, or the memory limit is too small for so many workers.
    """
    tile_size = options.tile_size
    if tile_size is None:
        tile_size = choose_tile_size(options.limit_mib, workers)
    return Enhancer(
        model or options.model,
        precision=options.precision,
        device=options.device,
        working_size=options.working_size,
        tile_size=tile_size,
        strength=options.strength,
        highlights=options.highlights,
        threads=threads,
    )


def _is_one(first: Path, second: Path) -> bool:
    """Tells whether two paths lead to one file, which need not be there yet."""
    return os.path.realpath(first) == os.path.realpath(second)
