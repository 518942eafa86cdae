"""How the program starts: help, version, the doctor, what is imported and how memory is kept."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from rave_runtime.run.memory import keep_freed_memory
from rave_runtime.run.options import RunOptions
from tests.runtime.cli.program import rave_run, run_here


def test_options_may_stand_anywhere(photos: Path, tmp_path: Path) -> None:
    done = rave_run("--device", "cpu", photos / "a.jpg", "--strength", 0.5, tmp_path / "-odd.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "-odd.png").is_file()


def test_no_options_print_the_help() -> None:
    done = rave_run()
    assert done.returncode == 2
    assert done.stdout == run_here("--help").stdout
    for field in dataclasses.fields(RunOptions):
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert f"[default: {field.default:g}]" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "name"), [("rave_runtime", "rave-run"), ("rave_runtime.serve", "rave-serve")]
)
def test_it_starts_where_its_program_is_not_on_the_path(module: str, name: str) -> None:
    if name == "rave-serve":
        pytest.importorskip("starlette")
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith(f"{name} ")


def test_it_starts_without_the_command_lines_of_the_others(photos: Path, tmp_path: Path) -> None:
    """To import typer and rich takes as long as all the rest of enhancing a small photograph."""
    program = """
import sys
from rave_runtime.cli import main
try:
    main()
finally:
    print(sorted({name.partition(".")[0] for name in sys.modules} & {"typer", "rich", "pydantic", "torch"}))
"""
    command = [sys.executable, "-c", program, str(photos), str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_doctor_says_what_would_be_used() -> None:
    done = rave_run("--doctor", "--device", "cpu", "--precision", "fp32")
    assert done.returncode == 0
    assert "would use: fp32 on CPUExecutionProvider, since it was asked for" in done.stdout


def test_the_doctor_says_how_to_install_every_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rave_runtime.cli import doctor
    from rave_runtime.enhancer import Enhancer

    monkeypatch.setattr(doctor, "_version", lambda _: None)
    found = doctor.diagnose(lambda: Enhancer(device="cpu", precision="fp32"))
    extras = {"simplejpeg": "fast", "rawpy": "raw", "pylibjxl": "jxl", "av": "video", "tifffile": "deep"}
    extras |= {"pillow-heif": "heif", "imagecodecs": "deep", "openvino": "openvino", "ray": "cluster"}
    extras |= {"starlette": "serve", "fsspec": "remote", "tensorrt": "trt", "tensorrt-rtx": "rtx"}
    for library, extra in extras.items():
        assert f"\n{library}: not installed: pip install 'rave-backlit[{extra}]' (" in found


def test_it_says_its_version() -> None:
    from rave_runtime.version import __version__

    assert rave_run("--version").stdout.strip() == f"rave-run {__version__}"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_for_the_next_photograph() -> None:
    """Of a buffer of 64 MiB that was freed, another one's pages cost no faults any more."""
    program = """
import resource
import numpy as np
from rave_runtime.bundle import embedded_bundle
from rave_runtime.run.options import RunOptions
from rave_runtime.run.memory import keep_freed_memory

def faults_of_a_buffer():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 26, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

keep_freed_memory()
first, second = faults_of_a_buffer(), faults_of_a_buffer()
print(first, second)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = map(int, done.stdout.split())
    assert second < first / 4


def test_memory_is_left_alone_under_another_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    keep_freed_memory()


def test_memory_is_left_alone_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There, ctypes looks for a slash in the name of a library, also where it is None."""
    monkeypatch.setattr("ctypes.CDLL", lambda name: "/" in name)
    keep_freed_memory()


def test_a_doctor_who_finds_a_problem_exits_1(tmp_path: Path) -> None:
    done = run_here("--doctor", "--model", tmp_path / "none")
    assert "PROBLEM" in done.stdout
    assert done.returncode == 1


def test_after_two_dashes_names_may_begin_with_one(photos: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").rename(tmp_path / "-a.jpg")
    done = run_here("--strength", 1, "--", "-a.jpg", "-b.jpg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "-b.jpg").is_file()


def test_a_photograph_that_looks_like_an_option_is_told_from_one(tmp_path: Path) -> None:
    (tmp_path / "-a.jpg").write_bytes(b"any")
    done = run_here("-a.jpg", "b.jpg", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "-a.jpg looks like an option: write ./-a.jpg, or -- before the names" in done.stderr
