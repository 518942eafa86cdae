"""The work of `rave-run` for one film."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from rave_runtime.errors import UsageError
from rave_runtime.films.dividing import FilmOptions, FilmResult
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.filing import file_film
from rave_runtime.films.opening import is_film
from rave_runtime.run.journal import open_journal
from rave_runtime.run.options import RunOptions, make_enhancer


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
            or the film cannot be read or written.
    """
    options.check("film")
    enhancer = make_enhancer(options, 1, 1)
    wishes = options.write_options
    if not isinstance(output, Path):
        live = not isinstance(source, Path)
        settings = FilmOptions(wishes.film_encoder, wishes.quality, live=live, again=wishes.again)
        return enhance_film(source, output, enhancer, settings)
    if not isinstance(source, Path):
        if output.is_dir():
            raise UsageError(f"{output} is a folder: name the film to write")
    elif output.is_dir() or (not is_film(output.name) and not output.suffix):
        output = output / source.name
    if isinstance(source, Path) and output.exists() and output.samefile(source):
        raise UsageError(f"{output} is INPUT itself, which would be replaced: choose another OUTPUT")
    journal = open_journal(output.parent)
    try:
        result = file_film(source, output, enhancer, wishes, journal)
    finally:
        journal.close()
    assert result is not None
    return result
