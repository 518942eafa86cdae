"""rave-serve as a process of its own, and a client that says exactly what goes over the wire."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.runtime.pictures import MakePicture

from .browser import Browser, open_browser

if any(importlib.util.find_spec(name) is None for name in ("starlette", "uvicorn", "python_multipart")):
    collect_ignore_glob = ["test_*.py"]  # they need the extra `serve`


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


@dataclass
class Service:
    process: subprocess.Popen[str]
    port: int
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, self.headers | (headers or {}))
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        return self.ask("POST", path, body, headers)

    def metric(self, name: str) -> float:
        text = self.get("/metrics").body.decode()
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)[1])  # type: ignore[index]

    def wait(self, condition: Callable[[], Any], seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, "it never became true"
            time.sleep(0.02)
        return value

    def end(self) -> tuple[int, str, str]:
        """Ends it; its exit code, standard output and standard error."""
        self.process.send_signal(signal.SIGTERM)
        output, errors = self.process.communicate(timeout=30)
        return self.process.returncode, output, errors


Serve = Callable[..., Service]


def start(*arguments: object, environment: dict[str, str] | None = None, **settings: Any) -> Service:
    command = [sys.executable, "-c", "from rave_runtime.serve.cli import main; main()", "--port", "0"]
    defaults: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        [*command, "--device", "cpu", *map(str, arguments)],
        env=os.environ | (environment or {}),
        **(defaults | settings),
    )
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 60)[0], "it says nothing"
    line = process.stderr.readline()
    found = re.search(r":(\d+)/ ", line)
    assert found, line + process.stderr.read()
    service = Service(process, int(found[1]))
    service.wait(lambda: service.get("/readyz").status == 200 or process.poll() is not None)
    return service


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts services that are ended after the module's tests."""
    started: list[Service] = []

    def begin(*arguments: object, **settings: Any) -> Service:
        service = start(*arguments, **settings)
        started.append(service)
        return service

    yield begin
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """A service as it is without options."""
    started = start("--no-log")
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.fixture(scope="session")
def jpeg(picture: MakePicture) -> bytes:
    return encode(picture(120, 160), "JPEG")


def encode(pixels: NDArray[np.uint8], format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def form(files: list[bytes], fields: dict[str, str] | None = None, name: str = "a.jpg") -> tuple[bytes, str]:
    """A multipart body and its Content-Type."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in (fields or {}).items()
    ]
    parts += [
        f'--b\r\nContent-Disposition: form-data; name="photo"; filename="{name}"\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for content in files
    ]
    return b"".join(parts) + b"--b--\r\n", "multipart/form-data; boundary=b"


def rave_run(folder: Path, files: dict[str, bytes], *arguments: str) -> dict[str, bytes]:
    """What rave-run makes of files."""
    (folder / "in").mkdir(parents=True)
    for name, content in files.items():
        (folder / "in" / name).write_bytes(content)
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", "--device", "cpu"]
    subprocess.run(
        [*command, *arguments, str(folder / "in"), str(folder / "out")], check=True, capture_output=True
    )
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir() if path.name in files}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="session")
def window(downloads: Path) -> Iterator[Browser]:
    with open_browser(downloads) as opened:
        yield opened


@pytest.fixture
def browser(window: Browser, service: Service) -> Browser:
    window.resize(1280, 860)
    window.open(service.url)
    window.log()
    return window


@pytest.fixture(scope="session")
def files(picture: MakePicture) -> dict[str, bytes]:
    return {
        "a beach.jpg": encode(picture(600, 800), "JPEG", quality=90),
        "b.png": encode(picture(500, 300, 1), "PNG"),
    }
