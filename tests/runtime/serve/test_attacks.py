"""What a hostile or unlucky client can do to rave-serve: be refused, and nothing else."""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.serve import guard, intake, protocol
from rave_runtime.serve.options import ServeOptions
from rave_runtime.serve.problems import RefusedError, problem_of
from rave_runtime.serve.work import WorkQueue

from .conftest import MakePicture, Serve, Service, encode, form

TOKEN = "0123456789abcdef0123"


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


def test_a_body_that_stops_is_told_so_and_its_place_is_free(serve: Serve) -> None:
    code = (
        "from rave_runtime.serve import intake; intake.PAUSE_S = 0.5\n"
        "from rave_runtime.serve.cli import main; main()"
    )
    service = serve_patched(serve, code)
    with connected(service) as connection:
        connection.sendall(head(service, "Content-Length: 1000") + b"\xff\xd8")
        answer = read_some(connection)
    assert b"408 Request Timeout" in answer
    assert b"the body stopped for 0.5 s" in answer
    is_well(service)


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


def test_heads_that_never_end_are_closed(serve: Serve) -> None:
    code = (
        "from rave_runtime.serve import protocol; protocol.HEAD_S = 0.5\n"
        "from rave_runtime.serve.cli import main; main()"
    )
    service = serve_patched(serve, code)
    with connected(service) as silent, connected(service) as slow:
        started = time.perf_counter()
        for _ in range(20):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                slow.sendall(b"GET / HT")
            time.sleep(0.05)
        assert read_all(silent) == b""
        assert read_all(slow) == b"" or True
        assert time.perf_counter() - started < 5
    is_well(service)


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


def test_a_client_that_goes_away_frees_its_place(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1)
    content = encode(picture(1500, 2000), "PNG")
    with connected(service) as connection:
        path = "/enhance?working_size=full"
        connection.sendall(head(service, f"Content-Length: {len(content)}", path=path) + content)
        service.wait(lambda: service.metric("rave_in_work") == 1)
    started = time.perf_counter()
    service.wait(lambda: service.metric("rave_in_work") == 0)
    assert time.perf_counter() - started < 10
    is_well(service)


def test_a_full_queue_refuses_at_once_and_health_answers(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1, "--max-queue", 1)
    slow, quick = encode(picture(700, 900), "PNG"), encode(picture(40, 60), "PNG")
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
    service = serve("--workers", 1, "--timeout", 1)
    answer = service.post("/enhance?working_size=full", encode(picture(1500, 2000), "PNG"))
    assert answer.status == 503
    assert "took longer than 1 seconds" in answer.detail
    service.wait(lambda: service.metric("rave_in_work") == 0)
    assert service.post("/enhance", encode(picture(40, 60), "PNG")).status == 200


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that claims, and holds, a huge black picture."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(bytes(1 + width // 8)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_picture_bombs_are_refused_by_their_size(serve: Serve) -> None:
    service = serve("--memory-limit", 256)
    before = service.metric("process_resident_memory_bytes")
    answer = service.post("/enhance", png_bomb(60_000, 10_000))
    assert answer.status == 413
    assert "is 60000 x 10000, over this service's limit of 100 megapixels" in answer.detail
    answer = service.post("/enhance", png_bomb(8000, 8000))
    assert answer.status == 413
    assert "MiB of memory, this service has 256 MiB" in answer.detail
    assert service.metric("process_resident_memory_bytes") - before < 100e6
    is_well(service)


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def records_of(service: Service, content: bytes) -> list[dict[str, Any]]:
    answer = service.post("/batch", content, {"Content-Type": "application/zip"})
    assert answer.status == 200, answer.body
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        return list(json.loads(archive.read("results.json")))


