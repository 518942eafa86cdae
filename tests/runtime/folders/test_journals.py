"""Journals of stores and of shards: read together, written apart, whole after a run was killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rave_runtime.errors import PhotoError
from rave_runtime.files.entries import read_entries
from rave_runtime.files.location import RemoteFile
from rave_runtime.run.journal import PIECE_S, FolderJournal, RemoteJournal, open_journal

pytest.importorskip("fsspec")


def test_journals_in_a_folder_with_odd_letters_are_found(s3: str) -> None:
    folder = RemoteFile(f"{s3}/out[1]")
    journal = open_journal(folder)
    journal.add("a.jpg", "key", 1)
    journal.close()
    (folder / "a.jpg").write(b"x")
    assert open_journal(folder).is_done("a.jpg", "key")


def test_two_runs_into_one_store_keep_each_others_results(store: RemoteFile) -> None:
    runs = {"a.jpg": RemoteJournal(store), "b.jpg": RemoteJournal(store)}
    for name, journal in runs.items():
        (store / name).write(b"12345")
        journal.add(name, "key", 5)
    for journal in runs.values():
        journal.close()
    found = RemoteJournal(store)
    assert all(found.is_done(name, "key") for name in runs)


def test_a_journal_that_another_run_replaces_meanwhile_is_read_again(
    store: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = RemoteJournal(store, "2-of-2")
    monkeypatch.setattr("rave_runtime.run.journal.PIECE_S", 0.0)
    (store / "a.jpg").write(b"12345")
    journal.add("a.jpg", "key", 5)
    read = RemoteFile.read

    def read_after_the_other_ended(self: RemoteFile, limit_bytes: int | None = None) -> bytes:
        monkeypatch.setattr(RemoteFile, "read", read)
        journal.close()
        return read(self, limit_bytes)

    monkeypatch.setattr(RemoteFile, "read", read_after_the_other_ended)
    assert RemoteJournal(store, "1-of-2").is_done("a.jpg", "key")


def test_a_piece_that_cannot_be_written_is_made_up_for_by_the_next(
    store: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rave_runtime.run.journal.PIECE_S", 0.0)
    journal = RemoteJournal(store)
    write = RemoteFile.write

    def fail(self: RemoteFile, content: bytes) -> None:
        monkeypatch.setattr(RemoteFile, "write", write)
        raise PhotoError("cannot be written: try later")

    monkeypatch.setattr(RemoteFile, "write", fail)
    journal.add("a.jpg", "key", 1)
    assert store.matching(".rave-run*") == []
    journal.add("b.jpg", "key", 1)
    (piece,) = store.matching(".rave-run*")
    assert [json.loads(line)["name"] for line in (store / piece).read().decode().splitlines()] == [
        "a.jpg",
        "b.jpg",
    ]


def test_a_remote_journal_survives_being_killed_in_pieces(
    store: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = RemoteJournal(store)
    for i in range(4):
        (store / f"{i}.jpg").write(b"12345")
        monkeypatch.setattr("rave_runtime.run.journal.time.monotonic", lambda i=i: 1e9 + i * (PIECE_S + 1))
        journal.add(f"{i}.jpg", "key", 5)
    # It is killed here: nothing was closed.
    again = RemoteJournal(store)
    assert all(again.is_done(f"{i}.jpg", "key") for i in range(4))
    assert not again.is_done("0.jpg", "other")
    again.add("4.jpg", "key", 5)
    again.close()
    assert store.matching(".rave-run*") == [".rave-run.jsonl"]
    lines = (store / ".rave-run.jsonl").read().decode().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [f"{i}.jpg" for i in range(5)]
    assert not RemoteJournal(store).is_done("4.jpg", "key")  # no such file is there


def test_journals_of_shards_are_read_together_and_written_apart(tmp_path: Path) -> None:
    for part in ("1-of-2", "2-of-2"):
        (tmp_path / f"{part}.jpg").write_bytes(b"12345")
        journal = open_journal(tmp_path, part)
        journal.add(f"{part}.jpg", "key", 5)
        journal.close()
    whole = FolderJournal(tmp_path)
    assert whole.is_done("1-of-2.jpg", "key")
    assert whole.is_done("2-of-2.jpg", "key")
    assert len((tmp_path / ".rave-run.1-of-2.jsonl").read_text().splitlines()) == 1


def test_the_newest_journal_knows_best(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"12345")
    for order, part in enumerate(["", "1-of-2", ""]):
        journal = open_journal(tmp_path, part)
        journal.add("a.jpg", f"key {order}", 5)
        journal.close()
        os.utime(tmp_path / f".rave-run{'.' + part if part else ''}.jsonl", ns=(order, order))
    assert open_journal(tmp_path).is_done("a.jpg", "key 2")
    assert not open_journal(tmp_path).is_done("a.jpg", "key 1")


@pytest.mark.skipif(os.name != "posix", reason="Windows lets nobody remove an open file")
def test_a_journal_that_is_removed_or_replaced_meanwhile_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / ".rave-run.jsonl"
    journal = FolderJournal(tmp_path)
    journal.add("a.jpg", "key", 1)
    file.unlink()
    journal.add("b.jpg", "key", 1)
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["b.jpg"]
    (tmp_path / "other").write_text("")
    (tmp_path / "other").replace(file)
    journal.add("c.jpg", "key", 1)
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == ["c.jpg"]
    journal.close()
    assert len(file.read_text().splitlines()) == 3


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    """A full disk or a killed run leaves half a line; the next one was glued to it, and both were lost."""
    file = tmp_path / ".rave-run.jsonl"
    file.write_text('{"name": "a.jpg", "ke')
    journal = FolderJournal(tmp_path)
    journal.claim("b.jpg", 1, "")
    journal.claim("c.jpg", 1, "")
    assert [entry.name for entry in read_entries(file)] == ["b.jpg", "c.jpg"]


def test_what_was_read_for_one_result_is_known_for_the_next(tmp_path: Path) -> None:
    """Of two runs into one folder, one called results of the other foreign: it had read them for others."""
    mine, other = FolderJournal(tmp_path), FolderJournal(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        other.claim(name, 1, "")
        (tmp_path / name).write_bytes(b"x")
    assert mine.is_ours("a.jpg")
    assert mine.is_ours("b.jpg")
