"""rave-export: a checkpoint becomes a bundle, and a bundle is proven again."""

from __future__ import annotations

import io
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from rave_export.cli.parser import make_parser
from rave_export.options import SINGLE_GRAPHS, ExportOptions, VerifyOptions
from rave_runtime.backends.limits import fit_libraries
from rave_runtime.cli.messages import put
from rave_runtime.errors import RaveError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rave_export.export_command import Exported

_EXIT_FAILED: Final = 1
_EXIT_WRONG_USE: Final = 2
_EXIT_INTERRUPTED: Final = 130
_ONLY_VERIFY: Final = ("reference", "images")
_BOTH: Final = ("padding",)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `rave-export`; `arguments` default to those of the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # else a name that a terminal cannot show would stop it
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # containers are stopped by it
    fit_libraries()
    try:
        sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))
    except KeyboardInterrupt:
        _say("rave-export: interrupted; nothing half-made is left", error=True)
        sys.exit(_EXIT_INTERRUPTED)


def _with_explicit_kind(arguments: list[str]) -> list[str]:
    """The arguments with a kind after `--single-graph`, so that it does not take a CHECKPOINT for one."""
    return [
        f"{word}=normal" if word == "--single-graph" and following not in SINGLE_GRAPHS else word
        for word, following in zip(arguments, [*arguments, ""][1:], strict=True)
    ]


def _run(arguments: list[str]) -> int:
    """Does what the arguments ask for; returns the exit code."""
    try:
        parsed = make_parser().parse_intermixed_args(_with_explicit_kind(arguments))
        values = {name: value for name, value in vars(parsed).items() if value is not None}
        if "verify" in values:
            return _verify(_verify_options(values))
        return _export(_export_options(values))
    except ModuleNotFoundError as error:
        if (error.name or "rave_").startswith("rave_"):
            raise
        _fail(f"{error.name} is missing: pip install 'rave-backlit[export]'", _EXIT_FAILED)
    except RaveError as error:
        _fail(str(error), _EXIT_WRONG_USE if isinstance(error, ValueError) else _EXIT_FAILED)
    except OSError as error:
        message = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        _fail(message, _EXIT_FAILED)


def _export_options(values: dict[str, Any]) -> ExportOptions:
    """The checked options of an export; exits where they are incomplete, or not of an export."""
    if "checkpoint" not in values or "output" not in values:
        _fail("give a CHECKPOINT and --output BUNDLE, or --verify BUNDLE; --help says more", _EXIT_WRONG_USE)
    verify_flags = [_flag(name) for name in _ONLY_VERIFY if name in values]
    if verify_flags:
        _fail(f"{' and '.join(verify_flags)} can be given with --verify BUNDLE only", _EXIT_WRONG_USE)
    options = ExportOptions(**values)
    options.check()
    return options


def _verify_options(values: dict[str, Any]) -> VerifyOptions:
    """The checked options of a proof; exits where there are options of an export among them."""
    bundle = values.pop("verify")
    allowed = (*_ONLY_VERIFY, *_BOTH)
    names = sorted(values.keys() - set(allowed))
    export_flags = ["CHECKPOINT" if name == "checkpoint" else _flag(name) for name in names]
    if export_flags:
        _fail(f"--verify only checks a bundle: remove {', '.join(export_flags)}", _EXIT_WRONG_USE)
    options = VerifyOptions(bundle, **values)
    options.check()
    return options


def _flag(name: str) -> str:
    """The command-line option that sets a field of the option classes."""
    stem = name.removesuffix("_px").removesuffix("_db")
    return "--" + stem.replace("_", "-")


def _export(options: ExportOptions) -> int:
    from rave_export.export_command import run_export

    exported = run_export(options, _Progress())
    _print_exported(exported, options)
    for sentence in exported.missing:
        _say(f"rave-export: {sentence}", error=True)
    return _EXIT_FAILED if exported.missing else 0


def _print_exported(exported: Exported, options: ExportOptions) -> None:
    from rave_export.proof.table import files_table, parity_table

    manifest = exported.bundle.manifest
    put(f"{parity_table(manifest.parity)}\n\n{files_table(exported.bundle)}")
    size_px = manifest.working_size_px
    light = "at full size" if size_px is None else f"at a long side of {size_px} px"
    _say(f"\n{options.output}: {len(manifest.files())} files; rave-run estimates the light {light}")
    if options.web is not None:
        _say(f'{options.web}: a web page; try it with python -m http.server --directory "{options.web}"')
    if options.triton is not None:
        _say(f"{options.triton}: {', '.join(exported.models)}")


def _verify(options: VerifyOptions) -> int:
    from rave_export.proof.table import parity_table, parts_table
    from rave_export.verify_command import run_verify

    proof = run_verify(options, lambda line: _say(f"rave-export: {line}", error=True))
    put(f"{parity_table(proof.parity)}\n\n{parts_table(proof.parts)}")
    for failure in proof.failures:
        _say(f"rave-export: {failure}", error=True)
    _say(f"\n{options.bundle} {proof.summary()}", error=bool(proof.failures))
    return _EXIT_FAILED if proof.failures else 0


class _Progress:
    """Prints a line per stage on standard error, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        _say(f"[{time.monotonic() - self._start:5.1f} s] {line}", error=True)


def _fail(message: str, code: int) -> NoReturn:
    _say(f"rave-export: {message}", error=True)
    sys.exit(code)


def _say(message: str, *, error: bool = False) -> None:
    """Prints a message as a terminal can show it, whatever names are in it."""
    from rave_runtime.files.secrets import without_secrets

    put("\n".join(map(printable, without_secrets(message).split("\n"))), error=error)
