from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rave_train.commands import COMMANDS

FORBIDDEN = (
    "typer",
    "torch",
    "torchvision",
    "open_clip",
    "timm",
    "onnx",
    "scipy",
    "rave_train",
    "rave_export",
)


def test_the_runtime_imports_nothing_heavy_even_where_it_is_installed() -> None:
    code = """
import sys, numpy
import rave_runtime, rave_runtime.cli, rave_runtime.cli.command, rave_runtime.run.watch
rave_runtime.Enhancer().enhance(numpy.zeros((8, 8, 3), numpy.uint8))
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(FORBIDDEN)


def test_help_imports_no_onnxruntime() -> None:
    code = """
import sys
import rave_runtime.cli
assert "onnxruntime" not in sys.modules and "numpy" not in sys.modules, "slow --help"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("program", "module", "missing", "arguments"),
    [
        ("train", "rave_train.__main__", "typer", ["resume", "run"]),
        ("export", "rave_export.cli", "torch", ["embedded", "--output", "none"]),
    ],
)
def test_the_other_programs_say_what_to_install(
    program: str, module: str, missing: str, arguments: list[str], tmp_path: Path
) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from {module} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert f"pip install 'rave-backlit[{program}]'" in done.stderr
    # Where none of the extra is installed, another of its packages may be named first.
    assert re.search(r"(\w+) is (missing|not installed)", done.stderr) or missing in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["rave", "-h"], 0), ([], 2)])
def test_help_of_rave_train_names_its_commands_without_the_extra(arguments: list[str], code: int) -> None:
    program = "import sys; sys.modules['typer'] = None; from rave_train.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, "")
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(COMMANDS)
    assert all(len(line) <= 110 for line in lines)
    assert lines[-1] == "rave-train needs typer: pip install 'rave-backlit[train]'"


def test_help_of_rave_export_says_what_exporting_needs() -> None:
    code = (
        "import importlib.util as i; find = i.find_spec; "
        "i.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest); "
        "from rave_export.cli import main; main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Exporting needs torch: pip install 'rave-backlit[export]'\n")


def test_the_base_dependencies_are_few() -> None:
    needed = [
        text.split(";")[0]
        for text in importlib.metadata.requires("rave-backlit") or []
        if "extra ==" not in text
    ]
    names = sorted(re.split(r"[<>=!~ \[]", text)[0].lower() for text in needed)
    project = Path(__file__).resolve().parents[3] / "pyproject.toml"
    if (project.parent / "runtime").is_dir():  # an installed tree may be older than its source
        names = sorted(
            re.split(r"[<>=]", text)[0]
            for text in tomllib.loads(project.read_text())["project"]["dependencies"]
        )
    assert names == ["numpy", "onnxruntime", "pillow", "rich"]
