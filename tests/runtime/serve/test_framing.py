"""Where a request ends: heads and chunks that must neither confuse the service nor keep it busy."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from .conftest import Serve, Service
from .wire import connected, head, is_well, read_all


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: -5"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["X: " + "a" * 40_000],
        [f"X{i}: 1" for i in range(5000)],
        ["Broken header"],
        ["X: \0"],
    ],
)
def test_hostile_heads(service: Service, lines: list[str]) -> None:
    """Each is refused, and its connection closed: what follows a body of doubtful length is no request."""
    with connected(service) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(
                head(service, *lines) + b"0\r\n\r\n" + head(service, "Content-Length: 0", "Connection: close")
            )
        answer = read_all(connection)
    assert answer.split(b" ")[1] == b"400", answer
    assert answer.count(b"HTTP/1.1 4") == 1, "one answer: what follows was not taken for a request"
    assert b"Traceback" not in answer
    assert service.metric('rave_requests_total{route="other",status="400"}') >= 1
    is_well(service)


def test_a_body_in_tiny_chunks_keeps_nobody_waiting(serve: Serve) -> None:
    """Each chunk of one byte takes long to parse, and whole reads of them kept others out for seconds."""
    service = serve("--no-log")
    ends = time.monotonic() + 1.5
    chunks = b"1\r\nx\r\n" * 40_000

    def send_chunks() -> None:
        with connected(service) as connection, contextlib.suppress(TimeoutError):
            connection.settimeout(0.2)
            connection.sendall(head(service, "Transfer-Encoding: chunked"))
            while time.monotonic() < ends:
                with contextlib.suppress(TimeoutError):
                    connection.send(chunks)

    senders = [threading.Thread(target=send_chunks) for _ in range(4)]
    for sender in senders:
        sender.start()
    longest = 0.0
    while time.monotonic() < ends:
        started = time.perf_counter()
        assert service.get("/healthz").status == 200
        longest = max(longest, time.perf_counter() - started)
        time.sleep(0.05)
    for sender in senders:
        sender.join()
    service.process.kill()  # what it has not yet parsed lies in the system's buffers
    assert longest < 1.5
