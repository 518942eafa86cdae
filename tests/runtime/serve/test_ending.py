"""Threads that die or hang, a full disk, and the end of the service."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.serve.problems import RefusedError
from rave_runtime.serve.work import WorkQueue
from tests.runtime.pictures import MakePicture

from .conftest import Serve, Service, encode


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


def test_sigterm_finishes_what_is_in_work(serve: Serve, picture: MakePicture) -> None:
    service = serve("--workers", 1)
    answers: list[Any] = []
    content = encode(picture(300, 400), "PNG")
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
    service = serve("--workers", 1, "--drain", 1)
    answers: list[Any] = []
    content = encode(picture(1500, 2000), "PNG", compress_level=1)
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
        "mount -o remount,ro,bind / 2>/dev/null || exit 77\n"
        # Nobody may read what root may, since Python may lie below root's home here, and write nothing.
        "exec setpriv --reuid=65534 --regid=65534 --clear-groups --securebits=+no_setuid_fixup "
        "--inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search "
        '--bounding-set=-all,+dac_read_search env -i PYTHONPATH="$PYTHONPATH" '
        f'"{sys.executable}" -W error -c "{code}" --port 0'
    )
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    line = process.stderr.readline()
    if not line.startswith("rave-serve: http"):
        process.kill()
        rest = line + process.communicate()[1]
        if process.returncode == 77 or "unshare" in rest or "ermission" in rest:
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
