"""Bodies, heads and connections of hostile or unlucky clients: refused, and nothing else."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time

import numpy as np
import pytest

from tests.runtime.pictures import MakePicture

from .conftest import Serve, Service, encode, form
from .wire import connected, head, is_well, read_all, read_some, serve_patched

SMALL_BUFFERS = """
import socket
create = socket.create_server
def create_small(*arguments, **settings):
    listener = create(*arguments, **settings)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return listener
socket.create_server = create_small
from rave_runtime.serve.cli import main; main()
"""
"""Starts the service so that what a client does not read soon fills the system's buffers."""


@pytest.fixture(scope="module")
def hurried(serve: Serve) -> Service:
    """A service that waits half a second for a head, for the rest of a body, and for who reads a result."""
    code = (
        "from rave_runtime.serve import guard, intake, protocol\n"
        "guard.SEND_S = intake.PAUSE_S = protocol.HEAD_S = 0.5\n"
        "from rave_runtime.serve.cli import main; main()"
    )
    return serve_patched(serve, code)


@pytest.fixture(scope="module")
def narrow(serve: Serve) -> Service:
    """A service that has one photograph in work and lets one wait."""
    return serve("--workers", 1, "--max-queue", 1)


def test_a_body_that_stops_is_told_so_and_its_place_is_free(hurried: Service) -> None:
    with connected(hurried) as connection:
        connection.sendall(head(hurried, "Content-Length: 1000") + b"\xff\xd8")
        answer = read_some(connection)
    assert b"408 Request Timeout" in answer
    assert b"the body stopped for 0.5 s" in answer
    is_well(hurried)


def test_heads_that_never_end_are_closed(hurried: Service) -> None:
    with connected(hurried) as silent, connected(hurried) as slow:
        started = time.perf_counter()
        for _ in range(20):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                slow.sendall(b"GET / HT")
            time.sleep(0.05)
        assert read_all(silent) == b""
        assert read_all(slow) == b""
        assert time.perf_counter() - started < 5
    is_well(hurried)


def test_bodies_longer_than_allowed_or_declared(serve: Serve) -> None:
    service = serve("--max-body", 1)
    with connected(service) as connection:  # refused before a byte of it is read
        connection.sendall(head(service, "Content-Length: 99999999", "Expect: 100-continue"))
        answer = read_some(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"over the limit of 1 MiB" in answer
    with connected(service) as connection:  # without a length: refused when it is too long
        connection.sendall(head(service, "Transfer-Encoding: chunked"))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(40):
                connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
        assert read_some(connection).startswith(b"HTTP/1.1 413")
    with connected(service) as connection:  # what is over is no part of the body, nor a request
        connection.sendall(head(service, "Content-Length: 5") + b"hello" + b"\0garbage\r\n\r\n")
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 415")
        assert answer.count(b"HTTP/1.1 400") == 1
    is_well(service)


def test_a_client_that_goes_away_frees_its_place(narrow: Service, picture: MakePicture) -> None:
    service = narrow
    content = encode(picture(1200, 1600), "PNG", compress_level=1)
    with connected(service) as connection:
        path = "/enhance?working_size=full"
        connection.sendall(head(service, f"Content-Length: {len(content)}", path=path) + content)
        service.wait(lambda: service.metric("rave_in_work") == 1)
    started = time.perf_counter()
    service.wait(lambda: service.metric("rave_in_work") == 0)
    assert time.perf_counter() - started < 10
    is_well(service)


def test_the_log_says_that_a_client_left_its_batch(serve: Serve, picture: MakePicture) -> None:
    service = serve()
    body, kind = form([encode(picture(800, 600), "PNG", compress_level=1)] * 12)
    with connected(service) as connection:
        connection.sendall(
            head(service, f"Content-Type: {kind}", f"Content-Length: {len(body)}", path="/batch")
        )
        connection.sendall(body)
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
    is_well(service)
    service.post("/batch", form([b"x"])[0], {"Content-Type": kind})
    lines = [json.loads(line) for line in service.end()[1].splitlines()]
    assert [line.get("left", False) for line in lines if line.get("route") == "/batch"] == [True, False]


def test_a_full_queue_refuses_at_once_and_health_answers(narrow: Service, picture: MakePicture) -> None:
    service = narrow
    slow, quick = encode(picture(400, 500), "PNG", compress_level=1), encode(picture(40, 60), "PNG")
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(service.post("/enhance?working_size=full", slow).status)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    service.wait(lambda: service.metric("rave_queue_length") == 1)
    started = time.perf_counter()
    refused = service.post("/enhance", quick)
    assert time.perf_counter() - started < 1
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "1 photographs are in work and 1 wait" in refused.detail
    assert service.get("/healthz").status == 200
    for thread in threads:
        thread.join()
    assert answers == [200, 200]
    is_well(service)


def test_what_takes_too_long_is_told_and_stopped(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1, "--timeout", 0.5)
    answer = service.post("/enhance?working_size=full", encode(picture(1200, 1500), "PNG", compress_level=1))
    assert answer.status == 503
    assert "took longer than 0.5 seconds" in answer.detail
    service.wait(lambda: service.metric("rave_in_work") == 0)
    assert service.post("/enhance", encode(picture(40, 60), "PNG")).status == 200


def test_forms_that_make_no_sense_leave_no_words_behind(serve: Serve) -> None:
    service = serve()
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    for body in (b"\xff\xd8\xff\xff", b"--\xff\xff\xff", b"--b\r\n\0: x\r\n\r\n"):
        answer = service.post("/enhance", body, kind)
        assert (answer.status, "cut short or makes no sense" in answer.detail) == (400, True)
    assert service.end()[2] == ""


def test_thousands_of_connections(serve: Serve, jpeg: bytes) -> None:
    """New ones take the place of idle ones, so that whoever has a request is always heard."""
    service = serve("--max-connections", 64)
    held: list[socket.socket] = []
    try:
        for number in range(2500):
            held.append(socket.create_connection(("127.0.0.1", service.port), timeout=10))
            if len(held) > 200:
                held.pop(0).close()
            if number % 500 == 0:
                assert service.get("/healthz").status == 200
        assert service.post("/enhance", jpeg).status == 200
    finally:
        for connection in held:
            connection.close()
    is_well(service)
    assert service.end()[2] == ""


def test_more_requests_than_connections_are_refused_cleanly(serve: Serve) -> None:
    service = serve("--max-connections", 4)
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(connected(service)) for _ in range(4)]
        for connection in busy:
            connection.sendall(head(service, "Content-Length: 1000") + b"\xff")
        time.sleep(0.3)
        with connected(service) as late:
            answer = read_all(late)
    assert answer.startswith(b"HTTP/1.1 503 Service Unavailable")
    assert b"too many connections are open" in answer
    is_well(service)
    assert service.metric('rave_requests_total{route="other",status="503"}') == 1


