"""Stores of photographs: names are taken letter by letter, and results are those of a folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from rave_runtime.cli.command import run_folder
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.location import Location, RemoteFile, parse_location
from rave_runtime.photos.reading import read_file
from rave_runtime.run.jobs import Naming, plan_jobs
from rave_runtime.run.options import RunOptions
from tests.runtime.folders.places import contents, fill, remote_contents, upload
from tests.runtime.folders.runs import QUICK
from tests.runtime.pictures import MakePicture

fsspec = pytest.importorskip("fsspec")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos/a b", Path("photos/a b")),
        ("file:///data/a%20b", Path("/data/a b")),
        ("local:///data/a", Path("/data/a")),  # as a store, an INPUT by its path was not known for the same
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


@pytest.mark.parametrize(
    ("name", "media_type"), [("a.JPG", "image/jpeg"), ("a.avif", "image/avif"), ("a", "binary/octet-stream")]
)
def test_browsers_show_results_of_a_store(s3: str, name: str, media_type: str) -> None:
    (RemoteFile(s3) / name).write(b"x")
    assert fsspec.filesystem("s3").info(f"bucket/{name}")["ContentType"] == media_type


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
    there = plan_jobs(store, RemoteFile("memory://bucket/out"), naming=Naming("WEBP"))
    here = plan_jobs(folder, tmp_path / "out", naming=Naming("WEBP"))
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
    run_folder(folder, tmp_path / "out", QUICK)
    results = run_folder(RemoteFile(f"{base}/run/in"), RemoteFile(f"{base}/run/out"), QUICK)
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
    run_folder(store, tmp_path / "out", QUICK)
    run_folder(tmp_path / "in", tmp_path / "expected", QUICK)
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
