"""The journal knows which results are ours, whoever was killed; what is no journal is left alone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rave_runtime.backends.devices import Setup
from rave_runtime.cli.command import run_folder
from rave_runtime.files.entries import digest_of, parse_entries
from rave_runtime.run.jobs import Job
from rave_runtime.run.journal import JOURNAL_NAME, FolderJournal, open_journal
from rave_runtime.run.log import Log
from rave_runtime.run.overwriting import is_foreign
from rave_runtime.run.results import Result
from tests.runtime.folders.runs import QUICK


def test_what_a_killed_run_wrote_is_ours(tmp_path: Path) -> None:
    journal = FolderJournal(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"result")
    assert is_foreign(tmp_path / "a.jpg", journal)
    digest = "c5cbb0c9b3d4ea2e5b1f2d0b7b4a9b62b7dd8cd9b7a8a6d5a4e1f0c3b2a19080"
    journal.claim("a.jpg", 6, digest)
    assert is_foreign(tmp_path / "a.jpg", FolderJournal(tmp_path)), "of that size, but other bytes"
    import hashlib

    journal.claim("a.jpg", 6, hashlib.sha256(b"result").hexdigest())
    assert not is_foreign(tmp_path / "a.jpg", FolderJournal(tmp_path))
    open_journal(tmp_path).close()
    assert not is_foreign(tmp_path / "a.jpg", FolderJournal(tmp_path)), "the next run remembers it"


def test_what_a_killed_cluster_wrote_is_ours(tmp_path: Path) -> None:
    journal = FolderJournal(tmp_path)
    journal.claim_all(["a.jpg", "b.jpg"])
    (tmp_path / "a.jpg").write_bytes(b"result")
    later = FolderJournal(tmp_path)
    assert not is_foreign(tmp_path / "a.jpg", later)
    later.add("b.jpg", "key", 5)
    later.close()
    assert os.listdir(tmp_path) in ([JOURNAL_NAME, "a.jpg"], ["a.jpg", JOURNAL_NAME])
    assert not is_foreign(tmp_path / "a.jpg", FolderJournal(tmp_path))


def test_another_runs_results_are_ours_while_it_goes_on(tmp_path: Path) -> None:
    mine, other = FolderJournal(tmp_path, "1-of-2"), FolderJournal(tmp_path, "2-of-2")
    (tmp_path / "a.jpg").write_bytes(b"x")
    other.claim("a.jpg", 1, "")
    assert mine.is_ours("a.jpg")


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "1",
        "null",
        '"text"',
        "{",
        '{"name": 1, "key": "k", "size": 2}',
        '{"name": "a", "key": [], "size": 2}',
    ],
)
def test_lines_of_another_shape_are_left_out(line: str, tmp_path: Path) -> None:
    good = '{"name": "a.jpg", "key": "k", "size": 1}'
    (tmp_path / JOURNAL_NAME).write_text(f"{good}\n{line}\n" + '{"name": "b", "key": "k", "size": "1"}\n')
    journal = FolderJournal(tmp_path)
    assert [entry.name for entry in journal.find("a.jpg")] == ["a.jpg"]
    journal.add("b.jpg", "key", 2)
    journal.close()
    lines = (tmp_path / JOURNAL_NAME).read_text().splitlines()
    assert [json.loads(text)["name"] for text in lines] == ["a.jpg", "b.jpg"]


def test_journals_and_logs_are_written_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python from 3.12 on has `set_blocking`, but refuses files, and has no O_NONBLOCK."""

    def refuse(_descriptor: int, _is_blocking: bool) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "set_blocking", refuse)
    monkeypatch.delattr(os, "O_NONBLOCK")
    (tmp_path / "a.jpg").write_bytes(b"12345")
    journal = FolderJournal(tmp_path)
    journal.add("a.jpg", "key", 5)
    journal.close()
    assert open_journal(tmp_path).is_done("a.jpg", "key")
    with contextlib.closing(Log(tmp_path / "log", Setup("cpu", "CPUExecutionProvider", "fp32", 144))) as log:
        log.write(Result(Job(tmp_path / "a.jpg", tmp_path / "b.jpg", "a.jpg"), "done"))
    assert json.loads((tmp_path / "log").read_text())["name"] == "a.jpg"


def test_journals_are_not_read_again_for_each_file_that_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 20,000 results that their user has edited, it took an hour to refuse all of them."""
    FolderJournal(tmp_path, "1-of-2").claim("a.jpg", 1, "")
    journal = FolderJournal(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"edited")
    with monkeypatch.context() as patch:
        patch.setattr("rave_runtime.run.journal.read_entries", lambda file: pytest.fail(f"reads {file}"))
        assert is_foreign(tmp_path / "b.jpg", journal)
    FolderJournal(tmp_path, "1-of-2").claim("b.jpg", 6, digest_of(b"edited"))
    assert not is_foreign(tmp_path / "b.jpg", journal), "another run has written it meanwhile"


def test_very_nested_lines_are_left_out(tmp_path: Path) -> None:
    assert parse_entries("[" * 100_000 + "\n") == []


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.parent / "victim")])
def test_a_journal_that_is_a_link_or_a_pipe_is_neither_read_nor_written(
    make: Callable[[Path], None], photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "victim").write_bytes(b"precious\n")
    make(tmp_path / "out" / JOURNAL_NAME)
    with pytest.warns(UserWarning, match="the journal of .* cannot be written"):
        results = run_folder(photos, tmp_path / "out", QUICK)
    assert {result.status for result in results} == {"done"}
    assert (tmp_path / "out" / "victim").read_bytes() == b"precious\n"
