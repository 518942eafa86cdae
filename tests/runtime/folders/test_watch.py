"""A watched folder costs little while nothing happens in it, and misses nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rave_runtime.errors import UsageError
from rave_runtime.files.entries import read_entries
from rave_runtime.files.location import RemoteFile
from rave_runtime.run import interrupt, watch
from rave_runtime.run.jobs import Job, Naming, plan_jobs
from rave_runtime.run.journal import JOURNAL_NAME
from rave_runtime.run.options import RunOptions
from rave_runtime.run.results import Result
from rave_runtime.run.watch import _Files, _Folders, _LastingJournal, run_watch


@pytest.fixture
def old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one inside, both unchanged for long."""
    monkeypatch.setattr(watch, "_CLOCK_TICK_S", 0.0)
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path / "inner", tmp_path):
        os.utime(folder, (1e9, 1e9))
    return tmp_path


def test_an_idle_folder_is_not_listed_again(old_folder: Path) -> None:
    folders = _Folders(old_folder)
    assert [folders.may_have_changed() for _ in range(3)] == [True, False, False]
    folders.forget()
    assert folders.may_have_changed()


@pytest.mark.parametrize("place", [".", "inner"])
def test_what_comes_and_goes_is_seen(old_folder: Path, place: str) -> None:
    folders = _Folders(old_folder)
    folders.may_have_changed()
    (old_folder / place / "new.jpg").touch()
    assert folders.may_have_changed()
    assert not folders.may_have_changed()
    (old_folder / place / "new.jpg").unlink()
    assert folders.may_have_changed()


