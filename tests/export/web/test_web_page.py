"""The web page, in a real browser without a network, against what Python makes."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rave_export import web
from rave_export.web.onnxruntime_web import FILES, name_on_page
from rave_export.web.page import PAGE
from rave_runtime import Enhancer
from tests.export.web.chromium import Page, browsing, names, opened, serving, until_it_says

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.jpg"))
ASSETS = Path(web.__file__).with_name("assets")
ENHANCED = "document.getElementById('after').toDataURL('image/png')"


@pytest.fixture(scope="module")
def gpu_page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    yield from opened(folder, tmp_path_factory.mktemp("profile"), software_gpu=True)


def picture_of(page: Page, code: str = ENHANCED) -> Any:
    content = base64.b64decode(page.evaluate(code).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content), formats=["PNG"]).convert("RGB"))


def share_within_a_step(found: Any, expected: Any) -> float:
    assert found.shape == expected.shape
    return float((np.abs(found.astype(int) - expected) <= 1).mean())


@pytest.mark.parametrize("index", range(3))
def test_the_browser_makes_what_python_makes(page: Page, tmp_path: Path, index: int) -> None:
    image = Image.open(EXAMPLES[index % len(EXAMPLES)], formats=["JPEG"]).convert("RGB")
    image = image.resize([(700, 467), (333, 500), (1024, 683)][index], Image.Resampling.LANCZOS)
    file = tmp_path / f"photo{index}.png"
    image.save(file)
    page.choose(file)
    page.wait_for("done")
    expected = Enhancer(device="cpu", precision="fp32").enhance(np.asarray(image))
    assert share_within_a_step(picture_of(page), expected) >= 0.999
    before = picture_of(page, ENHANCED.replace("after", "before"))
    np.testing.assert_array_equal(before, np.asarray(image))


@pytest.mark.slow
def test_webgpu_makes_what_python_makes(gpu_page: Page, tmp_path: Path) -> None:
    if "WebGPU" not in gpu_page.evaluate("document.getElementById('engine').textContent"):
        pytest.skip("Chromium offers no WebGPU in software here")
    image = (
        Image.open(EXAMPLES[0], formats=["JPEG"]).convert("RGB").resize((500, 333), Image.Resampling.LANCZOS)
    )
    file = tmp_path / "photo.png"
    image.save(file)
    gpu_page.choose(file)
    gpu_page.wait_for("done")
    expected = Enhancer(device="cpu", precision="fp32").enhance(np.asarray(image))
    assert share_within_a_step(picture_of(gpu_page), expected) >= 0.999


def test_strength_is_heeded(page: Page, tmp_path: Path) -> None:
    image = np.asarray(Image.open(EXAMPLES[0], formats=["JPEG"]).convert("RGB").resize((300, 200)))
    Image.fromarray(image).save(tmp_path / "photo.png")
    page.choose(tmp_path / "photo.png")
    page.wait_for("done")
    page.evaluate("document.body.dataset.state = 'moved'")
    page.evaluate(
        "{const s = document.getElementById('strength'); s.value = 0.5;"
        " s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change'));}"
    )
    page.wait_for("done")
    expected = Enhancer(device="cpu", precision="fp32", strength=0.5).enhance(image)
    assert share_within_a_step(picture_of(page), expected) >= 0.999
    page.evaluate("document.getElementById('strength').value = 1")


def test_what_is_transparent_is_white_in_a_jpeg(page: Page, tmp_path: Path) -> None:
    """A canvas makes it black."""
    pixels = np.full((80, 120, 4), (200, 40, 40, 255), np.uint8)
    pixels[:, 60:, 3] = 0
    Image.fromarray(pixels, "RGBA").save(tmp_path / "cut.png")
    page.choose(tmp_path / "cut.png")
    page.wait_for("done")
    saved = (
        "(async () => { const make = URL.createObjectURL; let blob;"
        " URL.createObjectURL = (each) => make.call(URL, (blob = each));"
        " document.getElementById('format').value = TYPE;"
        " await document.getElementById('save').onclick(); URL.createObjectURL = make;"
        " const bitmap = await createImageBitmap(blob);"
        " const canvas = new OffscreenCanvas(bitmap.width, bitmap.height), context = canvas.getContext('2d');"
        " context.drawImage(bitmap, 0, 0); return [...context.getImageData(110, 40, 1, 1).data]; })()"
    )
    assert page.evaluate(saved.replace("TYPE", "'image/png'"))[3] == 0
    assert page.evaluate(saved.replace("TYPE", "'image/jpeg'")) == [255, 255, 255, 255]


def test_a_photograph_that_no_canvas_holds_is_told(page: Page, tmp_path: Path) -> None:
    """It said "Opening…" for ever, as on phones whose canvases hold 16 megapixels."""
    Image.new("RGB", (60, 40)).save(tmp_path / "large.png")
    held = "CanvasRenderingContext2D.prototype"
    page.evaluate(
        f"window.held = {held}.getImageData; {held}.getImageData = () => {{ throw new Error('too large'); }}"
    )
    page.choose(tmp_path / "large.png")
    until_it_says(page, "large.png is 60 × 40, too large for this browser (too large): make it smaller")
    page.evaluate(f"{held}.getImageData = window.held")


def test_a_photograph_of_12_megapixels(page: Page, tmp_path: Path) -> None:
    image = Image.open(EXAMPLES[0], formats=["JPEG"]).convert("RGB").resize((4000, 3000))
    image.save(tmp_path / "large.jpg", quality=90)
    page.choose(tmp_path / "large.jpg")
    page.wait_for("done")
    size = page.evaluate("[document.getElementById('after').width, document.getElementById('after').height]")
    assert size == [4000, 3000]


def test_what_is_no_picture_is_told(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    page.choose(tmp_path / "notes.jpg")
    with pytest.raises(AssertionError, match=r"notes\.jpg is of no kind that this browser opens"):
        page.wait_for("done", 20)


def test_the_photograph_before_cannot_be_saved_under_the_name_of_the_next(page: Page, tmp_path: Path) -> None:
    image = Image.open(EXAMPLES[0], formats=["JPEG"]).convert("RGB")
    image.resize((300, 200)).save(tmp_path / "first.png")
    image.resize((4000, 3000)).save(tmp_path / "second.jpg")
    page.choose(tmp_path / "first.png")
    page.wait_for("done")
    assert page.evaluate("document.getElementById('controls').hidden") is False
    page.choose(tmp_path / "second.jpg")
    until_it_says(page, "Enhancing")
    assert page.evaluate("document.getElementById('controls').hidden") is True
    page.wait_for("done")
    assert page.evaluate("document.getElementById('controls').hidden") is False


def test_the_photograph_that_was_chosen_last_is_shown(page: Page, tmp_path: Path) -> None:
    """The first took longer to decode, and replaced the second."""
    image = Image.open(EXAMPLES[0], formats=["JPEG"]).convert("RGB")
    image.resize((60, 40)).save(tmp_path / "slow.png")
    image.resize((30, 20)).save(tmp_path / "quick.png")
    page.evaluate(
        "window.decode = createImageBitmap; createImageBitmap = async (file, ...more) => {"
        "  const bitmap = await decode(file, ...more);"
        "  if (file.name === 'slow.png') await new Promise((done) => { window.end = done; });"
        "  return bitmap; }; null"
    )
    page.choose(tmp_path / "slow.png")
    page.choose(tmp_path / "quick.png")
    page.wait_for("done")
    page.evaluate("createImageBitmap = decode; end(); new Promise((done) => setTimeout(done, 300))")
    assert page.evaluate("document.getElementById('status').textContent").startswith("quick.png: 30 × 20")


def test_what_is_no_picture_is_told_also_while_another_is_enhanced(page: Page, tmp_path: Path) -> None:
    """The other's end replaced it, so that the refusal was never read."""
    (tmp_path / "notes.jpg").write_text("no picture")
    page.choose(EXAMPLES[0])
    until_it_says(page, "Enhancing")
    page.choose(tmp_path / "notes.jpg")
    until_it_says(page, "notes.jpg is of no kind")
    while page.evaluate("document.getElementById('save').disabled"):
        time.sleep(0.05)
    assert page.evaluate("document.getElementById('controls').hidden") is False
    until_it_says(page, "notes.jpg is of no kind", 1)


