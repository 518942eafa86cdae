"""Compares our INT8 with onnxruntime's `quantize_static`: distance from float32, time, and lines of code.

    python -m benchmarks int8-library [--checkpoint FILE] [--padding reflect] [--photographs FOLDER ...]
        [--limit 24] [--int8-target 44] [--rounds 9] [--output FILE.json]

Both are calibrated on the same pictures, the default ones of `rave-export --int8`, and on the same tensors.
The library is tried in four ways, each with the changes of the one before: with its defaults; with a scale
per channel; with those convolutions in float32 that ours leaves in float32; with all other operators in
float32. Its calibration by percentiles and by entropy is not tried, since it refuses pictures of different
sizes. Distances are PSNR between photographs enhanced by each network and by the float32 graphs. Times are
those of the light of one photograph, in turns in one process.
"""

from __future__ import annotations

import importlib
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from benchmarks.records.results import model_hash
from benchmarks.studies.reporting import report_study, study_parser
from rave_export import int8
from rave_export.graphs.variants import float_graphs, int8_graphs, network_facts
from rave_export.int8.calibration import default_pictures
from rave_export.int8.equalize import equalize
from rave_export.int8.float_layers import lights
from rave_export.int8.in_memory import NetworkInMemory, Session
from rave_export.pictures import read_pictures
from rave_export.proof.parity import psnr_db, relit, split_light
from rave_runtime.arrays import Picture
from rave_runtime.backends.privacy import import_onnxruntime
from rave_runtime.bundle import embedded_bundle
from rave_runtime.light.sizes import DEFAULT_TILE_PX
from rave_train.checkpoint import read_checkpoint

_TARGET_DB: Final = 44.0
"""PSNR at which the embedded model's INT8 leaves no further layer in float32."""

EXAMPLES: Final = Path(__file__).parents[2] / "examples"

Graphs = tuple[onnx.ModelProto, onnx.ModelProto]
"""The context graph, which takes uint8 images, and the enhance graph."""


@dataclass(frozen=True)
class Setting:
    """How the library is called.

    Attributes:
        per_channel: whether each output channel of a convolution has a scale.
        convolutions_only: whether all operators but convolutions stay in float32.
        spares_same: whether the convolutions stay in float32 that our INT8 leaves in float32.
    """

    per_channel: bool = False
    convolutions_only: bool = False
    spares_same: bool = False


SETTINGS: Final = {
    "library": Setting(),
    "library, per channel": Setting(per_channel=True),
    "library, told what we know": Setting(per_channel=True, spares_same=True),
    "library, told, convolutions alone": Setting(True, convolutions_only=True, spares_same=True),
}


def main(arguments: Sequence[str]) -> None:
    """Runs the study with these command-line arguments."""
    parser = study_parser("int8-library", __doc__)
    parser.add_argument("--checkpoint", type=Path, default=embedded_bundle(), help="weights, or a bundle")
    parser.add_argument("--padding", choices=["reflect", "zeros"], default="reflect")
    parser.add_argument("--photographs", type=Path, action="append", help="a folder to measure on")
    parser.add_argument("--limit", type=int, default=24, help="photographs of each folder at most")
    parser.add_argument(
        "--int8-target",
        type=float,
        default=_TARGET_DB,
        metavar="DB",
        help="as rave-export's; the embedded model's unless given",
    )
    parser.add_argument("--rounds", type=int, default=9, help="of the times")
    parser.add_argument("--output", type=Path, help="write the findings into this file as well")
    options = parser.parse_args(arguments)
    folders = options.photographs or [EXAMPLES]
    photographs = [
        picture for folder in folders for picture in read_pictures(folder, options.limit, "--photographs")
    ]
    calibration = default_pictures()
    network = equalize(read_checkpoint(options.checkpoint, options.padding).network, calibration)
    facts, float32_graphs = network_facts(network), float_graphs(network, "fp32")
    graphs = _pair(float32_graphs)

    def network_of(pair: Graphs) -> NetworkInMemory:
        return NetworkInMemory(facts, *map(Session, pair))

    reference = network_of(graphs)
    expected = lights(reference, photographs)
    by_hand = _pair(int8_graphs(float32_graphs, facts, calibration, enough_db=options.int8_target))
    float32_weights = frozenset(
        item.name
        for graph in by_hand
        for item in graph.graph.initializer
        if item.data_type == onnx.TensorProto.FLOAT and len(item.dims) == 4
    )
    networks = {"float32": reference, "by hand": network_of(by_hand)}
    context, enhance = (_Recorder(graph) for graph in graphs)
    lights(NetworkInMemory(facts, context, enhance), calibration)
    for name, setting in SETTINGS.items():
        pair = (
            quantize_by_library(graphs[0], context.inputs, setting, float32_weights),
            quantize_by_library(graphs[1], enhance.inputs, setting, float32_weights),
        )
        networks[name] = network_of(pair)
    seconds = _seconds(networks, photographs[0], options.rounds)
    findings = {
        "photographs": len(photographs),
        "calibration_pictures": len(calibration),
        "methods": {
            name: {
                **({} if network is reference else _distances(network, photographs, expected)),
                "milliseconds": round(1000 * seconds[name], 1),
            }
            for name, network in networks.items()
        },
        "lines_by_hand": _lines_by_hand(),
    }
    model = model_hash(options.checkpoint) if options.checkpoint.is_dir() else None
    report_study("int8-library", arguments, findings, options.output, model)


