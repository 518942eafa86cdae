"""Passwords and tokens of URLs reach no message, log, report or journal; files of the web get their names."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rave_runtime.cli.program import _run
from rave_runtime.errors import PhotoError, UsageError
from rave_runtime.files.location import RemoteFile, parse_location
from rave_runtime.files.secrets import without_secrets

fsspec = pytest.importorskip("fsspec")
EXAMPLE = Path(__file__).parents[3] / "examples" / "forest.jpg"
SECRETS = ("PASSWORD", "TOKEN", "KEY", "USER")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:TOKEN@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("s3://KEY:TOK/EN+KEY@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("memory://USER:PASS@WORD@host/x failed", "memory://host/x failed"),
        ("https://host/a.jpg?X-Amz-Signature=TOKEN&x=1", "https://host/a.jpg"),
        ("404, url='https://host/a.jpg?token=TOKEN' not found", "404, url='https://host/a.jpg' not found"),
        ("see https://host:8080/@eaDir/a.jpg", "see https://host:8080/@eaDir/a.jpg"),
        ("zip://a.jpg::https://USER:PASSWORD@host/x.zip?token=TOKEN", "zip://a.jpg::https://host/x.zip"),
        ("ssh://TOKEN@host/a.jpg", "ssh://host/a.jpg"),
        ("https:/USER:TOKEN@host/x is not a bundle", "https:/host/x is not a bundle"),
        ("https://host/a.jpg#access_token=TOKEN&x=1", "https://host/a.jpg"),
        (
            "retries exceeded with url: /a.jpg?sig=TOKEN (refused)",
            "retries exceeded with url: /a.jpg (refused)",
        ),
        ("s3://bucket/a#1=2.jpg", "s3://bucket/a#1=2.jpg"),
        ("C:/photos@home/a.jpg", "C:/photos@home/a.jpg"),
        ("what?now", "what?now"),
        ("user@host", "user@host"),
    ],
)
def test_texts_without_secrets(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize("piece", ["ab:/", "ab:/x:@", "ab:/#a=", "ab://?", "url: /", "ab:/c:"])
def test_secrets_are_taken_out_in_linear_time(piece: str) -> None:
    begun = time.perf_counter()
    without_secrets(piece * 5000)
    assert time.perf_counter() - begun < 5


EACH = """
import sys
from {} import main
for words in {}:
    sys.argv[1:] = words
    print("asked", file=sys.stderr)
    try:
        main()
    except SystemExit as end:
        assert end.code, words
    else:
        raise AssertionError(words)
"""
"""Calls a program with one line of arguments after the other, each of which must end it as an error."""


@pytest.mark.parametrize(
    ("command", "lines"),
    [
        ("rave_runtime.cli", [[str(EXAMPLE), "out", "--model", "https://USER:TOKEN@h/x?KEY"]]),
        (
            "rave_export.cli",
            [
                ["--verify", "https://USER:TOKEN@h/x?KEY"],
                ["https://USER:TOKEN@h/x.pth?KEY", "-o", "out"],
            ],
        ),
        (
            "rave_train.cli",
            [
                ["rave", "https://USER:TOKEN@h/x?KEY", "https://USER:TOKEN@h/y", "--out", "run"],
                ["evaluate", "https://USER:TOKEN@h/x?KEY", "https://USER:TOKEN@h/y"],
            ],
        ),
        ("rave_runtime.serve.cli", [["--model", "https://USER:TOKEN@h/x?KEY", "--port", "0"]]),
    ],
)
def test_no_program_prints_the_secrets_of_its_arguments(
    command: str, lines: list[list[str]], tmp_path: Path
) -> None:
    """A URL given where a folder is meant was printed whole."""
    if command != "rave_runtime.cli":
        pytest.importorskip({"rave_export.cli": "onnx", "rave_train.cli": "torch"}.get(command, "uvicorn"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", EACH.format(command, lines)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = done.stderr.split("asked\n")[1:]
    assert len(answers) == len(lines)
    assert all("h/x" in answer for answer in answers), done.stderr
    for secret in ("USER", "TOKEN", "KEY"):
        assert secret not in done.stdout + done.stderr


def test_the_scheme_of_a_url_may_be_in_capitals() -> None:
    assert str(parse_location("HTTPS://host/A.jpg")) == "https://host/A.jpg"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/photos/a%20b.jpg?X-Amz-Signature=TOKEN#top", "a b.jpg"),
        ("https://host/%C3%A9t%C3%A9.jpg", "\u00e9t\u00e9.jpg"),
        ("https://host/?id=1", "host"),
        ("s3://bucket/a%20b.jpg", "a%20b.jpg"),
        ("s3://bucket/what?.jpg", "what?.jpg"),
        ("zip://holiday/a.jpg::https://host/photos.zip", "a.jpg"),
        ("zip://::https://host/photos.zip?token=TOKEN", "photos"),
        ("simplecache::https://host/a%20b.jpg", "a b.jpg"),
    ],
)
def test_names_are_as_people_call_them(url: str, name: str) -> None:
    assert RemoteFile(url).name == name


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, and below /loop/ pages without end: each links to itself, to its parent and to two like it."""

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        if self.path.startswith("/loop"):
            links = ("./", "../", "a/", "b/", "x.jpg", "/loop/", "https://elsewhere.invalid/y.jpg")
            page = "".join(f'<a href="{link}">{link}</a>' for link in links).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
        else:
            super().do_GET()


