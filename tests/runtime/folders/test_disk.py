"""A disk takes its time to keep results: workers go on meanwhile, and nothing is half written."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rave_runtime import Enhancer
from rave_runtime.errors import BundleError
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.journal import JOURNAL_NAME, FolderJournal
from rave_runtime.run.results import Result
from tests.runtime.folders.places import fill
from tests.runtime.pictures import MakePicture


@pytest.fixture
def photos(tmp_path: Path, picture: MakePicture) -> Path:
    return fill(tmp_path / "photos", picture, [f"{i}.jpg" for i in range(6)])


def test_workers_go_on_while_a_disk_keeps_results(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = threading.Semaphore(0)
    on_disk = threading.Event()

    def slow(_: int) -> None:
        waiting.release()
        assert on_disk.wait(30)

    monkeypatch.setattr(os, "fsync", slow)
    journal = FolderJournal(tmp_path)
    results = Batch(enhancer, workers=1, journal=journal).run(plan_jobs(photos, tmp_path / "out"))
    first: list[Result] = []
    taking = threading.Thread(target=lambda: first.append(next(results)))
    taking.start()
    for _ in range(4):  # one worker, and yet four photographs are done but for the disk
        assert waiting.acquire(timeout=30)
    assert not first
    names = os.listdir(tmp_path / "out")
    assert len(names) >= 4
    assert all(name.endswith("rave-partial") for name in names)
    on_disk.set()
    taking.join(30)
    assert [result.status for result in (*first, *results)] == ["done"] * 6
    assert sorted(os.listdir(tmp_path / "out")) == [f"{i}.jpg" for i in range(6)]
    assert len((tmp_path / JOURNAL_NAME).read_text().splitlines()) == 6


def test_results_that_wait_for_a_disk_are_bounded(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_disk = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _: on_disk.wait(30))
    monkeypatch.setattr("rave_runtime.run.side_by_side._MOST_WAITING", 2)
    taken = []

    def jobs() -> Iterator[Job]:
        for i in range(20):
            taken.append(i)
            yield Job(photos / "0.jpg", tmp_path / "out" / f"{i}.jpg", f"{i}")

    results = Batch(enhancer, workers=1).run(jobs())
    threading.Timer(1.0, on_disk.set).start()
    assert next(results).status == "done"
    assert len(taken) <= 1 + 1 + 2, "a disk that takes no results stops the run"
    assert [result.status for result in results] == ["done"] * 19


def test_closing_a_run_early_finishes_what_is_written(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def slow(file: int) -> None:
        time.sleep(0.05)
        fsync(file)

    monkeypatch.setattr(os, "fsync", slow)
    results = Batch(enhancer, workers=2).run(plan_jobs(photos, tmp_path / "out"))
    next(results)
    results.close()
    left = os.listdir(tmp_path / "out")
    assert left
    assert all(name.endswith(".jpg") for name in left)


@pytest.mark.parametrize("ending", [BundleError("the model is damaged"), KeyboardInterrupt()])
def test_what_is_done_is_told_before_a_run_ends(
    ending: BaseException, enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def slow(file: int) -> None:
        time.sleep(0.2)
        fsync(file)

    def jobs() -> Iterator[Job]:
        for i in range(4):
            yield Job(photos / f"{i}.jpg", tmp_path / "out" / f"{i}.jpg", f"{i}")
        time.sleep(0.1)  # the four wait for the disk by now
        raise ending

    monkeypatch.setattr(os, "fsync", slow)
    told: list[str] = []
    results = Batch(enhancer, workers=4).run(jobs())
    with pytest.raises(type(ending)):
        told.extend(result.job.target.name for result in results)
    assert sorted(told) == sorted(os.listdir(tmp_path / "out"))
    assert len(told) >= 3


def test_a_pool_whose_threads_cannot_start_is_left_out(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name.startswith("rave-disk"):
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    results = list(Batch(enhancer, workers=2).run(plan_jobs(photos, tmp_path / "out")))
    assert [result.status for result in results] == ["done"] * 6
    assert sorted(os.listdir(tmp_path / "out")) == [f"{i}.jpg" for i in range(6)]


def test_workers_wait_for_a_quick_disk_themselves(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rave_runtime.run.side_by_side._SLOW_S", 60.0)
    threads = set()
    fsync = os.fsync

    def watched(file: int) -> None:
        threads.add(threading.current_thread().name.rpartition("_")[0])
        fsync(file)

    monkeypatch.setattr(os, "fsync", watched)
    results = list(Batch(enhancer, workers=2).run(plan_jobs(photos, tmp_path / "out")))
    assert [result.status for result in results] == ["done"] * 6
    assert threads == {"rave"}
