"""What a user does on the page, and what is seen there."""

from __future__ import annotations

import time
from pathlib import Path

from .browser import Browser

READY = (
    "document.querySelectorAll('#photos button').length === {0} && !document.querySelector('#photos .busy')"
)
TAB, ENTER, ESCAPE = "\ue004", "\ue007", "\ue00c"
LEFT, RIGHT, HOME = "\ue012", "\ue014", "\ue011"


def finished(folder: Path, name: str) -> bytes:
    for _ in range(400):
        if (folder / name).is_file() and not list(folder.glob("*.crdownload")):
            content = (folder / name).read_bytes()
            (folder / name).unlink()
            return content
        time.sleep(0.05)
    raise AssertionError(f"{name} never came: {[path.name for path in folder.iterdir()]}")


def after(browser: Browser) -> float:
    """The mean brightness of the enhanced preview."""
    return float(
        browser.run(
            "const canvas = document.getElementById('after');"
            "const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;"
            "return data.reduce((sum, value) => sum + value, 0) / data.length"
        )
    )


def drawn(browser: Browser) -> None:
    """Waits until what was asked for is drawn, which is when the browser shows its next picture."""
    browser.run(
        "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
    )


def center(browser: Browser, selector: str) -> tuple[float, float]:
    box = browser.run(
        "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
        "return [box.x + box.width / 2, box.y + box.height / 2]",
        selector,
    )
    return float(box[0]), float(box[1])


def cut(browser: Browser) -> float:
    return float(browser.run("return +document.getElementById('cut').value"))


def set_strength(browser: Browser, value: float) -> None:
    browser.run(
        "const slider = document.getElementById('strength'); slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input'))",
        value,
    )
