"""The examples of `docs/python.md` and of the README run as they are written."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from rave_runtime.bundle.opening import open_bundle
from rave_runtime.errors import BundleError

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = [
    pytest.param(code, id=f"{page.stem}-{number}")
    for page in (ROOT / "README.md", ROOT / "docs" / "python.md")
    if page.is_file()
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL))
]


@pytest.mark.skipif(not EXAMPLES, reason="needs the repository")
@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(re.findall(r"^(?:from|import) (cv2|fastapi)", code, re.MULTILINE)):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"needs {name}")
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "photos").mkdir()
    shutil.copy(ROOT / "examples" / "garden.jpg", tmp_path / "photos")
    (tmp_path / "photos" / "empty.jpg").touch()
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "a garden", 6
    garden = Image.open(ROOT / "examples" / "garden.jpg")
    garden.save(tmp_path / "a.jpg", exif=exif)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {})
    if '"enhanced"' in code:
        assert [file.name for file in (tmp_path / "enhanced").iterdir()] == ["garden.jpg"]
    if '"b.jpg"' in code:
        with Image.open("b.jpg") as bright:
            assert bright.size == garden.size[::-1]
            assert (bright.getexif().get(0x010E), bright.getexif().get(0x0112)) == ("a garden", None)


def test_a_program_that_was_packed_without_the_model_says_how_to_pack_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rave_runtime.bundle.__file__", str(tmp_path / "bundle" / "__init__.py"))
    with pytest.raises(BundleError, match="pack rave_runtime with its data"):
        open_bundle(None)
