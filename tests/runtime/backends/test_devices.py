from __future__ import annotations

from dataclasses import replace

import onnxruntime
import pytest

from rave_runtime import DeviceError, Enhancer, RaveError
from rave_runtime.backends.devices import Device, choose_device, choose_precision
from rave_runtime.backends.onnx_network import OnnxNetwork
from rave_runtime.bundle import GraphFile, Manifest, Parity, Precision, embedded_bundle, read_bundle

CPU = Device("cpu", "CPUExecutionProvider")
OPENVINO = Device("openvino", "OpenVINO")
CUDA = Device("cuda", "CUDAExecutionProvider")


def with_precision(manifest: Manifest, precision: Precision, psnr_db: float | None) -> Manifest:
    """The embedded manifest as if it also held another precision, measured at that PSNR."""
    graphs = tuple(replace(g, precision=precision, file=precision + g.file) for g in manifest.graphs)
    parity: tuple[Parity, ...] = ()
    if psnr_db is not None:
        parity = (replace(manifest.parity[0], precision=precision, psnr_db=psnr_db),)
    kept: tuple[GraphFile, ...] = manifest.graphs
    return replace(manifest, graphs=(*kept, *graphs), parity=(*manifest.parity, *parity))


@pytest.fixture
def manifest(enhancer: Enhancer) -> Manifest:
    graphs = tuple(g for g in enhancer.manifest.graphs if g.precision == "fp32")
    parity = tuple(p for p in enhancer.manifest.parity if p.precision == "fp32")
    return replace(enhancer.manifest, graphs=graphs, parity=parity)


def test_missing_cuda_libraries_leave_no_word_in_a_photograph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """onnxruntime printed them on standard output, which `rave-run - -` fills with the result."""
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: print("Failed to load libcufft"), raising=False)
    network = OnnxNetwork(read_bundle(embedded_bundle()), "fp32", CUDA)
    with pytest.raises(RaveError, match="CUDAExecutionProvider"):
        network.prepare(whole=True)
    said = capsys.readouterr()
    assert (said.out, said.err.strip()) == ("", "Failed to load libcufft")


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_cuda_keeps_all_bits_of_float32(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    devices = "rave_runtime.backends.devices."
    monkeypatch.setattr(devices + "onnxruntime_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(devices + "has_nvidia_gpu", lambda: True)
    device = choose_device(name)
    assert (device.name, device.options) == ("cuda", {"use_tf32": "0"})


@pytest.mark.parametrize(
    ("device", "psnr_db", "vnni", "fits", "chosen"),
    [
        (CPU, 50.0, True, False, "int8"),
        (CPU, 44.9, True, True, "fp32"),
        (CPU, None, True, True, "fp32"),
        (CPU, 50.0, False, False, "fp32"),
        (CPU, 50.0, False, True, "int8"),
        (OPENVINO, 50.0, True, False, "int8"),
        (OPENVINO, 50.0, False, True, "int8"),
        (OPENVINO, 50.0, False, False, "fp32"),
    ],
)
def test_int8_is_chosen_where_it_is_faithful_and_gains(
    manifest: Manifest,
    monkeypatch: pytest.MonkeyPatch,
    device: Device,
    psnr_db: float | None,
    vnni: bool,
    fits: bool,
    chosen: str,
) -> None:
    monkeypatch.setattr("rave_runtime.backends.devices.sums_bytes_exactly", lambda: vnni)
    held = with_precision(manifest, "int8", psnr_db)
    held = replace(held, graphs=tuple(replace(graph, fits_16_bits=fits) for graph in held.graphs))
    assert choose_precision("auto", device, held) == chosen
    assert choose_precision("int8", device, held) == "int8"


def test_a_few_pixels_do_not_decide_about_int8(manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.backends.devices.sums_bytes_exactly", lambda: True)
    held = with_precision(manifest, "int8", 50.0)
    tiny = replace(held.parity[-1], height_px=2, width_px=2, psnr_db=43.0)
    assert choose_precision("auto", CPU, replace(held, parity=(*held.parity, tiny))) == "int8"


def test_fp16_is_for_gpus(manifest: Manifest) -> None:
    both = with_precision(manifest, "fp16", 60.0)
    assert choose_precision("auto", CUDA, both) == "fp16"
    assert choose_precision("auto", CPU, both) == "fp32"


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.backends.devices._is_installed", lambda module: False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeviceError, match=r"OpenVINO is not installed: pip install"):
        choose_device("openvino")
    with pytest.raises(DeviceError, match=r"this onnxruntime has no CUDA: pip uninstall -y onnxruntime"):
        choose_device("cuda")
    with pytest.raises(DeviceError, match=r"TensorRT is not installed"):
        choose_device("tensorrt")
    assert choose_device("auto") == replace(CPU, reason="there is neither a usable GPU nor OpenVINO")
