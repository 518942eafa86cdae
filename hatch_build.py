"""Compiles `runtime/rave_runtime/light/passes.c` for wheels and editable installs.

Where there is no C compiler, or it fails, the wheel is one for every platform, and numpy does the same work
more slowly. With `RAVE_COMPILED=0` in the environment nothing is compiled.
"""

from __future__ import annotations

import atexit
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from packaging.tags import Tag, sys_tags

SOURCE: Final = Path("runtime/rave_runtime/light/passes.c")

# Without fused multiply-adds (-ffp-contract=off), results equal numpy's bit for bit. The other promises about
# numbers make loops faster and change no value: nobody asks for exceptions of arithmetic, and where no value
# is infinite and nobody asks for the sign of a zero, the lesser of two is one instruction instead of two.
FLAGS: Final = (
    *("-O3", "-ffp-contract=off", "-fno-trapping-math", "-fno-math-errno"),
    *("-ffinite-math-only", "-fno-signed-zeros"),
    *("-std=c11", "-fPIC", "-shared", "-fvisibility=default"),
)

# Compilers use half the width of AVX-512 by default, since the whole width slowed the first such processors.
WIDE: Final = ("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()

# The second attempt: not every linker can choose between variants of a function when a program starts.
WITHOUT_VARIANTS: Final = "-DRAVE_ONE_VARIANT"

ENDING: Final = ".dylib" if sys.platform == "darwin" else ".so"


class CompiledPasses(BuildHookInterface[Any]):
    """Gives the wheel the compiled library, which `rave_runtime.light.compiled` loads beside its source."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles the library, and tags the wheel for this platform if that worked.

        Only an editable install puts it into the source tree. Other builds leave the tree as it is: it may be
        read-only, and an editable install may use the library that lies there.

        Args:
            version: "standard" or "editable".
            build_data: hatchling's settings of the wheel, which are changed.
        """
        source = Path(self.root, SOURCE)
        library = source.with_suffix(ENDING)
        if version == "editable":
            library.unlink(missing_ok=True)
        if self.target_name != "wheel" or os.environ.get("RAVE_COMPILED") == "0":
            return
        if version != "editable":
            folder = tempfile.mkdtemp()
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            library = Path(folder, library.name)
        problem = compile_library(source, library)
        if problem:
            self.app.display_warning(f"{SOURCE} was not compiled, numpy does its work instead: {problem}")
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(sys_tags())}"
        if version != "editable":
            place = SOURCE.relative_to("runtime").with_suffix(ENDING)
            build_data["force_include"][str(library)] = place.as_posix()


def platform_tag(tags: Iterable[Tag]) -> str:
    """Returns the platform of a wheel for this machine, as installers name it.

    Python's own name for it is another one on macOS, such as macosx_14_4_arm64, which installers refuse.

    Args:
        tags: what this machine can install, the most particular first.
    """
    wide = ("manylinux", "musllinux")  # kinds of Linux, for which a library must be compiled with care
    return next(tag.platform for tag in tags if not tag.platform.startswith(wide))


def compile_library(source: Path, library: Path) -> str:
    """Compiles a library; returns the reason if that failed, otherwise an empty text."""
    if os.name != "posix":
        return "there is no compiler that this build knows"
    names = [os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"]
    compiler = next((name for name in names if name and shutil.which(shlex.split(name)[0])), None)
    if compiler is None:
        return "there is no C compiler"
    problem = ""
    for further in (WIDE, (WITHOUT_VARIANTS,)):
        command = [*shlex.split(compiler), *FLAGS, *further, "-o", str(library), str(source)]
        completed = subprocess.run(command, capture_output=True, text=True, check=False)
        if completed.returncode == 0:
            return ""
        messages = completed.stderr.strip().splitlines()
        problem = messages[-1] if messages else f"{compiler} ended with {completed.returncode}"
    library.unlink(missing_ok=True)
    return problem
