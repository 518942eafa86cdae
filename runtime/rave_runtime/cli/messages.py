"""Prints rave-run's messages, and has its exit codes."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Final, NoReturn

EXIT_SOME_FAILED: Final = 1
EXIT_WRONG_USE: Final = 2

_READER_GONE: Final = (errno.EPIPE, errno.EINVAL) if os.name == "nt" else (errno.EPIPE,)
"""Errors of writing into a pipe whose reader has gone; Windows mostly calls that a wrong argument."""


def wrong_use(message: str) -> NoReturn:
    """Prints what is wrong with the command line, and ends the program with exit code 2."""
    say(f"rave-run: {message}", error=True)
    sys.exit(EXIT_WRONG_USE)


_ARGUMENT: Final = re.compile(r"^(working_size|tile_size|strength|highlights) (?=is |must )")


def name_options(message: str) -> str:
    """Returns a message about an argument of the library, such as `tile_size`, as one about its option."""
    named = _ARGUMENT.sub(lambda match: f"--{match[1].replace('_', '-')} ", message)
    return named.replace("or None for full resolution", "or --full-resolution")


def say(message: str, *, error: bool = False) -> None:
    """Prints a message on one line, without control characters and without secrets of URLs."""
    from rave_runtime.errors import printable
    from rave_runtime.files.secrets import without_secrets

    put(printable(without_secrets(message)), error=error)


def put(text: str, *, error: bool = False) -> None:
    """Prints a text as it is. Where the reader of the output has gone, the work is still worth finishing."""
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except OSError as error:
        if not has_reader_gone(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def has_reader_gone(error: OSError) -> bool:
    """Tells whether an error of writing means that the program at the other end of a pipe has ended."""
    is_told = error.errno in _READER_GONE and error.filename is None
    return is_told or isinstance(error, BrokenPipeError)
