"""One tiny network, exported once for the whole room."""

from __future__ import annotations

import copy
import hashlib
import pickle
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch.nn import PReLU

from rave_export.bundles import Contents, export_bundle
from rave_export.cli import main
from rave_export.graphs.split import ContextGraph, EnhanceGraph
from rave_export.graphs.variants import Graph, float_graphs
from rave_export.int8.calibration import proof_pictures
from rave_export.int8.rounding import Models
from rave_export.proof.parity import probe_cases
from rave_runtime.arrays import Picture
from rave_runtime.bundle import Bundle, EngineFile, read_bundle, write_manifest
from rave_train.checkpoint import Checkpoint, save_checkpoint
from rave_train.network import EnhancementNetwork, Padding
from tests.conftest import Once

FEW = [case for case in probe_cases() if case.label in ("many tiles", "mixed batch", "tall")]


def few_proof_pictures() -> tuple[Picture, ...]:
    """Some of the pictures on which INT8 is proven, where the proof is not what is tested."""
    return proof_pictures()[:8]


def tiny_network(padding: Padding = "reflect", seed: int = 0) -> EnhancementNetwork:
    """Eight channels, weights large enough that every layer matters; light is around 0.5."""
    torch.manual_seed(seed)
    network = EnhancementNetwork(channels=8, padding=padding)
    network.initialize(torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight *= 6
        network.cond_add1.weight *= 0.3
        assert network.cond_add1.bias is not None
        network.cond_add1.bias.fill_(0.5)
    return network.eval()


def with_plan(bundle: Bundle, **facts: Any) -> Bundle:
    """Adds the file `e.plan` to a bundle, as an engine of the fp16 enhance graph."""
    content = b"plan"
    (bundle.folder / "e.plan").write_bytes(content)
    engine = EngineFile(
        file="e.plan",
        sha256=hashlib.sha256(content).hexdigest(),
        graph=bundle.manifest.graph("enhance", "fp16").file,
        gpu="GPU",
        compute_capability="9.0",
        tensorrt_version="10.16.1",
        precision="fp16",
        tile_px=512,
        batch=3,
    )
    manifest = replace(bundle.manifest, engines=(replace(engine, **facts),))
    write_manifest(bundle.folder, manifest)
    return Bundle(bundle.folder, manifest)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and lose much on a busy machine; so do those of programs."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def plain_cpu() -> Iterator[None]:
    """Only onnxruntime's CPU is measured, to save time; one test of `test_verify.py` takes all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rave_export.proof.verify.DEVICES", ("cpu",))
        yield


@pytest.fixture(autouse=True)
def few_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the cases is run where a proof is not what is tested; `test_verify.py` runs all once."""
    monkeypatch.setattr("rave_export.proof.verify.probe_cases", lambda: list(FEW))


@pytest.fixture(scope="session")
def network() -> EnhancementNetwork:
    return tiny_network()


@pytest.fixture(scope="session")
def checkpoint_file(network: EnhancementNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(network, file, {"method": "test"})
    return file


@pytest.fixture(scope="session")
def fp32_graphs(network: EnhancementNetwork, once: Once) -> list[Graph]:
    return _kept("fp32", lambda: float_graphs(network, "fp32"), once)


@pytest.fixture(scope="session")
def narrow_graphs(once: Once) -> list[Graph]:
    """Those of four channels with zeros at the borders, of which only the shape is of use."""
    network = EnhancementNetwork(4, "zeros").eval()
    network.initialize(torch.Generator().manual_seed(0))
    return _kept("narrow", lambda: float_graphs(network, "fp32"), once)


@pytest.fixture(scope="session")
def fp16_graphs(network: EnhancementNetwork, once: Once) -> list[Graph]:
    return _kept("fp16", lambda: float_graphs(network, "fp16"), once)


def _kept(name: str, export: Callable[[], list[Graph]], once: Once) -> list[Graph]:
    """Graphs that one process of the tests exports for all."""
    folder = once(f"{name}-graphs", lambda new: (new / "graphs").write_bytes(pickle.dumps(export())))
    graphs: list[Graph] = pickle.loads((folder / "graphs").read_bytes())
    return graphs


def with_weights_of(network: EnhancementNetwork, graphs: list[Graph]) -> list[Graph]:
    """What the exporter makes of a network, from its graphs of another one of the same width and padding.

    It takes seconds to trace a network, and only the weights differ: `test_bundles.py` proves that the bytes
    are the exporter's own. Slopes become constants without a name, and must be those of a new network.
    """
    assert all(bool((each.weight == 0.25).all()) for each in network.modules() if isinstance(each, PReLU))
    modules = {"context": ContextGraph(network), "enhance": EnhanceGraph(network)}
    changed = []
    for graph in graphs:
        model = copy.deepcopy(graph.model)
        weights = modules[graph.part].state_dict()
        for tensor in model.graph.initializer:
            if tensor.name in weights:
                values = weights[tensor.name].numpy().astype(onnx.numpy_helper.to_array(tensor).dtype)
                assert list(values.shape) == list(tensor.dims)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        changed.append(replace(graph, model=model))
    return changed


def models_of(graphs: list[Graph]) -> Models:
    """The context graph for uint8 images and the enhance graph among those of `float_graphs`."""
    return {"context": graphs[0].model, "enhance": graphs[2].model}


@pytest.fixture(scope="session")
def exports(fp32_graphs: list[Graph], fp16_graphs: list[Graph]) -> Callable[..., list[Graph]]:
    """Stands in for `float_graphs` with networks as wide as `network`: see `with_weights_of`."""
    made = {"fp32": fp32_graphs, "fp16": fp16_graphs}

    def stand_in(network: EnhancementNetwork, precision: str, opset: int = 18) -> list[Graph]:
        return with_weights_of(network, made[precision])

    return stand_in


@pytest.fixture(scope="session")
def exported(network: EnhancementNetwork, exports: Callable[..., list[Graph]], once: Once) -> Bundle:
    """A bundle with everything in it. Not to be changed: see `bundle`."""
    contents = Contents(fp16=True, int8=True, single_graph="full", calibration=proof_pictures()[:3])

    def fill(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rave_export.bundles.float_graphs", exports)
            patch.setattr("rave_export.bundles.proof_pictures", few_proof_pictures)
            export_bundle(Checkpoint(network, {"method": "test"}), folder / "tiny", contents)

    return read_bundle(once("exported", fill) / "tiny")


@pytest.fixture
def bundle(exported: Bundle, tmp_path: Path) -> Bundle:
    """A copy of the exported bundle to spoil."""
    folder = tmp_path / "bundle"
    shutil.copytree(exported.folder, folder)
    return read_bundle(folder)


@dataclass
class Done:
    """What a run of the program left."""

    exit_code: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Done:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return call