def test_zip_bombs(serve: Serve, jpeg: bytes) -> None:
    service = serve("--max-body", 1, "--max-batch-photos", 20, "--max-batch", 8)
    before = service.metric("process_resident_memory_bytes")
    bomb = zip_of({"a.jpg": jpeg, "b.jpg": bytes(200_000_000)})
    assert len(bomb) < 500_000
    records = records_of(service, bomb)
    assert [record["status"] for record in records] == [200, 413]
    assert records[1]["error"] == "the file is over the limit of 1 MiB: shrink it"
    liar = bytearray(zip_of({"b.jpg": bytes(3_000_000)}))
    for signature, at in ((b"PK\3\4", 22), (b"PK\1\2", 24)):  # says that it holds 100 bytes
        struct.pack_into("<I", liar, liar.find(signature) + at, 100)
    assert records_of(service, bytes(liar))[0]["status"] in (413, 415, 422)
    many = zip_of({f"{i}.jpg": b"" for i in range(30)})
    refused = service.post("/batch", many, {"Content-Type": "application/zip"})
    assert (refused.status, "20 allowed" in refused.detail) == (413, True)
    # A directory of a million entries is refused before anything is made of it.
    directory = b"PK\1\2" + bytes(42)
    flood = directory * 50_000 + struct.pack(
        "<IHHHHIIH", 0x06054B50, 0, 0, 50_000, 50_000, len(directory) * 50_000, 0, 0
    )
    assert service.post("/batch", flood, {"Content-Type": "application/zip"}).status == 413
    other = zip_of({"a.jpg": bytes(5_000_000)}, zipfile.ZIP_BZIP2)
    assert records_of(service, other)[0]["status"] == 415
    assert service.metric("process_resident_memory_bytes") - before < 100e6
    is_well(service)


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
    with connected(service) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head(service, *lines) + b"hello")
        answer = read_some(connection) if "chunked" not in str(lines) else b""
    if answer:
        assert answer.split(b" ")[1] in (b"400", b"415"), answer
        assert b"Traceback" not in answer
    is_well(service)


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.css/../cli.py",
        "//etc/passwd",
        "/page.js%00",
    ],
)
def test_path_tricks_find_nothing(service: Service, path: str) -> None:
    with connected(service) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"root:" not in answer


def test_hostile_names_of_files(service: Service, jpeg: bytes) -> None:
    for name in ("../../x.jpg", "a\0b.jpg", "x" * 4000, "\"; filename*=utf-8''%ff", "<script>.jpg"):
        body, kind = form([jpeg], name=name)
        answer = service.post("/enhance", body, {"Content-Type": kind})
        assert answer.status in (200, 400)
        assert answer.headers.get("content-disposition", "").endswith(('"enhanced.jpg"', ""))
        assert b"script" not in answer.body[:100]
    is_well(service)


