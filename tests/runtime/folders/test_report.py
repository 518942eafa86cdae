"""The report in a real browser: pictures decode, the slider moves, nothing is fetched."""

from __future__ import annotations

import base64
import dataclasses
import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.backends.devices import Setup
from rave_runtime.cli.command import run_folder
from rave_runtime.run.batch import Batch
from rave_runtime.run.jobs import Job, plan_jobs
from rave_runtime.run.options import RunOptions
from rave_runtime.run.report import _preview, write_report
from rave_runtime.run.results import Result
from tests.runtime.formats.raw.raws import make_dng
from tests.runtime.pictures import MakePicture

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

PROBE = """<script>
addEventListener("load", () => {
  const slider = document.querySelector(".pair input");
  slider.value = 20;
  slider.dispatchEvent(new Event("input"));
  const after = getComputedStyle(document.querySelector(".pair .after"));
  const decoded = [...document.images].every((image) => image.naturalWidth > 0);
  const fetched = performance.getEntriesByType("resource").filter((e) => !e.name.startsWith("data:"));
  document.title = `${decoded} ${after.clipPath} ${fetched.length} ${document.images.length}`;
});
</script></body>"""


def dumped(folder: Path) -> str:
    """The document of `probe.html` after its scripts have run."""
    command = [
        *(str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000", "--dump-dom"),
        (folder / "probe.html").as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_the_page_works_offline_in_a_browser(
    enhancer: Enhancer, picture: MakePicture, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.jpg", "b & c.png"):
        Image.fromarray(picture(60, 80)).save(tmp_path / "in" / name)
    results = list(Batch(enhancer).run(plan_jobs(tmp_path / "in", tmp_path / "out")))
    failed = Result(Job(Path("x"), Path("y"), "<script>alert(1)</script>.jpg"), "failed", "is empty")
    write_report(tmp_path / "report.html", [*results, failed], enhancer.setup)
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    (tmp_path / "probe.html").write_text(page.replace("</body>", PROBE))
    assert "<title>true inset(0px 0px 0px 20%) 0 4</title>" in dumped(tmp_path)


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_full_size_shows_the_files_themselves(picture: MakePicture, tmp_path: Path) -> None:
    """Also of photographs whose results were there already; and the header says what was asked for."""
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(900, 1200)).save(tmp_path / "in" / "a #1.jpg")
    options = RunOptions(strength=0.7, highlights=0.5, device="cpu", report=tmp_path / "report.html")
    for skip in (False, True):
        results = run_folder(
            tmp_path / "in", tmp_path / "out", dataclasses.replace(options, skip_existing=skip)
        )
    assert [result.status for result in results] == ["skipped"]
    page = (tmp_path / "report.html").read_text()
    assert "strength 0.7 · highlights 0.5 · the embedded model" in page
    assert "<td>1200 x 900</td>" in page
    assert "<td></td>" not in page
    probe = """<script>addEventListener("load", () => {
      document.querySelector("figure button").click();
      setTimeout(() => {
        const sizes = [...document.querySelectorAll("dialog img")].map((image) => image.naturalWidth);
        document.title = sizes + " " + document.querySelector("dialog .pair").offsetWidth;
      }, 1500);
    });</script></body>"""
    (tmp_path / "probe.html").write_text(page.replace("</body>", probe))
    assert "<title>1200,1200 1200</title>" in dumped(tmp_path)


@pytest.mark.parametrize(
    ("mode", "value", "shown"),
    [("I;16", 0x8000, 128), ("LA", (0, 0), 255), ("RGBA", (10, 10, 10, 255), 10)],
)
def test_previews_show_what_a_viewer_would(mode: str, value: Any, shown: int, tmp_path: Path) -> None:
    """16 bits of grey are scaled, not clipped; what cannot be seen is white, not black."""
    Image.new(mode, (20, 20), value).save(tmp_path / "a.png")
    preview = _preview(tmp_path / "a.png")
    assert preview is not None
    image = Image.open(io.BytesIO(base64.b64decode(preview.partition(",")[2])))
    assert abs(int(np.asarray(image.convert("L"))[10, 10]) - shown) <= 2


def test_raw_files_and_jpeg_xl_are_shown_too(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    encode = pytest.importorskip("pylibjxl").encode
    scene = np.full((60, 80, 3), 0.2)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.dng").write_bytes(make_dng(scene))
    (tmp_path / "in" / "b.jxl").write_bytes(encode(np.full((60, 80, 3), 90, np.uint8)))
    for name in ("a.dng", "b.jxl"):
        preview = _preview(tmp_path / "in" / name)
        assert preview is not None, name
        image = Image.open(io.BytesIO(base64.b64decode(preview.partition(",")[2])))
        assert image.width / image.height == pytest.approx(80 / 60)
        assert 40 < float(np.asarray(image).mean()) < 160
    options = RunOptions(device="cpu", skip_existing=True, report=tmp_path / "report.html")
    for _ in range(2):
        run_folder(tmp_path / "in", tmp_path / "out", options)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<figure>") == 2
    assert page.count("<td>80 x 60</td>") == 2
    assert "0 enhanced · 0 failed · 2 already up to date" in page


@pytest.mark.parametrize(("count", "words"), [(1, "1 photograph"), (2, "2 photographs")])
def test_the_title_counts_photographs(count: int, words: str, tmp_path: Path) -> None:
    failed = Result(Job(tmp_path / "a", tmp_path / "b", "a"), "failed")
    write_report(tmp_path / "page.html", [failed] * count, Setup("cpu", "CPUExecutionProvider", "fp32", 144))
    assert f"<title>rave-run: {words}</title>" in (tmp_path / "page.html").read_text()


def test_previews_have_the_colours_of_the_photograph(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), (200, 10, 10)).save(tmp_path / "a.png", icc_profile=b"a profile")
    preview = _preview(tmp_path / "a.png")
    assert preview is not None
    image = Image.open(io.BytesIO(base64.b64decode(preview.partition(",")[2])))
    assert image.info["icc_profile"] == b"a profile"
