"""rave-export: a checkpoint becomes a bundle, and a bundle is proven again."""

from __future__ import annotations

import math
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from rave_runtime.bundle import MIN_WORKING_SIZE_PX

if TYPE_CHECKING:
    from rave_export.parity import Picture
    from rave_train.network import Padding

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def export(
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="A checkpoint: .safetensors of ours, .pth of upstream, a bundle that holds one, "
            "or the word 'embedded' for that of rave-run."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the bundle to make.")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also export half-precision graphs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="Also export 8-bit graphs.")] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Photographs to calibrate int8 on, each also darkened; a set is made where none is given."
        ),
    ] = None,
    int8_every_layer: Annotated[
        bool, typer.Option("--int8-every-layer", help="Quantise the first and last convolution too.")
    ] = False,
    int8_target: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="PSNR from float32, dB, for which int8 spares up to three layers; 49 unless given.",
        ),
    ] = None,
    single_graph: Annotated[
        bool,
        typer.Option(
            "--single-graph", help="Also one whole-image graph, bytes in and out, to embed elsewhere."
        ),
    ] = False,
    triton: Annotated[
        Path | None, typer.Option(help="Also write a Triton model repository into this folder.")
    ] = None,
    trt: Annotated[
        bool, typer.Option("--trt", help="Also build TensorRT engines: fp16 ones with --fp16, else fp32.")
    ] = False,
    trt_tile: Annotated[int, typer.Option(help="Side of the tiles that engines are tuned for.")] = 512,
    trt_batch: Annotated[int, typer.Option(help="Most tiles per run of an engine.")] = 8,
    trt_any_version: Annotated[
        bool, typer.Option("--trt-any-version", help="Engines for every TensorRT of the same major version.")
    ] = False,
    trt_hardware: Annotated[
        str, typer.Option(help="Other GPUs for the engines: none, ampere_plus, same_compute_capability.")
    ] = "none",
    opset: Annotated[int | None, typer.Option(help="ONNX operator set, 18 or newer.")] = None,
    padding: Annotated[
        str | None, typer.Option(help="reflect or zeros; reflect unless the checkpoint says otherwise.")
    ] = None,
    working_size: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Recommended long side, in pixels, for estimating the light; 0 is full size. "
            "The size of the training pictures unless given.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is at --output and --triton.")] = False,
    verify: Annotated[Path | None, typer.Option(help="Prove this bundle again instead of exporting.")] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="With --verify: the checkpoint that counts as right; unless given, the bundle's own, "
            "or its float32 graphs where torch is not installed."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --verify: a folder of photographs to run as well.")
    ] = None,
) -> None:
    """Turn a CHECKPOINT into a bundle of ONNX graphs and prove them, or prove a bundle again."""
    if padding not in (None, "reflect", "zeros"):
        _fail(f"--padding {padding} is unknown: give reflect or zeros", 2)
    if verify is not None:
        if checkpoint is not None or output is not None:
            _fail("--verify proves a bundle that exists: give no CHECKPOINT and no --output with it", 2)
        flags = (fp16, int8, int8_every_layer, single_graph, trt, trt_any_version, force)
        values = (int8_target, triton, calibration, opset, working_size)
        if any(flags) or any(value is not None for value in values):
            _fail("--verify makes nothing: give it no options of an export", 2)
        if padding is not None and reference is None:
            _fail("--padding with --verify is that of a --reference: give both, or neither", 2)
        _verify(verify, reference, images, padding)
        return
    if checkpoint is None or output is None:
        _fail("give a CHECKPOINT and --output BUNDLE, or --verify BUNDLE; --help says more", 2)
    if reference is not None or images is not None:
        _fail("--reference and --images belong to --verify BUNDLE", 2)
    if working_size is not None and 0 < working_size < MIN_WORKING_SIZE_PX:
        least = MIN_WORKING_SIZE_PX
        _fail(f"--working-size is {working_size} px: at least {least} are needed, or 0 for full size", 2)
    if int8_every_layer and not int8:
        _fail("--int8-every-layer is for --int8: give both, or neither", 2)
    if triton is not None and _overlap(output, triton):
        _fail("--output and --triton are one folder, or one is inside the other: give two", 2)
    if calibration is not None and not int8:
        _fail("--calibration is for --int8: give both, or neither", 2)
    if int8_target is not None and (int8_every_layer or not int8 or math.isnan(int8_target)):
        _fail("--int8-target is for --int8 that may leave layers in float32: not with --int8-every-layer", 2)
    try:
        from rave_export.bundles import Contents, export_bundle
        from rave_export.calibration import read_pictures, with_darker
        from rave_export.engine_bundle import add_engines
        from rave_export.engines import HARDWARE, EngineOptions
        from rave_export.errors import ExportError
        from rave_export.graphs import OPSET
        from rave_export.sparing import ENOUGH_DB
        from rave_export.table import files_table, parity_table
        from rave_export.triton import check_repository, write_triton_repository
        from rave_runtime.bundle import read_bundle
        from rave_runtime.errors import RaveError
        from rave_train.checkpoint import read_checkpoint
        from rave_train.errors import CheckpointError
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is missing: pip install 'rave-backlit[export]'", 1)

    if trt_hardware not in HARDWARE:
        _fail(f"--trt-hardware {trt_hardware} is unknown: give one of {', '.join(HARDWARE)}", 2)
    say = _Progress()
    unmade = None
    try:
        if triton is not None:
            check_repository(triton, force)
        pictures: tuple[Picture, ...] | None = (
            with_darker(read_pictures(calibration)) if calibration else None
        )
        contents = Contents(
            fp16=fp16,
            int8=int8,
            calibration=pictures,
            every_layer=int8_every_layer,
            enough_db=ENOUGH_DB if int8_target is None else int8_target,
            single_graph=single_graph,
            opset=OPSET if opset is None else opset,
        )
        loaded = read_checkpoint(checkpoint, cast("Padding | None", padding))
        size_px = loaded.working_size_px if working_size is None else working_size or None
        export_bundle(loaded, output, contents, working_size_px=size_px, force=force, say=say)
        if trt:
            options = EngineOptions(
                precision="fp16" if fp16 else "fp32",
                tile_px=trt_tile,
                batch=trt_batch,
                hardware=trt_hardware,
                version_compatible=trt_any_version,
            )
            try:
                add_engines(output, options, loaded.network, say=say)
            except ExportError as error:
                unmade = str(error)
        bundle = read_bundle(output)
        models = write_triton_repository(bundle, triton, force) if triton else []
    except (ExportError, CheckpointError, RaveError) as error:
        _fail(str(error), 1)
    typer.echo(parity_table(bundle.manifest.parity))
    typer.echo(f"\n{files_table(bundle)}")
    size_px = bundle.manifest.working_size_px
    light = "at full size" if size_px is None else f"at {size_px} px"
    typer.echo(f"\n{output}: {len(bundle.manifest.files())} files, light {light} unless rave-run is told")
    if triton is not None:
        typer.echo(f"{triton}: {', '.join(models)}")
    if unmade:
        _fail(f"no engines were made: {unmade}", 1)


