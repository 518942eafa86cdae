from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import DeviceError, Enhancer
from rave_runtime.backends.openvino_network import OpenVinoNetwork
from tests.runtime.pictures import MakePicture

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")


@pytest.mark.parametrize("tile_size", [64, None])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_it_gives_onnxruntimes_light(
    enhancer: Enhancer, picture: MakePicture, tile_size: int | None, dtype: type[np.unsignedinteger[Any]]
) -> None:
    """In tiles by two graphs, whole by one that joins them."""
    small = picture(90, 130)
    image = small if dtype is np.uint8 else small.astype(np.uint16) * 257
    other = Enhancer(device="openvino", precision="fp32", working_size=None, tile_size=tile_size)
    np.testing.assert_allclose(other.illumination(image), enhancer.illumination(image), atol=1e-4)


def test_int8_is_rounded_for_convolutions_only(enhancer: Enhancer, picture: MakePicture) -> None:
    """What onnxruntime rounds before it adds or activates, too; less rounding is nearer to float32."""
    image = picture(180, 240)

    def distance(device: str) -> float:
        light = Enhancer(device=device, precision="int8", working_size=None).illumination(image)
        return float(np.sqrt(np.mean((light - exact) ** 2)))

    exact = enhancer.illumination(image)
    assert 0 < distance("openvino") < 0.95 * distance("cpu")


def test_threads_may_share_it(picture: MakePicture) -> None:
    shared = Enhancer(device="openvino", precision="fp32", threads=1)
    images = [picture(60 + i, 70, i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        lights = list(pool.map(shared.illumination, images))
    for image, light in zip(images, lights, strict=True):
        np.testing.assert_allclose(light, shared.illumination(image), atol=1e-6)


def test_compiled_graphs_are_kept_and_give_the_same_light(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: MakePicture
) -> None:
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path))
    image = picture(90, 130)

    def light() -> NDArray[np.float32]:
        enhancer = Enhancer(device="openvino", precision="int8", working_size=None, tile_size=64)
        small = enhancer.illumination(image[:40, :60])
        return np.concatenate([small.ravel(), enhancer.illumination(image).ravel()])

    first = light()
    kept = {file: file.stat().st_size for file in (tmp_path / "graphs").iterdir()}
    assert len(kept) == 3, "context, enhance, and both as one"
    np.testing.assert_array_equal(light(), first)
    assert {file: file.stat().st_size for file in (tmp_path / "graphs").iterdir()} == kept
    for file in kept:  # whole, and yet no graph: as of another build of OpenVINO
        file.write_bytes(hashlib.sha256(b"no graph").digest() + b"no graph")
    np.testing.assert_array_equal(light(), first)


def test_its_converter_can_still_be_imported() -> None:
    code = """
from rave_runtime.backends.openvino_network import import_openvino
import_openvino()
from openvino.tools.ovc import convert_model
assert callable(convert_model)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_reports_its_use_to_nobody() -> None:
    code = """
import sys
from rave_runtime import DeviceError, Enhancer
from rave_runtime.backends.openvino_network import OpenVinoNetwork
Enhancer(device="openvino").prepare()
assert sys.modules.get("openvino") is not None
assert sys.modules.get("openvino_telemetry") is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_error_without_words_is_told_by_its_name(
    picture: MakePicture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Request:
        def infer(self, *_: object, **__: object) -> None:
            raise MemoryError

    monkeypatch.setattr(OpenVinoNetwork, "_request", lambda *_: Request())
    with pytest.raises(DeviceError, match=r"OpenVINO failed on .*: MemoryError \(a smaller"):
        Enhancer(device="openvino").enhance(picture(60, 70))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to read memory from")
def test_memory_stays_small_over_many_sizes() -> None:
    """A service sees photographs of all sizes; OpenVINO makes kernels for each, and keeps them all."""
    code = """
from pathlib import Path
import numpy as np
from rave_runtime import Enhancer
enhancer = Enhancer(device="openvino", precision="fp32", threads=1)
picture = np.random.default_rng(0).integers(0, 200, (144, 144, 3), np.uint8)
def pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])
for i in range(110):
    enhancer.illumination(picture[: 144 - i // 2, : 144 - (i + 1) // 2])
    if i == 9:
        before = pages()
print((pages() - before) * 4096 // 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 200, "MiB; it was 290"
