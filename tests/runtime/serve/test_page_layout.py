"""The page by keyboard, on a phone, on a tablet and in the dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime.serve.page import ENTER, ESCAPE, HOME, LEFT, READY, RIGHT, TAB, cut, finished

from .browser import CHROMIUM, DRIVER, Browser
from .conftest import Serve

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")


def test_by_keyboard_alone(
    browser: Browser, files: dict[str, bytes], downloads: Path, tmp_path: Path
) -> None:
    paths = []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        paths.append(tmp_path / name)
    browser.press(TAB)
    assert browser.run("return document.activeElement.id") == "choose"
    browser.choose("#files", paths)  # what the system's dialogue gives
    browser.wait(READY.format(2))
    reached = []
    for _ in range(14):
        browser.press(TAB)
        reached.append(browser.run("return document.activeElement.id || document.activeElement.title"))
    order = [
        "cut",
        "strength",
        "highlights",
        "hdr",
        "zoom",
        "same",
        "save",
        "a beach.jpg",
        "b.png",
        "more",
        "save-all",
        "clear",
    ]
    assert [name for name in reached if name in order][: len(order)] == order
    browser.run("document.getElementById('cut').focus()")
    browser.press(LEFT, LEFT, LEFT)
    assert cut(browser) == 48.5
    browser.run("document.getElementById('strength').focus()")
    browser.press(HOME, RIGHT, RIGHT)
    assert browser.run("return document.getElementById('value').textContent") == "0.10"
    browser.run("document.querySelector('#photos button').focus()")
    browser.press(RIGHT)
    assert browser.run("return document.activeElement.title") == "b.png"
    assert browser.run("return document.activeElement.getAttribute('aria-current')") == "true"
    browser.wait("!document.getElementById('save').disabled")
    browser.run("document.getElementById('save').focus()")
    browser.press(ENTER)
    assert finished(downloads, "b-enhanced.png")
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_arrows_go_on_from_a_photograph_that_was_clicked(browser: Browser, files: dict[str, bytes]) -> None:
    """Not in Safari, where a click focuses no button; nor does a click by a script, anywhere."""
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    browser.run("document.querySelector('#photos button').click()")
    browser.press(RIGHT)
    assert browser.run("return document.activeElement.title") == "b.png"


def test_escape_leaves_the_question_for_the_token(
    serve: Serve, browser: Browser, files: dict[str, bytes]
) -> None:
    """It opened again for ever, so that the keyboard could reach nothing else."""
    browser.open(serve("--no-log", "--token", "0123456789abcdef").url)
    browser.drop("#empty", {f"{i}.png": files["b.png"] for i in range(4)})
    browser.wait("document.getElementById('ask').open")
    browser.press(ESCAPE)
    browser.wait(READY.format(4))  # one refusal is enough for all
    assert not browser.run("return document.getElementById('ask').open")
    note = browser.run("return document.getElementById('note').innerText")
    assert note.split("\n")[0] == "0.png cannot be enhanced: the service needs its token"
    browser.run("document.getElementById('again').focus()")
    browser.press(ENTER)
    browser.wait("document.getElementById('ask').open")
    browser.press(*"0123456789abcdef", ENTER)
    browser.wait("document.getElementById('status').innerText.startsWith('4 of 4 ready')")


def test_what_full_size_waits_for_is_said_in_words(browser: Browser, files: dict[str, bytes]) -> None:
    browser.drop("#empty", {"b.png": files["b.png"]})
    browser.wait("!document.getElementById('zoom').disabled")
    said = browser.run(
        "document.getElementById('zoom').click(); return document.getElementById('status').innerText"
    )
    assert said == "Enhancing at full size …"


def test_on_a_phone_nothing_is_cut_off(browser: Browser, files: dict[str, bytes]) -> None:
    browser.resize(360, 740)
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    assert browser.run("return document.documentElement.scrollWidth") <= 360
    small = browser.run(
        "return [...document.querySelectorAll('button, input[type=range], #for-hdr')].filter((one) => {"
        "  const box = one.getBoundingClientRect();"
        "  return one.offsetParent && one.id !== 'cut' &&"
        "    (box.height < 40 || box.left < 0 || box.right > innerWidth && !one.closest('#photos'));"
        "}).map((one) => one.id)"
    )
    assert small == []
    assert browser.run("return document.getElementById('stage').getBoundingClientRect().height") > 200


@pytest.mark.parametrize("width", [760, 900, 1024, 1200])
def test_on_a_tablet_nothing_is_cut_off(browser: Browser, files: dict[str, bytes], width: int) -> None:
    browser.resize(width, 760)
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run("return document.getElementById('stage').getBoundingClientRect().height") > 200


@pytest.mark.parametrize(("width", "height"), [(844, 390), (320, 568), (1280, 500)])
def test_on_a_low_screen_nothing_is_covered(
    browser: Browser, files: dict[str, bytes], width: int, height: int
) -> None:
    browser.resize(width, height)
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    top, bottom = browser.run(
        "const box = (one) => one.getBoundingClientRect();"
        "return [box(document.getElementById('status')).top,"
        "  Math.max(...[...document.querySelectorAll('button')].map((one) => box(one).bottom))]"
    )
    assert top >= bottom


def test_the_name_of_the_photograph_is_shown_whole(browser: Browser, files: dict[str, bytes]) -> None:
    browser.resize(1280, 760)
    browser.drop("#empty", {"IMG_20260714_201530.jpg": files["a beach.jpg"]})
    browser.wait(READY.format(1))
    name = "document.getElementById('name')"
    assert browser.run(f"return {name}.scrollWidth <= {name}.clientWidth")
    assert browser.run(f"return {name}.innerText") == "IMG_20260714_201530.jpg · 800 × 600"


def test_in_the_dark_it_is_dark(browser: Browser) -> None:
    shades = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.command("Emulation.setEmulatedMedia", {"features": [feature]})
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        shades.append(int(colour.split("(")[1].split(",")[0]))
    browser.command("Emulation.setEmulatedMedia", {"features": []})
    assert shades[0] > 200
    assert shades[1] < 60
