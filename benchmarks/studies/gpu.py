"""Checks and times everything that a bundle can do on an NVIDIA GPU, in one run of less than 8 minutes.

    python -m benchmarks gpu CHECKPOINT [--budget 420] [--output FILE.json] [--cpu]

It downloads nothing: onnxruntime-gpu must be installed, and TensorRT or TensorRT for RTX to measure them.
First it makes a bundle with fp32, fp16, the graph of the normal way and the engines that can be built. Each
step is measured by itself; of a step that fails, the error is recorded:
- parity of every precision, graph and engine against torch, as `rave-export --verify` measures it;
- tiles of 512 px and whole pictures of 192x128 px, 1 and 8 at a time, by onnxruntime with CUDA and by
  TensorRT, arrays in and out, and by torch in fp32, fp16 and compiled, whose tensors stay on the GPU;
- the normal way by `Enhancer` and by its graph on photographs of 2, 12 and 50 megapixels;
- GPU memory, and the share of the GPU's measured peak that the network reaches.
`--cpu` does all steps on the CPU, to check that they work.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.contestants.counting import count_macs
from benchmarks.studies.full_resolution import make_picture
from benchmarks.studies.reporting import report_study, study_parser
from rave_export.bundles import Contents, export_bundle
from rave_export.engines.add import add_engines
from rave_export.engines.build import EngineOptions
from rave_export.errors import ExportError
from rave_export.proof.reference import torch_reference
from rave_export.proof.report import prove_bundle
from rave_export.proof.verify import make_session
from rave_runtime import Enhancer
from rave_runtime.backends.devices import Device, choose_device
from rave_runtime.backends.load import load_network
from rave_runtime.bundle import Bundle, Flavour, Precision, read_bundle
from rave_runtime.errors import RaveError, reason_of
from rave_runtime.light.tiling import Span, interpolation_matrix, pooling_matrix
from rave_train.checkpoint import Checkpoint, read_checkpoint
from rave_train.network import EnhancementNetwork

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
    for precision in ("fp32", "fp16"):
        for device in (device_name, "tensorrt"):
            name = f"network {device} {precision}"
            yield name, partial(_time_network, network, folder, precision, device, shapes)
    for kind in ("fp32", "fp16", "fp16 compiled"):
        yield f"torch {kind}", partial(_time_torch, network, kind, device_name, shapes)
    for megapixels in PHOTOGRAPHS_MP[:1] if is_cpu else PHOTOGRAPHS_MP:
        yield f"normal way {megapixels} MP", partial(_time_normal_way, folder, device_name, megapixels)
    yield "roofline", partial(_peak_tflops, device_name)


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
    precisions: tuple[Precision, ...] = ("fp16", "fp32")
    for flavour in flavours:
        for precision in precisions:
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


def _time_network(
    module: EnhancementNetwork,
    folder: Path,
    precision: Any,
    device: str,
    shapes: Sequence[tuple[int, int, int]],
) -> dict[str, object]:
    """Times calls of the network on arrays, with the transfer to the GPU and back."""
    bundle = read_bundle(folder)
    network = load_network(bundle, precision, choose_device(device))
    bins = network.facts.bins
    outcome: dict[str, object] = {}
    for shape in shapes:
        batch, height, width = shape
        images = np.repeat(make_picture(height, width)[None], batch, 0)
        matrices = [
            np.repeat(make(side, Span(0, side, 0, side), bins)[None], batch, 0)
            for make in (pooling_matrix, interpolation_matrix)
            for side in (height, width)
        ]

        def run(images: Any = images, matrices: Any = matrices) -> object:
            return network.illuminate_whole(images, *matrices)

        outcome[f"{batch}x{height}x{width}"] = _rate(module, _median_seconds(run), shape)
    return outcome


def _time_torch(
    network: EnhancementNetwork, kind: str, device: str, shapes: Sequence[tuple[int, int, int]]
) -> dict[str, object]:
    """Times the torch network on tensors on the GPU, in the memory layout that is fastest there."""
    dtype = torch.float16 if kind.startswith("fp16") and device == "cuda" else torch.float32
    placed: Any = network.to(device, dtype).to(memory_format=torch.channels_last)
    model = torch.compile(placed) if kind.endswith("compiled") and device == "cuda" else placed
    outcome: dict[str, object] = {}
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()  # else the peak of an earlier kind would be given for this one
    try:
        for shape in shapes:
            batch, height, width = shape
            picture = torch.from_numpy(make_picture(height, width)).to(device, dtype) / 255
            planes = picture.permute(2, 0, 1)[None].repeat(batch, 1, 1, 1)
            planes = planes.contiguous(memory_format=torch.channels_last)

            def run(planes: torch.Tensor = planes) -> None:
                with torch.inference_mode():
                    model(planes)
                if device == "cuda":
                    torch.cuda.synchronize()

            outcome[f"{batch}x{height}x{width}"] = _rate(network, _median_seconds(run), shape)
        if device == "cuda":
            outcome["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    finally:
        network.to("cpu", torch.float32)
    return outcome


def _time_normal_way(folder: Path, device: str, megapixels: int) -> dict[str, object]:
    """Times `Enhancer` on every device that works here, and the graph of the normal way."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    photograph = make_picture(height, height * 4 // 3)
    outcome: dict[str, object] = {}
    for name in dict.fromkeys(("cpu", device, "tensorrt")):
        try:
            enhancer = Enhancer(folder, device=name, precision="fp32" if name == "cpu" else "fp16")
        except RaveError as error:
            outcome[f"Enhancer {name}"] = str(error)
            continue
        outcome[f"Enhancer {name}"] = _median_seconds(partial(enhancer.enhance, photograph), 5)
    bundle = read_bundle(folder)
    for name in dict.fromkeys(("cpu", device)):
        session = _normal_session(bundle, choose_device(name))
        inputs = {"image": photograph[None], "strength": np.array(1, np.float32)}
        outcome[f"graph {name}"] = _median_seconds(partial(session.run, ["enhanced"], inputs), 5)
    return outcome


def _normal_session(bundle: Bundle, device: Device) -> Any:
    return make_session(bundle, bundle.manifest.graph("normal", "fp32", "uint8"), device)


def _peak_tflops(device: str) -> dict[str, float]:
    """The practical peak in TFLOP/s by dtype, which is the rate of a large product of matrices."""
    side = 512 if device == "cpu" else 8192
    outcome = {}
    for dtype in (torch.float32, torch.float16):
        one = torch.randn(side, side, device=device, dtype=dtype)

        def run(one: torch.Tensor = one) -> None:
            torch.mm(one, one)
            if device == "cuda":
                torch.cuda.synchronize()

        outcome[str(dtype).removeprefix("torch.")] = round(2 * side**3 / _median_seconds(run) / 1e12, 2)
    return outcome


def _rate(network: EnhancementNetwork, seconds: float, shape: tuple[int, int, int]) -> dict[str, float]:
    """Milliseconds of a call, megapixels per second and TFLOP/s; operations are counted, not measured."""
    batch, height, width = shape
    meta = EnhancementNetwork(network.channels).to("meta")
    operations = 2 * count_macs(meta, torch.empty(batch, 3, height, width, device="meta"))
    return {
        "ms": round(seconds * 1e3, 3),
        "mp_per_s": round(batch * height * width / seconds / 1e6, 2),
        "tflops": round(operations / seconds / 1e12, 3),
    }


def _median_seconds(run: Callable[[], object], repeats: int = 15) -> float:
    """The median seconds of several runs, after two to warm up."""
    for _ in range(2):
        run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 6)
