"""Bytes in, bytes out; and that the service behind it costs nothing where it is not used."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer, PhotoError, UsageError
from rave_runtime.run.one_photo import EnhancedPhoto
from tests.runtime.pictures import MakePicture


def test_enhance_bytes_is_the_same_pipeline(picture: MakePicture, tmp_path: Path) -> None:
    enhancer = Enhancer(device="cpu", threads=1)
    file = io.BytesIO()
    Image.fromarray(picture(120, 160)).save(file, "JPEG", quality=85)
    jpeg = file.getvalue()
    (tmp_path / "a.jpg").write_bytes(jpeg)
    code = "from rave_runtime.cli import main; main()"
    files = [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]
    subprocess.run([sys.executable, "-c", code, "--device", "cpu", "--strength", "0.5", *files], check=True)
    expected = (tmp_path / "b.jpg").read_bytes()
    result = enhancer.enhance_bytes(jpeg, strength=0.5)
    assert isinstance(result, EnhancedPhoto)
    assert result.content == expected
    assert (result.media_type, result.width_px, result.height_px) == ("image/jpeg", 160, 120)
    assert 0 < sum(result.stage_seconds.values()) <= result.seconds + 1e-6
    assert enhancer.strength == 1
    assert len(repr(result)) < 1000, "a notebook shows it without the file's bytes"
    bright = Enhancer(device="cpu", threads=1, strength=0.5, highlights=2).enhance_bytes(jpeg).content
    assert enhancer.enhance_bytes(jpeg, strength=0.5, highlights=2).content == bright != expected
    assert enhancer.enhance_bytes(jpeg, format="png").media_type == "image/png"
    with pytest.raises(UsageError, match="strength is 5"):
        enhancer.enhance_bytes(jpeg, strength=5)
    with pytest.raises(UsageError, match="highlights is 3"):
        enhancer.enhance_bytes(jpeg, highlights=3)
    low: Any = np.int64(9)
    assert enhancer.enhance_bytes(bytearray(jpeg), quality=low).content != expected
    wrong: list[dict[str, Any]] = [{"quality": 0}, {"quality": "90"}, {"quality": 90.5}]
    for options in wrong:
        with pytest.raises(UsageError, match=r"quality is .*, a whole number from 1 to 100 is needed"):
            enhancer.enhance_bytes(jpeg, **options)
    for data in (tmp_path / "a.jpg", "a.jpg", 5, np.zeros((4, 4, 3), np.uint8)):
        with pytest.raises(UsageError, match=r"a file's bytes are needed, such as Path\('a.jpg'\).read_b"):
            enhancer.enhance_bytes(data)  # type: ignore[arg-type]
    with pytest.raises(PhotoError, match=r"is 160 x 120, over the limit of 0.01 megapixels"):
        enhancer.enhance_bytes(jpeg, max_megapixels=0.01)
    with pytest.raises(PhotoError, match="not a picture"):
        enhancer.enhance_bytes(b"hello")


def test_at_strength_0_the_file_itself_is_the_result(picture: MakePicture) -> None:
    enhancer = Enhancer(device="cpu", threads=1, strength=0)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(60, 80)).save(file, "JPEG", quality=85, exif=exif)
    jpeg = file.getvalue()
    assert enhancer.enhance_bytes(jpeg).content == jpeg
    assert enhancer.enhance_bytes(jpeg, format="png").media_type == "image/png"
    assert len(enhancer.enhance_bytes(jpeg, quality=20).content) < len(jpeg)
    assert enhancer.enhance_bytes(jpeg, highlights=1).content != jpeg
    assert enhancer.enhance_bytes(jpeg, hdr=True).content != jpeg
    Image.fromarray(picture(60, 80)).save(png := io.BytesIO(), "PNG")
    assert enhancer.enhance_bytes(png.getvalue(), quality=20).content == png.getvalue()
    marked = Enhancer(device="cpu", threads=1).enhance_bytes(jpeg).content
    again = enhancer.enhance_bytes(marked, again=True)
    assert again.content == marked
    assert not again.warnings, "it was not enhanced once more"
    with pytest.raises(PhotoError, match="not a picture"):
        enhancer.enhance_bytes(b"hello")


def test_importing_the_runtime_imports_no_server() -> None:
    code = """
import sys, rave_runtime, rave_runtime.cli, rave_runtime.cli.command, rave_runtime.serve.cli
assert not {"starlette", "uvicorn", "python_multipart", "anyio"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_extra_says_what_to_install() -> None:
    code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "uvicorn" else found(name, *rest)
sys.argv = ["rave-serve"]
from rave_runtime.serve.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    # Where none of the extra is installed, another of its packages is named first.
    named = re.fullmatch(
        r"rave-serve: (uvicorn|starlette|python_multipart) is not installed: "
        r"pip install 'rave-backlit\[serve\]'\n",
        done.stderr,
    )
    assert named, done.stderr
