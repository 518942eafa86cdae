from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from rave_runtime import Enhancer

pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

MakePicture = Callable[..., NDArray[np.uint8]]


def test_it_gives_onnxruntimes_light(enhancer: Enhancer, picture: MakePicture) -> None:
    image = picture(90, 130)
    other = Enhancer(device="openvino", precision="fp32", working_size=None, tile_size=64)
    np.testing.assert_allclose(other.illumination(image), enhancer.illumination(image), atol=1e-4)


def test_threads_may_share_it(picture: MakePicture) -> None:
    shared = Enhancer(device="openvino", precision="fp32", threads=1)
    images = [picture(60 + i, 70, i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        lights = list(pool.map(shared.illumination, images))
    for image, light in zip(images, lights, strict=True):
        np.testing.assert_allclose(light, shared.illumination(image), atol=1e-6)


def test_it_reports_its_use_to_nobody() -> None:
    code = """
import sys
from rave_runtime import Enhancer
Enhancer(device="openvino")
assert sys.modules.get("openvino") is not None
assert sys.modules.get("openvino_telemetry") is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)
