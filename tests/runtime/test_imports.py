from __future__ import annotations

import subprocess
import sys

FORBIDDEN = ("torch", "torchvision", "open_clip", "timm", "onnx", "scipy", "rave_train", "rave_export")


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
