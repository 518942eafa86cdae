"""rave-serve: answers HTTP requests with enhanced photographs, and shows a page for people."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from typing import Any, NoReturn

from rave_runtime.cli.messages import EXIT_SOME_FAILED, EXIT_WRONG_USE, say
from rave_runtime.cli.values import number, path
from rave_runtime.errors import with_near_options
from rave_runtime.version import __version__


def main() -> None:
    """Runs the program with the arguments of the command line, and exits with its code."""
    warnings.showwarning = lambda message, *_, **__: _say(str(message))
    from rave_runtime.backends.limits import fit_libraries

    fit_libraries(multiplies=False)
    try:
        sys.exit(_run(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = with_near_options(message, self._option_string_actions)
        _say(f"{message} (rave-serve --help tells more)")
        sys.exit(EXIT_WRONG_USE)


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of all options. It leaves out options without a value: `ServeOptions` has defaults."""
    parser = _Parser(
        "rave-serve",
        usage="rave-serve [OPTIONS]",
        description="Enhance backlit photographs over HTTP, and by a page at http://127.0.0.1:8000/.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    group: Any = parser

    def add(name: str, help: str, **settings: Any) -> None:
        group.add_argument(name, help=help, **settings)

    group = parser.add_argument_group("The address")
    add("--host", "Address to listen on [default: 127.0.0.1, this machine only].", metavar="ADDRESS")
    add("--port", "Port to listen on; 0 takes a free one [default: 8000].", type=number(int, 0, 65535))
    text = "Token that requests must send where others can reach the service; safer in a file."
    add("--token", text, metavar="TOKEN")
    add(
        "--token-file",
        "File that holds the token; or set RAVE_SERVE_TOKEN.",
        type=path,
        metavar="FILE",
    )
    text = "Let pages of this web site (https://HOST) use the service; may be repeated."
    add("--allow-origin", text, action="append", dest="allow_origins", metavar="URL")
    text = "Another name of this service, behind a proxy; may be repeated."
    add("--allow-host", text, action="append", dest="allow_hosts", metavar="NAME")

    group = parser.add_argument_group("The model")
    add("--model", "The model's bundle [default: the embedded one].", type=path, metavar="FOLDER")
    add("--device", "auto, cpu, openvino, cuda or tensorrt [default: auto].", metavar="NAME")
    add("--precision", "auto, fp32, fp16 or int8 [default: auto].", metavar="NAME")

    group = parser.add_argument_group("The limits")
    text = "Photographs in work at a time [default: one per processor]."
    add("--workers", text, type=number(int, 1, 4096), metavar="N")
    text = "Memory for photographs and tiles, in MiB [default: 2048, or half of a container's]."
    add("--memory-limit", text, type=number(int, 64, 1 << 24), dest="memory_limit_mib", metavar="MIB")
    text = "Refuse larger photographs, in megapixels [default: 100]."
    add("--max-megapixels", text, type=number(float, 0.0001, 1e6), metavar="MP")
    text = "Refuse larger bodies, in MiB [default: 64]."
    add("--max-body", text, type=number(int, 1, 1 << 20), dest="max_body_mib", metavar="MIB")
    text = "Refuse larger batches, in MiB [default: 256]."
    add("--max-batch", text, type=number(int, 1, 1 << 20), dest="max_batch_mib", metavar="MIB")
    text = "Photographs in a batch at most [default: 200]."
    add("--max-batch-photos", text, type=number(int, 1, 10_000), metavar="N")
    text = "Requests that may wait; further ones get 429 at once [default: 16]."
    add("--max-queue", text, type=number(int, 0, 100_000), metavar="N")
    add(
        "--max-connections",
        "Open connections at most [default: 512].",
        type=number(int, 4, 60_000),
        metavar="N",
    )
    text = "Seconds for a photograph, waiting included [default: 60]."
    add("--timeout", text, type=number(float, 0.1, 86_400), dest="timeout_s", metavar="S")
    text = "Seconds to finish what is in work after SIGTERM [default: 25]."
    add("--drain", text, type=number(float, 1, 3600), dest="drain_s", metavar="S")

    group = parser.add_argument_group("Further")
    text = "Write no line of JSON per request to standard output."
    add("--no-log", text, action="store_false", dest="log")
    add("--version", "Print the version.", action="version", version=f"rave-serve {__version__}")
    return parser


def _run(arguments: list[str]) -> int:
    """Parses the arguments and serves until the service is ended; returns the exit code."""
    values = vars(make_parser().parse_args(arguments))
    for name in ("allow_origins", "allow_hosts"):
        if name in values:
            values[name] = tuple(values[name])
    modules = ("starlette", "uvicorn", "python_multipart")
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        _say(f"{missing[0]} is not installed: pip install 'rave-backlit[serve]'")
        return EXIT_SOME_FAILED

    from rave_runtime.errors import RaveError
    from rave_runtime.serve.options import ServeOptions
    from rave_runtime.serve.server import serve

    try:
        return serve(ServeOptions(**values))
    except RaveError as error:
        _say(str(error))
        return EXIT_WRONG_USE


def _say(message: str) -> None:
    say(f"rave-serve: {message}", error=True)
