"""Which files of a folder count, what is left alone, and what is taken along."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.cli.command import run_folder
from rave_runtime.errors import UsageError
from rave_runtime.files import folding
from rave_runtime.files.folding import folds_names
from rave_runtime.files.location import RemoteFile
from rave_runtime.files.patterns import parse_inputs
from rave_runtime.run import overwriting
from rave_runtime.run.inputs import Selection, find_photographs
from rave_runtime.run.jobs import Naming, plan_jobs
from rave_runtime.run.options import RunOptions
from tests.runtime.folders.places import touch


def names(folder: Path, output: Path) -> list[str]:
    return sorted(found.name for found in find_photographs(folder, output))


@pytest.mark.parametrize(
    "place",
    [
        "@eaDir/a.jpg",
        "#recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        "@Recycle",
        "__MACOSX",
        "LOST.DIR",
        "FOUND.017",
        "RECYCLED",
        "Network Trash Folder",
        "@GMT-2026.01.02-03.04.05",
    ],
)
def test_folders_of_the_system_are_left_alone(place: str, tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.jpg", f"{place}/deleted.jpg", f"holiday/{place}/thumb.jpg", "holiday/b.jpg")
    assert names(tmp_path / "in", tmp_path / "out") == ["a.jpg", "holiday/b.jpg"]
    assert names(tmp_path / "in" / place, tmp_path / "out") == ["deleted.jpg"], "who names it, means it"


def test_folders_of_the_system_are_left_alone_in_stores(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = RemoteFile("memory://nas/in")
    for name in ("a.jpg", "@eaDir/a.jpg/thumb.jpg", "#recycle/b.jpg", "c/d.jpg"):
        (store / name).write(b"x")
    assert sorted(found.name for found in find_photographs(store, tmp_path)) == ["a.jpg", "c/d.jpg"]
    fsspec.filesystem("memory").rm("/nas", recursive=True)


@pytest.mark.parametrize(
    "library",
    [
        "Photos Library.photoslibrary",
        "Catalog Previews.lrdata",
        "Lightroom Library.lrlibrary",
        "Capture One Catalog.COCATALOG",
        "Aperture.aplibrary",
        "iPhoto Library.migratedphotolibrary",
    ],
)
def test_libraries_of_photo_managers_are_left_alone_with_one_note(library: str, tmp_path: Path) -> None:
    """Their photographs have the program's own names, and their previews would be enhanced as well."""
    inside = [f"{place}{library}/originals/{i}/A.jpg" for place in ("", "2025/") for i in "01"]
    touch(tmp_path / "in", "a.jpg", "2025/b.jpg", *inside)
    with pytest.warns(UserWarning, match="left alone, as photo managers' libraries") as told:
        planned = plan_jobs(tmp_path / "in", tmp_path / "out")
    assert [job.name for job in planned] == ["2025/b.jpg", "a.jpg"]
    assert [str(warning.message).count(library) for warning in told] == [2]
    assert len(plan_jobs(tmp_path / "in" / library, tmp_path / "out")) == 2, "who names it, means it"


