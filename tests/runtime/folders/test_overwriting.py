"""No file is lost that rave-run did not write."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rave_runtime.cli.command import run_folder
from rave_runtime.errors import UsageError
from rave_runtime.files.entries import parse_entries
from rave_runtime.files.location import RemoteFile
from rave_runtime.run.journal import JOURNAL_NAME
from rave_runtime.run.one_photo import enhance_content
from rave_runtime.run.options import RunOptions
from tests.runtime.cli.program import run_here
from tests.runtime.folders.places import fill
from tests.runtime.folders.runs import QUICK, options
from tests.runtime.pictures import MakePicture


@pytest.mark.parametrize("names", [["a.jpg", "b.jpg"], ["a.jpg", "b.jpg", "c.jpg"], ["*.jpg", "c.jpg"]])
def test_a_forgotten_output_costs_no_photograph(
    names: list[str], picture: MakePicture, tmp_path: Path
) -> None:
    fill(tmp_path, picture, ["a.jpg", "b.jpg", "c.jpg"])
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    done = run_here(*names, cwd=tmp_path)
    assert done.returncode == 2
    assert "*.jpg enhanced/" in done.stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_all_photographs_of_a_folder_into_another(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path, picture, ["a.jpg", "b.jpg", "c.png"])
    done = run_here("a.jpg", "b.jpg", "out/", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 enhanced into out" in done.stdout
    assert sorted(os.listdir(tmp_path / "out")) == [JOURNAL_NAME, "a.jpg", "b.jpg"]


def test_results_are_replaced_and_other_files_are_not(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_folder(photos, out, QUICK)
    again = run_folder(photos, out, options(strength=0.5))
    assert {result.status for result in again} == {"done"}
    (out / "a.jpg").write_bytes(b"my own")
    (out / "sub" / "c.png").write_bytes((out / "sub" / "c.png").read_bytes() + b"edited")
    results = {result.job.name: result for result in run_folder(photos, out, QUICK)}
    assert {name: result.status for name, result in results.items()} == {
        "a.jpg": "failed",
        "b.jpg": "done",
        "sub/c.png": "failed",
    }
    assert "is there and rave-run did not write it" in str(results["a.jpg"].error)
    assert (out / "a.jpg").read_bytes() == b"my own"
    forced = run_folder(photos, out, options(overwrite="always"))
    assert {result.status for result in forced} == {"done"}


def test_a_file_of_the_same_size_is_not_taken_for_a_result(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path / "in", picture, ["a.bmp"])
    run_folder(tmp_path / "in", tmp_path / "out", QUICK)
    own = (tmp_path / "in" / "a.bmp").read_bytes()
    assert len(own) == (tmp_path / "out" / "a.bmp").stat().st_size
    (tmp_path / "out" / "a.bmp").write_bytes(own)
    (result,) = run_folder(tmp_path / "in", tmp_path / "out", QUICK)
    assert result.status == "failed"
    assert (tmp_path / "out" / "a.bmp").read_bytes() == own


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/etc/hostname", path)])
def test_links_and_pipes_in_the_place_of_results_are_left(
    make: Callable[[Path], None], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path / "out" / "a.jpg")
    results = {result.job.name: result.status for result in run_folder(photos, tmp_path / "out", QUICK)}
    assert results == {"a.jpg": "failed", "b.jpg": "done", "sub/c.png": "done"}


def test_one_result_may_be_made_again(picture_file: Path, tmp_path: Path) -> None:
    for strength in (1.0, 0.5):
        (result,) = run_folder(picture_file, tmp_path / "b.jpg", options(strength=strength))
        assert result.status == "done"
    (tmp_path / "b.jpg").write_bytes(b"my own")
    with pytest.raises(UsageError, match=r"b\.jpg is there and rave-run did not write it"):
        run_folder(picture_file, tmp_path / "b.jpg", QUICK)
    run_folder(picture_file, tmp_path / "b.jpg", options(overwrite="always"))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.size == (64, 48)


def test_standard_input_replaces_nothing_either(picture_file: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from rave_runtime.cli import main; main()",
        "-",
        str(tmp_path / "b.jpg"),
    ]
    for code in (0, 0, 1):
        with picture_file.open("rb") as stream:
            done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        if code == 0 and (tmp_path / "b.jpg").read_bytes() != b"my own" and done.args[-1] and stream.closed:
            last = (tmp_path / "b.jpg").read_bytes()
            if len(parse_entries((tmp_path / JOURNAL_NAME).read_text())) and (tmp_path / "again").exists():
                (tmp_path / "b.jpg").write_bytes(b"my own")
            (tmp_path / "again").touch()
            assert last
    assert (tmp_path / "b.jpg").read_bytes() == b"my own"


@pytest.mark.parametrize(("answer", "status"), [(True, "done"), (False, "failed"), (None, "failed")])
def test_the_user_is_asked_once(answer: bool | None, status: str, photos: Path, tmp_path: Path) -> None:
    fill_with = b"my own"
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_bytes(fill_with)
    questions = []

    def ask(question: str) -> bool:
        questions.append(question)
        assert answer is not None
        return answer

    results = run_folder(photos, tmp_path / "out", options(overwrite="ask"), None if answer is None else ask)
    assert {result.job.name: result.status for result in results} == {
        "a.jpg": status,
        "b.jpg": status,
        "sub/c.png": "done",
    }
    assert len(questions) == (answer is not None)
    assert all("2 files, such as" in question for question in questions)


def test_a_store_keeps_what_rave_run_did_not_write(photos: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    out = RemoteFile("memory://overwriting/out")
    (out / "a.jpg").write(b"my own")
    for _ in range(2):
        results = {result.job.name: result.status for result in run_folder(photos, out, QUICK)}
        assert results == {"a.jpg": "failed", "b.jpg": "done", "sub/c.png": "done"}
    assert (out / "a.jpg").read() == b"my own"
    with pytest.raises(UsageError, match="is there and rave-run did not write it"):
        run_folder(photos / "a.jpg", out / "a.jpg", QUICK)
    fsspec.filesystem("memory").rm("/overwriting", recursive=True)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path / "in", picture, ["a.jpg", "b.jpg", "d.png"])
    Image.new("L", (64, 48), 230).save(tmp_path / "in" / "bright.jpg")
    (tmp_path / "in" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "b.jpg").write_bytes(b"my own")
    before = sorted(tmp_path.rglob("*"))
    done = run_here("in", "out", "--dry-run", "--strength", 2, "--exclude", "d.png", cwd=tmp_path)
    assert done.returncode == 1
    assert "a.jpg is backlit" in done.stdout
    assert "would go to out/a.jpg" in done.stdout
    assert "bright.jpg is not backlit" in done.stdout
    assert "b.jpg would be left out: out/b.jpg is there" in done.stderr
    assert "broken.jpg is not a picture" in done.stderr
    assert "2 of 4 would be enhanced, 2 would fail; nothing was written" in done.stdout
    assert "d.png" not in done.stdout + done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_tells_what_would_be_skipped_and_copied(photos: Path, tmp_path: Path) -> None:
    again = ("--dry-run", "--device", "cpu", "--skip-existing")
    run_folder(photos, tmp_path / "out", RunOptions(device="cpu"))
    Image.new("L", (64, 48), 230).save(photos / "bright.jpg")
    done = run_here(photos, tmp_path / "out", *again, cwd=tmp_path)
    assert "a.jpg would be skipped: " in done.stdout
    assert "1 of 4 would be enhanced, 3 skipped; nothing was written" in done.stdout
    done = run_here(photos, tmp_path / "out", *again, "--strength", 0.5, cwd=tmp_path)
    assert "4 of 4 would be enhanced" in done.stdout, "other options give other results"
    done = run_here(
        photos, tmp_path / "new", "--dry-run", "--only-backlit", "--include", "bright.jpg", cwd=tmp_path
    )
    assert "0 of 1 would be enhanced, 1 copied; nothing was written" in done.stdout


@pytest.mark.parametrize("option", ["--log", "--report"])
def test_a_dry_run_has_no_log_and_no_report(option: str, photos: Path, tmp_path: Path) -> None:
    done = run_here(photos, tmp_path / "out", "--dry-run", option, tmp_path / "told", cwd=tmp_path)
    assert done.returncode == 2
    assert "--dry-run writes nothing: leave --log and --report out" in done.stderr


def test_a_file_that_comes_while_its_photograph_is_in_work_is_kept(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any, **settings: Any) -> Any:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "a.jpg").write_bytes(b"my own")
        return enhance_content(*arguments, **settings)

    monkeypatch.setattr("rave_runtime.run.batch.enhance_content", slow)
    (result, *_) = run_folder(photos, tmp_path / "out", options(include=("a.jpg",)))
    assert result.status == "failed"
    assert (tmp_path / "out" / "a.jpg").read_bytes() == b"my own"


@pytest.mark.parametrize("option", ["log", "report"])
@pytest.mark.parametrize("name", ["thesis.html", "a.psd", "a.xmp", ".rave-run.jsonl"])
def test_logs_and_reports_go_into_no_file_of_another_kind(
    option: str, name: str, picture_file: Path, tmp_path: Path
) -> None:
    """A report replaced a page that the user had written, and a log was appended to a raw photograph."""
    (tmp_path / "out").mkdir()
    file = tmp_path / "out" / name
    file.write_bytes(b'{"name": "a.jpg"}\n' if name.startswith(".") else b"precious")
    before = file.read_bytes()
    with pytest.raises(UsageError, match=rf"--{option} .*{re.escape(name)} is there and rave-run did not"):
        run_folder(picture_file, tmp_path / "out", RunOptions(**{option: file}))  # type: ignore[arg-type]
    assert file.read_bytes() == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [name]


@pytest.mark.parametrize("option", ["log", "report"])
def test_logs_are_gone_on_with_and_reports_written_anew(
    option: str, picture_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "told.html"
    for _ in range(2):
        options = RunOptions(**{option: file})  # type: ignore[arg-type]
        assert run_folder(picture_file, tmp_path / "out", options)[0].status == "done"
    lines = file.read_bytes().count(b'{"time": "')
    assert lines == (2 if option == "log" else 0)
    file.write_bytes(b"precious")
    options = RunOptions(**{option: file}, overwrite="always")  # type: ignore[arg-type]
    run_folder(picture_file, tmp_path / "out", options)
    assert len(file.read_bytes()) > 100


def test_a_photograph_that_could_not_be_written_leaves_nothing_beside(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("rave_runtime.run.batch.begin_writing", fail)
    for target in (tmp_path / "out" / "a.jpg", tmp_path / "out"):
        results = run_folder(picture_file, target, QUICK)
        assert [result.status for result in results] == ["failed"]
        assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_an_output_that_leads_nowhere_is_named_as_it_was_given(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(UsageError, match=r"OUTPUT \S*/out cannot be written: "):
        run_folder(photos, tmp_path / "out", QUICK)
