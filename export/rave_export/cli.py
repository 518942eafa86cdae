"""rave-export: a checkpoint becomes a bundle, and a bundle is proven again."""

from __future__ import annotations

import argparse
import io
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from rave_export.options import HARDWARE, PADDINGS, SINGLE_GRAPHS, ExportOptions, VerifyOptions
from rave_runtime.backends.limits import fit_libraries
from rave_runtime.errors import RaveError, printable, with_near_options
from rave_runtime.version import __version__

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


class _Parser(argparse.ArgumentParser):
    """A parser whose errors name options with similar spelling, and exit with 2."""

    def error(self, message: str) -> NoReturn:
        near = with_near_options(message, self._option_string_actions)
        _fail(f"{near} (rave-export --help tells more)", _EXIT_WRONG_USE)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all options. Those that are not given keep the defaults of the option classes."""
    parser = _Parser(
        "rave-export",
        usage="rave-export CHECKPOINT --output BUNDLE [OPTIONS]\n       %(prog)s --verify BUNDLE [OPTIONS]",
        description="Turn a CHECKPOINT into a bundle of ONNX graphs and prove them, or prove a bundle again.",
        epilog=None if find_spec("torch") else "Exporting needs torch: pip install 'rave-backlit[export]'",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        default=None,  # argparse would give SUPPRESS, which is a text, to `type` and so make it a path
        type=_path,
        metavar="CHECKPOINT",
        help="A checkpoint: .safetensors by rave-train, .pth as published, a bundle that holds one, or the "
        "word 'embedded' for that of rave-run.",
    )
    parser.add_argument("-o", "--output", type=_path, metavar="BUNDLE", help="Folder of the bundle to write.")
    parser.add_argument(
        "--force", action="store_true", help="Replace what is at --output, --web and --triton."
    )
    parser.add_argument("--version", action="version", version=f"rave-export {__version__}")
    _add_graph_options(parser.add_argument_group("The graphs"))
    _add_int8_options(parser.add_argument_group("INT8"))
    _add_place_options(parser.add_argument_group("Other places"))
    _add_verify_options(parser.add_argument_group("A proof"))
    return parser


def _add_graph_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options that decide which graphs are exported and how."""
    group.add_argument("--fp16", action="store_true", help="Also export half-precision graphs.")
    group.add_argument(
        "--single-graph",
        nargs="?",
        const="normal",
        choices=SINGLE_GRAPHS,
        metavar="normal|full",
        help="Also export one graph of the whole picture to embed elsewhere, bytes in and out: 'normal' does "
        "what rave-run does, 'full' runs the network on every pixel [default: normal].",
    )
    group.add_argument("--opset", type=int, metavar="N", help="ONNX operator set, 18 or newer.")
    group.add_argument(
        "--padding",
        choices=PADDINGS,
        metavar="NAME",
        help="reflect or zeros, at the picture's borders [default: what the checkpoint says, else reflect].",
    )
    group.add_argument(
        "--working-size",
        type=int,
        dest="working_size_px",
        metavar="PX",
        help="Recommended long side for estimating the light; 0 is full size "
        "[default: the size of the training pictures].",
    )


def _add_int8_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options of INT8."""
    group.add_argument("--int8", action="store_true", help="Also export 8-bit graphs.")
    group.add_argument(
        "--calibration",
        type=_path,
        metavar="FOLDER",
        help="Photographs to calibrate on, beside the built-in scenes.",
    )
    group.add_argument(
        "--int8-every-layer", action="store_true", help="Quantise the first and last convolution too."
    )
    group.add_argument(
        "--int8-target",
        type=float,
        dest="int8_target_db",
        metavar="DB",
        help="PSNR against float32 that int8 must reach; for it up to three layers stay in float32 "
        "[default: 49].",
    )


def _add_place_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options of Triton, the web page and TensorRT."""
    group.add_argument("--triton", type=_path, metavar="FOLDER", help="Also write a Triton model repository.")
    group.add_argument(
        "--web",
        type=_path,
        metavar="FOLDER",
        help="Also write a web page that enhances photographs inside the browser.",
    )
    group.add_argument(
        "--web-runtime",
        type=_path,
        metavar="FILE",
        help="The npm package of onnxruntime for browsers, where npm cannot fetch it.",
    )
    group.add_argument(
        "--trt",
        action="store_true",
        help="Also build TensorRT engines for this machine's GPU: fp16 ones with --fp16, else fp32.",
    )
    group.add_argument(
        "--trt-rtx",
        action="store_true",
        help="Also build engines of TensorRT for RTX, for GeForce RTX 20, 30, 40 and 50; this needs no GPU.",
    )
    group.add_argument(
        "--trt-tile",
        type=int,
        dest="trt_tile_px",
        metavar="PX",
        help="Longest side of the tiles that engines take [default: 512].",
    )
    group.add_argument(
        "--trt-batch", type=int, metavar="N", help="Most tiles per run of an engine [default: 8]."
    )
    group.add_argument(
        "--trt-any-version",
        action="store_true",
        help="Let every TensorRT of the same major version run the engines.",
    )
    group.add_argument(
        "--trt-hardware",
        choices=HARDWARE,
        metavar="NAME",
        help=f"Other GPUs that may run the engines: {', '.join(HARDWARE)} [default: none].",
    )


def _add_verify_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--verify", type=_path, metavar="BUNDLE", help="Prove this bundle again instead of exporting."
    )
    group.add_argument(
        "--reference",
        type=_path,
        metavar="CHECKPOINT",
        help="The checkpoint that counts as right [default: the bundle's own, or its float32 graphs where "
        "torch is not installed].",
    )
    group.add_argument(
        "--images", type=_path, metavar="FOLDER", help="Photographs to run beside the built-in pictures."
    )


def _path(text: str) -> Path:
    if not text:  # pathlib takes it for the current folder
        raise argparse.ArgumentTypeError("it is empty: is a variable not set?")
    return Path(text)


def _with_explicit_kind(arguments: list[str]) -> list[str]:
    """The arguments with a kind after `--single-graph`, so that it does not take a CHECKPOINT for one."""
    return [
        f"{word}=normal" if word == "--single-graph" and following not in SINGLE_GRAPHS else word
        for word, following in zip(arguments, [*arguments, ""][1:], strict=True)
    ]


def _run(arguments: list[str]) -> int:
    """Does what the arguments ask for; returns the exit code."""
    parsed = make_parser().parse_intermixed_args(_with_explicit_kind(arguments))
    values = {name: value for name, value in vars(parsed).items() if value is not None}
    try:
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
    print(parity_table(manifest.parity))
    print(f"\n{files_table(exported.bundle)}")
    size_px = manifest.working_size_px
    light = "at full size" if size_px is None else f"at a long side of {size_px} px"
    _say(f"\n{options.output}: {len(manifest.files())} files; rave-run estimates the light {light}")
    if options.web is not None:
        _say(f"{options.web}: a web page; try it with python -m http.server --directory {options.web}")
    if options.triton is not None:
        _say(f"{options.triton}: {', '.join(exported.models)}")


def _verify(options: VerifyOptions) -> int:
    from rave_export.proof.table import parity_table, parts_table
    from rave_export.verify_command import run_verify

    proof = run_verify(options, lambda line: _say(f"rave-export: {line}", error=True))
    print(f"{parity_table(proof.parity)}\n\n{parts_table(proof.parts)}")
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

    shown = "\n".join(map(printable, without_secrets(message).split("\n")))
    print(shown, file=sys.stderr if error else sys.stdout, flush=True)