def test_wrong_tokens(serve: Serve, jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    service = serve("--host", "0.0.0.0", "--token-file", tmp_path / "token")
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
    ):
        for path in ("/enhance", "/light", "/batch"):
            answer = service.post(path, jpeg, headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    assert service.get("/metrics").status == 401
    assert service.get("/healthz").status == service.get("/").status == 200
    assert service.post("/enhance", jpeg, {"Authorization": f"Bearer {TOKEN}"}).status == 200
    service = serve(environment={"RAVE_SERVE_TOKEN": TOKEN})
    assert service.post("/enhance", jpeg).status == 401


def test_the_time_for_a_token_does_not_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length are compared, in constant time, whatever was sent."""
    compared: list[tuple[int, int]] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((len(first), len(second)))
        return hmac.compare_digest(first, second)

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    door = guard.Guard(None, ServeOptions(host="0.0.0.0"), TOKEN, None, None)  # type: ignore[arg-type]
    sent = (b"", b"Bearer ", b"Bearer " + TOKEN[:10].encode(), b"Basic x", b"Bearer " + b"\xff" * 9000)
    for value in sent:
        scope = {"method": "POST", "path": "/enhance", "headers": [(b"authorization", value)]}
        with pytest.raises(RefusedError, match="missing or wrong"):
            door._check(scope)
    assert compared == [(32, 32)] * len(sent)


def test_other_web_sites_cannot_use_it(serve: Serve, service: Service, jpeg: bytes) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Host": f"evil.example:{service.port}"},
    ):
        answer = service.post("/enhance", jpeg, headers)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    own = f"http://127.0.0.1:{service.port}"
    assert service.post("/enhance", jpeg, {"Origin": own}).status == 200
    policy = service.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    friendly = serve("--allow-origin", "https://good.example")
    answer = friendly.post("/enhance", jpeg, {"Origin": "https://good.example"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://good.example")
    assert friendly.post("/enhance", jpeg, {"Origin": "https://evil.example"}).status == 403


def test_ten_thousand_connections(serve: Serve, jpeg: bytes) -> None:
    """New ones take the place of idle ones, so that whoever has a request is always heard."""
    service = serve("--max-connections", 64)
    held: list[socket.socket] = []
    try:
        for number in range(10_000):
            held.append(socket.create_connection(("127.0.0.1", service.port), timeout=10))
            if len(held) > 200:
                held.pop(0).close()
            if number % 2500 == 0:
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


def test_a_worker_thread_that_dies_takes_one_request_with_it() -> None:
    import asyncio

    def die(_: Any) -> None:
        raise SystemExit

    async def scene() -> None:
        work = WorkQueue(1, 1, 5)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="the thread was ended by SystemExit"):
                await work.run(die)
        assert (await work.run(lambda _: 7))[0] == 7
        assert work.running == 0

    asyncio.run(scene())


def test_threads_that_hang_are_seen() -> None:
    import asyncio

    async def scene() -> None:
        work = WorkQueue(1, 1, 0.1)
        over = threading.Event()
        with pytest.raises(RefusedError, match="longer than"):
            await work.run(lambda _: over.wait(20))
        now = asyncio.get_running_loop().time()
        assert not work.is_stuck(now)
        assert work.is_stuck(now + 1)
        over.set()
        while work.running:
            await asyncio.sleep(0.01)
        assert not work.is_stuck(now + 1)

    asyncio.run(scene())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_log_stops_nothing(serve: Serve, jpeg: bytes) -> None:
    with open("/dev/full", "w") as full:
        service = serve(stdout=full)
        for _ in range(5):
            assert service.post("/enhance", jpeg).status == 200
        assert service.end()[0] == 0


def test_nothing_is_written_to_disk(serve: Serve, picture: MakePicture, tmp_path: Path) -> None:
    places = {name: str(tmp_path / name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    for place in places.values():
        Path(place).mkdir()
    service = serve(environment=places | {"RAVE_CACHE_DIR": ""}, cwd=tmp_path)
    large = encode(picture(900, 1200), "PNG")
    assert len(large) > 1_000_000  # where HTTP libraries begin to write uploads to temporary files
    body, kind = form([large, large])
    assert service.post("/batch", body, {"Content-Type": kind}).status == 200
    body, kind = form([large])
    assert service.post("/enhance", body, {"Content-Type": kind}).status == 200
    assert service.end()[0] == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == sorted(places)


def test_sigterm_finishes_what_is_in_work(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1)
    answers: list[Any] = []
    content = encode(picture(500, 600), "PNG")
    path = "/enhance?working_size=full"
    threads = [threading.Thread(target=lambda: answers.append(service.post(path, content))) for _ in range(2)]
    for thread in threads:
        thread.start()
    service.wait(lambda: service.metric("rave_in_work") == 1 and service.metric("rave_queue_length") == 1)
    service.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    output, errors = service.process.communicate(timeout=30)
    assert [answer.status for answer in answers] == [200, 200]
    assert service.process.returncode == 0
    assert errors == ""
    assert '"event": "ended", "in_work": 0' in output


def test_sigterm_ends_in_the_time_given(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1, "--drain", 2)
    answers: list[Any] = []
    content = encode(picture(2400, 3000), "PNG", compress_level=1)
    path = "/enhance?working_size=full"
    thread = threading.Thread(target=lambda: answers.append(service.post(path, content)))
    thread.start()
    service.wait(lambda: service.metric("rave_in_work") == 1)
    started = time.perf_counter()
    code, _, errors = service.end()
    assert time.perf_counter() - started < 6
    thread.join()
    assert (answers[0].status, code, errors) == (503, 0, "")
    assert "the service is ending" in answers[0].detail


@pytest.mark.skipif(
    not (
        hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("unshare") and shutil.which("setpriv")
    ),
    reason="needs root, to give it up",
)
def test_as_nobody_with_a_read_only_root_and_no_home(jpeg: bytes) -> None:
    """Without a warning; what a container without privileges is."""
    code = "from rave_runtime.serve.cli import main; main()"
    script = (
        "mount -o remount,ro,bind / 2>/dev/null || mount --bind / / && mount -o remount,ro,bind / || exit 77\n"
        'exec setpriv --reuid=65534 --regid=65534 --clear-groups env -i PYTHONPATH="$PYTHONPATH" '
        f'"{sys.executable}" -W error -c "{code}" --port 0'
    )
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    if not line.startswith("rave-serve: http"):
        process.kill()
        rest = line + process.stderr.read()
        if process.wait() == 77 or "unshare" in rest or "ermission" in rest:
            pytest.skip("this machine lets nobody mount, or keeps Python from other users")
        raise AssertionError(rest)
    service = Service(process, int(line.split("/")[2].split(":")[1]))
    try:
        service.wait(lambda: service.get("/readyz").status == 200)
        assert service.post("/enhance", jpeg).status == 200
    finally:
        process.send_signal(signal.SIGTERM)  # setpriv and sh have become the service
        _, errors = process.communicate(timeout=30)
    assert errors == ""


def test_answers_name_neither_paths_nor_objects() -> None:
    error = RefusedError(
        422, "cannot read <_io.BytesIO object at 0x7f12ab> in /usr/lib/python3/x.py, 3/4 of it"
    )
    assert error.detail == "cannot read ... in ..., 3/4 of it"
    assert problem_of(ValueError("a bug")) is None
    assert intake.PAUSE_S <= 10
    assert protocol.HEAD_S <= 10
