"""Logs and reports that a run writes, into files and pipes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.cli.program import rave_run, run_here


def test_a_log_has_a_line_per_photograph(photos: Path, tmp_path: Path) -> None:
    (photos / "empty.png").write_bytes(b"")
    run_here(photos, tmp_path / "out", "--log", tmp_path / "log.jsonl", "--device", "cpu")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    by_name = {line["name"]: line for line in lines}
    assert by_name["a.jpg"]["status"] == "done"
    assert (by_name["a.jpg"]["width_px"], by_name["a.jpg"]["height_px"]) == (70, 50)
    assert by_name["a.jpg"]["provider"] == "CPUExecutionProvider"
    assert by_name["empty.png"]["error"] == "is empty (0 bytes)"


def test_a_report_holds_pictures_and_failures(photos: Path, tmp_path: Path) -> None:
    (photos / "<b>.png").write_bytes(b"")
    run_here(photos, tmp_path / "out", "--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 4
    assert "&lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_logs_and_reports_go_into_new_folders(photos: Path, tmp_path: Path) -> None:
    done = run_here(
        photos, tmp_path / "out", "--log", tmp_path / "x/y/log", "--report", tmp_path / "z/page.html"
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "x/y/log").read_text().splitlines()) == 2
    assert (tmp_path / "z/page.html").read_text().count("<figure>") == 2


def test_a_log_that_is_there_is_appended_to_in_a_folder_that_takes_no_files(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "logs").mkdir()
    (log := tmp_path / "logs" / "rave.log").touch()
    (tmp_path / "logs").chmod(0o555)
    done = run_here(photos, tmp_path / "out", "--log", log)
    assert done.returncode == 0, done.stderr
    assert len(log.read_text().splitlines()) == 2


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_report_names_files_whose_names_are_not_utf_8(photos: Path, tmp_path: Path) -> None:
    try:
        (photos / "a.jpg").rename(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.jpg"))
    except OSError:
        pytest.skip("this disk takes names in UTF-8 only")
    done = rave_run(photos, tmp_path / "out", "--report", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert page.count("<figure>") == 2
    assert 'data-file="out/caf%E9.jpg"' in page


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_report_goes_into_a_pipe(photos: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        try:
            done = rave_run(photos, tmp_path / "out", "--report", pipe)
            page = reader.communicate(timeout=60)[0]
        finally:
            reader.kill()  # it would wait for ever where nothing was written
    assert done.returncode == 0, done.stderr
    assert page.endswith(b"</html>\n")
    assert pipe.is_fifo()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_log_does_not_wait_for_a_pipe_that_nobody_reads(photos: Path, tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe")
    done = rave_run(photos, tmp_path / "out", "--log", pipe)
    assert done.returncode != 0
    assert f"{pipe}: it is a pipe that no program reads" in done.stderr
    assert pipe.is_fifo()


def test_a_log_whose_last_line_was_cut_short_loses_no_further_line(photos: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"time": "2024-01-01T')
    assert run_here(photos, tmp_path / "out", "--log", log).returncode == 0
    assert [json.loads(line)["status"] for line in log.read_text().splitlines()[1:]] == ["done", "done"]
