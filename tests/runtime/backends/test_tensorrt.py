"""The native runner against stand-ins: engines give the light of the graphs, where their key says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import DeviceError, Enhancer
from rave_runtime.backends.tensorrt.library import Gpu
from rave_runtime.backends.tensorrt.network import choose_engine
from tests.runtime.backends.host_cuda import H200, HostCuda, OnnxEngine, engine_for
from tests.runtime.pictures import MakePicture


@pytest.mark.parametrize("tile_size", [None, 64])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_engines_give_the_graphs_light(
    cuda: HostCuda,
    with_engines: Path,
    enhancer: Enhancer,
    picture: MakePicture,
    tile_size: int | None,
    dtype: type,
) -> None:
    image: NDArray[np.unsignedinteger[Any]] = picture(80, 80).astype(dtype)
    image = image * image.dtype.type(257 if dtype is np.uint16 else 1)
    engines = Enhancer(
        with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=tile_size
    )
    for _ in range(2):  # the second call reuses the first one's memory
        np.testing.assert_allclose(engines.illumination(image), enhancer.illumination(image), atol=1e-5)


def test_photographs_of_many_shapes_take_the_memory_of_the_largest(
    cuda: HostCuda, with_engines: Path, picture: MakePicture
) -> None:
    engines = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=None)
    assert engines.batch == 4  # the engines' own limit
    engines.enhance(picture(80, 80))
    allocations = cuda.allocations
    for height in (40, 50, 60, 90):
        engines.enhance(picture(height, 70))
    assert cuda.allocations == allocations


def test_a_tile_larger_than_the_engines_is_refused(
    cuda: HostCuda, with_engines: Path, picture: MakePicture
) -> None:
    engines = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=None)
    with pytest.raises(DeviceError, match=r"was not built for image of \[1, 40, 600, 3\]: choose a smaller"):
        engines.illumination(picture(40, 600))


def test_without_a_gpu(cuda: HostCuda, with_engines: Path) -> None:
    cuda._count = 0
    with pytest.raises(DeviceError, match="no NVIDIA GPU is visible to CUDA"):
        Enhancer(with_engines, device="tensorrt", precision="fp32")


def test_without_the_libraries(with_engines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.backends.devices._is_installed", lambda module: False)
    with pytest.raises(DeviceError, match=r"TensorRT is not installed: pip install 'rave-backlit\[rtx\]'"):
        Enhancer(with_engines, device="tensorrt")


@pytest.mark.parametrize(
    ("changes", "gpu", "fits"),
    [
        ({}, H200, True),
        ({}, Gpu("NVIDIA H100", "9.0", "11.4.0"), False),
        ({}, Gpu("NVIDIA H200", "9.0", "11.5.0"), False),
        ({"version_compatible": True}, Gpu("NVIDIA H200", "9.0", "11.5.0"), True),
        ({"version_compatible": True}, Gpu("NVIDIA H200", "9.0", "10.12.0"), False),
        ({"hardware": "same_compute_capability"}, Gpu("NVIDIA H100", "9.0", "11.4.0"), True),
        ({"hardware": "same_compute_capability"}, Gpu("NVIDIA A100", "8.0", "11.4.0"), False),
        ({"hardware": "ampere_plus"}, Gpu("NVIDIA A100", "8.0", "11.4.0"), True),
        ({"hardware": "ampere_plus"}, Gpu("NVIDIA T4", "7.5", "11.4.0"), False),
    ],
)
def test_an_engine_runs_only_where_its_key_says(
    enhancer: Enhancer, changes: dict[str, Any], gpu: Gpu, fits: bool
) -> None:
    graph = enhancer.manifest.graph("enhance", "fp32")
    engines = [engine_for(graph.file, **changes)]
    if fits:
        assert choose_engine(engines, graph, gpu).graph == graph.file
    else:
        with pytest.raises(DeviceError, match=rf"is for {gpu.name} .*; the bundle has NVIDIA H200 .*--trt"):
            choose_engine(engines, graph, gpu)


def test_a_smaller_profile_runs_the_smaller_windows(
    cuda: HostCuda, with_engines: Path, picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []

    def choose(engine: OnnxEngine, index: int, stream: int) -> bool:
        chosen.append(index)
        return True

    monkeypatch.setattr(OnnxEngine, "set_optimization_profile_async", choose)
    engines = Enhancer(with_engines, device="tensorrt", precision="fp32", working_size=None, tile_size=None)
    engines.enhance(picture(80, 80))
    assert chosen == [1, 1]
    engines.enhance(picture(80, 200))
    assert chosen == [1, 1, 0, 0]
    engines.enhance(picture(90, 90))
    assert chosen == [1, 1, 0, 0], "contexts are made once"