def _overlap(one: Path, other: Path) -> bool:
    first, second = one.resolve(), other.resolve()
    return first == second or first in second.parents or second in first.parents


def _verify(folder: Path, checkpoint: Path | None, images: Path | None, padding: str | None) -> None:
    from rave_runtime.bundle import read_bundle
    from rave_runtime.errors import RaveError

    try:
        from rave_export.calibration import read_pictures
        from rave_export.errors import ExportError
        from rave_export.parity import over_tolerance
        from rave_export.table import parity_table
        from rave_export.verify import halo_failures, measure_bundle, read_reference
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is missing: pip install 'rave-backlit[export]'", 1)
    try:
        bundle = read_bundle(folder)
        if checkpoint is None and bundle.manifest.checkpoint is not None and find_spec("torch"):
            checkpoint = bundle.folder
        expected = None if checkpoint is None else read_reference(checkpoint, padding, bundle.manifest)
        parity = measure_bundle(bundle, expected, read_pictures(images, option="--images") if images else ())
        halos = halo_failures(bundle)
    except (ExportError, RaveError) as error:
        _fail(str(error), 1)
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is missing: pip install 'rave-backlit[export]'", 1)
    typer.echo(parity_table(parity))
    failures = [failure for failure in map(over_tolerance, parity) if failure]
    for failure in [*failures, *halos]:
        typer.echo(f"rave-export: {failure}", err=True)
    if failures:
        _fail(f"{folder} FAILED: {len(failures)} of {len(parity)} measurements are over their tolerance", 1)
    if halos:
        _fail(f"{folder} FAILED: its halos are too small", 1)
    typer.echo(f"\n{folder} passed: {len(parity)} measurements within their tolerances, halos wide enough")


class _Progress:
    """Lines of what is being done, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        typer.echo(f"[{time.monotonic() - self._start:5.1f} s] {line}", err=True)


def main() -> None:
    """Entry point."""
    app()


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"rave-export: {message}", err=True)
    sys.exit(code)
