"""The page in a real browser: drop, compare, choose and download; errors, and no traffic elsewhere."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rave_runtime.photos.formats import FORMATS
from rave_runtime.serve.page import PAGE_FILES
from tests.runtime.formats.raw.raws import make_dng
from tests.runtime.pictures import MakePicture
from tests.runtime.serve.page import ENTER, READY, after, center, cut, drawn, finished, set_strength

from .browser import CHROMIUM, DRIVER, Browser
from .conftest import Serve, Service, encode

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")


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
    assert shown.startswith("inset(0px -1px -1px ")
    asked = service.metric('rave_requests_total{route="/light",status="200"}')
    drawn(browser)
    normal = after(browser)
    set_strength(browser, 0)
    drawn(browser)
    nothing = after(browser)
    set_strength(browser, 1.5)
    drawn(browser)
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
    drawn(browser)
    apart = preview_error(browser, service.post("/enhance", files["b.png"]).body)
    assert apart.mean() < 1.5  # the colour noise of the shade is taken out of the result alone
    assert np.quantile(apart, 0.99) <= 8
    set_highlights = "const s = document.getElementById('highlights'); s.value = 0; s.oninput()"
    brighter = after(browser)
    browser.run(set_highlights)
    drawn(browser)
    assert after(browser) < brighter


def preview_error(browser: Browser, result: bytes) -> NDArray[np.int16]:
    """How far each value of the enhanced preview is from a result."""
    expected = np.asarray(Image.open(io.BytesIO(result)).convert("RGB"))
    pixels = browser.run(
        "const canvas = document.getElementById('after');"
        "return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    shown = np.array(pixels, np.int16).reshape(*expected.shape[:2], 4)[..., :3]
    apart: NDArray[np.int16] = np.abs(shown - expected)
    return apart


@pytest.mark.parametrize("strength", [0.5, 1, 2])
def test_the_preview_rolls_highlights_off_as_the_result_does(
    browser: Browser, service: Service, strength: float
) -> None:
    """At a strength of 2 the sky of the preview was burnt, that of the result was not."""
    photograph = (Path(__file__).parents[3] / "examples" / "forest.jpg").read_bytes()
    browser.drop("#empty", {"forest.jpg": photograph})
    browser.wait(READY.format(1))
    set_strength(browser, strength)
    drawn(browser)
    apart = preview_error(browser, service.post(f"/enhance?format=png&strength={strength}", photograph).body)
    assert apart.mean() < 4


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


def test_it_asks_for_the_token(serve: Serve, browser: Browser, files: dict[str, bytes]) -> None:
    service = serve("--no-log", "--token", "0123456789abcdef")
    browser.open(service.url)
    browser.drop("#empty", {"b.png": files["b.png"]})
    browser.wait("document.getElementById('ask').open")
    assert browser.run("return document.getElementById('ask').innerText").startswith("This service asks")
    browser.press(*"fedcba9876543210", ENTER)
    browser.wait("document.getElementById('ask').innerText.startsWith('This token is wrong')")
    browser.press(*"0123456789abcdef", ENTER)
    browser.wait(READY.format(1))
    assert "1 of 1 ready" in browser.run("return document.getElementById('status').innerText")


def test_a_token_is_asked_for_once(serve: Serve, browser: Browser, files: dict[str, bytes]) -> None:
    """Also if a request without it is refused only after it was given."""
    service = serve("--no-log", "--token", "0123456789abcdef")
    browser.open(service.url)
    browser.run(
        "const real = fetch; window.sent = 0; window.asked = 0;"
        "fetch = async (...all) => {"
        "  const answer = await real(...all);"
        "  if (++sent === 2) await new Promise((done) => { window.late = done; });"
        "  return answer;"
        "};"
        "new MutationObserver(() => { asked += document.getElementById('ask').open; })"
        "  .observe(document.getElementById('ask'), { attributeFilter: ['open'] });"
    )
    browser.drop("#empty", files)
    browser.wait("document.getElementById('ask').open && !!window.late")
    browser.press(*"0123456789abcdef", ENTER)
    browser.wait("document.querySelectorAll('#photos canvas').length === 1")
    browser.run("late()")
    browser.wait(READY.format(2))
    assert browser.run("return asked") == 1


def test_a_file_that_was_moved_since_is_told(
    browser: Browser, files: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "b.png").write_bytes(files["b.png"])
    browser.choose("#files", [tmp_path / "b.png"])
    browser.wait("!document.getElementById('save').disabled")
    (tmp_path / "b.png").unlink()
    browser.press("d")
    browser.wait("document.getElementById('status').innerText.includes('was moved or changed since')")


def test_a_folder_comes_back_as_a_folder(
    browser: Browser, files: dict[str, bytes], downloads: Path, tmp_path: Path
) -> None:
    """Chosen, and dropped: a real drop of a folder can only be made by hand."""
    day = tmp_path / "holiday" / "day 1"
    day.mkdir(parents=True)
    (tmp_path / "holiday" / "b.png").write_bytes(files["b.png"])
    (day / "b.png").write_bytes(files["b.png"])
    (day / "notes.txt").write_text("no photograph")
    (day / ".hidden.png").write_bytes(files["b.png"])
    browser.choose("#folder", [tmp_path / "holiday"])
    browser.wait(READY.format(2))
    browser.wait(
        "document.getElementById('status').innerText.startsWith('2 of 2 ready, 2 other files left out')"
    )
    browser.load("/adding.js")
    browser.run(
        "const file = new File(['x'], 'c.txt');"
        "const inside = [{ isFile: true, name: 'c.txt', file: (done) => done(file) }];"
        "const createReader = () => ({ readEntries: (done) => done(inside.splice(0)) });"
        "addDropped([{ name: 'more', createReader }])"
    )
    browser.wait("document.getElementById('status').innerText.includes('3 other files left out')")
    browser.run("document.getElementById('save-all').click()")
    with zipfile.ZipFile(io.BytesIO(finished(downloads, "enhanced.zip"))) as archive:
        assert sorted(archive.namelist()) == ["holiday/b-enhanced.png", "holiday/day 1/b-enhanced.png"]


def test_lights_of_many_photographs_are_asked_for_again(browser: Browser, picture: MakePicture) -> None:
    """Each takes 2 MB of memory: a folder of thousands would fill the browser."""
    content = encode(picture(40, 60), "PNG")
    browser.drop("#empty", dict.fromkeys(("0.png", "1.png"), content))
    browser.wait(READY.format(2))
    browser.load("/state.js", "/view.js")
    browser.run("for (let i = 0; i < 100; i++) photos.push({ ...photos[0], seen: performance.now() })")
    browser.drop("#stage", {"2.png": content})
    browser.wait(READY.format(3))
    browser.wait("photos.filter((photo) => !photo.bins).length > 0")
    browser.run("select(photos.find((photo) => !photo.bins))")
    browser.wait("page.current.bins && page.current.pixels && !document.getElementById('pair').hidden")
    browser.run(
        "const photo = photos.find((one) => !one.bins); photo.file = new File([], 'gone.png'); select(photo)"
    )
    browser.wait(
        "document.getElementById('note').innerText.includes('cannot be shown: the photograph is empty')"
    )


def test_many_photographs_are_saved_in_several_zips(
    browser: Browser, files: dict[str, bytes], downloads: Path
) -> None:
    browser.drop("#empty", dict.fromkeys(("B.png", "b.png", "..\\c.png"), files["b.png"]))
    browser.wait(READY.format(3))
    browser.load("/saving.js")
    browser.run("limits.zipBytes = 1000")
    browser.run("document.getElementById('save-all').click()")
    found = []
    for name in ("enhanced.zip", "enhanced 2.zip", "enhanced 3.zip"):
        with zipfile.ZipFile(io.BytesIO(finished(downloads, name))) as archive:
            found += archive.namelist()
            assert archive.testzip() is None
    # Neither the same name where case does not count, nor a folder where a backslash makes one.
    assert found == ["B-enhanced.png", "b-enhanced 2.png", ".._c-enhanced.png"]


def test_nothing_comes_from_elsewhere(browser: Browser, service: Service, files: dict[str, bytes]) -> None:
    browser.drop("#empty", files)
    browser.wait(READY.format(2))
    names = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    foreign = [name for name in names if not name.startswith((service.url, "blob:", "data:"))]
    assert foreign == []


def test_photographs_of_all_formats_are_taken_from_folders(browser: Browser) -> None:
    taken = browser.run("return document.getElementById('files').accept.split(',')")
    assert taken == ["image/*", *(ending for kind in FORMATS for ending in kind.endings)]


def test_the_page_is_small() -> None:
    assert sum(len(file.content) for file in PAGE_FILES.values()) < 60_000
