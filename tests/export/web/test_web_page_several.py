"""The web page with several photographs of which some fail, and how it fits the window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.export.web.chromium import Page, until_it_says

STATUS = "document.getElementById('status').textContent"
NO_KIND = "is of no kind that this browser opens: save it as JPEG or PNG first"


def photographs(folder: Path, *names: str) -> list[Path]:
    """Small photographs; those whose names begin with `bad` are none."""
    for name in names:
        if name.startswith("bad"):
            (folder / name).write_text("no picture")
        else:
            Image.new("RGB", (60, 40), (90, 80, 70)).save(folder / name)
    return [folder / name for name in names]


def of_button(page: Page, index: int, code: str) -> Any:
    return page.evaluate(f"document.querySelectorAll('#photographs button')[{index}].{code}")


def test_many_that_fail_are_told_briefly(page: Page, tmp_path: Path) -> None:
    """The status filled the window, and who hears the page did not hear which ones are crossed out."""
    page.choose(*photographs(tmp_path, "a.png", *(f"bad{number}.jpg" for number in range(6))))
    page.wait_for("done")
    page.evaluate("document.getElementById('save-all').onclick()")
    listed = " · ".join(f"bad{number}.jpg {NO_KIND}" for number in range(3))
    assert page.evaluate(STATUS) == f"1 photograph is saved · {listed} · 3 more are crossed out"
    assert [of_button(page, index, "title") for index in (0, 6)] == ["", NO_KIND]


def test_what_is_seen_is_of_the_photograph_that_is_marked(page: Page, tmp_path: Path) -> None:
    """The one before remained, and Save saved it."""
    page.choose(*photographs(tmp_path, "a.png", "bad.jpg"))
    page.wait_for("done")
    of_button(page, 1, "click()")
    until_it_says(page, "bad.jpg is of no kind")
    assert page.evaluate("['view', 'one'].map((id) => document.getElementById(id).hidden)") == [True, True]
    of_button(page, 0, "click()")
    page.wait_for("done", 20)
    assert page.evaluate("document.getElementById('view').hidden") is False


def test_a_photograph_that_was_too_large_once_is_tried_again(page: Page, tmp_path: Path) -> None:
    """It remained crossed out, and the end of saving all was replaced by "Ready."."""
    page.choose(*photographs(tmp_path, "bad.jpg", "a.png"))
    until_it_says(page, "bad.jpg is of no kind")
    page.evaluate(
        "document.body.dataset.engine = ''; window.post = Worker.prototype.postMessage;"
        "Worker.prototype.postMessage = function (sent, ...more) {"
        "  post.call(this, { ...sent, width: sent.width + 1 }, ...more); };"
        "document.getElementById('save-all').onclick()"
    )
    page.evaluate("Worker.prototype.postMessage = post; null")
    page.evaluate(
        "new Promise((done) => { const wait = () =>"
        " document.body.dataset.engine ? done() : setTimeout(wait, 20); wait(); })"
    )
    assert page.evaluate(STATUS).startswith("0 photographs are saved · bad.jpg is of no kind")
    assert of_button(page, 1, "className") == "bad"
    of_button(page, 1, "click()")
    until_it_says(page, "a.png: 60 × 40")
    assert of_button(page, 1, "className") == ""


def test_a_zip_that_cannot_be_made_is_told(page: Page, tmp_path: Path) -> None:
    """All controls were disabled for ever."""
    page.choose(*photographs(tmp_path, "a.png", "b.png"))
    page.wait_for("done")
    page.evaluate(
        "window.make = URL.createObjectURL;"
        "URL.createObjectURL = () => { throw new Error('no memory'); };"
        "document.getElementById('save-all').onclick()"
    )
    page.evaluate("URL.createObjectURL = make; null")
    assert page.evaluate(STATUS) == "The zip cannot be made (no memory): choose fewer photographs."
    assert page.evaluate("document.getElementById('save').disabled") is False
    assert page.evaluate("document.getElementById('save-all').textContent") == "Save all"


def test_a_folder_that_is_read_slowly_does_not_replace_what_was_chosen_since(
    page: Page, tmp_path: Path
) -> None:
    files = photographs(tmp_path, "a.png", "b.png")
    page.evaluate(
        "{ const reader = { readEntries: (done) => (window.end = done) };"
        " const entry = { name: 'folder', createReader: () => reader };"
        " const data = { files: [0], items: [{ webkitGetAsEntry: () => entry }] };"
        " const event = new Event('drop', { cancelable: true });"
        " event.dataTransfer = data; dispatchEvent(event); null }"
    )
    until_it_says(page, "Looking into the folder…", 5)
    page.choose(*files)
    page.wait_for("done")
    page.evaluate("end([]); new Promise((done) => setTimeout(done))")
    assert page.evaluate(STATUS).startswith("a.png: 60 × 40")


def test_a_tall_photograph_fits_the_window(page: Page, tmp_path: Path) -> None:
    """It was several windows high, with the divider below it."""
    Image.new("RGB", (900, 3000)).save(tmp_path / "photo.png")
    page.choose(tmp_path / "photo.png")
    page.wait_for("done")
    (view, *pictures) = page.evaluate(
        "['view', 'before', 'after'].map((id) => document.getElementById(id).getBoundingClientRect())"
        ".map(({ width, height }) => [Math.round(width), Math.round(height)])"
    )
    assert pictures == [view, view]
    assert view[0] / view[1] == pytest.approx(0.3, rel=0.02)
    assert view[1] < page.evaluate("innerHeight")


def test_the_focus_is_seen_also_on_the_photograph_that_is_shown(page: Page, tmp_path: Path) -> None:
    """Both had the same frame."""
    page.choose(*photographs(tmp_path, "a.png", "b.png"))
    page.wait_for("done")
    outline = "getComputedStyle(document.activeElement).outline"
    frame = of_button(page, 0, "computedStyleMap().get('outline-style').toString()")
    of_button(page, 0, "focus({ focusVisible: true })")
    assert frame not in page.evaluate(outline)