def test_wishes_that_came_too_late_are_left_out(page: Page, tmp_path: Path) -> None:
    """A held arrow had each of its steps computed, one after the other."""
    Image.open(EXAMPLES[0], formats=["JPEG"]).convert("RGB").resize((300, 200)).save(tmp_path / "photo.png")
    page.choose(tmp_path / "photo.png")
    page.wait_for("done")
    page.evaluate(
        "{const post = Worker.prototype.postMessage; window.posted = [];"
        " Worker.prototype.postMessage = function (...all) {"
        " posted.push(all[0].strength); post.apply(this, all); };"
        " const s = document.getElementById('strength');"
        " for (s.value of [0.2, 0.4, 0.6, 0.8]) s.dispatchEvent(new Event('change'));}"
    )
    assert page.evaluate("document.getElementById('save').disabled") is True
    page.wait_for("done")
    assert page.evaluate("posted") == [0.2, 0.8]
    page.evaluate("document.getElementById('strength').value = 1")


def test_a_photograph_may_be_dropped_anywhere(page: Page) -> None:
    """Beside the field the browser left the page for the file."""
    prevented = page.evaluate(
        "['dragover', 'drop'].map((name) => !document.querySelector('main').dispatchEvent("
        "new DragEvent(name, { bubbles: true, cancelable: true, dataTransfer: new DataTransfer() })))"
    )
    assert prevented == [True, True]


