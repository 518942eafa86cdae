from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rave_runtime.cli.command import run_folder
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.location import Location, RemoteFile, parse_location
from rave_runtime.photos.reading import read_file
from rave_runtime.run.jobs import Shard, parse_shard, plan_jobs
from rave_runtime.run.journal import PIECE_S, FolderJournal, RemoteJournal, open_journal
from rave_runtime.run.options import RunOptions
from tests.runtime.pictures import MakePicture
from tests.runtime.places import contents, fill, remote_contents, upload

fsspec = pytest.importorskip("fsspec")

OPTIONS = RunOptions(device="cpu", precision="fp32", working_size=32)


@pytest.fixture
def store() -> Iterator[RemoteFile]:
    """An empty folder of fsspec's store in memory."""
    files = fsspec.filesystem("memory")
    yield RemoteFile("memory://bucket/photos")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos/a b", Path("photos/a b")),
        ("file:///data/a%20b", Path("/data/a b")),
        ("s3://bucket/photos/", RemoteFile("s3://bucket/photos")),
    ],
)
def test_a_location_is_a_path_or_a_url(text: str, expected: object) -> None:
    assert parse_location(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [("s3://", "names no place"), ("file://photos/a", "another machine"), ("file://out", "another machine")],
)
def test_a_url_that_names_nothing_here_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_location(text)


def test_secrets_of_a_url_are_not_shown() -> None:
    place = RemoteFile("sftp://anna:secret@host/photos")
    assert str(place / "a.jpg") == "sftp://host/photos/a.jpg"
    assert "secret" in place.key


@pytest.mark.parametrize(
    "name", ["a b.jpg", "a//b.jpg", "ü#?%20.jpg", "e::f.jpg", "[1]/x*.jpg", "sub/a'b.jpg"]
)
def test_names_in_a_store_are_taken_letter_by_letter(s3: str, name: str) -> None:
    folder = RemoteFile(f"{s3}/odd[1]")
    (folder / name).write(b"x")
    assert name in set(folder.names())
    assert (folder / name).read() == b"x"
    assert (folder / name).size() == 1


def test_a_name_that_means_a_version_is_refused(s3: str) -> None:
    with pytest.raises(PhotoError, match="rename it"):
        (RemoteFile(s3) / "m?versionId=3.jpg").write(b"x")


def test_a_folder_that_cannot_be_listed_ends_the_run(
    store: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store / "a.jpg").write(b"x")
    (store / "denied/b.jpg").write(b"x")
    files = fsspec.filesystem("memory")
    listed = type(files).ls

    def ls(self: object, path: str, detail: bool = True, **_: object) -> object:
        if path.endswith("denied"):
            raise PermissionError("Access Denied")
        return listed(self, path, detail=detail)

    monkeypatch.setattr(type(files), "ls", ls)
    with pytest.raises(UsageError, match="Access Denied"):
        plan_jobs(store, Path("out"))


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


def test_an_unknown_protocol_and_an_unreachable_store_are_named() -> None:
    with pytest.raises(UsageError, match="nowhere"):
        plan_jobs(RemoteFile("nowhere://bucket/x"), Path("out"))
    with pytest.raises(UsageError, match="does not exist"):
        plan_jobs(RemoteFile("memory://no/such"), Path("out"))


def test_photographs_of_a_store_go_where_those_of_a_folder_go(
    store: RemoteFile, picture: MakePicture, tmp_path: Path
) -> None:
    names = ["a.jpg", "sub/b.png", "sub/.hidden.jpg", ".dot/c.jpg", "note.txt"]
    folder = tmp_path / "in"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    upload(folder, store.url)
    there = plan_jobs(store, RemoteFile("memory://bucket/out"), "WEBP")
    here = plan_jobs(folder, tmp_path / "out", "WEBP")
    assert [job.name for job in there] == [job.name for job in here] == ["a.jpg", "sub/b.png"]
    assert [str(job.target) for job in there] == [
        "memory://bucket/out/a.webp",
        "memory://bucket/out/sub/b.webp",
    ]


@pytest.mark.parametrize("output", ["memory://bucket/photos", "memory://bucket/photos/out"])
def test_output_inside_a_remote_input_is_refused(store: RemoteFile, output: str) -> None:
    (store / "a.jpg").write(b"x")
    with pytest.raises(UsageError, match=r"is inside|is INPUT itself"):
        plan_jobs(store, RemoteFile(output))


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_store_gives_the_results_of_a_folder(
    kind: str, picture: MakePicture, tmp_path: Path, store: RemoteFile, request: pytest.FixtureRequest
) -> None:
    names = [f"{i}.jpg" for i in range(5)] + ["sub/x.png", "sub/deep/y.webp"]
    folder = fill(tmp_path / "in", picture, names)
    (folder / "broken.jpg").write_bytes(b"not a photograph")
    base = "memory://bucket" if kind == "memory" else request.getfixturevalue("s3")
    upload(folder, f"{base}/run/in")
    run_folder(folder, tmp_path / "out", OPTIONS)
    results = run_folder(RemoteFile(f"{base}/run/in"), RemoteFile(f"{base}/run/out"), OPTIONS)
    assert [r.job.name for r in results if r.status == "failed"] == ["broken.jpg"]
    assert remote_contents(f"{base}/run/out") == contents(tmp_path / "out")
    # Once more, and one photograph has changed meanwhile.
    (RemoteFile(f"{base}/run/in") / "2.jpg").write((folder / "3.jpg").read_bytes())
    again = run_folder(
        RemoteFile(f"{base}/run/in"),
        RemoteFile(f"{base}/run/out"),
        RunOptions(device="cpu", precision="fp32", working_size=32, skip_existing=True),
    )
    assert Counter(r.status for r in again) == {"skipped": 6, "done": 1, "failed": 1}


