"""The web page where a photograph is too large, a server too strict, or a canvas gives nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.export.web.chromium import Page, browsing, serving, until_it_says


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    Image.new("RGB", (60, 40), (90, 80, 70)).save(file)
    return file


def test_after_a_photograph_that_was_too_large_memory_is_as_before(page: Page, photograph: Path) -> None:
    """Photographs that fitted before no longer did: what WebAssembly took it never gave back."""
    page.evaluate(
        "window.post = Worker.prototype.postMessage; window.ended = 0;"
        "const { terminate } = Worker.prototype;"
        "Worker.prototype.terminate = function () { ended++; terminate.call(this); };"
        "Worker.prototype.postMessage = function (sent, ...more) {"
        "  post.call(this, { ...sent, width: sent.width + 1 }, ...more); }; null"
    )
    page.choose(photograph)
    until_it_says(page, f"{photograph.name} cannot be enhanced")
    assert page.evaluate("ended") == 1
    page.evaluate("Worker.prototype.postMessage = post; null")
    page.evaluate("document.getElementById('file').click()")  # as by hand: the same may be chosen again
    page.choose(photograph)
    page.wait_for("done", 60)
    assert page.evaluate("ended") == 1


def test_what_a_canvas_does_not_give_is_told(page: Page, photograph: Path) -> None:
    """Nothing happened."""
    page.choose(photograph)
    page.wait_for("done")
    page.evaluate(
        "window.give = HTMLCanvasElement.prototype.toBlob;"
        "HTMLCanvasElement.prototype.toBlob = (take) => take(null);"
        "document.getElementById('save').onclick()"
    )
    until_it_says(page, "photo.png cannot be saved: close other tabs, or choose the other format.")
    page.evaluate("HTMLCanvasElement.prototype.toBlob = give; null")


def test_a_photograph_that_comes_out_empty_is_told(page: Page, tmp_path: Path) -> None:
    """WebKit makes nothing of a file that was cut off, and said nothing; a blank one was saved."""
    Image.new("RGBA", (60, 40)).save(tmp_path / "cut.png")
    page.choose(tmp_path / "cut.png")
    until_it_says(page, "cut.png comes out empty: it is damaged, or its 60 × 40 pixels are too many")


def test_a_server_that_is_too_strict_is_told_from_a_browser_that_is_too_old(
    folder: Path, tmp_path: Path
) -> None:
    """The page blamed the browser."""
    policy = {"Content-Security-Policy": "default-src 'self'"}
    with serving(folder, policy) as (address, _), browsing(tmp_path / "profile", address) as page:
        until_it_says(page, "The server's Content-Security-Policy forbids this page to compute")


@pytest.mark.slow
def test_the_policy_that_the_readme_names_is_enough(folder: Path, tmp_path: Path, photograph: Path) -> None:
    words = " ".join((folder / "README.md").read_text().split())
    named = words[words.index("script-src 'self'") :].partition("`")[0]
    policy = {"Content-Security-Policy": f"default-src 'none'; {named}"}
    with serving(folder, policy) as (address, _), browsing(tmp_path / "profile", address) as page:
        page.wait_for("ready")
        page.choose(photograph)
        page.wait_for("done")


def test_a_browser_that_hides_pixels_is_told(page: Page, photograph: Path) -> None:
    """Tor Browser and LibreWolf gave noise, which was saved as the enhanced photograph."""
    page.evaluate(
        "window.given = OffscreenCanvasRenderingContext2D.prototype.getImageData;"
        "OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...where) {"
        "  const read = given.apply(this, where); read.data.fill(255); return read; }; null"
    )
    page.choose(photograph)
    until_it_says(page, "photo.png cannot be enhanced: to protect you from fingerprinting, this browser")
    page.evaluate("OffscreenCanvasRenderingContext2D.prototype.getImageData = given; null")
    page.evaluate("document.getElementById('file').click()")
    page.choose(photograph)
    page.wait_for("done", 60)
