"""Folders and stores of photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rave_runtime.files.location import RemoteFile
from tests.runtime.folders.places import fill
from tests.runtime.pictures import MakePicture


@pytest.fixture
def store() -> Iterator[RemoteFile]:
    """An empty folder of fsspec's store in memory."""
    files = pytest.importorskip("fsspec").filesystem("memory")
    yield RemoteFile("memory://bucket/photos")
    files.store.clear()
    files.pseudo_dirs[:] = [""]


@pytest.fixture
def photos(picture: MakePicture, tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", picture, ["a.jpg", "b.jpg", "sub/c.png"])