def quantize_by_library(
    model: onnx.ModelProto,
    calibration_inputs: Sequence[dict[str, Any]],
    setting: Setting,
    float32_weights: frozenset[str],
) -> onnx.ModelProto:
    """Quantises a float32 graph by `onnxruntime.quantization.quantize_static`.

    Args:
        model: the graph, which is not changed.
        calibration_inputs: the inputs on which it is calibrated, arrays by name.
        setting: how the library is called.
        float32_weights: names of the weights of convolutions that stay in float32 if the setting says so.
    """
    import_onnxruntime()  # first, since this turns off its reports
    library = importlib.import_module("onnxruntime.quantization")

    float32_nodes = [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and float32_weights.intersection(node.input)
    ]
    with tempfile.TemporaryDirectory(prefix="int8-library-") as folder:
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        library.quantize_static(
            source,
            target,
            _Reader(calibration_inputs),
            quant_format=library.QuantFormat.QDQ,
            activation_type=library.QuantType.QUInt8,
            weight_type=library.QuantType.QInt8,
            per_channel=setting.per_channel,
            op_types_to_quantize=["Conv"] if setting.convolutions_only else None,
            nodes_to_exclude=float32_nodes if setting.spares_same else [],
        )
        return onnx.load(target)


class _Reader:
    """The object from which the library reads the inputs of its calibration."""

    def __init__(self, inputs: Sequence[dict[str, Any]]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs, or None at the end."""
        return next(self._inputs, None)


class _Recorder:
    """A graph that records the inputs on which it is run."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._session = Session(model)
        self.inputs: list[dict[str, Any]] = []

    def run(self, inputs: dict[str, Any]) -> list[Any]:
        """See `rave_export.int8.in_memory.Runnable.run`."""
        self.inputs.append({name: np.array(value) for name, value in inputs.items()})
        return self._session.run(inputs)


def _pair(graphs: Sequence[Any]) -> Graphs:
    """The context graph for uint8 images and the enhance graph among some graphs."""
    context = next(graph.model for graph in graphs if graph.image == "uint8")
    return context, next(graph.model for graph in graphs if graph.part == "enhance")


def _distances(
    network: NetworkInMemory, photographs: Sequence[Picture], expected: Sequence[Any]
) -> dict[str, float]:
    distances_db = list(_psnr(network, photographs, expected))
    return {"worst_db": round(min(distances_db), 1), "median_db": round(statistics.median(distances_db), 1)}


def _psnr(
    network: NetworkInMemory, photographs: Sequence[Picture], expected: Sequence[Any]
) -> Iterator[float]:
    for photograph, light in zip(photographs, expected, strict=True):
        enhanced = relit(photograph, split_light(network, photograph, DEFAULT_TILE_PX))
        distance = psnr_db(enhanced, relit(photograph, light))
        yield 99.0 if distance is None else distance


def _seconds(networks: dict[str, NetworkInMemory], picture: Picture, rounds: int) -> dict[str, float]:
    """Median seconds of the light of one picture by each network, which take turns."""
    taken: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds + 1):
        for name, network in networks.items():
            began = time.perf_counter()
            split_light(network, picture, DEFAULT_TILE_PX)
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def _lines_by_hand() -> dict[str, int]:
    """Lines of the modules that our INT8 needs and the library would replace."""
    folder = Path(str(int8.__file__)).parent
    names = ("quantize.py", "ranges.py", "rounding.py", "bias.py")
    return {name: len((folder / name).read_text("utf-8").splitlines()) for name in names}
