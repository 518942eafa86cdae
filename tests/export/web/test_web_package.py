"""What the web page is made of, without a browser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rave_export import web
from rave_export.errors import ExportError
from rave_export.web.onnxruntime_web import FILES, PACKAGE, name_on_page, read_package
from rave_export.web.page import write_page
from rave_runtime.bundle import Bundle

ASSETS = Path(web.__file__).with_name("assets")


def test_no_module_has_an_ending_that_web_servers_do_not_know() -> None:
    """nginx sends .mjs as bytes, and browsers then do not run it: the page could not start there."""
    assert [name for name in map(name_on_page, FILES) if not name.endswith((".js", ".wasm"))] == []
    assert ".mjs" not in (ASSETS / "worker.js").read_text()


def test_another_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "package.tgz").write_bytes(b"something else")
    with pytest.raises(ExportError, match=f"is not {PACKAGE} as npm published it: get it with npm pack"):
        read_package(tmp_path / "package.tgz")


def test_without_npm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ExportError, match=r"npm is not installed: install Node\.js, or get the file with npm pack"
    ):
        read_package()


def test_what_npm_says_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAVE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    npm = tmp_path / "npm"
    said = "npm error code ECONNREFUSED\nnpm error syscall connect\nnpm error FetchError: no registry"
    npm.write_text(f"#!/bin/sh\nprintf '%s\\n' '{said}' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(ExportError, match=r"\(FetchError: no registry\): get the file with npm pack"):
        read_package()


def test_a_folder_that_is_no_page_is_kept(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(ExportError, match="is not a web page of rave-export, so --force does not replace it"):
        write_page(bundle, tmp_path, b"", force=True)
    assert (tmp_path / "mine.txt").read_text() == "precious"