def test_refused_bodies_that_do_not_end_keep_no_place(serve: Serve) -> None:
    """Whoever has no token could otherwise fill all places."""
    service = serve("--max-connections", 4, "--token", "0123456789abcdef")
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            connection = stack.enter_context(connected(service))
            connection.sendall(head(service, "Content-Length: 1000") + b"\xff")
            assert b"401 Unauthorized" in read_some(connection)
        for _ in range(8):
            assert service.get("/healthz").status == 200


def test_results_that_nobody_reads_are_counted_and_let_go(hurried: Service, picture: MakePicture) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    content = encode(noise, "PNG", compress_level=0)
    with connected(hurried) as connection:
        connection.sendall(head(hurried, f"Content-Length: {len(content)}") + content)
        hurried.wait(lambda: hurried.metric("rave_held_bytes") > 10_000_000)  # and reads nothing
        hurried.wait(lambda: hurried.metric("rave_held_bytes") == 0)
    is_well(hurried)


def test_an_answer_that_is_read_slowly_comes_whole(serve: Serve) -> None:
    """The time limit for the next request begins when the answer is on its way, not when it is buffered."""
    code = "from rave_runtime.serve import protocol; protocol.HEAD_S = 0.3\n"
    service = serve_patched(serve, code + SMALL_BUFFERS)
    noise = np.random.default_rng(0).integers(0, 256, (500, 600, 3), np.uint8)
    content = encode(noise, "PNG", compress_level=0)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)  # else the system takes it all
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(head(service, f"Content-Length: {len(content)}") + content)
        answer = connection.recv(65536)
        while service.metric("rave_held_bytes"):
            answer += connection.recv(65536)
        time.sleep(0.6)
        answer += read_all(connection)
    start, _, body = answer.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in start.split(b"\r\n") if line.startswith(b"content-length:"))
    assert len(body) == length


def test_whoever_reads_nothing_does_not_keep_others_waiting(serve: Serve) -> None:
    """Neither the place of a batch nor the connection is held by an answer that cannot even begin."""
    code = "from rave_runtime.serve import guard, protocol; guard.SEND_S = 0.5; protocol.UNREAD_S = 1\n"
    service = serve_patched(serve, code + SMALL_BUFFERS)
    one, kind = form([b"no photograph"])
    lines = (f"Content-Type: {kind}", f"Content-Length: {len(one)}")
    batch = head(service, *lines, path="/batch") + one
    page = f"GET /page.js HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        deaf = [stack.enter_context(socket.socket()) for _ in range(2)]
        for connection in deaf:  # the page fills all buffers, and the answer of the batch finds no room
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", service.port))
            connection.sendall((page + batch) * 20)
        time.sleep(0.4)
        headers = {"Content-Type": kind}
        service.wait(lambda: service.post("/batch", one, headers).status == 200)
        for connection in deaf:
            connection.settimeout(20)
            read_all(connection)  # it ends
    is_well(service)


def test_who_sends_all_before_reading_sees_why_it_was_refused(serve: Serve) -> None:
    code = (
        "from rave_runtime.serve import protocol; protocol.HEAD_S = 0.3\n"
        "from rave_runtime.serve.cli import main; main()"
    )
    service = serve_patched(serve, code, "--max-body", "1")
    for further in (["Connection: close"], []):
        with connected(service) as connection:
            connection.sendall(head(service, "Content-Length: 4194304", *further))
            for _ in range(4):  # more slowly than a request may take to begin
                connection.sendall(bytes(1 << 20))
                time.sleep(0.12)
            if not further:  # the connection is as good as before
                connection.sendall(head(service, "Content-Length: 0", "Connection: close"))
            answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b"over the limit of 1 MiB: send a smaller file" in answer
        assert answer.count(b"HTTP/1.1 400") == (0 if further else 1)
    is_well(service)