def test_a_page_that_cannot_start_says_so_at_every_photograph(folder: Path, tmp_path: Path) -> None:
    """It said "Enhancing…" for ever."""
    shutil.copytree(folder, tmp_path / "page")
    (tmp_path / "page" / "model.onnx").unlink()
    with serving(tmp_path / "page") as (address, _), browsing(tmp_path / "profile", address) as page:
        until_it_says(page, "This browser cannot run the model (the server has no model.onnx: 404)")
        page.choose(EXAMPLES[0])
        until_it_says(page, "This browser cannot run the model (the server has no model.onnx: 404)")


def test_a_page_that_is_opened_as_a_file_says_what_it_needs(folder: Path, tmp_path: Path) -> None:
    """It said "Loading the model…" for ever, since a browser loads no modules from files."""
    with browsing(tmp_path / "profile", (folder / "index.html").as_uri()) as page:
        until_it_says(page, "This page needs JavaScript, and a web server that sends it")
        assert page.evaluate("document.body.dataset.state") is None


def test_the_page_asks_nobody_else(page: Page) -> None:
    """The content security policy stands even where the page's own code would try."""
    tried = page.evaluate("fetch('https://example.org/').then(() => 'sent', (error) => error.name)")
    assert tried == "TypeError"
    asked = [
        event["params"]["request"]["url"] for event in page.events if "request" in event.get("params", {})
    ]
    assert all(
        url.startswith(("http://127.0.0.1", "blob:", "data:")) for url in asked if "example.org" not in url
    )


def test_the_folder_holds_everything(folder: Path) -> None:
    assert names(folder) >= {
        *map(name_on_page, FILES),
        PAGE.mark,
        "index.html",
        "app.js",
        "worker.js",
        "style.css",
        "model.onnx",
    }
    facts = json.loads((folder / PAGE.mark).read_text())
    values = facts["probe"]["height"] * facts["probe"]["width"] * 3
    assert (folder / "probe.bin").stat().st_size == 2 * values
    assert "http" not in (folder / "app.js").read_text() + (folder / "worker.js").read_text()
