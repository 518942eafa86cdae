"""A two-node Ray cluster on this machine; workers, a node and the driver die while it works."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.bundle.opening import carry_bundle
from rave_runtime.cli.command import run_folder
from rave_runtime.cluster.connect import _connected, _own_signals, _stay_on_this_machine, open_pool
from rave_runtime.cluster.worker import Worker
from rave_runtime.errors import DeviceError, UsageError
from rave_runtime.files.entries import parse_entries
from rave_runtime.files.location import RemoteFile
from rave_runtime.run.jobs import plan_jobs
from rave_runtime.run.journal import open_journal
from rave_runtime.run.options import RunOptions
from rave_runtime.run.results import Result
from tests.runtime.folders.places import contents, fill, remote_contents, upload
from tests.runtime.pictures import MakePicture

ray = pytest.importorskip("ray")

pytestmark = [
    # Ray says so where a worker dies, at times in the driver's thread.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COMMAND = [sys.executable, "-c", "from rave_runtime.cli import main; main()"]


@pytest.fixture(scope="module")
def two_nodes(s3: str) -> Iterator[Any]:
    """Started after the S3 server, whose address its workers inherit.

    This process connects to it once, and the tests' runs find it connected: each would need two seconds for
    that. Programs that the tests start connect by themselves.
    """
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
        shutdown_at_exit=False,
    )
    cluster.add_node(num_cpus=1)
    with _connected(ray, cluster.address):
        yield cluster
    cluster.shutdown()


@pytest.fixture
def photos(picture: MakePicture, tmp_path: Path) -> Path:
    return fill(tmp_path / "in", picture, [f"{i:02}.jpg" for i in range(16)] + ["sub/a.png"])


def options(cluster: Any, **changes: Any) -> RunOptions:
    chosen = {"device": "cpu", "precision": "fp32", "working_size": 32, **changes}
    return RunOptions(cluster=None if cluster is None else cluster.address, **chosen)


def run_slowly(
    photos: Path, output: Path, cluster: Any, on_result: Any = None, worker: type | None = None
) -> list[Result]:
    """Runs with workers that die of a photograph named poison and take their time over the others."""
    import ray.cloudpickle

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    results = []
    worker = worker or _make_worker("die")
    with open_pool(options(cluster), cluster.address, open_journal(output), 17, worker) as pool:
        for result in pool.run(plan_jobs(photos, output)):
            results.append(result)
            if on_result is not None:
                on_result(results)
    return results


def _make_worker(fault: str, meeting: Path | None = None) -> type:
    class FrailWorker(Worker):
        def enhance(self, tasks: list[Any]) -> Any:
            if meeting is not None:
                (meeting / self.place()).touch()
                deadline = time.monotonic() + 60
                while len(list(meeting.iterdir())) < 2 and time.monotonic() < deadline:
                    time.sleep(0.02)
            names = [task.job.name for task in tasks]
            if "die" in fault:
                time.sleep(0.15 * len(tasks))
                if any("poison" in name for name in names):
                    os._exit(1)
            if "raise" in fault and "05.jpg" in names:
                raise RuntimeError("a fault of ours")
            answers = super().enhance(tasks)
            if fault == "elsewhere":
                for task in tasks:
                    os.remove(task.job.target)
            return answers

    return FrailWorker


def test_a_cluster_gives_the_results_of_one_machine(
    two_nodes: Any, photos: Path, bundle_copy: Path, tmp_path: Path
) -> None:
    """With a bundle of the driver's, which is sent to the workers."""
    (photos / "broken.jpg").write_bytes(b"not a photograph")
    alone = run_folder(photos, tmp_path / "alone", options(None))
    log = tmp_path / "log.jsonl"
    together = run_folder(photos, tmp_path / "together", options(two_nodes, log=log, model=bundle_copy))
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")
    assert [(r.job.name, r.status, r.error) for r in alone] == [
        (r.job.name, r.status, r.error) for r in together
    ]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert sorted(line["name"] for line in lines) == [result.job.name for result in together]
    again = run_folder(photos, tmp_path / "together", options(two_nodes, skip_existing=True))
    assert {r.status for r in again if r.job.name != "broken.jpg"} == {"skipped"}


