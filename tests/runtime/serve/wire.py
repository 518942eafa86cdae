"""Talking to rave-serve over a bare socket, and whether it is well afterwards."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Serve, Service


@contextlib.contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        yield connection


def read_all(connection: socket.socket) -> bytes:
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def is_well(service: Service) -> None:
    """It answers at once, and holds nothing of anybody."""
    started = time.perf_counter()
    assert service.get("/healthz").status == 200
    assert time.perf_counter() - started < 2
    service.wait(lambda: service.metric("rave_held_bytes") == 0 and service.metric("rave_in_work") == 0)


def head(service: Service, *lines: str, path: str = "/enhance") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{service.port}", *lines, "", ""]).encode()


def serve_patched(serve: Serve, code: str, *arguments: str) -> Service:
    """A service whose limits are shortened, so that a test need not wait for them."""
    real = subprocess.Popen

    def popen(command: list[str], **settings: Any) -> subprocess.Popen[str]:
        return real([command[0], "-c", code, *command[3:]], **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", popen)
        return serve(*arguments)


def read_some(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found or b"}" not in found:
        piece = connection.recv(65536)
        if not piece:
            break
        found += piece
    return found
