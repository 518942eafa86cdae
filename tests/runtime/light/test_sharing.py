"""Work that threads share: each part is done once, whatever the system allows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from rave_runtime.light import sharing


@pytest.mark.parametrize("most", [0, 1])
def test_work_is_done_once_where_few_threads_can_be_started(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = 0
    start = Thread.start

    def start_some(thread: Thread) -> None:
        nonlocal started
        if started == most:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    sharing._helpers.cache_clear()
    monkeypatch.setattr(Thread, "start", start_some)
    done: list[int] = []
    sharing.share(done.extend, range(9), 4)
    assert sorted(done) == list(range(9))
    sharing._helpers.cache_clear()


def test_busy_threads_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does what no other thread has begun."""
    done: list[int] = []
    with ThreadPoolExecutor(1) as helpers:
        monkeypatch.setattr(sharing, "_helpers", lambda: helpers)
        end = threading.Event()
        helpers.submit(end.wait)
        sharing.share(done.extend, range(9), 4)
        assert done == list(range(9))
        end.set()
    assert done == list(range(9))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_shares_work_among_threads_of_its_own() -> None:
    program = """
import os
from rave_runtime.light.sharing import share
done = []
share(done.extend, range(6), 3)
child = os.fork()
share(done.extend, range(6, 12), 3)
assert sorted(done) == list(range(12)), done
os._exit(0) if not child else None
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_what_goes_wrong_in_a_thread_is_raised() -> None:
    def work(parts: Sequence[int]) -> None:
        if 6 in parts:
            raise ValueError("six")

    with pytest.raises(ValueError, match="six"):
        sharing.share(work, range(7), 3)


def test_after_a_fault_what_was_not_begun_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def work(parts: Sequence[int]) -> None:
        if 0 in parts:
            raise KeyboardInterrupt
        done.extend(parts)

    with ThreadPoolExecutor(1) as helpers:
        monkeypatch.setattr(sharing, "_helpers", lambda: helpers)
        end = threading.Event()
        helpers.submit(end.wait)
        with pytest.raises(KeyboardInterrupt):
            sharing.share(work, range(9), 3)
        end.set()
    assert done == []


def test_work_that_no_thread_takes_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can start, the pool's queue keeps what it was given."""

    class Photograph(list[int]):
        pass

    def refuse(_: Thread) -> None:
        raise RuntimeError("can't start new thread")

    sharing._helpers.cache_clear()
    monkeypatch.setattr(Thread, "start", refuse)
    photograph = Photograph()
    remains = weakref.ref(photograph)
    sharing.share(photograph.extend, range(9), 3)
    assert sorted(photograph) == list(range(9))
    del photograph
    assert remains() is None
    sharing._helpers.cache_clear()