def test_a_worker_keeps_its_model_in_memory_alone(
    bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers that are killed while they load left copies of the model in the temporary folder."""
    (empty := tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(empty))
    monkeypatch.setattr("tempfile.tempdir", None)
    model = pickle.loads(pickle.dumps(carry_bundle(bundle_copy)))
    shutil.rmtree(bundle_copy)

    def die(_: object) -> None:
        assert list(empty.iterdir()) == []
        raise KeyboardInterrupt

    monkeypatch.setattr("rave_runtime.run.batch.Batch.warm_up", die)
    with pytest.raises(KeyboardInterrupt):
        Worker(model, options(None), None, 1).prepare("one", "cpu", "fp32")
    monkeypatch.undo()
    worker = Worker(model, options(None), None, 1)
    monkeypatch.setattr(worker, "place", lambda: "here")
    assert worker.prepare("one", "cpu", "fp32")[0].precision == "fp32"


def test_every_machine_works(two_nodes: Any, photos: Path, tmp_path: Path) -> None:
    """A worker waits with its first photograph until one on another machine has begun, too."""
    (meeting := tmp_path / "meeting").mkdir()
    results = run_slowly(photos, tmp_path / "out", two_nodes, worker=_make_worker("none", meeting))
    assert {r.status for r in results} == {"done"}
    assert len({r.worker.split("/")[0] for r in results}) == 2
    assert len(list(meeting.iterdir())) == 2


def test_photographs_of_an_object_store(two_nodes: Any, s3: str, photos: Path, tmp_path: Path) -> None:
    upload(photos, f"{s3}/cluster/in")
    (RemoteFile(f"{s3}/cluster/in") / "sub//x.jpg").write((photos / "01.jpg").read_bytes())
    (RemoteFile(f"{s3}/cluster/in") / "01.xmp").write(b"rating")
    results = run_folder(RemoteFile(f"{s3}/cluster/in"), RemoteFile(f"{s3}/cluster/out"), options(two_nodes))
    assert {result.status for result in results} == {"done"}
    run_folder(photos, tmp_path / "alone", options(None))
    there = remote_contents(f"{s3}/cluster/out")
    assert there.pop("01.xmp") == b"rating"
    assert there.pop("sub/x.jpg") == there["01.jpg"]
    here = contents(tmp_path / "alone")
    journals = [parse_entries(files.pop(".rave-run.jsonl").decode()) for files in (there, here)]
    assert set(journals[0]) > set(journals[1])
    assert there == here


def test_a_poisoned_photograph_and_a_fault_are_named_and_all_others_are_done(
    two_nodes: Any, photos: Path, tmp_path: Path
) -> None:
    (photos / "07.jpg").rename(photos / "poison.jpg")
    worker = _make_worker("die and raise")
    results = run_slowly(photos, tmp_path / "out", two_nodes, worker=worker)
    assert len(results) == 17
    failed = {r.job.name: str(r.error) for r in results if r.status != "done"}
    assert sorted(failed) == ["05.jpg", "poison.jpg"]
    assert "its worker failed: a fault of ours" in failed["05.jpg"]
    assert "ended its worker 2 times" in failed["poison.jpg"]


@pytest.mark.slow
def test_a_node_that_dies_loses_nothing(two_nodes: Any, photos: Path, tmp_path: Path) -> None:
    lost = two_nodes.add_node(num_cpus=1)

    def kill_a_node(results: list[Result]) -> None:
        if len(results) == 3:
            two_nodes.remove_node(lost, allow_graceful=False)

    results = run_slowly(photos, tmp_path / "out", two_nodes, kill_a_node)
    assert sorted(r.job.name for r in results if r.status == "done") == [
        job.name for job in plan_jobs(photos, tmp_path / "out")
    ]
    run_folder(photos, tmp_path / "alone", options(None))
    # What a worker was writing when it died stays until the next run removes it.
    there = {
        name: content for name, content in contents(tmp_path / "out").items() if "rave-partial" not in name
    }
    assert there == contents(tmp_path / "alone")


@pytest.mark.slow
def test_a_driver_that_was_killed_goes_on_where_it_stopped(
    two_nodes: Any, picture: MakePicture, tmp_path: Path
) -> None:
    folder = fill(tmp_path / "in", picture, [f"{i:03}.jpg" for i in range(80)])
    arguments = [*COMMAND, str(folder), str(tmp_path / "out"), "--cluster", two_nodes.address]
    arguments += ["--device", "cpu", "--precision", "fp32", "--working-size", "32", "--skip-existing"]
    killed = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (tmp_path / "out" / ".rave-run.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "already up to date" in done.stdout
    run_folder(folder, tmp_path / "alone", options(None))
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.slow
def test_a_machine_out_of_reach_blames_nobody(two_nodes: Any, photos: Path, tmp_path: Path) -> None:
    """Its process is killed by force: the cluster first says only that it cannot be reached."""
    lost = [two_nodes.add_node(num_cpus=1), two_nodes.add_node(num_cpus=1)]

    def kill(results: list[Result]) -> None:
        if len(results) in (3, 6):
            node = lost.pop()
            for process in node.all_processes["raylet"]:
                process.process.kill()

    results = run_slowly(photos, tmp_path / "out", two_nodes, kill)
    assert not lost
    assert {r.status for r in results} == {"done"}
    assert len(results) == 17


def test_a_folder_that_is_not_shared_is_refused(two_nodes: Any, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the same folder on every machine"):
        run_slowly(photos, tmp_path / "out", two_nodes, worker=_make_worker("elsewhere"))


def test_what_is_wrong_is_said_before_anything_begins(
    two_nodes: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError, match="no fp12 graphs"):
        run_folder(photos, tmp_path / "out", options(two_nodes, precision="fp12"))
    monkeypatch.setattr("rave_runtime.cluster.crew._PLACEMENT_TIMEOUT_S", 2.0)
    with pytest.raises(UsageError, match="no room for a worker"):
        run_folder(photos, tmp_path / "out", options(two_nodes, workers=64))
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, str(photos), str(tmp_path / "out"), "--cluster", "127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "no Ray cluster at 127.0.0.1:1" in done.stderr


def test_a_local_cluster_asks_everybody_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": "/of/others"})
    _stay_on_this_machine()
    first = os.environ["RAY_AUTH_TOKEN"]
    _stay_on_this_machine()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert len(first) == 64
    assert os.environ["RAY_AUTH_TOKEN"] != first


def test_a_sigterm_is_ours_after_ray_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with _own_signals():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) == before
    finally:
        signal.signal(signal.SIGTERM, before)
