from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format

from rave_export.bundles import write_graph
from rave_export.errors import ExportError
from rave_export.graphs.normal_way import normal_way
from rave_export.graphs.variants import Graph
from rave_export.triton import write_triton_repository
from rave_runtime.bundle import Bundle
from tests.export.conftest import with_plan


@pytest.fixture
def with_engine(bundle: Bundle) -> Bundle:
    """A bundle with something in the place of an engine."""
    return with_plan(bundle)


def test_layout_follows_tritons_rules(with_engine: Bundle, tmp_path: Path) -> None:
    names = write_triton_repository(with_engine, tmp_path / "models")
    assert sorted(names) == [
        "rave_enhance_fp16_trt",
        "rave_whole_uint8_fp16",
        "rave_whole_uint8_fp32",
        "rave_whole_uint8_int8",
    ]
    folders = [path for path in (tmp_path / "models").iterdir() if path.is_dir()]
    assert {folder.name for folder in folders} == set(names)
    for folder in folders:
        config = (folder / "config.pbtxt").read_text()
        assert re.search(r'^name: "(.*)"$', config, re.M)[1] == folder.name  # type: ignore[index]
        (version,) = [path for path in folder.iterdir() if path.is_dir()]
        assert int(version.name) > 0
        is_engine = folder.name.endswith("_trt")
        assert [file.name for file in version.iterdir()] == ["model.plan" if is_engine else "model.onnx"]
        assert f'backend: "{"tensorrt" if is_engine else "onnxruntime"}"' in config
        assert f"max_batch_size: {3 if is_engine else 1}" in config
        assert "dynamic_batching" in config


def test_the_command_lets_the_server_run_engines_of_other_versions(bundle: Bundle, tmp_path: Path) -> None:
    """By its documentation the server refuses them without this option."""
    write_triton_repository(with_plan(bundle), tmp_path / "one")
    assert "version-compatible" not in (tmp_path / "one" / "README.md").read_text()
    write_triton_repository(with_plan(bundle, version_compatible=True), tmp_path / "any")
    command = "=THIS_FOLDER --backend-config=tensorrt,version-compatible=true\n"
    assert command in (tmp_path / "any" / "README.md").read_text()


def test_a_bundle_without_single_graphs_serves_tiles(bundle: Bundle, tmp_path: Path) -> None:
    kept = tuple(graph for graph in bundle.manifest.graphs if graph.part != "whole")
    plain = Bundle(bundle.folder, replace(bundle.manifest, graphs=kept))
    names = write_triton_repository(plain, tmp_path / "models")
    assert "rave_context_uint8_fp32" in names
    config = (tmp_path / "models" / "rave_context_uint8_fp32" / "config.pbtxt").read_text()
    assert '{ name: "image", data_type: TYPE_UINT8, dims: [ -1, -1, 3 ] }' in config
    assert '{ name: "rows", data_type: TYPE_FP32, dims: [ 12, -1 ] }' in config


def test_graphs_at_full_resolution_are_served_within_little_memory(bundle: Bundle, tmp_path: Path) -> None:
    write_triton_repository(bundle, tmp_path / "models")
    config = (tmp_path / "models" / "rave_whole_uint8_fp32" / "config.pbtxt").read_text()
    assert "max_batch_size: 1\n" in config
    assert 'key: "image" value: { data_type: TYPE_UINT8, dims: [ 144, 256, 3 ]' in config
    text = (tmp_path / "models" / "README.md").read_text()
    assert "1.5 GB of memory" in text
    assert "50 bytes" not in text.replace("\n", " ")


def test_configs_are_what_triton_parses(with_engine: Bundle, normal: Bundle, tmp_path: Path) -> None:
    schema = load_schema()
    write_triton_repository(with_engine, tmp_path / "models" / "full")
    write_triton_repository(normal, tmp_path / "models" / "normal")
    for file in (tmp_path / "models").glob("*/*/config.pbtxt"):
        config = text_format.Parse(file.read_text(), schema.ModelConfig())
        assert config.HasField("dynamic_batching")
        assert [group.count for group in config.instance_group] == [1]
        for sample in config.model_warmup:
            assert set(sample.inputs) == {item.name for item in config.input}
        if config.backend == "tensorrt":
            continue
        model = onnx.load(file.parent / "1" / "model.onnx")
        for declared, found in (
            (config.input, model.graph.input),
            (config.output, model.graph.output),
        ):
            assert [item.name for item in declared] == [item.name for item in found]
            for item, value in zip(declared, found, strict=True):
                dims = item.reshape.shape if item.HasField("reshape") else item.dims
                assert len(dims) + 1 == len(value.type.tensor_type.shape.dim)
                name = schema.DataType.Name(item.data_type)
                dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
                assert name == {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}[dtype]


