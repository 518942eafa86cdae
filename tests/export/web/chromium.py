"""A headless Chromium, driven by its own debugging protocol over two pipes."""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import json
import os
import select
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The program, or None where it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def serving(folder: Path, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serves a folder on this machine; the address, and the paths that are asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            asked.append(self.path)

        def end_headers(self) -> None:
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            super().end_headers()

    # As nginx does, which does not know what .mjs is.
    Handler.extensions_map = {**Handler.extensions_map, ".mjs": "application/octet-stream"}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Page:
    """A page in its own browser; with `software_gpu`, one whose WebGPU is computed by the processor."""

    def __init__(self, program: str, profile: Path, address: str, software_gpu: bool = False) -> None:
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        options = [
            *("--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--no-first-run"),
            *(SOFTWARE_GPU if software_gpu else ("--disable-gpu",)),
            *("--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}"),
            # Whatever the page would ask of another machine fails.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        ]
        shell = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write} {to_read}<&- {from_write}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, program, *options, "about:blank"],
            pass_fds=(to_read, from_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(from_write)
        self._out, self._in = to_write, from_read
        self._buffer = b""
        self._counter = itertools.count(1)
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command."""
        number = next(self._counter)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _read(self, timeout_s: float = 120) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], timeout_s)
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise TimeoutError("the browser does not answer")
            self._buffer += chunk
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def evaluate(self, code: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, state: str, timeout_s: float = 150) -> None:
        """Waits until the page says that it is in a state."""
        end = time.monotonic() + timeout_s
        while (found := self.evaluate("document.body?.dataset.state")) != state:
            told = self.evaluate("document.getElementById('status')?.textContent")
            if found == "failed" or time.monotonic() > end:
                raise AssertionError(f"the page is {found!r}, not {state!r}: {told}")
            time.sleep(0.03)

    def choose(self, *files: Path) -> None:
        """Chooses files in the page's only field for files."""
        document = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
        self.evaluate("document.body.dataset.state = 'chosen'")
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def close(self) -> None:
        """Ends the browser."""
        with contextlib.suppress(Exception):
            self._session = None
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)


def opened(folder: Path, profile: Path, software_gpu: bool = False) -> Iterator[Page]:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    with serving(folder) as (address, asked):
        page = Page(program, profile, address, software_gpu)
        try:
            page.wait_for("ready")
            yield page
        finally:
            page.close()
        assert all(
            path.lstrip("/").partition("?")[0] in names(folder) | {"", "favicon.ico"} for path in asked
        )


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


@contextlib.contextmanager
def browsing(profile: Path, address: str) -> Iterator[Page]:
    """A page in a browser of its own."""
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed")
    page = Page(program, profile, address)
    try:
        yield page
    finally:
        page.close()


def until_it_says(page: Page, words: str, timeout_s: float = 60) -> None:
    """Waits for the beginning of the page's status."""
    end = time.monotonic() + timeout_s
    while not (told := page.evaluate("document.getElementById('status')?.textContent") or "").startswith(
        words
    ):
        assert time.monotonic() < end, told
        time.sleep(0.02)
