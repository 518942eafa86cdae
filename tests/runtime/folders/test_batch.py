from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer, UsageError
from rave_runtime.bundle import embedded_bundle
from rave_runtime.cli.command import run_folder
from rave_runtime.errors import BundleError
from rave_runtime.files.partials import partial_name
from rave_runtime.run.batch import Batch, make_batch
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.journal import JOURNAL_NAME, FolderJournal
from rave_runtime.run.memory import MemoryBudget, Need, choose_tile_size, estimate_need, most_workers
from rave_runtime.run.one_photo import enhance_content
from rave_runtime.run.options import RunOptions
from rave_runtime.run.watch import run_watch
from tests.runtime.pictures import MakePicture


@pytest.fixture
def photos(tmp_path: Path, picture: MakePicture) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(picture(40 + i, 60, i)).save(folder / f"{i}.jpg")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_workers_give_what_one_gives(enhancer: Enhancer, photos: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        out = tmp_path / str(workers)
        results = list(Batch(enhancer, workers=workers).run(plan_jobs(photos, out)))
        assert [result.status for result in results] == ["done"] * 6
    assert contents(tmp_path / "1") == contents(tmp_path / "3")


@pytest.mark.parametrize("device", ["cpu", "openvino"])
def test_graphs_are_loaded_beside_the_first_photographs(
    device: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "openvino":
        pytest.importorskip("openvino")
    enhancer = Enhancer(device=device)
    loaded = threading.Event()
    prepare = enhancer.prepare

    def watched() -> None:
        prepare()
        loaded.set()

    monkeypatch.setattr(enhancer, "prepare", watched)
    monkeypatch.setattr(enhancer, "enhance_photo", lambda photo, reuse: loaded.wait(30) and photo.pixels)
    results = list(Batch(enhancer).run(plan_jobs(photos, tmp_path / "out")))
    assert [result.status for result in results] == ["done"] * 6
    assert loaded.is_set()


def test_a_graph_that_cannot_be_loaded_ends_the_batch(
    photos: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model = shutil.copytree(embedded_bundle(), tmp_path / "model")
    enhancer = Enhancer(model, device="cpu")
    for graph in model.glob("*.onnx"):
        graph.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        list(Batch(enhancer).run(plan_jobs(photos, tmp_path / "out")))
    assert not recwarn.list, "the thread that loads beside them says nothing"


def test_cancelling_finishes_what_is_in_work(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(enhancer, workers=1)
    begun: list[bool] = []

    def enhance_slowly(*arguments: Any, **options: Any) -> Any:
        begun.append(True)
        if len(begun) > 1:  # otherwise all are done before this thread may run again, now and then
            assert batch.cancelled.wait(60)
        return enhance_content(*arguments, **options)

    monkeypatch.setattr("rave_runtime.run.batch.enhance_content", enhance_slowly)
    results = []
    for result in batch.run(plan_jobs(photos, tmp_path / "out")):
        results.append(result)
        batch.cancelled.set()
    done = [result for result in results if result.status == "done"]
    assert 1 <= len(done) < 6
    assert len(contents(tmp_path / "out")) == len(done) == len(begun)


def test_a_full_disk_is_reported_and_leaves_nothing(
    enhancer: Enhancer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    (result,) = Batch(enhancer).run([Job(photos / "0.jpg", tmp_path / "out" / "0.jpg", "0.jpg")])
    assert result.status == "failed"
    assert "cannot be written to" in str(result.error)
    assert "No space left on device" in str(result.error)
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize("moments", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_can_be_resumed(photos: Path, tmp_path: Path, moments: int) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", str(photos)]
    options = ["--device", "cpu", "--skip-existing"]
    started = time.perf_counter()
    subprocess.run([*command, str(tmp_path / "calm"), *options], check=True, capture_output=True)
    calm_s = time.perf_counter() - started
    rng = random.Random(0)
    kills = 0
    for _ in range(4 * moments):
        if kills == moments:
            break
        if kills % 4 == 0:  # nearly all is done by now: begin again
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
        killed = subprocess.Popen(
            [*command, str(tmp_path / "out"), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            killed.wait(calm_s * rng.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            killed.send_signal(signal.SIGKILL)
            kills += 1
        else:  # it was done before: begin again
            shutil.rmtree(tmp_path / "out")
        killed.wait()
    assert kills == moments
    subprocess.run([*command, str(tmp_path / "out"), *options], check=True, capture_output=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "calm")


def test_two_runs_into_one_folder_keep_each_others_results(tmp_path: Path) -> None:
    first, second = FolderJournal(tmp_path), FolderJournal(tmp_path)
    first.add("a.jpg", "key", 5)
    second.add("b.jpg", "key", 6)
    first.close()
    second.add("c.jpg", "key", 7)
    second.close()
    first.close()
    lines = (tmp_path / JOURNAL_NAME).read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["a.jpg", "b.jpg", "c.jpg"]


def test_a_torn_journal_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    journal = FolderJournal(tmp_path)
    journal.add("a.jpg", "key", 5)
    with (tmp_path / JOURNAL_NAME).open("a") as stream:
        stream.write('{"name": "b.jpg", "ke')
    again = FolderJournal(tmp_path)
    assert again.is_done("a.jpg", "key")
    assert not again.is_done("a.jpg", "other key")
    assert not again.is_done("b.jpg", "key")
    (tmp_path / "a.jpg").write_bytes(b"1234")
    assert not again.is_done("a.jpg", "key")


def test_the_budget_lets_in_what_fits_and_the_larger_alone() -> None:
    budget = MemoryBudget(100, 500)
    inside, most = 0, 0
    lock = threading.Lock()

    def work(size: int) -> None:
        nonlocal inside, most
        with budget.reserve(Need(size, megapixels=1)):
            with lock:
                inside += size
                most = max(most, inside if inside <= 100 or inside == size else 10**6)
            time.sleep(0.002)
            with lock:
                inside -= size

    threads = [threading.Thread(target=work, args=(size,)) for size in (60, 60, 30, 500, 40, 500, 10) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert most <= 500


def test_tile_size_follows_the_limit() -> None:
    assert choose_tile_size(1024, 2) == 288
    assert choose_tile_size(200, 2) < 288
    with pytest.raises(UsageError, match="64 MiB is too small for 8 workers: give at least"):
        choose_tile_size(64, 8)


def test_the_need_is_known_without_decoding(photos: Path) -> None:
    assert estimate_need(photos / "0.jpg").photo_bytes >= 40 * 60 * 10
    assert estimate_need(photos / "missing.jpg").photo_bytes == 0
    if hasattr(os, "mkfifo"):
        os.mkfifo(photos / "pipe.jpg")
        assert estimate_need(photos / "pipe.jpg").photo_bytes == 0


def test_a_file_whose_name_lies_is_named(enhancer: Enhancer, photos: Path, tmp_path: Path) -> None:
    with Image.open(photos / "0.jpg") as image:
        image.save(photos / "really.png", "PNG")
    (photos / "really.png").rename(photos / "0.jpg")
    (result,) = Batch(enhancer).run([Job(photos / "0.jpg", tmp_path / "0.jpg", "0.jpg")])
    assert result.warnings == ("is PNG in spite of its name, and was written as JPEG",)


def test_a_watched_folder_takes_what_arrives(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rave_runtime.run.watch.WATCH_INTERVAL_S", 0.01)
    for name in ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg"):
        (photos / name).rename(tmp_path / name)
    left = tmp_path / "out" / partial_name().replace(f"-{os.getpid()}.", "-999999999.")
    left.parent.mkdir()
    left.touch()
    arrivals = run_watch(photos, tmp_path / "out", RunOptions(device="cpu"))
    assert next(arrivals).job.name == "0.jpg"
    assert not left.exists(), "a killed run left it"
    (tmp_path / "1.jpg").rename(photos / "late.jpg")
    assert next(arrivals).job.name == "late.jpg"
    (tmp_path / "2.jpg").replace(photos / "0.jpg")
    assert next(arrivals).job.name == "0.jpg"
    arrivals.close()


def test_many_processors_fit_into_the_default_memory() -> None:
    assert choose_tile_size(2048, most_workers(2048)) >= 96
    assert most_workers(1) == 1
    make_batch(RunOptions(device="cpu", precision="fp32"), None, jobs=500, processors=256)


def test_16_bits_and_the_largest_count_with_what_they_take(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((50, 60), np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((50, 60), np.uint8)).save(tmp_path / "flat.png")
    assert (
        estimate_need(tmp_path / "deep.png").photo_bytes
        > 1.8 * estimate_need(tmp_path / "flat.png").photo_bytes
    )
    Image.new("1", (15000, 13000)).save(tmp_path / "huge.png")
    assert estimate_need(tmp_path / "huge.png").photo_bytes > 3e9


def test_a_limit_that_is_raised_does_not_undo_what_is_done(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = RunOptions(device="cpu", precision="fp32", working_size=32)
    run_folder(photos, out, options)
    again = run_folder(photos, out, replace(options, skip_existing=True, max_megapixels=400))
    assert {result.status for result in again} == {"skipped"}


def test_a_journal_that_cannot_be_written_loses_no_result(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / JOURNAL_NAME).symlink_to("/proc/none/such")
    with pytest.warns(UserWarning, match="the journal of .* cannot be written"):
        results = run_folder(photos, out, RunOptions(device="cpu", precision="fp32", working_size=32))
    assert {result.status for result in results} == {"done"}


def test_two_watched_files_of_one_name_are_said_once_and_the_watch_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rave_runtime.run.watch.WATCH_INTERVAL_S", 0.05)
    Image.new("RGB", (40, 40)).save(photos / "0.gif")
    Image.new("RGB", (40, 40)).save(photos / "0.png")
    options = RunOptions(device="cpu", precision="fp32", working_size=32)
    watch = run_watch(photos, tmp_path / "out", options)
    with pytest.warns(UserWarning, match=r"would both be written .*; neither is taken") as said:
        taken = {next(watch).job.name for _ in range(6)}
    assert taken == {f"{i}.jpg" for i in range(6)}, "the other photographs go on"
    assert len(said) == 1
    (photos / "0.gif").unlink()
    assert next(watch).job.name == "0.png"
    watch.close()
