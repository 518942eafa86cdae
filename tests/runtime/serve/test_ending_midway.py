"""The service is told to end while a request is neither wholly here nor wholly answered."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import socket
import threading
import time
import zipfile
from typing import Any

import pytest

from tests.runtime.pictures import MakePicture

from .conftest import Serve, encode, form


def test_sigterm_during_a_batch_gives_a_whole_archive(serve: Serve, picture: MakePicture) -> None:
    """What was done is in it, and what was not is said in its list."""
    service = serve("--workers", 1, "--drain", 1)
    content = encode(picture(700, 900), "PNG", compress_level=1)
    body, kind = form([content] * 12)
    answers: list[Any] = []
    path = "/batch?working_size=full"
    headers = {"Content-Type": kind}
    thread = threading.Thread(target=lambda: answers.append(service.post(path, body, headers)))
    thread.start()
    service.wait(lambda: service.metric("rave_photographs_total") >= 1)
    started = time.perf_counter()
    code, _, errors = service.end()
    assert time.perf_counter() - started < 8
    thread.join()
    assert (answers[0].status, code, errors) == (200, 0, "")
    with zipfile.ZipFile(io.BytesIO(answers[0].body)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        told = json.loads(archive.read(next(name for name in names if name.endswith(".json"))))
    entries = told["photographs"] if isinstance(told, dict) else told
    failed = [entry for entry in entries if entry.get("error")]
    assert len(entries) == 12
    assert 1 <= len(names) - 1 == 12 - len(failed) < 12
    assert all("the service is ending" in entry["error"] for entry in failed)


def test_whoever_asks_a_service_that_ends_is_told_so(serve: Serve, picture: MakePicture) -> None:
    """Its port stays open while there is work: a closed one cannot be told from a crash."""
    service = serve("--workers", 1)
    content, small = (encode(picture(*size), "PNG", compress_level=1) for size in ((600, 800), (40, 60)))
    answers: list[Any] = []
    path = "/enhance?working_size=full"
    thread = threading.Thread(target=lambda: answers.append(service.post(path, content)))
    thread.start()
    service.wait(lambda: service.metric("rave_in_work") == 1)
    service.process.send_signal(signal.SIGTERM)
    unready = service.wait(lambda: (answer := service.get("/readyz")).status == 503 and answer)
    assert (unready.detail, unready.headers["connection"]) == ("the service is ending", "close")
    refused = service.post("/enhance", small)
    assert (refused.status, refused.headers["retry-after"]) == (503, "5")
    assert "the service is ending: send it to another one" in refused.detail
    assert service.get("/healthz").status == 200
    assert service.metric("rave_in_work") == 1
    thread.join()
    assert answers[0].status == 200
    _, errors = service.process.communicate(timeout=30)
    assert (service.process.returncode, errors) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        service.get("/readyz")


def test_a_service_without_work_ends_at_once(serve: Serve) -> None:
    service = serve()
    with socket.create_connection(("127.0.0.1", service.port)):  # an idle connection is none
        started = time.perf_counter()
        assert service.end()[0] == 0
        assert time.perf_counter() - started < 5


def test_sigterm_while_a_body_is_on_its_way(serve: Serve, jpeg: bytes) -> None:
    """A client that sends slowly does not keep the service from ending in its time."""
    service = serve("--drain", 1)
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        head = f"POST /enhance HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        client.sendall(head.encode() + jpeg[: len(jpeg) // 2])
        time.sleep(0.3)
        started = time.perf_counter()
        code, _, errors = service.end()
        assert time.perf_counter() - started < 6
    assert (code, errors) == (0, "")


def test_a_second_sigterm_ends_at_once(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1, "--drain", 60)
    content = encode(picture(1200, 1600), "PNG", compress_level=1)
    path = "/enhance?working_size=full"

    def ask() -> None:
        with contextlib.suppress(OSError):  # the connection is closed in the middle
            service.post(path, content)

    thread = threading.Thread(target=ask)
    thread.start()
    service.wait(lambda: service.metric("rave_in_work") == 1)
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert service.process.poll() is None
    started = time.perf_counter()
    service.end()
    assert time.perf_counter() - started < 5
    thread.join()
