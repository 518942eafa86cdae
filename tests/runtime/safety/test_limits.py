from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime import DeviceError, Enhancer, UsageError
from rave_runtime.backends import limits
from rave_runtime.backends.devices import choose_device
from rave_runtime.backends.limits import (
    allowed_memory_mib,
    fit_libraries,
    startable_threads,
    usable_processors,
)
from rave_runtime.backends.load import load_network
from rave_runtime.bundle import embedded_bundle, read_bundle
from rave_runtime.run.batch import Batch, make_batch
from rave_runtime.run.jobs import plan_jobs
from rave_runtime.run.memory import default_limit_mib
from rave_runtime.run.options import RunOptions


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


@pytest.mark.parametrize("listed", ["cpuacct,cpu", "cpu,cpuacct", "cpu"])
def test_version_1_may_name_controllers_in_another_order_than_their_folder(
    groups: Path, tmp_path: Path, listed: str
) -> None:
    """RHEL 7 lists `cpuacct,cpu` and mounts `cpu,cpuacct`, with a link `cpu`."""
    (tmp_path / "own").write_text(f"9:name=systemd:/x\n4:{listed}:/box\n")
    folder = groups / "cpu,cpuacct" / "box"
    folder.mkdir(parents=True)
    (groups / "cpu").symlink_to("cpu,cpuacct")
    (folder / "cpu.cfs_quota_us").write_text("250000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert usable_processors() == 3


def test_version_2_beside_version_1_and_a_soft_limit_count(groups: Path, tmp_path: Path) -> None:
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/box\n")
    folder = groups / "unified" / "box"
    folder.mkdir(parents=True)
    (folder / "memory.high").write_text(str(900 << 20))
    (folder / "memory.max").write_text("max\n")
    assert allowed_memory_mib() == 900


def test_without_containers_the_machine_counts(groups: Path) -> None:
    assert usable_processors() == 40
    assert allowed_memory_mib() is None
    assert default_limit_mib() == 2048


def test_a_limit_that_was_given_holds_for_a_photograph_alone() -> None:
    """Also where it is the one that holds without the option, which lets one photograph take more."""
    batch = make_batch(RunOptions(device="cpu", memory_limit_mib=default_limit_mib()), None, 1)
    assert batch._budget is not None
    assert batch._budget.largest_bytes == default_limit_mib() << 20


def test_threads_are_counted_by_starting_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    assert startable_threads(5) == 5
    assert threading.active_count() == before
    allow_threads(monkeypatch, 2)
    assert startable_threads(5) == 2


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system lists no threads")
def test_threads_of_a_count_are_gone_afterwards() -> None:
    """Python takes a thread for ended a moment before the system does, which then refuses the next one."""
    before = len(os.listdir("/proc/self/task"))
    for _ in range(20):
        startable_threads(16)
        assert len(os.listdir("/proc/self/task")) <= before


@pytest.mark.parametrize(("threads", "told"), [(3, "1"), (1000, None)])
def test_libraries_get_one_thread_where_there_are_few(
    monkeypatch: pytest.MonkeyPatch, threads: int, told: str | None
) -> None:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    allow_threads(monkeypatch, threads)
    fit_libraries()
    found = [os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    assert found == [told, told, "7"]
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_openvino_is_left_alone_where_it_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two processors it failed with five threads and aborted with six."""
    monkeypatch.setattr("rave_runtime.backends.devices.has_openvino", lambda: True)
    monkeypatch.setattr("rave_runtime.backends.devices.has_nvidia_gpu", lambda: False)
    monkeypatch.setattr("rave_runtime.backends.devices.usable_processors", lambda: 2)
    assert choose_device("auto").name == "openvino"
    allow_threads(monkeypatch, 6)
    chosen = choose_device("auto")
    assert chosen.name == "cpu"
    assert "OpenVINO needs more threads" in chosen.reason
    with pytest.raises(DeviceError, match=r"needs up to 12 threads and the system allows 6.*--device cpu"):
        choose_device("openvino")


@pytest.mark.parametrize(("threads", "each"), [(0, 1), (3, 2), (100, 8)])
def test_sessions_start_no_more_threads_than_there_are(
    monkeypatch: pytest.MonkeyPatch, threads: int, each: int
) -> None:
    allow_threads(monkeypatch, threads)
    network = load_network(read_bundle(embedded_bundle()), "fp32", choose_device("cpu"), 8)
    assert vars(network)["_threads"] == each


def test_the_service_says_that_it_needs_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    from rave_runtime.serve.options import ServeOptions
    from rave_runtime.serve.server import serve

    allow_threads(monkeypatch, 2)
    with pytest.raises(
        UsageError, match=r"4 threads are needed for 1 photographs.*allows 2.*fewer --workers"
    ):
        serve(ServeOptions(port=0, workers=1))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="no limit binds root")
@pytest.mark.parametrize("inputs", [("photos",), ("photos/0.png",)])
def test_a_run_does_with_no_thread_at_all(tmp_path: Path, inputs: tuple[str, ...]) -> None:
    """numpy's library interrupted the process, as Ctrl-C does."""
    import resource

    (tmp_path / "photos").mkdir()
    for i in range(2):
        Image.new("RGB", (40, 30), (9 * i, 40, 60)).save(tmp_path / "photos" / f"{i}.png")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", "from rave_runtime.cli import main; main()", *inputs, "out/"],
        cwd=tmp_path,
        env=environment | {"RAVE_CACHE_DIR": ""},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)),
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert len(list((tmp_path / "out").glob("*.png"))) == (2 if inputs == ("photos",) else 1)


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
