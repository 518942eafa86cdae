"""The embedded bundle serves as the model of these tests: real, small, and there without torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.bundle import embedded_bundle
from tests.runtime.pictures import MakePicture, make_picture


@pytest.fixture(scope="session")
def enhancer() -> Enhancer:
    """Float32, at full resolution."""
    return Enhancer(precision="fp32", device="cpu", working_size=None, threads=1)


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(embedded_bundle(), tmp_path / "bundle"))


@pytest.fixture(scope="session")
def picture() -> MakePicture:
    """Makes a picture: (height, width, seed) -> [h, w, 3] uint8."""
    return make_picture


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """A bucket of an S3 server on this machine, as a URL."""
    server = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    serving = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    kept = dict(os.environ)
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3fs.S3FileSystem().mkdir("bucket")
    yield "s3://bucket"
    serving.stop()
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture
def picture_file(picture: MakePicture, tmp_path: Path) -> Path:
    """A small backlit JPEG."""
    file = tmp_path / "a.jpg"
    Image.fromarray(picture(48, 64)).save(file, quality=95)
    return file
