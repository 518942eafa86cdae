"""Which files become jobs, what is refused, and files that are whole or absent."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.atomic import is_written_into, write_atomically
from rave_runtime.files.partials import remove_abandoned
from rave_runtime.photos.formats import written_format_of
from rave_runtime.run.jobs import Naming, plan_jobs
from tests.runtime.folders.places import touch


def planned(source: Path, output: Path, format: str | None = None) -> dict[str, str]:
    jobs = plan_jobs(source, output, naming=Naming(format))
    return {job.name: str(Path(str(job.target)).relative_to(output)) for job in jobs}


def test_a_tree_is_mirrored_and_formats_that_cannot_be_written_become_png(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "b/c.JPG", "a.gif", "z.heic", "notes.txt", ".hidden.jpg", ".git/x.jpg")
    expected = {"a.gif": "a.png", "b/c.JPG": "b/c.JPG", "z.heic": "z.heic"}
    assert planned(source, tmp_path / "out") == expected


def test_a_wanted_format_changes_endings(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "b.webp", "c.jpeg")
    assert planned(source, tmp_path / "out", "WEBP") == {
        "a.jpg": "a.webp",
        "b.webp": "b.webp",
        "c.jpeg": "c.webp",
    }


def test_two_photographs_for_one_result_are_refused(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg", "a.png")
    with pytest.raises(UsageError, match=r"a\.jpg and a\.png would both be written to .*a\.webp: rename one"):
        plan_jobs(source, tmp_path / "out", naming=Naming("WEBP"))
    assert len(plan_jobs(source, tmp_path / "out")) == 2


@pytest.mark.parametrize("output", ["in", "in/out", "in/../in", "other/../in/sub", "link/out"])
def test_output_in_the_input_is_refused(tmp_path: Path, output: str) -> None:
    source = touch(tmp_path / "in", "a.jpg")
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(
        UsageError, match=r"is inside .*: its results would be read as .* next time|is INPUT itself"
    ):
        plan_jobs(source, tmp_path / output)


def test_output_beside_the_input_by_a_path_with_dots_is_fine(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg")
    assert len(plan_jobs(source / "..", tmp_path.parent / "elsewhere")) == 1
    assert len(plan_jobs(source, source / ".." / "out")) == 1


def test_input_in_the_output_is_fine_unless_it_would_be_written_over(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg")
    assert planned(tmp_path / "in", tmp_path) == {"a.jpg": "a.jpg"}
    touch(tmp_path, "in/in/a.jpg")
    with pytest.raises(UsageError, match=r"in/a\.jpg is the photograph a\.jpg itself: choose another OUTPUT"):
        plan_jobs(tmp_path / "in", tmp_path)


@pytest.mark.parametrize("output", ["a.jpg", ".", "../in/a.jpg", "link.jpg"])
def test_a_photograph_is_not_written_over_itself(tmp_path: Path, output: str) -> None:
    source = touch(tmp_path / "in", "a.jpg")
    (source / "link.jpg").symlink_to("a.jpg")
    with pytest.raises(UsageError, match=r"is the photograph a\.jpg itself"):
        plan_jobs(source / "a.jpg", source / output)


def test_one_photograph_goes_not_into_a_file(tmp_path: Path) -> None:
    source = touch(tmp_path, "in/a.jpg", "notes.txt")
    with pytest.raises(UsageError, match=r"notes\.txt exists and is neither a folder nor named like"):
        plan_jobs(source / "in/a.jpg", source / "notes.txt")


def test_one_photograph_goes_to_a_file_or_into_a_folder(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "a.jpg") / "a.jpg"
    for output, target in {"b.PNG": "b.PNG", "new": "new/a.jpg", "in/sub": "in/sub/a.jpg"}.items():
        (job,) = plan_jobs(source, tmp_path / output)
        assert job.target == tmp_path / target
    assert written_format_of(Path("x.PNG")) == "PNG"
    assert written_format_of(Path("x.gif")) is None


def test_links_are_followed_once_and_never_into_the_output(tmp_path: Path) -> None:
    source = touch(tmp_path / "in", "deep/a.jpg")
    output = touch(tmp_path / "out", "old.jpg")
    (source / "deep" / "up").symlink_to("..")
    (source / "loop").symlink_to("loop")
    (source / "results").symlink_to(output)
    (source / "linked.jpg").symlink_to("deep/a.jpg")
    assert list(planned(source, output)) == ["deep/a.jpg", "linked.jpg"]


def test_missing_and_empty_inputs_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist: give a photograph or a folder"):
        plan_jobs(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(UsageError, match=r"holds no photograph, by the endings .*such as \.jpg, \.png, "):
        plan_jobs(touch(tmp_path / "in", "a.txt"), tmp_path / "out")
    with pytest.raises(UsageError, match="is a file: for a folder of photographs OUTPUT must be a folder"):
        plan_jobs(tmp_path / "in", tmp_path / "in" / "a.txt")


def test_a_folder_that_cannot_be_listed_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = touch(tmp_path / "in", "a.jpg", "locked/b.jpg")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path) == str(refused):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused = source / "locked"
    assert list(planned(source, tmp_path / "out")) == ["a.jpg", "locked"]
    refused = source
    with pytest.raises(UsageError, match="cannot be listed: Permission denied"):
        plan_jobs(source, tmp_path / "out")


def test_writing_replaces_a_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / ("n" * 251 + ".jpg")
    for content in (b"one", b"two"):
        write_atomically(target, content)
        assert target.read_bytes() == content
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target = tmp_path / "a.jpg"
    write_atomically(target, b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(PhotoError, match=r"cannot be written to .*a\.jpg: No space left on device"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["taken/a.jpg", "folder", "n" * 300, "nul\0.jpg"])
def test_targets_that_cannot_be_are_reported(tmp_path: Path, name: str) -> None:
    (tmp_path / "taken").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(PhotoError, match="cannot be written to"):
        write_atomically(tmp_path / name, b"x")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "taken"]


def test_what_a_dead_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Path] = []

    def stopped(self: Path, _target: Path) -> None:
        kept.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stopped)
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "sub" / "a.jpg", b"half")
    monkeypatch.undo()
    (mine,) = kept
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}.", "-999999999."))
    other = mine.with_name(mine.name.replace(mine.name.split(".")[2], "0badc0de-999999999"))
    for file in (dead, other, mine.with_name("a.rave-partial")):
        file.write_bytes(b"x")
    remove_abandoned(tmp_path)
    assert not dead.exists()
    assert mine.exists()  # of this process, which lives
    assert other.exists()  # of another machine
    assert mine.with_name("a.rave-partial").exists()  # somebody's own


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        arrived: list[bytes] = []
        reader = threading.Thread(
            target=lambda into: into.append(pipe.read_bytes()), args=[arrived], daemon=True
        )
        reader.start()
        write_atomically(target, b"page")
        reader.join(10)
        assert arrived == [b"page"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no devices with names here")
def test_the_systems_streams_are_written_into_even_where_they_are_files(tmp_path: Path) -> None:
    page = tmp_path / "page"
    with page.open("wb") as stream:
        here = Path(f"/dev/fd/{stream.fileno()}")
        write_atomically(here, b"page")
        assert page.read_bytes() == b"page"
        assert os.path.samefile(here, page)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dev/stdout", True),
        ("/dev/null", True),
        ("/dev/shm/x.html", False),
        ("/dev/shm", False),
        ("x", False),
    ],
)
@pytest.mark.skipif(not Path("/dev/shm").exists(), reason="no devices with names here")
def test_what_is_written_into(path: str, expected: bool) -> None:
    assert is_written_into(Path(path)) is expected


def test_other_pictures_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.PSD", "c.tga", "d.psd", "e.txt", ".f.tga"):
        (tmp_path / name).touch()
    with pytest.warns(
        UserWarning, match=r"^3 pictures in .* that rave-run cannot read \(\.psd, \.tga\): export as"
    ):
        jobs = plan_jobs(tmp_path, tmp_path.parent / "elsewhere")
    assert [job.name for job in jobs] == ["a.jpg"]
    assert len(plan_jobs(tmp_path, tmp_path.parent / "elsewhere", allow_empty=True)) == 1
