from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.backends import limits
from rave_runtime.backends.limits import allowed_memory_mib, startable_threads, usable_processors
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import plan_jobs
from rave_runtime.run.memory import default_limit_mib


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A control group of version 2, as a container sees it."""
    own = tmp_path / "own"
    own.write_text("0::/box/inner\n")
    root = tmp_path / "cgroup"
    (root / "box" / "inner").mkdir(parents=True)
    monkeypatch.setattr(limits, "_CGROUPS", root)
    monkeypatch.setattr(limits, "_OWN_CGROUP", own)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(40)), raising=False)
    return root


@pytest.mark.parametrize(
    ("words", "processors"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 40), ("broken", 40)],
)
def test_a_containers_share_of_time_counts_as_processors(groups: Path, words: str, processors: int) -> None:
    (groups / "box" / "inner" / "cpu.max").write_text(words)
    assert usable_processors() == processors


def test_the_smallest_limit_above_counts(groups: Path) -> None:
    (groups / "box" / "inner" / "cpu.max").write_text("max 100000")
    (groups / "box" / "cpu.max").write_text("300000 100000")
    (groups / "box" / "memory.max").write_text(str(600 << 20))
    (groups / "box" / "inner" / "memory.max").write_text("max")
    assert usable_processors() == 3
    assert allowed_memory_mib() == 600
    assert default_limit_mib() == 300


def test_version_1_counts_too(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("5:memory:/box\n4:cpu,cpuacct:/box\n")
    for controller, name, text in (
        ("cpu,cpuacct", "cpu.cfs_quota_us", "250000"),
        ("cpu,cpuacct", "cpu.cfs_period_us", "100000"),
        ("memory", "memory.limit_in_bytes", str(1 << 30)),
    ):
        folder = groups / controller / "box"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (groups / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert usable_processors() == 3
    assert allowed_memory_mib() == 1024


def test_without_containers_the_machine_counts(groups: Path) -> None:
    assert usable_processors() == 40
    assert allowed_memory_mib() is None
    assert default_limit_mib() == 2048


def test_threads_are_counted_by_starting_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    assert startable_threads(5) == 5
    assert threading.active_count() == before
    allow_threads(monkeypatch, 2)
    assert startable_threads(5) == 2


def allow_threads(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Has the system refuse further threads, as `ulimit -u` does."""
    start = threading.Thread.start
    running: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        running[:] = [other for other in running if other.is_alive()]
        if len(running) >= most:
            raise RuntimeError("can't start new thread")
        start(thread)
        running.append(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_a_batch_does_with_the_threads_there_are(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enhancer: Enhancer
) -> None:
    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.new("RGB", (40, 30), (9 * i, 40, 60)).save(tmp_path / "photos" / f"{i}.png")
    batch = Batch(enhancer, workers=8)
    allow_threads(monkeypatch, threads)
    results = list(batch.run(plan_jobs(tmp_path / "photos", tmp_path / "out")))
    assert [result.status for result in results] == ["done"] * 4
    assert len(list((tmp_path / "out").iterdir())) == 4