def load_schema() -> ModuleType:
    """Triton's own message definitions, of the wheel `tritonclient`, without its network parts."""
    wheels = os.environ.get("RAVE_CHECK_WHEELS")
    if not wheels:
        pytest.skip("RAVE_CHECK_WHEELS names no folder with the wheel tritonclient")
    file = Path(wheels) / "triton" / "tritonclient" / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def normal(bundle: Bundle) -> Bundle:
    """The bundle with a graph of the normal way instead of the ones at full resolution."""
    manifest = bundle.manifest
    context, enhance = (
        onnx.load_model_from_string(bundle.read_file(graph))
        for graph in (manifest.graph("context", "fp32", "uint8"), manifest.graph("enhance", "fp32"))
    )
    made = write_graph(bundle.folder, Graph(normal_way(context, enhance, 64), "normal", "fp32", "uint8"))
    graphs = (*(graph for graph in manifest.graphs if graph.part != "whole"), made)
    return Bundle(bundle.folder, replace(manifest, graphs=graphs, working_size_px=64))


def test_the_normal_way_is_served_with_a_strength_per_picture(normal: Bundle, tmp_path: Path) -> None:
    assert write_triton_repository(normal, tmp_path / "models") == ["rave_normal_uint8_fp32"]
    folder = tmp_path / "models" / "rave_normal_uint8_fp32"
    config = (folder / "config.pbtxt").read_text()
    assert '{ name: "strength", data_type: TYPE_FP32, dims: [ 1 ], reshape: { shape: [ ] } }' in config
    assert "max_batch_size: 4\n" in config
    assert "dims: [ 1080, 1920, 3 ], zero_data: true" in config
    running = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(0).integers(0, 256, (1, 90, 120, 3), np.uint8)
    strengths = np.array([0, 1], np.float32)
    both, light = running.run(None, {"image": np.repeat(picture, 2, 0), "strength": strengths})
    np.testing.assert_array_equal(both[0], picture[0])
    assert np.abs(both[1].astype(int) - picture[0]).max() > 5
    assert light.shape == (2, 90, 120)
    text = (tmp_path / "models" / "README.md").read_text()
    assert "`rave_normal_*` do what `rave-run` does" in text
    assert "a long side of 64 pixels" in text
    assert "rave_whole" not in text


def test_the_served_file_is_the_bundles(bundle: Bundle, tmp_path: Path) -> None:
    write_triton_repository(bundle, tmp_path / "models")
    file = tmp_path / "models" / "rave_whole_uint8_fp32" / "1" / "model.onnx"
    running = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (enhanced,) = running.run(["enhanced"], {"image": np.full((1, 9, 7, 3), 40, np.uint8)})
    assert enhanced.shape == (1, 9, 7, 3)


def test_a_folder_that_exists_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    target = tmp_path / "models"
    write_triton_repository(bundle, target)
    with pytest.raises(ExportError, match="exists: choose another output folder, or give --force"):
        write_triton_repository(bundle, target)
    write_triton_repository(bundle, target, force=True)
    with pytest.raises(ExportError, match="is not a model repository of rave-export"):
        write_triton_repository(bundle, bundle.folder, force=True)
    assert (bundle.folder / "manifest.json").is_file()


def test_two_engines_of_one_graph_are_refused(with_engine: Bundle, tmp_path: Path) -> None:
    twice = replace(with_engine.manifest, engines=with_engine.manifest.engines * 2)
    with pytest.raises(ExportError, match=r"holds two engines of enhance_fp16\.onnx"):
        write_triton_repository(Bundle(with_engine.folder, twice), tmp_path / "models")
    assert not (tmp_path / "models").exists()
