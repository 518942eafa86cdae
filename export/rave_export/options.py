"""The options of `rave-export`, of an export and of a proof, each with one function that checks them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from rave_runtime.bundle import MIN_WORKING_SIZE_PX
from rave_runtime.bundle.limits import MAX_WORKING_SIZE_PX
from rave_runtime.errors import UsageError
from rave_runtime.files.places import real_path

Padding = Literal["reflect", "zeros"]
PADDINGS: Final[tuple[Padding, ...]] = get_args(Padding)

Hardware = Literal["none", "ampere_plus", "same_compute_capability"]
HARDWARE: Final[tuple[Hardware, ...]] = get_args(Hardware)
"""Which GPUs may run an engine beside the model that it was built on."""

SingleGraph = Literal["normal", "full"]
SINGLE_GRAPHS: Final[tuple[SingleGraph, ...]] = get_args(SingleGraph)
"""What a single graph computes: what `rave-run` does, or the network on every pixel."""

TRT_TILE_PX: Final = 512
TRT_BATCH: Final = 8

ENOUGH_DB: Final = 49.0
"""PSNR of the worst calibration picture at which INT8 is good enough. That is 4 dB above what a bundle must
reach, since there are harder pictures than those of a calibration."""


@dataclass(frozen=True)
class ExportOptions:
    """What to export, and how.

    Attributes:
        checkpoint: a file of weights, a bundle that holds one, or the word for the embedded model.
        output: folder of the bundle to make.
        fp16: whether to export fp16 graphs as well.
        int8: whether to export int8 graphs as well.
        calibration: folder of photographs for int8, beside the built-in scenes; None takes those alone.
        int8_every_layer: whether int8 includes the first and the last convolution.
        int8_target_db: PSNR against float32 at which int8 leaves no further layer in float32; None is
            `ENOUGH_DB`.
        single_graph: also export whole-picture graphs: "normal" does what `rave-run` does, "full" runs the
            network on every pixel; None exports neither.
        web: folder of a web page to write; None writes none.
        web_runtime: the npm package of onnxruntime for browsers as a file; None asks npm for it.
        triton: folder of a Triton model repository to write; None writes none.
        trt: also build TensorRT engines for this machine's GPU.
        trt_rtx: also build engines of TensorRT for RTX, which needs no GPU.
        trt_tile_px: longest side of the tiles that engines take; None is `TRT_TILE_PX`.
        trt_batch: most tiles per run of an engine; None is `TRT_BATCH`.
        trt_any_version: let every TensorRT of the same major version run the engines.
        trt_hardware: other GPUs that may run the engines; None is "none".
        opset: version of ONNX's operator set; None is the oldest that the graphs allow.
        padding: the padding of the outer convolutions at the picture's borders; None takes what the
            checkpoint says.
        working_size_px: recommended long side for estimating the light; 0 is full size, None is what the
            checkpoint recommends.
        force: replace what is at the output folders.
    """

    checkpoint: Path
    output: Path
    fp16: bool = False
    int8: bool = False
    calibration: Path | None = None
    int8_every_layer: bool = False
    int8_target_db: float | None = None
    single_graph: SingleGraph | None = None
    web: Path | None = None
    web_runtime: Path | None = None
    triton: Path | None = None
    trt: bool = False
    trt_rtx: bool = False
    trt_tile_px: int | None = None
    trt_batch: int | None = None
    trt_any_version: bool = False
    trt_hardware: Hardware | None = None
    opset: int | None = None
    padding: Padding | None = None
    working_size_px: int | None = None
    force: bool = False

    def check(self) -> None:
        """Refuses options that contradict each other or make no sense.

        Raises:
            UsageError: the message says which options do not fit, and what to do.
        """
        self._check_int8()
        self._check_engines()
        if self.working_size_px and not MIN_WORKING_SIZE_PX <= self.working_size_px <= MAX_WORKING_SIZE_PX:
            raise UsageError(
                f"--working-size is {self.working_size_px} px: "
                f"{MIN_WORKING_SIZE_PX} to {MAX_WORKING_SIZE_PX} are possible, or 0 for full size"
            )
        if self.web_runtime is not None and self.web is None:
            raise UsageError("--web-runtime is an option of --web: give --web as well, or leave it out")
        self._check_folders()

    @property
    def engine_tile_px(self) -> int:
        """Longest side of the tiles that engines take, given or not."""
        return TRT_TILE_PX if self.trt_tile_px is None else self.trt_tile_px

    @property
    def engine_batch(self) -> int:
        """Most tiles per run of an engine, given or not."""
        return TRT_BATCH if self.trt_batch is None else self.trt_batch

    def _check_folders(self) -> None:
        """Refuses output folders that lie in each other, and inputs in folders that would be replaced."""
        folders = {"--output": self.output, "--triton": self.triton, "--web": self.web}
        named = [(option, real_path(folder)) for option, folder in folders.items() if folder is not None]
        for index, (option, folder) in enumerate(named):
            for other, place in named[index + 1 :]:
                if folder == place or folder in place.parents or place in folder.parents:
                    raise UsageError(
                        f"{option} and {other} are one folder, or one is inside the other: give separate ones"
                    )
        if not self.force:
            return
        inputs = {"--calibration": self.calibration, "--web-runtime": self.web_runtime}
        for option, place in [
            (name, real_path(given)) for name, given in inputs.items() if given is not None
        ]:
            for target, folder in named:
                if folder in (place, *place.parents):
                    raise UsageError(
                        f"{option} lies in {target}, which --force replaces: move it elsewhere first"
                    )

    def _check_engines(self) -> None:
        """Refuses options of engines that were given without them, and sizes that no engine has."""
        any_kind = {"--trt-tile": self.trt_tile_px is not None, "--trt-batch": self.trt_batch is not None}
        for option, is_given in any_kind.items():
            if is_given and not (self.trt or self.trt_rtx):
                raise UsageError(
                    f"{option} is an option of --trt and --trt-rtx: give one of them as well, or leave it out"
                )
        trt_only = {
            "--trt-any-version": self.trt_any_version,
            "--trt-hardware": self.trt_hardware is not None,
        }
        for option, is_given in trt_only.items():
            if is_given and not self.trt:
                raise UsageError(f"{option} is an option of --trt: give --trt as well, or leave it out")
        if self.engine_tile_px < 64 or self.engine_batch < 1:
            raise UsageError(
                f"--trt-tile is {self.engine_tile_px} px and --trt-batch {self.engine_batch}: "
                "tiles of at least 64 px and batches of at least 1 are needed"
            )

    def _check_int8(self) -> None:
        """Refuses options of INT8 that were given without it, or that contradict each other."""
        given = {
            "--calibration": self.calibration is not None,
            "--int8-every-layer": self.int8_every_layer,
            "--int8-target": self.int8_target_db is not None,
        }
        for option, is_given in given.items():
            if is_given and not self.int8:
                raise UsageError(f"{option} is an option of --int8: give --int8 as well, or leave it out")
        if self.int8_target_db is None:
            return
        if self.int8_every_layer:
            raise UsageError(
                "--int8-target lets int8 leave layers in float32, --int8-every-layer forbids it: "
                "give one of them"
            )
        if math.isnan(self.int8_target_db) or self.int8_target_db < 0:
            raise UsageError(f"--int8-target is {self.int8_target_db:g} dB: a number from 0 on is needed")


@dataclass(frozen=True)
class VerifyOptions:
    """Which bundle to prove again, and against what.

    Attributes:
        bundle: folder of the bundle, or the word for the embedded one.
        reference: the checkpoint to compare with; None takes the bundle's own, or its float32 graphs
            where torch is not installed.
        images: folder of photographs to run beside the built-in pictures.
        padding: the padding of the reference's outer convolutions; None takes the bundle's.
    """

    bundle: Path
    reference: Path | None = None
    images: Path | None = None
    padding: Padding | None = None

    def check(self) -> None:
        """Refuses options that contradict each other.

        Raises:
            UsageError: the message says which options do not fit, and what to do.
        """
        if self.padding is not None and self.reference is None:
            raise UsageError("--padding with --verify belongs to --reference: give both, or neither")
