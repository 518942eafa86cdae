"""The page of the embedded model, written once for the whole room."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rave_export.web.onnxruntime_web import VERSION, read_package
from rave_export.web.page import write_page
from rave_runtime.bundle import embedded_bundle, read_bundle
from tests.export.web.chromium import Page, opened


def archive() -> Path:
    """The npm package, of the folder that CI fetches what it checks against into."""
    wheels = os.environ.get("RAVE_CHECK_WHEELS")
    file = Path(wheels or "") / f"onnxruntime-web-{VERSION}.tgz"
    if not wheels or not file.is_file():
        pytest.skip(f"RAVE_CHECK_WHEELS names no folder with {file.name}")
    return file


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("web") / "page"
    write_page(read_bundle(embedded_bundle()), target, read_package(archive()))
    return target


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    yield from opened(folder, tmp_path_factory.mktemp("profile"))
