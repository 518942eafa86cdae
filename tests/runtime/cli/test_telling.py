"""What a run tells: notes, logs, reports and the progress bar, whatever names hold and disks lack."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pty
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.backends.devices import Setup
from rave_runtime.cli.command import run_folder
from rave_runtime.errors import PhotoError, UsageError, printable
from rave_runtime.run import log as log_module
from rave_runtime.run.jobs import Job
from rave_runtime.run.log import Log
from rave_runtime.run.options import RunOptions
from rave_runtime.run.progress import notes_of
from rave_runtime.run.results import Result
from tests.runtime.folders.places import fill
from tests.runtime.pictures import MakePicture

COMMAND = [sys.executable, "-c", "from rave_runtime.cli import main; main()"]
QUICK = ["--device", "cpu", "--precision", "fp32", "--working-size", "32"]
SETUP = Setup("cpu", "CPUExecutionProvider", "fp32", 32)


def result(name: str, *warnings: str) -> Result:
    return Result(Job(Path(name), Path("out") / name, name), "done", warnings=warnings)


def options(**changes: Any) -> RunOptions:
    return RunOptions(device="cpu", precision="fp32", working_size=32, **changes)


def test_equal_notes_are_one_line() -> None:
    results = [result(f"{index:02}.jpg", "its film was left behind") for index in range(40)]
    results += [result("x.jpg", "is odd"), result("y.jpg", "another", "is odd")]
    assert list(notes_of(results)) == [
        "note: each of 40 files (00.jpg, 01.jpg, 02.jpg, ...): its film was left behind",
        "note: each of 2 files (x.jpg, y.jpg): is odd",
        "note: y.jpg: another",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_report_that_could_not_be_written_is_a_failure(picture_file: Path, tmp_path: Path) -> None:
    command = [*COMMAND, *QUICK, str(picture_file), str(tmp_path / "o.jpg"), "--report", "/dev/full"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 of 1 enhanced" in done.stdout
    assert "rave-run: the report cannot be written to /dev/full: No space left on device" in done.stderr
    assert (tmp_path / "o.jpg").is_file()


def test_an_interrupted_run_reports_what_it_has_done(
    picture: MakePicture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "in", picture, ["a.jpg", "b.jpg", "c.jpg"])
    monkeypatch.setattr("rave_runtime.cli.command.show_progress", _interrupted_after_one)
    with pytest.raises(KeyboardInterrupt):
        run_folder(tmp_path / "in", tmp_path / "out", options(report=tmp_path / "page.html", workers=1))
    page = (tmp_path / "page.html").read_text()
    assert "1 enhanced" in page
    assert sum(name in page for name in ("a.jpg", "b.jpg", "c.jpg")) == 1


def _interrupted_after_one(results: Iterator[Result], _total: int) -> None:
    next(results)
    raise KeyboardInterrupt


@pytest.mark.skipif(os.name != "posix", reason="descriptors of POSIX")
def test_a_program_without_standard_error_does_its_work(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path / "in", picture, ["a.jpg"])
    shell = 'exec "$@" 2>&-'
    arguments = ["sh", "-c", shell, "sh", *COMMAND, str(tmp_path / "in"), str(tmp_path / "out"), *QUICK]
    assert subprocess.run(arguments, stdout=subprocess.PIPE, check=True).stdout.startswith(b"1 of 1 enhanced")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full of Linux")
def test_a_full_standard_output_is_no_wrong_use(picture_file: Path, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, picture_file, "-", *QUICK], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert b"standard output cannot be written: no space is left there" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_folder_cannot_go_to_standard_output(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, tmp_path, "-"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"is a folder, standard output carries one photograph" in done.stderr


def test_a_report_that_may_not_be_written_into_is_refused_before_the_work(
    picture_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match=r"--report .*pipe cannot be written"):
        run_folder(picture_file, tmp_path / "o.jpg", options(report=pipe))
    assert not (tmp_path / "o.jpg").exists()


class FullDisk(io.BytesIO):
    """A file on a disk that fills up after the first line."""

    def write(self, content: Any) -> int:
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content)


def test_a_log_on_a_full_disk_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "_open", lambda file: FullDisk())
    with contextlib.closing(Log(tmp_path / "log", SETUP)) as log:
        log.write(result("a.jpg"))
        with pytest.warns(
            UserWarning, match=r"cannot be written any more .No space left.*before b\.jpg"
        ) as said:
            log.write(result("b.jpg"))
        log.write(result("c.jpg"))
    assert len(said) == 1
    assert log.problem == "the log {} lacks b.jpg and what came after it (No space left on device)".format(
        tmp_path / "log"
    )


def test_a_log_that_is_moved_away_begins_anew_unless_another_file_took_its_name(tmp_path: Path) -> None:
    """A run with --watch went on writing into what logrotate had moved away and compressed."""
    file = tmp_path / "log"
    with contextlib.closing(Log(file, SETUP)) as log:
        for name, taken in (("log.1", False), ("log.2", True)):
            log.write(result("a.jpg"))
            file.rename(tmp_path / name)
            if taken:
                file.write_text("notes")
        log.write(result("a.jpg"))
    lines = {each.name: len(each.read_text().splitlines()) for each in tmp_path.iterdir()}
    assert lines == {"log.1": 1, "log.2": 2, "log": 1}
    assert file.read_text() == "notes"


def test_a_line_of_which_a_disk_takes_a_part_is_written_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class SmallSteps(io.BytesIO):
        def write(self, content: Any) -> int:
            return super().write(bytes(content[:7]))

        def close(self) -> None:
            assert json.loads(self.getvalue())["name"] == "a.jpg"
            super().close()

    monkeypatch.setattr(log_module, "_open", lambda file: SmallSteps())
    with contextlib.closing(Log(tmp_path / "log", SETUP)) as log:
        log.write(result("a.jpg"))
    assert log.problem is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_run_whose_log_is_full_does_all_and_says_so(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path / "in", picture, [f"{index}.jpg" for index in range(6)])
    done = subprocess.run(
        [*COMMAND, "in", "out", "--log", "/dev/full", *QUICK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "6 of 6 enhanced" in done.stdout
    assert done.stderr.count("the log /dev/full cannot be written any more") == 1
    assert done.stderr.splitlines()[-1].startswith("rave-run: the log /dev/full lacks ")


def test_a_log_on_standard_output_is_alone_there(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path / "in", picture, ["a.jpg", "b.jpg"])
    done = subprocess.run(
        [*COMMAND, "in", "out", "--log", "-", *QUICK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["done", "done"]
    assert "2 of 2 enhanced" in done.stderr


@pytest.mark.parametrize("second", ["page.html", "./page.html", "link.html"])
def test_log_and_report_are_two_files(second: str, picture_file: Path, tmp_path: Path) -> None:
    (tmp_path / "link.html").symlink_to("page.html")
    with pytest.raises(UsageError, match="--log and --report are one file"):
        run_folder(
            picture_file, tmp_path / "o.jpg", options(log=tmp_path / "page.html", report=tmp_path / second)
        )


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_report_is_as_private_as_its_most_private_photograph(picture: MakePicture, tmp_path: Path) -> None:
    fill(tmp_path / "in", picture, ["a.jpg", "b.jpg"])
    (tmp_path / "in" / "a.jpg").chmod(0o644)
    (tmp_path / "in" / "b.jpg").chmod(0o600)
    run_folder(tmp_path / "in", tmp_path / "out", options(report=tmp_path / "page.html"))
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600


HOSTILE = "\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07[bold red]x[link=evil]\u202egpj"


def test_texts_are_made_printable() -> None:
    assert printable(HOSTILE).isprintable()
    assert printable("été 夏 [a].jpg") == "été 夏 [a].jpg"


@pytest.mark.skipif(not hasattr(pty, "openpty"), reason="no terminals to open here")
def test_names_neither_command_the_terminal_nor_the_progress_bar(
    picture: MakePicture, tmp_path: Path
) -> None:
    fill(tmp_path / "in", picture, [f"{HOSTILE}.jpg", "[bold]y[blink].jpg", "[link=x]z.jpg"])
    outer, inner = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "in", "out", *QUICK], cwd=tmp_path, stdout=inner, stderr=inner, stdin=inner
    ) as process:
        os.close(inner)
        shown = b""
        while True:
            try:
                block = os.read(outer, 4096)
            except OSError:  # the other end was closed
                break
            if not block:
                break
            shown += block
    os.close(outer)
    assert process.returncode == 0, shown
    assert b"3 of 3 enhanced" in shown
    assert b"\x1b]" not in shown, "no title, no clipboard, no link"
    assert "\u202e".encode() not in shown
    assert b"y[blink]" in shown or b"[link=x]z" in shown or b"]52;c;" in shown, "markup is shown, not obeyed"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("place", ["in", "in/locked", "in/locked/a.jpg", "out", "."])
def test_folders_that_may_not_be_looked_into_are_named(
    place: str, picture: MakePicture, tmp_path: Path
) -> None:
    prefix: list[str] = []
    if os.geteuid() == 0:  # who may look into everything
        if shutil.which("setpriv") is None:
            pytest.skip("root may look into everything, and setpriv is not there")
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    fill(tmp_path / "in", picture, ["a.jpg", "locked/a.jpg"])
    (tmp_path / "out").mkdir()
    locked = tmp_path / place.removesuffix("/a.jpg")
    source = place if place.endswith(".jpg") else "in"
    locked.chmod(0o000)
    try:
        done = subprocess.run(
            [*prefix, *COMMAND, str(tmp_path / source), str(tmp_path / "out"), *QUICK],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        locked.chmod(0o700)
    assert done.returncode in (1, 2), done.stderr
    assert "Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert "bug in rave-run" not in done.stderr


def test_standard_input_without_end_is_refused() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert size >= 0, "all of it was asked for"
            return b"\xff" * size

    from rave_runtime.cli.command import run_stream

    stream: Any = Endless()
    with pytest.raises(PhotoError, match="megapixels can need"):
        run_stream(stream, io.BytesIO(), options(max_megapixels=0.001))


def test_a_whole_tree_a_thousand_folders_deep(picture_file: Path, tmp_path: Path) -> None:
    here = tmp_path / "in"
    here.mkdir()
    for _ in range(1000):
        here /= "d"
        here.mkdir()
    (here / "a.jpg").write_bytes(picture_file.read_bytes())
    try:
        done = subprocess.run(
            [*COMMAND, "in", "out", *QUICK], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "1 of 1 enhanced" in done.stdout
    finally:
        subprocess.run(["rm", "-rf", str(tmp_path / "in"), str(tmp_path / "out")], check=False)
