"""Checks and times everything that a bundle can do on an NVIDIA GPU, in one run of less than 8 minutes.

    python -m benchmarks gpu CHECKPOINT [--budget 420] [--output FILE.json] [--cpu]

It downloads nothing: onnxruntime-gpu must be installed, and TensorRT or TensorRT for RTX to measure them.
First it makes a bundle with fp32, fp16, the graph of the normal way and the engines that can be built. Each
step is measured by itself; of a step that fails, the error is recorded:
- parity of every precision, graph and engine against torch, as `rave-export --verify` measures it;
- tiles of 512 px and whole pictures of 144x96 px, 1 and 8 at a time, by onnxruntime with CUDA and by
  TensorRT, arrays in and out, by onnxruntime with everything already on the GPU, and by torch in fp32, fp16
  and compiled, whose tensors stay on the GPU;
- the normal way by `Enhancer` and by its graph on photographs of 2, 12 and 50 megapixels;
- the GPU's memory that each needs, and the GPU's measured limits: products of matrices, copies.
`--cpu` does all steps on the CPU, to check that they work.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.studies.gpu_timing import (
    PRECISIONS,
    measure_limits,
    time_network,
    time_normal_way,
    time_resident,
    time_torch,
)
from benchmarks.studies.reporting import report_study, study_parser
from rave_export.bundles import Contents, export_bundle
from rave_export.engines.add import add_engines
from rave_export.engines.build import EngineOptions
from rave_export.errors import ExportError
from rave_export.proof.reference import torch_reference
from rave_export.proof.report import prove_bundle
from rave_runtime.bundle import Flavour, read_bundle
from rave_runtime.errors import reason_of
from rave_train.checkpoint import Checkpoint, read_checkpoint

SHAPES: Final = ((1, 512, 512), (8, 512, 512), (1, 96, 144), (8, 96, 144))
"""Batch, height and width of each window that is measured."""

PHOTOGRAPHS_MP: Final = (2, 12, 50)
Step = tuple[str, Callable[[], object]]


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("gpu", __doc__)
    parser.add_argument("checkpoint", help="what rave-export takes, such as embedded")
    parser.add_argument(
        "--budget", type=float, default=420, help="seconds after which no further step begins"
    )
    parser.add_argument("--output", type=Path, help="write the findings into this file as well")
    parser.add_argument("--cpu", action="store_true", help="walk all steps on the CPU, small")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    findings: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = read_checkpoint(options.checkpoint)
        for name, step in _steps(checkpoint, Path(folder) / "bundle", is_cpu=options.cpu):
            if time.monotonic() - start > options.budget:
                findings[name] = "left out: the time was up"
                continue
            began = time.monotonic()
            findings[name] = _outcome(step)
            print(f"[{time.monotonic() - start:5.0f} s] {name}: {time.monotonic() - began:.1f} s", flush=True)
    report_study("gpu", arguments, findings, options.output)


def _outcome(step: Callable[[], object]) -> object:
    """Does a step; returns its findings, or its error, so that the next steps follow all the same."""
    try:
        return step()
    except Exception as error:  # libraries of GPUs raise errors of any class
        return {"error": f"{type(error).__name__}: {reason_of(error)}"}


def _steps(checkpoint: Checkpoint, folder: Path, *, is_cpu: bool) -> Iterator[Step]:
    """Yields the steps with their names, in order; the later ones use the bundle that "export" makes."""
    device_name = "cpu" if is_cpu else "cuda"
    shapes = SHAPES[2:] if is_cpu else SHAPES
    network = checkpoint.network
    yield "machine", partial(_describe_gpu, device_name)
    yield "export", partial(_export, checkpoint, folder)
    yield "engines", partial(_add_engines, checkpoint, folder)
    yield "parity", partial(_prove, checkpoint, folder)
    for precision in PRECISIONS:
        for device in (device_name, "tensorrt"):
            name = f"network {device} {precision}"
            yield name, partial(time_network, network, folder, precision, device, shapes)
        name = f"graphs on {device_name} {precision}, no transfers"
        yield name, partial(time_resident, network, folder, precision, device_name, shapes)
    for kind in ("fp32", "fp16"):
        yield f"torch {kind}", partial(time_torch, network, kind, device_name, shapes)
    for megapixels in PHOTOGRAPHS_MP[:1] if is_cpu else PHOTOGRAPHS_MP:
        yield f"normal way {megapixels} MP", partial(time_normal_way, folder, device_name, megapixels)
    yield "limits", partial(measure_limits, device_name)
    # Compiling takes longer than all the rest.
    yield "torch fp16 compiled", partial(time_torch, network, "fp16 compiled", device_name, shapes)


def _describe_gpu(device: str) -> dict[str, object]:
    """Name, memory and other facts of the first GPU."""
    if device == "cpu":
        return {"gpu": None}
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "processors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
    }


def _export(checkpoint: Checkpoint, folder: Path) -> dict[str, object]:
    """Exports the bundle; returns its graphs and how long it took."""
    began = time.monotonic()
    manifest = export_bundle(checkpoint, folder, Contents(fp16=True, single_graph="normal")).manifest
    return {
        "seconds": round(time.monotonic() - began, 1),
        "graphs": [graph.file for graph in manifest.graphs],
    }


def _add_engines(checkpoint: Checkpoint, folder: Path) -> dict[str, object]:
    """Builds engines of both TensorRTs in both precisions; returns how long each took, or why it failed."""
    outcome: dict[str, object] = {}
    size_px = read_bundle(folder).manifest.working_size_px
    flavours: tuple[Flavour, ...] = ("tensorrt", "tensorrt-rtx")
    for flavour in flavours:
        for precision in PRECISIONS:
            began = time.monotonic()
            engine = EngineOptions(precision, working_size_px=size_px, flavour=flavour)
            try:
                add_engines(folder, engine, checkpoint.network)
                outcome[f"{flavour} {precision}"] = f"built in {time.monotonic() - began:.1f} s"
            except ExportError as error:
                outcome[f"{flavour} {precision}"] = str(error)
    return outcome


def _prove(checkpoint: Checkpoint, folder: Path) -> dict[str, object]:
    """Proves the bundle against torch; returns the least PSNR by provider and precision, and failures."""
    proof = prove_bundle(read_bundle(folder), torch_reference(checkpoint.network))
    worst: dict[str, float] = {}
    for row in proof.parity:
        key = f"{row.provider} {row.precision}" + (" normal way" if row.label.startswith("normal") else "")
        if row.psnr_db is not None:
            worst[key] = round(min(worst.get(key, 999.0), row.psnr_db), 1)
    return {
        "worst_psnr_db": worst,
        "parts": [asdict(part) for part in proof.parts],
        "failures": list(proof.failures),
        "summary": proof.summary(),
    }
