"""Links in the place of reports, logs and results, planted before a run or during it, lead nowhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime.cli import command
from rave_runtime.cli.command import ReportError, run_folder
from rave_runtime.errors import UsageError
from rave_runtime.files import atomic
from rave_runtime.films import filing
from rave_runtime.run import log
from rave_runtime.run.report import _preview
from rave_runtime.run.results import Result
from tests.runtime.cli.program import rave_run
from tests.runtime.folders.runs import options

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")

Write = Callable[[Any, Any], Iterator[Result]]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "victim"
    file.write_bytes(b"precious")
    return file


def during_the_run(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls a function when the first photograph is done."""
    write = log.write_each

    def write_and_act(results: Any, lines: Any) -> Iterator[Result]:
        for index, result in enumerate(write(results, lines)):
            if index == 0:
                act()
            yield result

    monkeypatch.setattr(command, "write_each", write_and_act)


@pytest.mark.parametrize("option", ["--log", "--report"])
@pytest.mark.parametrize("overwrite", ["never", "always"])
def test_a_log_and_a_report_that_are_links_are_refused_at_once(
    option: str, overwrite: str, photos: Path, victim: Path, tmp_path: Path
) -> None:
    for content in (b"precious", b""):  # an empty file is taken for a log
        victim.write_bytes(content)
        link = tmp_path / "page"
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        done = rave_run(photos, tmp_path / "out", option, link, "--overwrite", overwrite)
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == (
            f"rave-run: {option} {link} is a symbolic link: name the file that it leads to"
        )
        assert victim.read_bytes() == content
        assert not (tmp_path / "out").exists()


def test_a_log_that_has_another_name_is_not_written(photos: Path, victim: Path, tmp_path: Path) -> None:
    victim.write_bytes(b"")
    os.link(victim, tmp_path / "log")
    with pytest.raises(OSError, match="it has other names"):
        run_folder(photos, tmp_path / "out", options(log=tmp_path / "log"))
    assert victim.read_bytes() == b""


def test_a_log_that_becomes_a_link_just_before_it_is_opened_is_not_followed(
    photos: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").symlink_to(victim)
    monkeypatch.setattr(os.path, "islink", lambda _: False)
    with pytest.raises(OSError, match="it is a symbolic link"):
        run_folder(photos, tmp_path / "out", options(log=tmp_path / "log", overwrite="always"))
    assert victim.read_bytes() == b"precious"


def test_a_log_keeps_its_file_when_a_link_takes_its_name(
    photos: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "log"

    def swap() -> None:
        file.rename(tmp_path / "log as it was")
        file.symlink_to(victim)

    during_the_run(monkeypatch, swap)
    run_folder(photos, tmp_path / "out", options(log=file))
    assert victim.read_bytes() == b"precious"
    assert len((tmp_path / "log as it was").read_text().splitlines()) == 2


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_report_is_not_written_through_a_link_that_came_during_the_run(
    place: str, photos: Path, victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pages"

    def swap() -> None:
        if place == "file":
            (folder / "page.html").symlink_to(victim)
        else:
            folder.rmdir()
            folder.symlink_to(victim.parent)

    during_the_run(monkeypatch, swap)
    message = "it is a symbolic link now" if place == "file" else "another folder is in the place of its"
    with pytest.raises(ReportError, match=message) as caught:
        run_folder(photos, tmp_path / "out", options(report=folder / "page.html"))
    assert {result.status for result in caught.value.results} == {"done"}
    assert victim.read_bytes() == b"precious"
    assert os.listdir(victim.parent) == ["victim"]


def test_a_report_shows_no_picture_through_a_link_that_came_in_the_place_of_a_result(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(tmp_path / "private.png")
    (tmp_path / "result.png").symlink_to("private.png")
    assert _preview(tmp_path / "result.png") is not None
    assert _preview(tmp_path / "result.png", follow=False) is None


def test_a_film_is_written_where_its_temporary_file_was_opened(
    victim: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the folder can put a link in the place of a temporary file."""
    (tmp_path / "a.mp4").write_bytes(b"a film")
    make_partial = atomic.partial_file

    class Planted:
        def __init__(self, *arguments: Any) -> None:
            self.partial = make_partial(*arguments)

        def __enter__(self) -> tuple[int, Path]:
            descriptor, file = self.partial.__enter__()
            file.unlink()
            file.symlink_to(victim)
            return descriptor, file

        def __exit__(self, *problem: Any) -> bool | None:
            return self.partial.__exit__(*problem)

    monkeypatch.setattr(filing, "partial_file", Planted)
    mark: Any = type("Mark", (), {"note": lambda self, again: "", "__str__": lambda self: "rave"})()
    filing._copy_film(tmp_path / "a.mp4", tmp_path / "b.mp4", mark, tmp_path / "a.mp4", lambda partial: None)
    assert victim.read_bytes() == b"precious"


def test_options_of_a_stream_may_be_links(tmp_path: Path) -> None:
    """`/dev/stdout` is a link on Linux."""
    options(log=Path("/dev/stdout"), report=Path("/dev/fd/2")).check("folder")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"--log .* is a symbolic link"):
        options(log=tmp_path / "link").check("folder")
