"""A real browser, driven by the W3C's WebDriver protocol: chromedriver's HTTP, without a library."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DRIVER = shutil.which("chromedriver")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

DROP = """
const [target, files, done] = arguments;
const transfer = new DataTransfer();
for (const [name, text] of files) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name));
}
for (const name of ["dragenter", "dragover", "drop"])
  document.querySelector(target).dispatchEvent(
    new DragEvent(name, { bubbles: true, cancelable: true, dataTransfer: transfer }));
done();
"""


class Browser:
    """One window."""

    def __init__(self, url: str, session: str) -> None:
        self._base = f"{url}/session/{session}"

    def _ask(self, method: str, path: str, content: Any = None) -> Any:
        return ask(method, self._base + path, content)

    def open(self, url: str) -> None:
        self._ask("POST", "/url", {"url": url})
        self.wait("document.readyState === 'complete'")  # on a busy machine /url answers before scripts ran

    def run(self, script: str, *arguments: Any) -> Any:
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def load(self, *modules: str) -> None:
        """Makes what modules of the page export known to scripts by its name."""
        for module in modules:
            self.run("return import(arguments[0]).then((all) => { Object.assign(window, all); })", module)

    def resize(self, width: int, height: int) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """A command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def drop(self, target: str, files: dict[str, bytes]) -> None:
        coded = [[name, base64.b64encode(content).decode()] for name, content in files.items()]
        self._ask("POST", "/execute/async", {"script": DROP, "args": [target, coded]})

    def choose(self, selector: str, files: list[Path]) -> None:
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]
        self._ask("POST", f"/element/{found}/value", {"text": "\n".join(map(str, files))})

    def press(self, *keys: str) -> None:
        """Presses keys one after the other, each down and up."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        moves = [
            {"type": "pointerMove", "duration": 0, "x": round(start[0]), "y": round(start[1])},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerMove", "duration": 50, "x": round(end[0]), "y": round(end[1])},
            {"type": "pointerUp", "button": 0},
        ]
        self._ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": moves}]})

    def wait(self, condition: str, seconds: float = 60) -> Any:
        """Waits until an expression of JavaScript is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"return ({condition})")):
            if time.monotonic() > end:
                raise AssertionError(f"never true: {condition}; {self.run('return document.body.innerText')}")
            time.sleep(0.02)
        return value

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def log(self) -> list[dict[str, Any]]:
        """What the page wrote to its console, such as breaches of its policy."""
        return list(self._ask("POST", "/se/log", {"type": "browser"}))


def ask(method: str, url: str, content: Any = None) -> Any:
    data = None if method == "GET" else json.dumps(content or {}).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read().decode()[:2000]) from None


@contextlib.contextmanager
def open_browser(downloads: Path) -> Iterator[Browser]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                if ask("GET", f"{url}/status")["ready"]:
                    break
            time.sleep(0.05)
        arguments = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *("--window-size=1280,860", f"--user-data-dir={downloads / '.profile'}"),
        ]
        options = {
            "args": arguments,
            "binary": CHROMIUM,
            "prefs": {"download.default_directory": str(downloads), "download.prompt_for_download": False},
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = ask("POST", f"{url}/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        browser = Browser(url, session)
        browser.command("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        try:
            yield browser
        finally:
            ask("DELETE", f"{url}/session/{session}")  # ends the browser, also after a test that failed
    finally:
        driver.terminate()
        driver.wait(10)
