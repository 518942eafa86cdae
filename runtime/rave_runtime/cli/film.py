"""What `rave-run` does with a film."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from rave_runtime.errors import UsageError
from rave_runtime.films.dividing import FilmOptions, FilmResult
from rave_runtime.films.enhancing import enhance_film
from rave_runtime.films.opening import is_film
from rave_runtime.run.journal import open_journal
from rave_runtime.run.options import RunOptions, make_enhancer
from rave_runtime.run.overwriting import require_replaceable


def run_film(
    source: Path | BinaryIO, output: Path | BinaryIO, options: RunOptions, encoder: str | None = None
) -> FilmResult:
    """Enhances one film.

    Args:
        source: a file, or the stream to read as it comes.
        output: a file or a folder, or the stream to write to, as MPEG-TS.
        options: the options of the run.
        encoder: an encoder of FFmpeg by name; None follows the film's codec.

    Raises:
        RaveError: the options do not fit, PyAV is missing, a file is there that rave-run did not write, or
            the film cannot be read or written.
    """
    options.check("stream")
    enhancer = make_enhancer(options, 1, 1)
    live = not isinstance(source, Path)
    settings = FilmOptions(encoder=encoder, quality=options.quality, live=live)
    if not isinstance(output, Path):
        return enhance_film(source, output, enhancer, settings)
    if output.is_dir() or (isinstance(source, Path) and not is_film(output.name) and not output.suffix):
        if not isinstance(source, Path):
            raise UsageError(f"{output} is a folder: name the film to write")
        output = output / source.name
    if isinstance(source, Path) and output.exists() and output.samefile(source):
        raise UsageError(f"{output} is INPUT itself, which would be replaced: choose another OUTPUT")
    journal = open_journal(output.parent)
    if options.overwrite != "always":
        require_replaceable(output, journal)
    result = enhance_film(source, output, enhancer, settings)
    with output.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    journal.add(output.name, "film", output.stat().st_size, digest)
    journal.close()
    return result