def test_folders_of_a_drive_that_numbers_no_files_are_watched(
    old_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network drives of Windows give all files the number 0: only the first folder was looked at."""
    real = os.stat

    def without_number(path: Path | str, **named: bool) -> os.stat_result:
        values = list(real(path, **named))
        values[stat.ST_INO] = 0
        status = real(path, **named)
        return os.stat_result(values, {"st_mtime_ns": status.st_mtime_ns})

    monkeypatch.setattr(os, "stat", without_number)
    folders = _Folders(old_folder)
    folders.may_have_changed()
    (old_folder / "inner" / "new.jpg").touch()
    assert folders.may_have_changed()


def test_a_change_of_a_moment_ago_may_hide_another(old_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = _Folders(old_folder)
    folders.may_have_changed()
    monkeypatch.setattr(watch, "_CLOCK_TICK_S", 3.0)
    (old_folder / "new.jpg").touch()
    assert folders.may_have_changed()
    assert folders.may_have_changed(), "a second file of the same tick changes no time"


def test_links_that_lead_back_end(old_folder: Path) -> None:
    (old_folder / "inner" / "again").symlink_to(old_folder)
    assert _Folders(old_folder).may_have_changed()


def test_a_look_at_an_idle_folder_costs_less_than_a_hundredth_of_a_processor(old_folder: Path) -> None:
    for i in range(4000):
        (old_folder / f"{i}.jpg").touch()
    os.utime(old_folder, (1e9, 1e9))
    folders = _Folders(old_folder)
    folders.may_have_changed()
    started = time.process_time()
    for _ in range(100):
        folders.may_have_changed()
    assert (time.process_time() - started) / 100 < 0.01 * watch.WATCH_INTERVAL_S


def test_a_look_at_idle_files_costs_little_more_than_asking_the_system_for_their_times(
    tmp_path: Path,
) -> None:
    jobs = [Job(tmp_path / f"{i}.jpg", tmp_path / "out" / f"{i}.jpg", f"{i}.jpg") for i in range(4000)]
    for job in jobs:
        Path(str(job.source)).touch()
    names = [str(job.source) for job in jobs]
    files = _Files()
    files.watch(jobs)
    assert [len(files.take_settled()) for _ in range(3)] == [0, 4000, 0]

    def seconds(work: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            started = time.process_time()
            work()
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(files.take_settled) < 2.5 * seconds(lambda: [os.stat(name) for name in names])


def test_files_are_taken_when_they_rest_and_again_when_they_change(tmp_path: Path) -> None:
    first, second = (Job(tmp_path / name, tmp_path / "out" / name, name) for name in ("a.jpg", "b.jpg"))
    files = _Files()
    (tmp_path / "a.jpg").write_bytes(b"1")
    files.watch([first])
    assert [files.take_settled() for _ in range(3)] == [[], [first], []]
    (tmp_path / "b.jpg").write_bytes(b"1")
    files.watch([first, second])
    assert [files.take_settled() for _ in range(3)] == [[], [second], []]
    (tmp_path / "a.jpg").write_bytes(b"longer")
    assert [files.take_settled() for _ in range(3)] == [[], [first], []]
    (tmp_path / "b.jpg").unlink()
    assert [files.take_settled() for _ in range(2)] == [[], []]


def test_a_film_is_taken_when_its_camera_has_not_written_for_a_while(tmp_path: Path) -> None:
    """It was enhanced from its beginning after each piece that a camera wrote, some seconds apart."""
    film = tmp_path / "a.ts"
    film.write_bytes(b"1")
    job = Job(film, tmp_path / "out" / "a.ts", "a.ts")
    files = _Files()
    files.watch([job])
    for ahead_s in (-10, 10):  # a server's clock may be ahead
        os.utime(film, (time.time() + ahead_s,) * 2)
        assert [files.take_settled() for _ in range(3)] == [[], [], []]
    os.utime(film, (time.time() - 40,) * 2)
    assert [files.take_settled() for _ in range(3)] == [[], [job], []]


def test_what_failed_is_tried_again_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs that came while the disk was full, or before they might be read, never had a result."""
    now_s = 1e6
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    (tmp_path / "a.jpg").write_bytes(b"1")
    job = Job(tmp_path / "a.jpg", tmp_path / "out" / "a.jpg", "a.jpg")
    files = _Files()
    files.watch([job])
    tries_s = []
    for second in range(500):
        now_s = 1e6 + second
        if files.take_settled():
            tries_s.append(second)
            files.note(Result(job, "failed", "no space left"))
    assert tries_s == [1, 61, 181, 421]
    now_s += 1000
    assert files.take_settled() == [job]
    files.note(Result(job, "done"))
    now_s += 1e6
    assert files.take_settled() == []


def test_a_watched_folders_journal_is_not_rewritten_for_each_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> list[str]:
        return [entry.name for entry in read_entries(tmp_path / JOURNAL_NAME)]

    journal = _LastingJournal(tmp_path)
    for name in ("b.jpg", "a.jpg", "a.jpg"):
        journal.add(name, "key", 5)
        journal.close()
    assert names() == ["b.jpg", "a.jpg", "a.jpg"]
    assert len(journal.find("a.jpg")) == 1, "memory does not grow with a file that comes again"
    monkeypatch.setattr(watch, "_LEAST_LINES", 2)
    journal.close()
    assert names() == ["a.jpg", "b.jpg"]
    journal.add("a.jpg", "key", 6)
    journal.finish()
    assert names() == ["a.jpg", "b.jpg"]


def test_a_thousand_folders_inside_each_other_are_watched(tmp_path: Path) -> None:
    here = tmp_path
    try:
        for _ in range(1000):
            here /= "d"
            here.mkdir()
        folders = _Folders(tmp_path)
        assert folders.may_have_changed()
        assert len(folders._times) == 1001
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=False)


def test_a_store_cannot_be_watched_nor_written_to_meanwhile(store: RemoteFile, tmp_path: Path) -> None:
    for source, output in ((tmp_path, store), (store, tmp_path)):
        with pytest.raises(UsageError, match=r"^memory://bucket/photos is not a folder of this machine"):
            next(run_watch(source, output, RunOptions()))


def test_thousands_of_raw_files_beside_jpegs_are_left_out_at_once(tmp_path: Path) -> None:
    """All jobs were gone through again for each clash: 2,000 took 13 s, at every look at the folder."""
    (tmp_path / "in").mkdir()
    for name in ("one.jpg", *(f"{i}.{ending}" for i in range(2000) for ending in ("jpg", "png"))):
        (tmp_path / "in" / name).touch()
    clashes: list[str] = []
    start_s = time.monotonic()
    jobs = plan_jobs(tmp_path / "in", tmp_path / "out", naming=Naming("JPEG"), leave_out=clashes.append)
    assert time.monotonic() - start_s < 5
    assert ([job.name for job in jobs], len(clashes)) == (["one.jpg"], 2000)


def test_an_interrupt_that_python_only_prints_ends_the_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that came while Python forgot a thread was lost, and the program watched on for ever."""
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(interrupt._section, "has_signal", True)
    with pytest.raises(KeyboardInterrupt):
        next(run_watch(tmp_path / "in", tmp_path / "out", RunOptions()))
