"""The work of `rave-run` for one film: it is enhanced, and what there is to say is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from rave_runtime.cli.messages import EXIT_SOME_FAILED, say
from rave_runtime.cli.places import require_open_streams
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.places import exists
from rave_runtime.films.containers import ending_of_film_result, is_film
from rave_runtime.films.dividing import FilmResult
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.filing import file_film, film_options
from rave_runtime.run.journal import open_journal
from rave_runtime.run.options import RunOptions, make_enhancer


def enhance_one_film(source: str, output: str, options: RunOptions) -> int:
    """Enhances one film, or a stream of one, prints the outcome and returns the exit code.

    Args:
        source: a file's name; - is standard input.
        output: the name of a file or folder; - is standard output.
        options: the options of the run.

    Raises:
        RaveError: the options do not fit, PyAV is missing, or there is no such film.
        OSError: standard output is full, or was closed by its reader.
    """
    for place in (source, output):
        if "://" in place:
            raise UsageError(f"{place} is a URL, and films are read from and written to this machine only")
    require_open_streams(source, output)
    if source != "-" and Path(source).is_dir():
        raise UsageError(f"{source} is a folder, and --film is for one film: leave --film out")
    try:
        result = run_film(
            sys.stdin.buffer if source == "-" else Path(source),
            sys.stdout.buffer if output == "-" else Path(output),
            options,
        )
    except PhotoError as error:
        say(f"rave-run: the film {error}", error=True)
        return EXIT_SOME_FAILED
    for warning in result.warnings:
        say(f"note: {source}: {warning}", error=True)
    target = "standard output" if output == "-" else output
    if result.is_unchanged:
        say(f"copied unchanged into {target} (enhanced before: see --again)", error=output == "-")
        return 0
    rate = result.frames / max(result.seconds, 1e-9)
    many = f"{result.frames} frame{'s' * (result.frames != 1)} of {result.width_px} x {result.height_px}"
    line = f"{many} enhanced into {target} by {result.encoder} ({rate:.1f} a second)"
    say(line, error=output == "-")
    return 0


def run_film(source: Path | BinaryIO, output: Path | BinaryIO, options: RunOptions) -> FilmResult:
    """Enhances one film.

    Args:
        source: a file, or the stream to read as it comes.
        output: a file or a folder, or the stream to write to, as MPEG-TS.
        options: the options of the run.

    Returns:
        Size, number of frames, encoder and notes of the new film.

    Raises:
        RaveError: the options do not fit, PyAV is missing, the output is a file that rave-run did not write,
            or the film does not exist, or cannot be read or written.
        OSError: the output is a stream that is full, or was closed by its reader.
    """
    options.check("film")
    if isinstance(source, Path) and not exists(source):
        raise UsageError(f"{source} does not exist: give a film, a photograph or a folder")
    enhancer = make_enhancer(options, 1, 1)
    if not isinstance(output, Path):
        settings = film_options(options, live=not isinstance(source, Path))
        return enhance_film(source, output, enhancer, settings)
    if not isinstance(source, Path):
        if output.is_dir():
            raise UsageError(f"{output} is a folder: name the film to write")
    elif output.is_dir() or (not is_film(output.name) and not output.suffix):
        output = output / (source.stem + ending_of_film_result(source.suffix))
    if isinstance(source, Path) and output.exists() and output.samefile(source):
        raise UsageError(f"{output} is INPUT itself, which would be replaced: choose another OUTPUT")
    journal = open_journal(output.parent)
    try:
        result = file_film(source, output, enhancer, options, journal)
    finally:
        journal.close()
    assert result is not None
    return result