@pytest.fixture
def web(tmp_path: Path, picture_file: Path) -> Iterator[str]:
    """A web server that holds a photograph, and pages without end."""
    pytest.importorskip("aiohttp")
    root = tmp_path / "web"
    root.mkdir()
    (root / "a b.jpg").write_bytes(picture_file.read_bytes())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=root))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(*arguments: object) -> int:
    return _run([*map(str, arguments), "--device", "cpu", "--working-size", "32"])


def test_a_presigned_url_is_written_under_its_name_and_tells_nothing(
    web: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, log, report = tmp_path / "out", tmp_path / "log", tmp_path / "page.html"
    (out).mkdir()
    url = f"{web}/a%20b.jpg?X-Amz-Signature=TOKEN"
    assert run(url, out, "--log", log, "--report", report) == 0
    assert (out / "a b.jpg").is_file()
    said = capsys.readouterr()
    texts = [said.out, said.err, log.read_text(), report.read_text(), (out / ".rave-run.jsonl").read_text()]
    assert not [text for text in texts if "TOKEN" in text]


def test_a_member_of_an_archive_is_written_under_its_own_name(picture_file: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(picture_file, "holiday/c.jpg")
    (tmp_path / "out").mkdir()
    assert run(f"zip://holiday/c.jpg::file://{tmp_path}/all.zip", tmp_path / "out") == 0
    assert (tmp_path / "out" / "c.jpg").is_file()
    assert run(f"zip://::file://{tmp_path}/all.zip", tmp_path / "whole") == 0
    assert (tmp_path / "whole" / "holiday" / "c.jpg").is_file()


@pytest.mark.parametrize(
    "place",
    [
        "memory://USER:PASSWORD@nowhere/x.jpg",
        "https://127.0.0.1:9/x.jpg?token=TOKEN",
        "nosuch://KEY:TOKEN@bucket/x.jpg",
        "file://USER:PASSWORD@host/x.jpg",
    ],
)
def test_no_message_tells_a_secret(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(place, tmp_path / "out")
    said = capsys.readouterr()
    assert said.err.startswith("rave-run: ")
    assert not [secret for secret in SECRETS if secret in said.out + said.err]


def test_errors_of_stores_are_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    place = RemoteFile("memory://USER:PASSWORD@host/x.jpg")

    def fail(*_: object, **__: object) -> None:
        raise OSError("no such url: https://host/x.jpg?token=TOKEN")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cat_file", fail)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "pipe_file", fail)
    for act in (place.read, lambda: place.write(b"x")):
        with pytest.raises(PhotoError) as caught:
            act()
        assert "https://host/x.jpg" in str(caught.value)
        assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_two_photographs_for_one_object_are_named_without_secrets(tmp_path: Path) -> None:
    from rave_runtime.run.jobs import Naming, plan_jobs

    for name in ("a.jpg", "a.png"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="would both be written") as caught:
        plan_jobs(tmp_path, parse_location("memory://USER:PASSWORD@host/out"), naming=Naming("WEBP"))
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


def test_pages_that_link_to_themselves_end(web: str) -> None:
    with pytest.raises(UsageError, match="folders inside each other without end"):
        list(RemoteFile(f"{web}/loop").names())
