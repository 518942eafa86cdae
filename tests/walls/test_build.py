"""The build: the passes over pixels are compiled where that is possible, and the wheel is whole where not."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.tags import Tag, mac_platforms

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "runtime" / "rave_runtime" / "light" / "passes.c"


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_passes_compile(build: ModuleType, tmp_path: Path) -> None:
    library = tmp_path / "passes.so"
    assert build.compile_library(SOURCE, library) == ""
    names = (
        "rave_box_means",
        "rave_block_means",
        "rave_mean_shift",
        "rave_widen",
        "rave_develop",
        "rave_divide_luma",
    )
    assert all(getattr(ctypes.CDLL(str(library)), name) for name in names)


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_a_compiler_that_knows_no_variants_of_functions_is_enough(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-DRAVE_ONE_VARIANT*) exec cc "$@";; esac\nexit 1\n')
    compiler.chmod(0o700)
    monkeypatch.setenv("CC", str(compiler))
    assert build.compile_library(SOURCE, tmp_path / "passes.so") == ""
    assert ctypes.CDLL(str(tmp_path / "passes.so")).rave_develop


def test_without_a_compiler_the_reason_is_told(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 4\n")
    broken.chmod(0o700)
    monkeypatch.setenv("CC", str(broken))
    assert build.compile_library(SOURCE, tmp_path / "passes.so") == "no space left"
    assert not (tmp_path / "passes.so").exists()


@pytest.mark.parametrize("compiles", [True, False])
def test_a_build_of_a_wheel_leaves_the_source_tree_as_it_is(
    build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiles: bool
) -> None:
    """A read-only checkout could not be installed, and a wheel took away an editable install's library."""

    def compile_library(source: Path, library: Path) -> str:
        library.write_text(f"new, from {source}")
        return "" if compiles else "no space left"

    monkeypatch.setattr(build, "compile_library", compile_library)
    library = tmp_path / build.SOURCE.with_suffix(build.ENDING)
    library.parent.mkdir(parents=True)
    library.write_text("an editable install's")
    hook = build.CompiledPasses(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
    for version, left in (("standard", "an editable install's"), ("editable", f"new, from {tmp_path}")):
        data: dict[str, Any] = {"force_include": {}}
        hook.initialize(version, data)
        assert library.read_text().startswith(left)
        places = [f"rave_runtime/light/passes{build.ENDING}"] if compiles and version == "standard" else []
        assert list(data["force_include"].values()) == places


@pytest.mark.parametrize("version", [(11, 0), (14, 4), (26, 1)])
def test_a_wheel_built_on_macos_is_one_that_installers_take(
    build: ModuleType, version: tuple[int, int]
) -> None:
    """Its platform was Python's own name for it, such as macosx_14_4_arm64, or Homebrew's macosx_14_arm64."""
    taken = list(mac_platforms(version, "arm64"))
    assert f"macosx_{version[0]}_4_arm64" not in taken
    tags = [Tag("py3", "none", name) for name in taken]
    assert build.platform_tag(tags) == f"macosx_{version[0]}_0_arm64"


def test_a_wheel_built_on_linux_is_for_its_own_kind_of_linux(build: ModuleType) -> None:
    names = ["manylinux_2_36_x86_64", "manylinux2014_x86_64", "linux_x86_64"]
    assert build.platform_tag([Tag("py3", "none", name) for name in names]) == "linux_x86_64"


def test_a_source_archive_holds_what_its_pages_link_to() -> None:
    """It held no docs, where the README sends everybody."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    included = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    pages = "".join(page.read_text("utf-8") for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
    linked = {link.removeprefix("../") for link in re.findall(r"\]\(([^):#]+)[)#]", pages)}
    names = {name.split("/")[0] for name in linked if (ROOT / name.split("/")[0]).exists()}
    assert {"docs", "examples", "compose.yaml"} <= names
    assert [name for name in names if not any(fnmatch(f"/{name}", pattern) for pattern in included)] == []
