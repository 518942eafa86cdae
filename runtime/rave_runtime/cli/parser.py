"""Parses the command line of rave-run.

It uses argparse: importing typer, which other commands use, takes a third of the time of a short run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final, NoReturn

from rave_runtime.cli.messages import wrong_use
from rave_runtime.cli.values import number, path
from rave_runtime.errors import with_near_options
from rave_runtime.photos.formats import WRITTEN_FORMATS
from rave_runtime.version import __version__

_UNKNOWN: Final = "unrecognized arguments: "


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        words = message.removeprefix(_UNKNOWN).split() if message.startswith(_UNKNOWN) else []
        if file := next((word for word in words if word.startswith("-") and Path(word).exists()), None):
            wrong_use(f"{file} looks like an option: write ./{file}, or -- before the names of photographs")
        message = with_near_options(message, self._option_string_actions)
        wrong_use(f"{message} (rave-run --help tells more)")


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of all options. It leaves out options without a value: `RunOptions` has defaults."""
    parser = _Parser(
        "rave-run",
        usage="rave-run [OPTIONS] INPUT... OUTPUT",
        description="Enhance backlit photographs and films: INPUT to OUTPUT, keeping metadata and folders.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    group: Any = parser

    def add(name: str, help: str, **settings: Any) -> None:
        group.add_argument(name, help=help, **settings)

    text = "Photographs, films, folders, patterns ('*.jpg') or URLs (s3://...) to enhance, or - for standard "
    text += "input; the last is the file, folder or URL to write, or - for standard output."
    add("places", text, nargs="*", metavar="INPUT... OUTPUT")

    group = parser.add_argument_group("The light")
    add("--strength", "0 changes nothing, 1 is the model, up to 2 [default: 1].", type=float, metavar="S")
    text = "The same for bright parts: 0 keeps skies as they are [default: --strength, but at most 1]."
    add("--highlights", text, type=float, metavar="H")
    text = "Copy photographs that are not backlit, unchanged: those with a score below 0.25."
    add("--only-backlit", text, action="store_true")
    text = "The same with another score, 0 to 1: the higher it is, the more photographs stay."
    add("--backlit-from", text, type=number(float, 0, 1), metavar="SCORE")
    add("--again", "Enhance once more what was enhanced before.", action="store_true")
    add("--model", "The model's bundle [default: the embedded one].", type=path, metavar="FOLDER")
    text = "Long side for estimating the light, in pixels [default: the model's]."
    add("--working-size", text, type=int, metavar="PX")
    add("--full-resolution", "Estimate the light at full size: exact, and slow.", action="store_true")

    group = parser.add_argument_group("The files")
    *others, last = (name.lower() for name in WRITTEN_FORMATS)
    add("--format", f"Write all results as {', '.join(others)} or {last}.")
    text = "Quality of lossy formats, 1 to 100 [default: like the input's]."
    add("--quality", text, type=number(int, 1, 100), metavar="Q")
    text = "Give JPEGs an HDR gain map (Ultra HDR): what was bright stays so on HDR screens."
    add("--hdr", text, action="store_true")
    add("--suffix", "Append TEXT to the names of results, such as _bright.", metavar="TEXT")
    text = "In folders, take only files whose name or folder matches; may be repeated."
    add("--include", text, action="append", metavar="PATTERN")
    text = "In folders, leave out files whose name or folder matches; may be repeated."
    add("--exclude", text, action="append", metavar="PATTERN")
    text = "Replace files that rave-run did not write: never, ask or always [default: never]."
    add("--overwrite", text, choices=("never", "ask", "always"))
    text = "Give results the photographs' file times and extended attributes [default], or not."
    add("--keep-times", text, action=argparse.BooleanOptionalAction)
    text = "Copy .xmp, .aae and Live Photo .mov files along [default], or not."
    add("--companions", text, action=argparse.BooleanOptionalAction)
    add("--dry-run", "Print what would be done, and what is backlit; write nothing.", action="store_true")
    add("--skip-existing", "Resume: skip photographs whose results are up to date.", action="store_true")
    add("--watch", "Keep running, and enhance what is put into INPUT.", action="store_true")
    text = "Append a line of JSON per photograph; - is standard output."
    add("--log", text, type=_local_file, metavar="FILE")
    text = "Write a web page with before/after sliders and timings."
    add("--report", text, type=_local_file, metavar="FILE")
    text = "Refuse larger photographs, in megapixels [default: 300]."
    add("--max-megapixels", text, type=number(float, 0.0001), metavar="MP")

    group = parser.add_argument_group("Films")
    add("--film", "Standard input is a film, read and written as it comes.", action="store_true")
    text = "An encoder of FFmpeg, such as h264_nvenc [default: the input's codec]."
    add("--film-encoder", text, metavar="NAME")

    group = parser.add_argument_group("The machine")
    add("--device", "auto, cpu, openvino, cuda or tensorrt [default: auto].", metavar="NAME")
    add("--precision", "auto, fp32, fp16 or int8 [default: auto].", metavar="NAME")
    add("--tile-size", "Side of the network's tiles, in pixels.", type=int, metavar="PX")
    text = "Memory for the photographs and tiles of one process, in MiB [default: 2048, in a container less]."
    add("--memory-limit", text, type=number(int, 64), dest="memory_limit_mib", metavar="MIB")
    text = "Photographs in work at a time [default: one per processor]."
    add("--workers", text, type=number(int, 1), metavar="N")
    add("--shard", "Enhance the I-th of N parts, for a job scheduler.", metavar="I/N")
    add("--cluster", "Use the Ray cluster at ADDRESS; 'local' starts one here.", metavar="ADDRESS")
    text = "Processes on the cluster [default: as many as fit]."
    add("--actors", text, type=number(int, 1), metavar="N")
    add("--doctor", "Print what is installed, what would be used, and why.", action="store_true")
    add("--version", "Print the version.", action="version", version=f"rave-run {__version__}")
    return parser


def _local_file(text: str) -> Path:
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is a URL: give a file of this machine")
    return path(text)


def as_paths(arguments: list[str]) -> list[str]:
    """Rewrites arguments after `--` as paths that no parser takes for options, whatever they begin with."""
    if "--" not in arguments:
        return arguments
    at = arguments.index("--")
    names = (f"./{word}" if word.startswith("-") and word != "-" else word for word in arguments[at + 1 :])
    return [*arguments[:at], *names]
