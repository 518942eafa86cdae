"""Standard input and output, pipes, and signals that end a run."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def test_standard_input_to_standard_output(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", "-", "-"]
    done = subprocess.run(
        command, input=(photos / "a.jpg").read_bytes(), capture_output=True, timeout=120, check=True
    )
    with Image.open(io.BytesIO(done.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", (70, 50))
    bad = subprocess.run(command, input=b"nonsense", capture_output=True, timeout=120, check=False)
    assert bad.returncode == 1
    assert b"is not a picture" in bad.stderr
    assert not bad.stdout


def test_standard_input_to_a_folder_is_an_error(photos: Path) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()", "-", "."]
    with (photos / "a.jpg").open("rb") as stream:
        done = subprocess.run(command, stdin=stream, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be written to ." in done.stderr
    assert "Traceback" not in done.stderr


def test_standard_input_becomes_what_the_name_says(photos: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from rave_runtime.cli import main; main()",
        "-",
        str(tmp_path / "o.png"),
    ]
    content = (photos / "a.jpg").read_bytes()
    subprocess.run(command, input=content, capture_output=True, timeout=120, check=True)
    with Image.open(tmp_path / "o.png") as image:
        assert image.format == "PNG"


def test_an_interrupted_run_says_so(photos: Path, tmp_path: Path) -> None:
    program = """
import rave_runtime.cli.command as command
from rave_runtime.cli import main

def interrupted(*_):
    raise KeyboardInterrupt

command.run_folder = interrupted
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(photos), str(tmp_path / "out")], capture_output=True, text=True
    )
    assert done.returncode == 130
    assert "interrupted; finished photographs are whole" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="shells close streams so")
@pytest.mark.parametrize("closed", ["input", "output"])
def test_a_closed_stream_is_said(closed: str, photos: Path) -> None:
    names = {"input": f"- {photos}/new.jpg <&-", "output": f"{photos}/a.jpg - >&-"}[closed]
    run = f'"{sys.executable}" -c "from rave_runtime.cli import main; main()" {names}'
    done = subprocess.run(run, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"rave-run: standard {closed} is closed\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Unix")
def test_a_reader_that_has_gone_is_no_failure(photos: Path, tmp_path: Path) -> None:
    program = f'"{sys.executable}" -c "from rave_runtime.cli import main; main()"'
    run = f"{{ {program} {photos} {tmp_path}/out; echo $? >{tmp_path}/code; }} | true"
    subprocess.run(run, shell=True, timeout=60, check=True)
    assert (tmp_path / "code").read_text() == "0\n"
    assert (tmp_path / "out" / "a.jpg").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")
def test_a_scheduler_that_ends_a_run_leaves_whole_files(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from rave_runtime.cli import main; main()"]
    command += [str(photos), str(tmp_path / "out"), "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert "done" in run.stdout.readline()
        run.terminate()
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.startswith(f"what is put into {photos} is enhanced into {tmp_path / 'out'}; Ctrl-C ends this")
    assert "interrupted; finished photographs are whole" in said
