"""The parser of rave-export's options."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import NoReturn

from rave_export.options import ENOUGH_DB, HARDWARE, PADDINGS, SINGLE_GRAPHS, TRT_BATCH, TRT_TILE_PX
from rave_runtime.cli.values import path
from rave_runtime.errors import UsageError, with_near_options
from rave_runtime.version import __version__


class _Parser(argparse.ArgumentParser):
    """A parser whose errors name options with similar spelling, and are raised as UsageError."""

    def error(self, message: str) -> NoReturn:
        near = with_near_options(message, self._option_string_actions)
        raise UsageError(f"{near} (rave-export --help tells more)")


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
        type=path,
        metavar="CHECKPOINT",
        help="A checkpoint: .safetensors by rave-train, .pth as published, a bundle that holds one, or the "
        "word 'embedded' for that of rave-run.",
    )
    parser.add_argument("-o", "--output", type=path, metavar="BUNDLE", help="Folder of the bundle to write.")
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
        help="Also export one graph for other programs, from a picture's bytes to the result's: 'normal' "
        "does what rave-run does, 'full' runs the network on every pixel [default: normal].",
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
        type=path,
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
        help="PSNR against float32 that int8 aims at, keeping up to three layers in float32 "
        f"[default: {ENOUGH_DB:g}].",
    )


def _add_place_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options of Triton, the web page and TensorRT."""
    group.add_argument("--triton", type=path, metavar="FOLDER", help="Also write a Triton model repository.")
    group.add_argument(
        "--web",
        type=path,
        metavar="FOLDER",
        help="Also write a web page that enhances photographs inside the browser.",
    )
    group.add_argument(
        "--web-runtime",
        type=path,
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
        help=f"Longest side of the tiles that engines take [default: {TRT_TILE_PX}].",
    )
    group.add_argument(
        "--trt-batch",
        type=int,
        metavar="N",
        help=f"Most tiles per run of an engine [default: {TRT_BATCH}].",
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
        "--verify", type=path, metavar="BUNDLE", help="Prove this bundle again instead of exporting."
    )
    group.add_argument(
        "--reference",
        type=path,
        metavar="CHECKPOINT",
        help="Checkpoint to compare with [default: the bundle's own, or its float32 graphs where "
        "torch is not installed].",
    )
    group.add_argument(
        "--images", type=path, metavar="FOLDER", help="Photographs to run beside the built-in pictures."
    )