def test_results_may_go_from_a_store_to_a_folder(
    store: RemoteFile, picture: MakePicture, tmp_path: Path
) -> None:
    upload(fill(tmp_path / "in", picture, ["a.jpg"]), store.url)
    run_folder(store, tmp_path / "out", OPTIONS)
    run_folder(tmp_path / "in", tmp_path / "expected", OPTIONS)
    assert contents(tmp_path / "out") == contents(tmp_path / "expected")


def test_a_file_too_large_to_trust_is_refused(store: RemoteFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rave_runtime.photos.reading._METADATA_BYTES", 1000)
    (store / "a.jpg").write(b"\xff" * 10_000)
    with pytest.raises(PhotoError, match=r"more than 0\.0001 megapixels"):
        read_file(store / "a.jpg", max_megapixels=0.0001)
    with pytest.raises(PhotoError, match="cannot be read"):
        read_file(store / "gone.jpg")


def test_a_store_without_whole_objects_gets_files_by_renaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file system of this machine as fsspec shows it stands in for a server that can rename."""
    target = RemoteFile(f"local://{tmp_path}/sub/a.jpg")
    files = fsspec.filesystem("local")
    target.write(b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(type(files), "mv", fail)
    with pytest.raises(PhotoError, match="disk full"):
        target.write(b"new")
    monkeypatch.undo()
    target.write(b"newer")
    assert target.read() == b"newer"
    assert os.listdir(tmp_path / "sub") == ["a.jpg"]


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


@given(st.integers(1, 40), st.sets(st.text(min_size=1, max_size=12), max_size=40), st.text(min_size=1))
def test_every_name_is_in_exactly_one_shard_whatever_is_added(
    count: int, names: set[str], added: str
) -> None:
    shards = [Shard(i, count) for i in range(1, count + 1)]
    before = {name: [s.index for s in shards if s.holds(name)] for name in names}
    assert all(len(held) == 1 for held in before.values())
    after = {name: [s.index for s in shards if s.holds(name)] for name in names | {added}}
    assert all(after[name] == held for name, held in before.items())


def test_shards_share_the_work_evenly() -> None:
    sizes = Counter(i for n in range(4000) for i in range(1, 9) if Shard(i, 8).holds(f"{n}.jpg"))
    assert all(400 < size < 600 for size in sizes.values())


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be read: give I/N"):
        parse_shard(text)


def test_shards_of_a_folder_make_the_whole(picture: MakePicture, tmp_path: Path) -> None:
    folder = fill(tmp_path / "in", picture, [f"{i}.jpg" for i in range(7)])
    run_folder(folder, tmp_path / "whole", OPTIONS)
    done = []
    for i in (1, 2, 3):
        options = RunOptions(device="cpu", precision="fp32", working_size=32, shard=f"{i}/3")
        done += [r.job.name for r in run_folder(folder, tmp_path / "parts", options)]
    assert sorted(done) == [f"{i}.jpg" for i in range(7)]
    whole, parts = contents(tmp_path / "whole"), contents(tmp_path / "parts")
    assert {n: c for n, c in parts.items() if n.endswith("jpg")} == {
        n: c for n, c in whole.items() if n.endswith("jpg")
    }


@pytest.mark.parametrize("key", ["/x.jpg", "//x.jpg", "a//x.jpg"])
@pytest.mark.parametrize("sources", [1, 2])
def test_keys_with_odd_slashes_stay_inside_the_output(
    key: str, sources: int, s3: str, tmp_path: Path
) -> None:
    folder = RemoteFile(f"{s3}/slashes-{sources}-{len(key)}/in")
    (folder / key).write(b"x")
    (tmp_path / "other").mkdir()
    places: list[Location] = [folder, tmp_path / "other"]
    planned = plan_jobs(places[:sources], tmp_path / "out", allow_empty=True)
    (job,) = planned
    inside = ("in/" if sources == 2 else "") + key.replace("//", "/").lstrip("/")
    assert job.target == tmp_path / "out" / inside
    assert job.source.read() == b"x"  # type: ignore[union-attr]
