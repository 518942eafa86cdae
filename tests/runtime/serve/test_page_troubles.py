"""The page while the service stops, while much is downloaded, and under two fingers."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.pictures import MakePicture

from .browser import CHROMIUM, DRIVER, Browser
from .conftest import Serve, Service, encode
from .page import READY, center, cut, finished, set_strength

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

STATUS = "document.getElementById('status').innerText"
HOLD = (  # answers to what begins with this path wait until `release()`
    "const real = fetch, held = new Promise((done) => { window.release = done; });"
    "fetch = async (...all) => { if (all[0].startsWith(arguments[0])) await held; return real(...all); }"
)


def test_what_failed_while_the_service_was_stopped_is_tried_again(
    serve: Serve, browser: Browser, files: dict[str, bytes]
) -> None:
    """Everything had to be chosen again, and was said to be unreadable."""
    stopped = serve("--no-log")
    browser.open(stopped.url)
    stopped.process.kill()
    stopped.process.wait()
    browser.drop("#empty", {"broken.jpg": b"no picture", **files})
    browser.wait(f"{STATUS} === '0 of 3 ready, 3 failed'")
    serve("--no-log", "--port", stopped.port)
    browser.run("document.getElementById('again').click()")
    browser.wait(f"{STATUS} === '2 of 3 ready, 1 cannot be read'")
    assert browser.run("return document.getElementById('again').hidden")  # it would fail as before
    labels = "return [...document.querySelectorAll('#photos button')].map((one) => one.ariaLabel)"
    assert browser.run(labels)[1:] == list(files)


def test_all_are_downloaded_also_those_that_are_not_ready_yet(
    browser: Browser, files: dict[str, bytes], downloads: Path
) -> None:
    """They were left out without a word, and the button could be pressed a second time."""
    browser.run(HOLD, "light")
    browser.drop("#empty", {"broken.jpg": files["a beach.jpg"][:3000], **files})
    browser.run("document.getElementById('save-all').disabled = false")  # as once a first one is ready
    browser.run("document.getElementById('save-all').click()")
    browser.run("release()")
    browser.wait(READY.format(3))
    browser.run("document.querySelectorAll('#photos button')[2].click()")
    with zipfile.ZipFile(io.BytesIO(finished(downloads, "enhanced.zip"))) as archive:
        assert archive.namelist() == ["a beach-enhanced.jpg", "b-enhanced.png"]
    browser.wait("!document.getElementById('save-all').disabled")
    said = browser.run(f"return {STATUS}")
    assert said.startswith("2 photographs are enhanced · broken.jpg: the photograph is damaged or truncated")


def test_a_download_of_all_is_not_begun_twice(browser: Browser, files: dict[str, bytes]) -> None:
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    browser.run(HOLD, "enhance")
    browser.run("document.getElementById('save-all').click()")
    browser.run("document.querySelectorAll('#photos button')[1].click()")
    browser.drop("#stage", {"c.png": files["b.png"]})
    browser.wait(READY.format(3))
    assert browser.run("return document.getElementById('save-all').disabled")
    assert browser.run(f"return {STATUS}") == "Enhancing 1 of 2 …"


def test_clear_ends_the_download_of_all(browser: Browser, files: dict[str, bytes], downloads: Path) -> None:
    """A zip of what was cleared came minutes later."""
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    browser.run(HOLD, "enhance")
    browser.run("document.getElementById('save-all').click()")
    browser.run("document.getElementById('clear').click(); release()")
    browser.drop("#empty", {"c.png": files["b.png"]})
    browser.wait(f"{STATUS} === '1 of 1 ready' && !document.getElementById('save-all').disabled")
    browser.run("document.getElementById('save-all').click()")
    with zipfile.ZipFile(io.BytesIO(finished(downloads, "enhanced.zip"))) as archive:
        assert archive.namelist() == ["c-enhanced.png"]
    assert not list(downloads.glob("*.zip"))


def test_one_reason_is_said_once(browser: Browser, files: dict[str, bytes]) -> None:
    """With thirty photographs it filled the page."""
    browser.drop("#empty", {f"{i}.png": files["b.png"] for i in range(4)})
    browser.wait(READY.format(4))
    browser.run("fetch = () => Promise.reject(new TypeError())")
    browser.run("document.getElementById('save-all').click()")
    browser.wait("!document.getElementById('save-all').disabled")
    said = browser.run(f"return {STATUS}")
    assert said == (
        "0 photographs are enhanced · 4 photographs: the service does not answer: is it still running?"
    )


def test_the_same_for_all_is_seen_on_all(browser: Browser, picture: MakePicture) -> None:
    """Thumbnails of photographs whose preview was let go stayed as they were."""
    photograph = encode(picture(300, 400), "JPEG")
    browser.drop("#empty", {f"{i}.jpg": photograph for i in range(12)})
    browser.wait(READY.format(12))
    shades = (
        "return [...document.querySelectorAll('#photos canvas')].map((one) => one.getContext('2d')"
        ".getImageData(0, 0, one.width, one.height).data.reduce((sum, value) => sum + value, 0))"
    )
    normal = browser.run(shades)
    browser.load("/state.js")
    assert browser.run("return photos.some((photo) => !photo.pixels)")
    set_strength(browser, 2)
    browser.run("document.getElementById('same').click()")
    assert all(after > before for before, after in zip(normal, browser.run(shades), strict=True))


def test_who_leaves_full_size_no_longer_waits_for_it(browser: Browser, files: dict[str, bytes]) -> None:
    """The line at the bottom said "Enhancing at full size" for ever."""
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    browser.press("z", "z")
    assert browser.run(f"return {STATUS}") == "2 of 2 ready"
    browser.press("z")
    browser.run("document.querySelectorAll('#photos button')[1].click()")
    browser.wait(f"{STATUS} === '2 of 2 ready'")
    time.sleep(0.3)
    assert browser.run(f"return {STATUS}") == "2 of 2 ready"


def test_previews_of_a_browser_that_hides_pixels_are_said_to_be_wrong(
    browser: Browser, files: dict[str, bytes]
) -> None:
    browser.run(
        "const { prototype } = OffscreenCanvasRenderingContext2D, give = prototype.getImageData;"
        "prototype.getImageData = function (...where) {"
        "  const read = give.apply(this, where); read.data.fill(255); return read; }"
    )
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    assert "what is seen here is wrong, what is downloaded is right" in browser.run(f"return {STATUS}")


@pytest.fixture
def phone(browser: Browser, service: Service) -> Iterator[Browser]:
    touch = "Emulation.setTouchEmulationEnabled"
    browser.command(touch, {"enabled": True, "maxTouchPoints": 5})
    browser.resize(400, 740)
    browser.open(service.url)  # so that it is laid out as on a phone, and can be zoomed
    yield browser
    browser.command(touch, {"enabled": False})


def touch(browser: Browser, kind: str, *fingers: tuple[float, float]) -> None:
    points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
    browser.command("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})


@pytest.mark.parametrize("is_full", [False, True])
def test_two_fingers_zoom(phone: Browser, files: dict[str, bytes], is_full: bool) -> None:
    phone.drop("#empty", files)
    phone.wait(READY.format(2))
    if is_full:
        phone.press("z")
        phone.wait("!document.getElementById('after-full').hidden")
    x, y = center(phone, "#stage")
    touch(phone, "Start", (x - 20, y))
    touch(phone, "Start", (x - 20, y), (x + 20, y))
    for apart in range(20, 120, 10):
        touch(phone, "Move", (x - apart, y), (x + apart, y))
        time.sleep(0.02)
    touch(phone, "End")
    phone.wait("visualViewport.scale > 1.5", 5)


def test_one_finger_moves_the_divider(phone: Browser, files: dict[str, bytes]) -> None:
    phone.drop("#empty", files)
    phone.wait(READY.format(2))
    x, y = center(phone, "#stage")
    touch(phone, "Start", (x, y))
    for step in range(0, 100, 10):
        touch(phone, "Move", (x + step, y + step / 5))
    touch(phone, "End")
    assert cut(phone) > 65
