"""One tiny network, exported once for the whole room."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rave_export.bundles import Contents, export_bundle
from rave_export.cli import main
from rave_export.graphs.variants import Graph, float_graphs
from rave_export.int8.calibration import proof_pictures
from rave_runtime.bundle import Bundle, EngineFile, read_bundle, write_manifest
from rave_train.checkpoint import Checkpoint, save_checkpoint
from rave_train.network import EnhancementNetwork, Padding


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
def one_thread() -> None:
    """Tiny networks gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def plain_cpu() -> Iterator[None]:
    """Only onnxruntime's CPU is measured, to save time; one test of `test_verify.py` takes all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rave_export.proof.verify.DEVICES", ("cpu",))
        yield


@pytest.fixture(scope="session")
def network() -> EnhancementNetwork:
    return tiny_network()


@pytest.fixture(scope="session")
def checkpoint_file(network: EnhancementNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(network, file, {"method": "test"})
    return file


@pytest.fixture(scope="session")
def fp32_graphs(network: EnhancementNetwork) -> list[Graph]:
    return float_graphs(network, "fp32")


@pytest.fixture(scope="session")
def fp16_graphs(network: EnhancementNetwork) -> list[Graph]:
    return float_graphs(network, "fp16")


@pytest.fixture(scope="session")
def exports(fp32_graphs: list[Graph], fp16_graphs: list[Graph]) -> Callable[..., list[Graph]]:
    """Stands in for `float_graphs`, since the exports of one network are always the same."""
    made = {"fp32": fp32_graphs, "fp16": fp16_graphs}

    def stand_in(network: EnhancementNetwork, precision: str, opset: int = 18) -> list[Graph]:
        return made[precision]

    return stand_in


@pytest.fixture(scope="session")
def exported(
    network: EnhancementNetwork,
    exports: Callable[..., list[Graph]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """A bundle with everything in it. Not to be changed: see `bundle`."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    contents = Contents(
        fp16=True,
        int8=True,
        single_graph="full",
        calibration=proof_pictures()[:3],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rave_export.bundles.float_graphs", exports)
        export_bundle(Checkpoint(network, {"method": "test"}), folder, contents)
    return read_bundle(folder)


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
