"""Enhances one film into a folder with a journal: it can be resumed, and the target is never incomplete."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import PhotoError
from rave_runtime.files.atomic import partial_file
from rave_runtime.files.entries import ResultJournal
from rave_runtime.files.location import Location, RemoteFile, name_inside
from rave_runtime.films.dividing import FilmOptions, FilmResult
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.marking import read_film_mark
from rave_runtime.photos.metadata.mark import Mark
from rave_runtime.run.options import RunOptions
from rave_runtime.run.overwriting import require_replaceable

_BLOCK_BYTES: Final = 1 << 20


def film_options(options: RunOptions, *, live: bool) -> FilmOptions:
    """Returns how a film is enhanced; `live` is whether it is a stream that is read as it comes."""
    return FilmOptions(
        options.film_encoder,
        options.quality,
        live=live,
        again=options.again,
        max_megapixels=options.max_megapixels,
    )


def file_film(
    source: Location | IO[bytes],
    target: Location,
    enhancer: Enhancer,
    options: RunOptions,
    journal: ResultJournal | None,
) -> FilmResult | None:
    """Enhances a film into a folder.

    Args:
        source: the film, or a stream that is read as it comes.
        target: where the result goes; the ending of its name decides the container.
        enhancer: estimates the light.
        options: how results are written, and whether a film whose result is up to date is skipped; those for
            photographs alone give a note.
        journal: the journal of the target's folder; None keeps no journal.

    Returns:
        Size, encoder and notes of the new film; None where it was skipped.

    Raises:
        RaveError: the source or target is in a store, the target is a file that rave-run did not write,
            PyAV is missing, or the film cannot be read or written.
    """
    if isinstance(source, RemoteFile) or not isinstance(target, Path):
        raise PhotoError("is a film, and films are read from and written to folders of this machine only")
    name = key = ""
    if journal is not None:
        name = name_inside(journal.folder, target)
        if not options.overwrites:
            require_replaceable(target, journal)
        settings = f"film {enhancer.settings} encoder={options.film_encoder} quality={options.quality}"
        settings += " again" * options.again
        key = _digest_of(source, settings.encode() + b"\0") if isinstance(source, Path) else "stream"
        if options.skip_existing and journal.is_done(name, key):
            return None
    size_and_digest = (0, "")

    def claim(partial: Path) -> None:
        nonlocal size_and_digest
        if journal is not None:
            size_and_digest = partial.stat().st_size, _digest_of(partial)
            if not options.overwrites:  # the file may have appeared since the first check
                require_replaceable(target, journal)
            journal.claim(name, *size_and_digest)

    attributes_of = source if options.keep_times and isinstance(source, Path) else None
    earlier_mark = read_film_mark(source) if isinstance(source, Path) and not options.again else None
    if isinstance(source, Path) and earlier_mark is not None:
        result = _copy_film(source, target, earlier_mark, attributes_of, claim)
    else:
        how = film_options(options, live=not isinstance(source, Path))
        result = enhance_film(
            source, target, enhancer, how, attributes_of=attributes_of, before_replacing=claim
        )
    if journal is not None:
        journal.add(name, key, *size_and_digest)
    if ignored := _ignored(options, enhancer):
        result.warnings.append(f"is a film, to which {ignored} not apply")
    return result


def _copy_film(
    source: Path, target: Path, mark: Mark, attributes_of: Path | None, claim: Callable[[Path], None]
) -> FilmResult:
    """Copies a film that was enhanced before; the target appears only when it is complete.

    Raises:
        PhotoError: the target's name has another ending than the film's, or it cannot be written.
    """
    if target.suffix.lower() != source.suffix.lower():
        raise PhotoError(
            f"was enhanced before, by {mark}, and can be left as it is in a {source.suffix} file only: "
            f"give --again to enhance it once more, or an OUTPUT that ends in {source.suffix}"
        )
    started = time.perf_counter()
    with partial_file(target, source, attributes_of) as (descriptor, partial):
        with source.open("rb") as stream, open(descriptor, "wb", closefd=False) as copy:
            shutil.copyfileobj(stream, copy, _BLOCK_BYTES)
        claim(partial)
    return FilmResult(
        seconds=time.perf_counter() - started,
        enhanced_before=True,
        is_unchanged=True,
        warnings=[mark.note(again=False)],
    )


def _ignored(options: RunOptions, enhancer: Enhancer) -> str:
    """Returns the options that were set but do not apply to films, with "do" or "does" for a sentence."""
    is_full = enhancer.working_size_px is None and enhancer.manifest.working_size_px is not None
    names = [
        name
        for name, is_set in (
            ("--format", options.format is not None),
            ("--only-backlit", options.only_backlit),
            ("--backlit-from", options.backlit_from is not None),
            ("--full-resolution", is_full),
        )
        if is_set
    ]
    return " and ".join(names) + (" does" if len(names) == 1 else " do") if names else ""


def _digest_of(file: Path, prefix: bytes = b"") -> str:
    """Returns the SHA-256 of a prefix and a file's bytes, which are read block by block.

    Raises:
        PhotoError: the file cannot be read.
    """
    digest = hashlib.sha256(prefix)
    try:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    except OSError as error:
        raise PhotoError(f"cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
