"""How the study of a GPU times networks, graphs and photographs, and what it measures beside the time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.contestants.counting import count_macs
from benchmarks.studies.full_resolution import make_picture
from rave_export.proof.verify import make_session
from rave_runtime import Enhancer
from rave_runtime.backends.devices import choose_device
from rave_runtime.backends.load import load_network
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import Precision, read_bundle
from rave_runtime.errors import RaveError
from rave_runtime.light.tiling import Span, interpolation_matrix, pooling_matrix
from rave_train.network import EnhancementNetwork

PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16")
Shape = tuple[int, int, int]
"""Pictures, height and width of what a network is run on."""


def time_network(
    module: EnhancementNetwork, folder: Path, precision: Precision, device: str, shapes: Sequence[Shape]
) -> dict[str, object]:
    """Times calls of the network on arrays, with the transfer to the GPU and back."""
    before_mib = _used_mib(device)
    network = load_network(read_bundle(folder), precision, choose_device(device))
    outcome: dict[str, object] = {}
    for shape in shapes:
        images, matrices = _window(shape, network.facts.bins)
        run = partial(network.illuminate_whole, images, *matrices)
        outcome["x".join(map(str, shape))] = _rate(module, _median_seconds(run), shape)
    return outcome | _memory(device, before_mib)


def time_resident(
    module: EnhancementNetwork, folder: Path, precision: Precision, device: str, shapes: Sequence[Shape]
) -> dict[str, object]:
    """Times both graphs in onnxruntime with all tensors on the device already, as torch's are."""
    bundle, chosen, before_mib = read_bundle(folder), choose_device(device), _used_mib(device)
    context = make_session(bundle, bundle.manifest.graph("context", precision, "uint8"), chosen)
    enhance = make_session(bundle, bundle.manifest.graph("enhance", precision), chosen)
    outcome: dict[str, object] = {}
    for shape in shapes:
        images, matrices = _window(shape, bundle.manifest.network.bins)
        pool_rows, pool_cols, rows, cols = (_place(array, device) for array in matrices)
        first, second = context.io_binding(), enhance.io_binding()
        inputs = {"image": _place(images, device), "rows": pool_rows, "cols": pool_cols}
        for name, value in inputs.items():
            first.bind_ortvalue_input(name, value)
        for name in ("features", "pooled"):
            first.bind_output(name, device)
        context.run_with_iobinding(first)
        features, pooled = first.get_outputs()
        first.bind_ortvalue_output("features", features)  # the same places in each run, as a server has them
        first.bind_ortvalue_output("pooled", pooled)
        inputs = {"features": features, "pooled": pooled, "rows": rows, "cols": cols}
        for name, value in inputs.items():
            second.bind_ortvalue_input(name, value)
        second.bind_output("light", device)

        def run(first: Any = first, second: Any = second) -> None:
            context.run_with_iobinding(first)
            enhance.run_with_iobinding(second)

        outcome["x".join(map(str, shape))] = _rate(module, _median_seconds(run), shape)
    return outcome | _memory(device, before_mib)


def _window(shape: Shape, bins: tuple[int, ...]) -> tuple[Any, list[Any]]:
    """Pictures of a shape, and the matrices with which their grids are pooled and brought back."""
    batch, height, width = shape
    images = np.repeat(make_picture(height, width)[None], batch, 0)
    matrices = [
        np.repeat(make(side, Span(0, side, 0, side), bins)[None], batch, 0)
        for make in (pooling_matrix, interpolation_matrix)
        for side in (height, width)
    ]
    return images, matrices


def _place(array: Any, device: str) -> Any:
    return import_onnxruntime().OrtValue.ortvalue_from_numpy(array, device, 0)


def _used_mib(device: str) -> float:
    """Memory of the GPU that all programs use, after torch gave back what it keeps for later."""
    if device == "cpu" or not torch.cuda.is_available():
        return 0
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def _memory(device: str, before_mib: float) -> dict[str, object]:
    return {} if device == "cpu" else {"gpu_mib": round(_used_mib(device) - before_mib)}


def time_torch(
    network: EnhancementNetwork, kind: str, device: str, shapes: Sequence[Shape]
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

            outcome["x".join(map(str, shape))] = _rate(network, _median_seconds(run), shape)
        if device == "cuda":
            outcome["peak_mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    finally:
        network.to("cpu", torch.float32)
    return outcome


def time_normal_way(folder: Path, device: str, megapixels: int) -> dict[str, object]:
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
        for precision in PRECISIONS[: 1 if name == "cpu" else 2]:
            before_mib = _used_mib(name)
            graph = bundle.manifest.graph("normal", precision, "uint8")
            session = make_session(bundle, graph, choose_device(name))
            inputs = {"image": photograph[None], "strength": np.array(1, np.float32)}
            seconds = _median_seconds(partial(session.run, ["enhanced"], inputs), 5)
            outcome[f"graph {name} {precision}"] = {"seconds": seconds} | _memory(name, before_mib)
            if name != "cpu":
                binding = session.io_binding()
                for part, array in inputs.items():
                    binding.bind_ortvalue_input(part, _place(array, name))
                binding.bind_output("enhanced", name)
                run = partial(session.run_with_iobinding, binding)
                outcome[f"graph {name} {precision}, no transfers"] = _median_seconds(run, 5)
            del session
    return outcome


def measure_limits(device: str) -> dict[str, float]:
    """What the GPU can do: TFLOP/s of a large product of matrices by dtype, and GB/s read and written."""
    side = 512 if device == "cpu" else 8192
    outcome = {}
    for dtype in (torch.float32, torch.float16):
        one = torch.randn(side, side, device=device, dtype=dtype)

        def run(one: torch.Tensor = one) -> None:
            torch.mm(one, one)
            if device == "cuda":
                torch.cuda.synchronize()

        name = str(dtype).removeprefix("torch.")
        outcome[f"{name} tflops"] = round(2 * side**3 / _median_seconds(run) / 1e12, 2)
    source = torch.randn(side * side * 8, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()

    outcome["copied gb_per_s"] = round(2 * source.nbytes / _median_seconds(copy) / 1e9, 1)
    return outcome


def _rate(network: EnhancementNetwork, seconds: float, shape: Shape) -> dict[str, float]:
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
