"""A folder of photographs with one below it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.runtime.pictures import MakePicture


@pytest.fixture
def photos(tmp_path: Path, picture: MakePicture) -> Path:
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(picture(50, 70)).save(folder / "a.jpg", quality=95)
    Image.fromarray(picture(70, 50)).save(folder / "deeper" / "b.png")
    (folder / "notes.txt").write_text("not a photograph")
    return folder
