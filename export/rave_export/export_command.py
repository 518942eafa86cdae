"""What `rave-export` does to make a bundle, given its options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rave_export.bundles import BUNDLE, Contents, export_bundle
from rave_export.engines.add import add_engines
from rave_export.engines.build import EngineOptions, find_build_gpu, import_tensorrt
from rave_export.errors import ExportError
from rave_export.graphs.split import OPSET, check_opset
from rave_export.int8.calibration import default_pictures, with_darker
from rave_export.options import ENOUGH_DB, ExportOptions
from rave_export.pictures import read_pictures
from rave_export.triton import check_repository, write_triton_repository
from rave_export.web.onnxruntime_web import read_package
from rave_export.web.page import check_page, require_working_size, write_page
from rave_export.whole_folders import check_replaceable, require_makeable
from rave_runtime.backends.tensorrt.library import LIBRARIES
from rave_runtime.bundle import Bundle, Flavour, Precision, read_bundle
from rave_train.checkpoint import Checkpoint, read_checkpoint

Say = Callable[[str], None]


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        bundle: the bundle as it was written, engines included.
        models: names of the models in the Triton repository.
        missing: a sentence for each part that was asked for and not made, with the reason.
    """

    bundle: Bundle
    models: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def run_export(options: ExportOptions, say: Say) -> Exported:
    """Makes a bundle, and the engines, Triton repository and web page that the options ask for.

    Args:
        options: what to make.
        say: called with a line per stage.

    Raises:
        UsageError: options contradict each other.
        RaveError: something cannot be read, exported, written or proven.
    """
    options.check()
    _check_places(options)
    _check_libraries(options)
    package = None if options.web is None else read_package(options.web_runtime)
    contents = _contents(options, say)
    checkpoint = read_checkpoint(options.checkpoint, options.padding)
    size_px = checkpoint.working_size_px
    if options.working_size_px is not None:
        size_px = options.working_size_px or None
    if options.web is not None:
        require_working_size(size_px)
    made = export_bundle(
        checkpoint, options.output, contents, working_size_px=size_px, force=options.force, say=say
    )
    missing = [_without(precision, reasons[0], options) for precision, reasons in made.left_out.items()]
    missing += _add_engines(options, checkpoint, say)
    bundle = read_bundle(options.output)
    models = [] if options.triton is None else write_triton_repository(bundle, options.triton, options.force)
    if options.web is not None and package is not None:
        say("writing the web page")
        write_page(bundle, options.web, package, options.force)
    return Exported(bundle, tuple(models), tuple(missing))


def _without(precision: Precision, worst: str, options: ExportOptions) -> str:
    """Says why a bundle has no graphs of a precision, and what to try."""
    reason = f"{precision} graphs were not made, since they are too far from float32 ({worst})"
    if precision != "int8":
        return f"{reason}: leave out --{precision}, since some networks have numbers that do not fit into it"
    photographs = (
        "other photographs" if options.calibration else "photographs like those that will be enhanced"
    )
    return (
        f"{reason}: give --calibration {photographs}, or leave out --int8, since some networks cannot be "
        "rounded to eight bits"
    )


def _check_places(options: ExportOptions) -> None:
    """Refuses output folders that exist, unless they may be replaced, and those that cannot be made.

    Raises:
        InputError: a folder exists and must not be replaced, or nothing can be written there.
    """
    check_replaceable(options.output, options.force, BUNDLE)
    if options.triton is not None:
        check_repository(options.triton, options.force)
    if options.web is not None:
        check_page(options.web, options.force)
    for target in filter(None, (options.output, options.triton, options.web)):
        require_makeable(target)


def _check_libraries(options: ExportOptions) -> None:
    """Finds out, before minutes of work, whether the installed libraries can do what is asked for.

    Raises:
        InputError: the opset is out of range.
        ExportError: a library for engines or its GPU is missing.
    """
    if options.opset is not None:
        check_opset(options.opset)
    if options.trt_rtx:
        import_tensorrt("tensorrt-rtx")
    if options.trt:
        find_build_gpu(import_tensorrt("tensorrt"))


def _contents(options: ExportOptions, say: Say) -> Contents:
    """What the options ask a bundle to hold; calibration photographs are read here.

    They come beside the built-in scenes, since the photographs of most folders are well lit, and few.
    """
    photographs = () if options.calibration is None else tuple(read_pictures(options.calibration, say=say))
    return Contents(
        fp16=options.fp16,
        int8=options.int8,
        calibration=(*default_pictures(), *with_darker(photographs)) if photographs else None,
        photographs=photographs,
        every_layer=options.int8_every_layer,
        enough_db=ENOUGH_DB if options.int8_target_db is None else options.int8_target_db,
        single_graph=options.single_graph,
        opset=OPSET if options.opset is None else options.opset,
    )


def _add_engines(options: ExportOptions, checkpoint: Checkpoint, say: Say) -> list[str]:
    """Adds the engines that are asked for to the bundle; returns a sentence for each kind that failed."""
    requested: dict[Flavour, bool] = {"tensorrt": options.trt, "tensorrt-rtx": options.trt_rtx}
    missing: list[str] = []
    manifest = read_bundle(options.output).manifest
    precision: Precision = "fp16" if "fp16" in manifest.precisions() else "fp32"
    if options.int8 and (options.trt or options.trt_rtx):
        say(
            f"engines are built in {precision}: TensorRT takes INT8 with zero points of 0 only, with which "
            "this network loses 4 to 10 dB; the int8 graphs are for CPUs"
        )
    for flavour in (name for name, is_requested in requested.items() if is_requested):
        engine_options = EngineOptions(
            precision=precision,
            tile_px=options.engine_tile_px,
            batch=options.engine_batch,
            working_size_px=manifest.working_size_px,
            hardware=options.trt_hardware or "none",
            version_compatible=options.trt_any_version,
            flavour=flavour,
        )
        try:
            add_engines(options.output, engine_options, checkpoint.network, say=say)
        except ExportError as error:
            missing.append(f"engines of {LIBRARIES[flavour].title} were not made: {error}")
    return missing
