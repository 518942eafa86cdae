"""The page in a real browser: drop, compare, choose, download; by mouse, by keyboard, on a phone."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime.serve.app import PAGE
from tests.runtime.pictures import MakePicture
from tests.runtime.raws import make_dng

from .browser import CHROMIUM, DRIVER, Browser, open_browser
from .conftest import Serve, Service, encode

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

READY = (
    "document.querySelectorAll('#photos button').length === {0} && !document.querySelector('#photos .busy')"
)
TAB, ENTER, LEFT, RIGHT, HOME = "\ue004", "\ue007", "\ue012", "\ue014", "\ue011"


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def window(downloads: Path) -> Iterator[Browser]:
    with open_browser(downloads) as opened:
        yield opened


@pytest.fixture
def browser(window: Browser, service: Service) -> Browser:
    window.resize(1280, 860)
    window.open(service.url)
    window.log()
    return window


@pytest.fixture(scope="session")
def files(picture: MakePicture) -> dict[str, bytes]:
    return {
        "a beach.jpg": encode(picture(600, 800), "JPEG", quality=90),
        "b.png": encode(picture(500, 300, 1), "PNG"),
    }


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


def test_drop_compare_choose_and_download(
    browser: Browser, service: Service, files: dict[str, bytes], downloads: Path
) -> None:
    assert "No photograph leaves the machine" in browser.run("return document.body.innerText")
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    browser.wait("!document.getElementById('pair').hidden")
    x, y = center(browser, "#divider")
    assert cut(browser) == 50
    browser.drag((x, y), (x + 200, y))
    assert 60 < cut(browser) < 80
    shown = browser.run("return getComputedStyle(document.getElementById('after')).clipPath")
    assert shown.startswith("inset(0px 0px 0px ")
    asked = service.metric('rave_requests_total{route="/light",status="200"}')
    time.sleep(0.1)
    normal = after(browser)
    set_strength(browser, 0)
    time.sleep(0.2)
    nothing = after(browser)
    set_strength(browser, 1.5)
    time.sleep(0.2)
    assert nothing < normal < after(browser)
    assert service.metric('rave_requests_total{route="/light",status="200"}') == asked  # once and for all
    browser.run("document.getElementById('save').click()")
    assert (
        finished(downloads, "a beach-enhanced.jpg")
        == service.post("/enhance?strength=1.5", files["a beach.jpg"]).body
    )
    browser.run("document.getElementById('save-all').click()")
    with zipfile.ZipFile(io.BytesIO(finished(downloads, "enhanced.zip"))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a beach-enhanced.jpg", "b-enhanced.png"]
        assert archive.read("b-enhanced.png") == service.post("/enhance?strength=1", files["b.png"]).body
    assert [line for line in browser.log() if "Content Security Policy" in line["message"]] == []


def test_raw_files_and_jpeg_xl_are_previewed_and_saved(
    browser: Browser, service: Service, downloads: Path
) -> None:
    """No browser shows them, so that the preview comes from the service."""
    pytest.importorskip("rawpy")
    encode_jxl = pytest.importorskip("pylibjxl").encode
    dng = make_dng(np.full((120, 160, 3), 0.2))
    browser.drop("#empty", {"a.dng": dng, "b.jxl": encode_jxl(np.full((120, 160, 3), 60, np.uint8))})
    browser.wait(READY.format(2))
    assert "2 ready" in browser.run("return document.getElementById('status').innerText")
    browser.run("document.getElementById('save').click()")
    assert finished(downloads, "a-enhanced.tif") == service.post("/enhance", dng).body


def test_the_preview_shows_what_the_result_will_be(
    browser: Browser, service: Service, files: dict[str, bytes]
) -> None:
    browser.drop("#empty", {"b.png": files["b.png"]})
    browser.wait(READY.format(1))
    time.sleep(0.2)
    pixels = browser.run(
        "const canvas = document.getElementById('after');"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    shown = np.array(pixels, np.int16).reshape(500, 300, 4)[..., :3]
    result = np.asarray(Image.open(io.BytesIO(service.post("/enhance", files["b.png"]).body)))
    apart = np.abs(shown - result)
    assert apart.mean() < 1.5  # the colour noise of the shade is taken out of the result alone
    assert np.quantile(apart, 0.99) <= 8
    set_highlights = "const s = document.getElementById('highlights'); s.value = 0; s.oninput()"
    brighter = after(browser)
    browser.run(set_highlights)
    time.sleep(0.2)
    assert after(browser) < brighter


def test_an_hdr_gain_map_is_given_where_it_is_wished(
    browser: Browser, service: Service, files: dict[str, bytes], downloads: Path
) -> None:
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    browser.wait("!document.getElementById('save').disabled")
    state = "document.getElementById('hdr').checked"
    assert not browser.run(f"return {state}")
    browser.drag(center(browser, "#for-hdr"), center(browser, "#for-hdr"))
    assert browser.run(f"return {state}")
    browser.press("h")
    assert not browser.run(f"return {state}")
    browser.press("d")
    plain = finished(downloads, "a beach-enhanced.jpg")
    browser.run("document.getElementById('hdr').focus()")
    browser.press(" ")
    assert browser.run(f"return {state}")
    browser.run("document.getElementById('save').click()")
    bright = finished(downloads, "a beach-enhanced.jpg")
    assert bright == service.post("/enhance?strength=1&hdr=true", files["a beach.jpg"]).body
    assert b"hdrgm:GainMapMax" in bright
    assert b"hdrgm:" not in plain
    browser.run("document.querySelectorAll('#photos button')[1].click()")
    browser.wait("document.getElementById('before').width === 300")
    assert not browser.run(f"return {state}"), "each photograph has its own"
    browser.press("h", "d")
    assert finished(downloads, "b-enhanced.png")
    browser.wait("document.getElementById('status').innerText.includes('writes gain maps into JPEG only')")
    browser.run("document.getElementById('same').click()")
    browser.wait("document.getElementById('status').innerText.endsWith('and gets an HDR gain map')")


def test_full_size_shows_every_pixel_of_the_result(browser: Browser, picture: MakePicture) -> None:
    content = encode(picture(1500, 2000), "JPEG", quality=90)
    browser.drop("#empty", {"large.jpg": content, "scan.tif": encode(picture(90, 120), "TIFF")})
    browser.wait(READY.format(2))
    browser.press("z")
    browser.wait("!document.getElementById('after-full').hidden")
    for name in ("before-full", "after-full"):
        size = browser.run(
            "const image = document.getElementById(arguments[0]), box = image.getBoundingClientRect();"
            "return [image.naturalWidth, image.naturalHeight, Math.round(box.width), Math.round(box.height)]",
            name,
        )
        assert size == [2000, 1500, 2000, 1500]
    scrolled = "[document.getElementById('view').scrollLeft, document.getElementById('view').scrollTop]"
    before = browser.run(f"return {scrolled}")
    x, y = center(browser, "#stage")
    browser.drag((x + 100, y + 100), (x - 20, y + 40))
    assert browser.run(f"return {scrolled}") == [before[0] + 120, before[1] + 60]
    browser.press("z")
    # What a browser cannot show, such as TIFF, is shown and downloaded all the same.
    browser.run("document.querySelectorAll('#photos button')[1].click()")
    browser.wait("document.getElementById('before').width === 120")
    browser.press("z")
    browser.wait("document.getElementById('after-full').naturalWidth === 120")


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


def test_a_picture_that_cannot_be_read_says_so(browser: Browser, files: dict[str, bytes]) -> None:
    browser.drop("#empty", {"broken.jpg": files["a beach.jpg"][:3000], "notes.txt": b"hello", **files})
    browser.wait(READY.format(4))
    assert "2 of 4 ready, 2 cannot be read" in browser.run(
        "return document.getElementById('status').innerText"
    )
    note = browser.run("return document.getElementById('note').innerText")
    assert note.startswith("broken.jpg cannot be enhanced: the photograph is damaged or truncated")
    assert browser.run("return document.getElementById('save').disabled")
    browser.run("document.querySelectorAll('#photos button')[1].click()")
    assert "not a picture" in browser.run("return document.getElementById('note').innerText")
    browser.run("document.querySelectorAll('#photos button')[2].click()")
    browser.wait("!document.getElementById('save').disabled && document.getElementById('note').hidden")


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


def test_it_asks_for_the_token(serve: Serve, browser: Browser, files: dict[str, bytes]) -> None:
    service = serve("--no-log", "--token", "0123456789abcdef")
    browser.open(service.url)
    browser.drop("#empty", {"b.png": files["b.png"]})
    browser.wait("document.getElementById('ask').open")
    browser.press(*"0123456789abcdef", ENTER)
    browser.wait(READY.format(1))
    assert "1 of 1 ready" in browser.run("return document.getElementById('status').innerText")


def test_nothing_comes_from_elsewhere(browser: Browser, service: Service, files: dict[str, bytes]) -> None:
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    names = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    foreign = [name for name in names if not name.startswith((service.url, "blob:", "data:"))]
    assert foreign == []


def test_the_page_is_small() -> None:
    assert sum(file.stat().st_size for file in PAGE.iterdir()) < 60_000