def test_libraries_of_photo_managers_are_left_alone_in_stores(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = RemoteFile("memory://mac/in")
    for name in ("a.jpg", "x/P.photoslibrary/originals/b.jpg", "c.photoslibrary.jpg"):
        (store / name).write(b"x")
    libraries: set[str] = set()
    found = sorted(found.name for found in find_photographs(store, tmp_path, libraries))
    assert (found, libraries) == (["a.jpg", "c.photoslibrary.jpg"], {"x/P.photoslibrary"})
    fsspec.filesystem("memory").rm("/mac", recursive=True)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder with a thousand folders inside each other, and a photograph in the last."""
    here = tmp_path / "in"
    here.mkdir()
    (here / "top.jpg").write_bytes(b"x")
    for _ in range(1000):
        here /= "d"
        here.mkdir()
    (here / "a.jpg").write_bytes(b"x")
    yield tmp_path / "in"
    subprocess.run(["rm", "-rf", str(tmp_path / "in"), str(tmp_path / "out")], check=False)


def test_a_thousand_folders_inside_each_other_are_searched(deep: Path, tmp_path: Path) -> None:
    planned = plan_jobs(deep, tmp_path / "out")
    assert [job.name for job in planned] == ["d/" * 1000 + "a.jpg", "top.jpg"]


def test_folders_too_deep_for_the_system_are_named(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(25):  # 25 names of 200 letters are more than a path may have
        os.mkdir("n" * 200, dir_fd=here)
        inner = os.open("n" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        problems = plan_jobs(tmp_path, tmp_path.parent / "elsewhere", allow_empty=True)
        assert len(problems) <= 1
        assert all(problem.name.count("n") >= 200 for problem in problems)
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / ("n" * 200))], check=False)


@pytest.mark.parametrize("method", ["exists", "is_dir"])
def test_an_input_that_may_not_be_looked_into_is_no_fault_of_ours(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    touch(tmp_path, "locked/a.jpg")
    monkeypatch.setattr(Path, method, refuse)
    (job,) = plan_jobs(tmp_path / "locked" / "a.jpg", tmp_path / "out.jpg")
    assert job.target == tmp_path / "out.jpg"


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.jpg", "b.PNG", "raw/c.jpg", "raw/old/d.jpg"]),
        (("*.jpg",), (), ["a.jpg", "raw/c.jpg", "raw/old/d.jpg"]),
        (("*.JPG", "*.png"), ("raw",), ["a.jpg", "b.PNG"]),
        ((), ("raw/old",), ["a.jpg", "b.PNG", "raw/c.jpg", "raw/old/d.jpg"]),
        ((), ("raw/old/*",), ["a.jpg", "b.PNG", "raw/c.jpg"]),
        (("raw",), ("old/",), ["raw/c.jpg"]),
        (("[ab].*",), (), ["a.jpg", "b.PNG"]),
    ],
)
def test_names_are_taken_and_left_by_patterns(
    include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    source = touch(tmp_path / "in", "a.jpg", "b.PNG", "raw/c.jpg", "raw/old/d.jpg")
    planned = plan_jobs(source, tmp_path / "out", selection=Selection(include, exclude))
    assert [job.name for job in planned] == expected


def test_patterns_that_leave_nothing_say_so(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg")
    with pytest.raises(UsageError, match="holds no photograph that --include and --exclude leave"):
        plan_jobs(source, tmp_path / "out", selection=Selection(("*.png",)))


def test_several_inputs_go_into_one_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "holiday/c.jpg", "other/holiday/c.jpg")
    sources = [tmp_path / "a.jpg", tmp_path / "holiday", tmp_path / "b.jpg", tmp_path / "holiday/../a.jpg"]
    planned = plan_jobs(sources, tmp_path / "out")
    assert {job.name: str(job.target.relative_to(tmp_path / "out")) for job in planned} == {  # type: ignore[arg-type]
        "a.jpg": "a.jpg",
        "b.jpg": "b.jpg",
        "holiday/c.jpg": "holiday/c.jpg",
    }
    with pytest.raises(UsageError, match=r"holiday/c\.jpg and \S*other/holiday/c\.jpg would both be written"):
        plan_jobs([tmp_path / "holiday", tmp_path / "other/holiday"], tmp_path / "out")


def test_several_inputs_need_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    with pytest.raises(
        UsageError, match=r"c\.jpg is a file: for 2 inputs the last argument must be the folder"
    ):
        plan_jobs([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "c.jpg")
    with pytest.raises(UsageError, match=r"d\.jpg is the name of a photograph: for 2 inputs"):
        plan_jobs([tmp_path / "a.jpg", tmp_path / "b.jpg"], tmp_path / "d.jpg")


def test_a_suffix_lets_results_stay_beside_their_photographs(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a_bright.jpg", "b.gif")
    planned = plan_jobs(tmp_path, tmp_path, naming=Naming(suffix="_bright"))
    assert {job.name: job.target.name for job in planned} == {
        "a.jpg": "a_bright.jpg",
        "b.gif": "b_bright.png",
    }
    with pytest.raises(UsageError, match=r"INPUT itself.*--suffix"):
        plan_jobs(tmp_path, tmp_path)


@pytest.mark.filterwarnings("ignore:1 film in:UserWarning")  # d.mov, where the extra for films is missing
def test_companions_follow_their_photograph(tmp_path: Path) -> None:
    touch(
        tmp_path / "in", "IMG_1.HEIC", "IMG_1.MOV", "img_1.aae", "b/c.jpg", "b/c.jpg.xmp", "b/c.xmp", "d.mov"
    )
    planned = plan_jobs(tmp_path / "in", tmp_path / "out", naming=Naming("JPEG", "_x"))
    copies = {
        str(source.relative_to(tmp_path / "in")): str(copy.relative_to(tmp_path / "out"))  # type: ignore[arg-type]
        for job in planned
        for source, copy in job.companions
    }
    assert copies == {
        "IMG_1.MOV": "IMG_1_x.MOV",
        "img_1.aae": "IMG_1_x.aae",
        "b/c.jpg.xmp": "b/c_x.jpg.xmp",
        "b/c.xmp": "b/c_x.xmp",
    }
    (single,) = plan_jobs(tmp_path / "in/b/c.jpg", tmp_path / "z.png")
    assert [copy.name for _, copy in single.companions] == ["z.xmp", "z.png.xmp"]
    assert not any(
        job.companions
        for job in plan_jobs(tmp_path / "in", tmp_path / "out", naming=Naming(companions=False))
    )


def test_patterns_that_the_shell_left_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path, "b.jpg", "a.jpg", "c.png", "d/e.jpg", "[1].jpg"))
    assert parse_inputs(["*.jpg"]) == [Path("[1].jpg"), Path("a.jpg"), Path("b.jpg")]
    assert parse_inputs(["**/*.jpg", "c.png"])[-2:] == [Path("d/e.jpg"), Path("c.png")]
    assert parse_inputs(["[1].jpg"]) == [Path("[1].jpg")]
    with pytest.raises(UsageError, match=r"x\*\.jpg does not exist, and as a pattern it matches no file"):
        parse_inputs(["x*.jpg"])


def test_patterns_of_a_store() -> None:
    fsspec = pytest.importorskip("fsspec")
    store = RemoteFile("memory://patterns/in")
    for name in ("a.jpg", "b.png", "deep/c.jpg", ".hidden.jpg", ".thumbs/d.jpg"):
        (store / name).write(b"x")
    assert [place.name for place in parse_inputs(["memory://patterns/in/*.jpg"])] == ["a.jpg"]
    assert [place.name for place in parse_inputs(["memory://patterns/**/*.jpg"])] == ["a.jpg", "c.jpg"]
    assert [place.name for place in parse_inputs(["memory://patterns/in/.*.jpg"])] == [".hidden.jpg"]
    with pytest.raises(UsageError, match="matches no file"):
        parse_inputs(["memory://patterns/in/*.tif"])
    fsspec.filesystem("memory").rm("/patterns", recursive=True)


@pytest.mark.parametrize(
    ("first", "second"),
    [("IMG_1.jpg", "IMG_1.JPG"), ("\u00e9t\u00e9.jpg", "e\u0301te\u0301.jpg"), ("A/x.png", "a/x.png")],
)
def test_names_that_a_disk_takes_for_one_are_refused(
    first: str, second: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = touch(tmp_path / "in", first, second)
    assert len(plan_jobs(source, tmp_path / "out")) == 2, "this disk tells them apart"
    monkeypatch.setattr(overwriting, "folds_names", lambda folder: True)
    with pytest.raises(UsageError, match="since that disk does not distinguish capitals or forms of accents"):
        plan_jobs(source, tmp_path / "out")


def test_a_disk_is_asked_by_files_that_go_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folds_names(tmp_path / "not" / "there") is False
    monkeypatch.setattr(os.path, "lexists", lambda path: True)
    assert folds_names(tmp_path) is True
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []
    assert folds_names(RemoteFile("smb://host/share")) is True
    assert folds_names(RemoteFile("s3://bucket")) is False
    assert folding.folds_names(Path("/proc")) is False, "where nothing can be written, nothing is lost"


@pytest.mark.parametrize("place", ["loop", "loop/inside"])
def test_links_that_lead_to_themselves_are_no_fault_of_ours(place: str, tmp_path: Path) -> None:
    """As OUTPUT they gave a traceback."""
    touch(tmp_path / "in", "a.jpg", "b.jpg")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match=r"loop.* cannot be written"):
        run_folder(tmp_path / "in", tmp_path / place, RunOptions(device="cpu"))
    with pytest.raises(UsageError, match=r"loop.* does not exist"):
        run_folder(tmp_path / place, tmp_path / "out", RunOptions(device="cpu"))
