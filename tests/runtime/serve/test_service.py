"""What rave-serve answers: the same photographs as rave-run, figures, and refusals in plain words."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rave_runtime import Enhancer
from rave_runtime.errors import UsageError
from rave_runtime.serve.options import ServeOptions
from rave_runtime.serve.server import _listen
from tests.runtime.pictures import MakePicture

from .conftest import Serve, Service, encode, form, rave_run


def test_results_are_those_of_rave_run_byte_for_byte(
    service: Service, picture: MakePicture, tmp_path: Path
) -> None:
    files = {
        "a.jpg": encode(picture(300, 400), "JPEG", quality=83, comment=b"a word"),
        "b.png": encode(picture(90, 70, 1), "PNG"),
        "c.tif": encode(picture(90, 70, 2), "TIFF", compression="tiff_lzw"),
        "d.webp": encode(picture(90, 300, 3), "WEBP", lossless=True),
    }
    expected = rave_run(tmp_path, files)
    for name, content in files.items():
        answer = service.post("/enhance", content)
        assert (answer.status, answer.body) == (200, expected[name]), name
    assert answer.headers["content-type"] == "image/webp"
    assert answer.headers["rave-size"] == "300x90"
    stronger = rave_run(tmp_path / "2", {"a.jpg": files["a.jpg"]}, "--strength", "1.5", "--quality", "70")
    assert service.post("/enhance?strength=1.5&quality=70", files["a.jpg"]).body == stronger["a.jpg"]


def test_a_result_that_is_sent_again_comes_back_as_it_is_unless_told(service: Service, jpeg: bytes) -> None:
    first = service.post("/enhance", jpeg)
    assert "rave-warnings" not in first.headers or "before" not in first.headers["rave-warnings"]
    second = service.post("/enhance", first.body)
    assert second.body == first.body
    (note,) = json.loads(second.headers["rave-warnings"])
    assert "was enhanced before, by rave-backlit" in note
    assert note.endswith("again=true enhances it once more")
    third = service.post("/enhance?again=true", first.body)
    assert third.body != first.body
    assert (
        service.post("/enhance?again=perhaps", jpeg).detail == "again is 'perhaps', true or false is needed"
    )


def test_hdr_is_that_of_rave_run(service: Service, picture: MakePicture, tmp_path: Path) -> None:
    jpeg = encode(picture(200, 300), "JPEG", quality=95)
    expected = rave_run(tmp_path, {"a.jpg": jpeg}, "--hdr")
    answer = service.post("/enhance?hdr=true", jpeg)
    assert answer.body == expected["a.jpg"]
    assert b"hdrgm:" in answer.body
    assert b"hdrgm:" not in service.post("/enhance", jpeg).body
    png = service.post("/enhance?hdr=true&format=png", jpeg)
    assert json.loads(png.headers["rave-warnings"]) == [
        "hdr=true writes gain maps into JPEG only: format=jpeg gives one"
    ]
    assert service.post("/enhance?hdr=1", jpeg).detail == "hdr is '1', true or false is needed"


def test_a_form_and_a_raw_body_are_the_same(service: Service, jpeg: bytes) -> None:
    body, kind = form([jpeg], {"strength": "0.5", "format": "png"})
    answer = service.post("/enhance", body, {"Content-Type": kind})
    assert answer.headers["content-type"] == "image/png"
    assert answer.body == service.post("/enhance?strength=0.5&format=png", jpeg).body


def test_the_light_is_what_the_enhancer_computes(service: Service, picture: MakePicture) -> None:
    pixels = picture(200, 300)
    content = encode(pixels, "PNG")
    enhancer = Enhancer(device="cpu", threads=1, highlights=1)
    light = np.load(io.BytesIO(service.post("/light?format=npy", content).body))
    np.testing.assert_allclose(light, enhancer.illumination(pixels), rtol=1e-5)
    small = service.post("/light?format=npy&long_side=100", content)
    assert np.load(io.BytesIO(small.body)).shape == (67, 100)
    assert small.headers["rave-size"] == "300x200"
    grey = np.asarray(Image.open(io.BytesIO(service.post("/light", content).body)))
    assert grey.dtype == np.uint16
    np.testing.assert_allclose(grey / 65535, np.clip(light, 0, 1), atol=1e-5)


def test_a_batch_says_what_became_of_each(service: Service, jpeg: bytes, picture: MakePicture) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../etc/passwd.jpg", jpeg)
        archive.writestr("notes.txt", "not a photograph")
        archive.writestr("deep/b.png", encode(picture(40, 30), "PNG"))
    for body, kind in (
        (packed.getvalue(), "application/zip"),
        form([jpeg, b"not a photograph", encode(picture(40, 30), "PNG")]),
    ):
        answer = service.post("/batch?strength=0.5", body, {"Content-Type": kind})
        assert answer.status == 200
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == ["0001.jpg", "0003.png", "results.json"]
            assert archive.read("0001.jpg") == service.post("/enhance?strength=0.5", jpeg).body
            records = json.loads(archive.read("results.json"))
        assert [record["status"] for record in records] == [200, 415, 200]
        assert "not a picture" in records[1]["error"]


@pytest.mark.parametrize(
    ("path", "body", "kind", "status", "words"),
    [
        ("/enhance", b"", "", 400, "the photograph is empty (0 bytes)"),
        ("/enhance", b"hello", "", 415, "not a picture, or of a format that is not known"),
        ("/enhance", b"strength=1", "", 415, "and parameters in the query"),
        ("/enhance", b"PK\3\4", "", 415, "this is a zip and no photograph: send it to /batch, alone"),
        ("/enhance", b"{}", "application/json", 415, "a photograph is needed, as the body itself"),
        ("/enhance", b"\xff\xd8\xff\xe0 cut short", "", 422, "damaged or truncated"),
        ("/enhance?strength=3", b"x", "", 400, "strength is '3', a number from 0 to 2 is needed"),
        ("/enhance?strength=nan", b"x", "", 400, "strength is 'nan', a number from 0 to 2 is needed"),
        ("/enhance?quality=1.5", b"x", "", 400, "quality is '1.5', a whole number from 1 to 100 is needed"),
        ("/enhance?format=gif", b"x", "", 400, "format is 'gif', one of jpeg, png"),
        ("/batch?format=gif", b"x", "", 400, "format is 'gif', one of jpeg, png"),
        ("/batch", b"", "application/zip", 400, "the batch holds no photograph"),
        ("/batch", b"x", "application/x-zip", 415, "/batch takes a zip (application/zip), too"),
        ("/enhance?working_size=5", b"x", "", 400, "working_size is '5', a whole number from 32 to 65536"),
        ("/light?working_size=all", b"x", "", 400, "or full for the full size, is needed"),
        ("/enhance?speed=1", b"x", "", 400, "'speed' is not a parameter of this request: it takes strength"),
        ("/enhance?strength=1&strength=1", b"x", "", 400, "strength is there twice"),
        ("/light?format=jpeg", b"x", "", 400, "a light map is written as png or npy"),
        ("/enhance", b"x", "multipart/form-data", 400, "has no boundary"),
        ("/enhance", b"--b\r\nContent-", "multipart/form-data; boundary=b", 400, "cut short"),
        ("/enhance", b"x", f"multipart/form-data; boundary={'b' * 300}", 400, "makes no sense"),
        ("/enhance", form([])[0], form([])[1], 400, "no photograph"),
        ("/enhance", form([], {"photo": "a.jpg"})[0], form([])[1], 400, "no photograph: send one as a file"),
        (
            "/enhance",
            form([b"1", b"2"])[0],
            form([])[1],
            413,
            "send one photograph per request, or use /batch",
        ),
        ("/enhance", form([], {f"x{i}": "1" for i in range(20)})[0], form([])[1], 413, "over 17 parts"),
        ("/batch", form([b"1"] * 201)[0], form([])[1], 413, "over 200 photographs: send fewer at a time"),
        ("/batch", b"PK", "application/zip", 422, "the zip is damaged"),
        ("/elsewhere", b"", "", 404, "nothing at this path"),
    ],
)
def test_refusals_say_what_came_and_what_is_needed(
    service: Service, path: str, body: bytes, kind: str, status: int, words: str
) -> None:
    answer = service.post(path, body, {"Content-Type": kind} if kind else None)
    assert answer.status == status, answer.body
    assert words in answer.detail
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("given", ["filename*=UTF-8''f%C3%B6to.jpg", 'filename*0="f"; filename*1=".jpg"'])
def test_a_file_whose_name_has_another_coding_is_a_photograph(
    service: Service, jpeg: bytes, given: str
) -> None:
    body, kind = form([jpeg])
    coded = body.replace(b'filename="a.jpg"', given.encode())
    answer = service.post("/enhance", coded, {"Content-Type": kind})
    assert answer.status == 200, answer.detail
    field = body.replace(b'name="photo"; filename="a.jpg"', b'name="; filename*=x"')
    assert service.post("/enhance", field, {"Content-Type": kind}).status == 400


def test_a_place_in_a_form_where_no_file_was_chosen_is_none(service: Service, jpeg: bytes) -> None:
    chosen, kind = form([jpeg])
    unfilled = form([b""], name="")[0].removesuffix(b"--b--\r\n")
    assert service.post("/enhance", unfilled + chosen, {"Content-Type": kind}).status == 200
    answer = service.post("/enhance", unfilled + b"--b--\r\n", {"Content-Type": kind})
    assert (answer.status, "no photograph" in answer.detail) == (400, True)


def test_what_systems_add_to_a_zip_gets_no_number(service: Service, jpeg: bytes) -> None:
    added = ["__MACOSX/._a.jpg", "._a.jpg", "in/.DS_Store", "in/Thumbs.db", "desktop.ini", "@eaDir\\a.jpg"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (*added, "./a.jpg", "in/b.jpg"):
            archive.writestr(name, jpeg if name.endswith("/b.jpg") or name == "./a.jpg" else b"\0\5\26\7")
    answer = service.post("/batch", packed.getvalue(), {"Content-Type": "application/zip"})
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["0001.jpg", "0002.jpg", "results.json"]
        assert [record["status"] for record in json.loads(archive.read("results.json"))] == [200, 200]
    only_added = io.BytesIO()
    with zipfile.ZipFile(only_added, "w") as archive:
        archive.writestr(added[0], b"")
    answer = service.post("/batch", only_added.getvalue(), {"Content-Type": "application/zip"})
    assert (answer.status, "the batch holds no photograph" in answer.detail) == (400, True)


def test_other_methods_are_refused(service: Service) -> None:
    answer = service.get("/enhance")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert answer.detail == "this path is not for this method: photographs are sent with POST"
    answer = service.post("/healthz", b"")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.detail == "this path is not for this method: it is read with GET"


def test_probes_version_and_description(service: Service) -> None:
    assert json.loads(service.get("/healthz").body) == {"status": "ok"}
    assert json.loads(service.get("/readyz").body) == {"status": "ready"}
    version = json.loads(service.get("/version").body)
    assert (version["provider"], type(version["workers"])) == ("CPUExecutionProvider", int)
    described = json.loads(service.get("/openapi.json").body)
    assert described["openapi"].startswith("3.1")
    assert set(described["paths"]) == {
        *("/enhance", "/light", "/batch", "/healthz", "/readyz", "/metrics", "/version", "/openapi.json")
    }
    assert described["paths"]["/enhance"]["post"]["parameters"][0]["name"] == "strength"
    for path in ("/enhance", "/light", "/batch"):
        post = described["paths"][path]["post"]
        fields = post["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
        assert list(fields) == ["photo", *(parameter["name"] for parameter in post["parameters"])]
        assert "Retry-After" in post["responses"]["429"]["headers"]
    # A client that is made from the description sends what has a default in the query and in the form: twice.
    assert '"default"' not in json.dumps(described)
    headers = described["paths"]["/enhance"]["post"]["responses"]["200"]["headers"]
    assert list(headers) == ["Rave-Size", "Rave-Warnings", "Server-Timing"]


def test_metrics_count_what_happened(service: Service, jpeg: bytes) -> None:
    before = service.metric("rave_photographs_total")
    service.post("/enhance", jpeg)
    service.post("/enhance", b"no")
    assert service.metric("rave_photographs_total") == before + 1
    text = service.get("/metrics").body.decode()
    for line in (
        'rave_requests_total{route="/enhance",status="415"}',
        'rave_stage_seconds_bucket{stage="enhance",le="+Inf"}',
        'rave_stage_seconds_count{stage="queue"}',
        "rave_queue_length 0",
        "rave_held_bytes 0",
        "# TYPE rave_request_seconds histogram",
    ):
        assert line in text, line
    assert service.metric("process_resident_memory_bytes") > 1e7


def test_an_answer_to_head_has_no_bytes(serve: Serve) -> None:
    service = serve()
    answer = service.ask("HEAD", "/")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 1000
    lines = [json.loads(line) for line in service.end()[1].splitlines()]
    assert next(line for line in lines if line.get("method") == "HEAD")["bytes_out"] == 0


def test_the_log_has_no_contents_and_no_names(serve: Serve, jpeg: bytes) -> None:
    service = serve()
    body, kind = form([jpeg], name="my secret holiday.jpg")
    service.post("/enhance?strength=0.5", body, {"Content-Type": kind})
    service.get("/my-secret-path?token=abc")
    code, output, errors = service.end()
    assert code == 0
    assert errors == ""
    lines = [json.loads(line) for line in output.splitlines()]
    enhanced = next(line for line in lines if line.get("route") == "/enhance")
    assert (enhanced["status"], enhanced["width_px"], enhanced["height_px"]) == (200, 160, 120)
    assert next(line for line in lines if line.get("route") == "other")["status"] == 404
    assert lines[-1]["event"] == "ended"
    assert "secret" not in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "0.0.0.0"], "can be reached from other machines: give --token-file"),
        (["--token", "short"], "--token has 5, and must have at least 16 characters"),
        (["--token", "0123456789abcdef", "--token-file", "x"], "cannot be read|give one of them"),
        (["--model", "/nowhere"], "manifest.json"),
        (["--port", "70000"], "70000 is not from 0 to 65535"),
        (["--model", ""], "empty: is a variable not set?"),
        (["--max-body", "0"], "0 is not from 1 to 1048576 ("),
        (["--memory-limit", "1"], "1 is not from 64 to 16777216 ("),
        (["--allow-origin", "evil.com"], "give https://HOST, or https://HOST:PORT"),
        (
            ["--host", "nosuch.invalid", "--token", "0" * 16],
            "--host nosuch.invalid is no address, and no name",
        ),
        (["--host", "a..b", "--token", "0" * 16], "--host a..b is no address, and no name"),
    ],
)
def test_wrong_use_is_told_before_anything_listens(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-c", "from rave_runtime.serve.cli import main; main()", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert any(word in done.stderr for word in words.split("|")), done.stderr
    assert "Errno" not in done.stderr


def test_a_taken_port_is_told(service: Service) -> None:
    command = [sys.executable, "-c", "from rave_runtime.serve.cli import main; main()"]
    done = subprocess.run(
        [*command, "--port", str(service.port)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert "cannot be listened on (Address already in use)" in done.stderr


def test_windows_words_for_a_taken_port_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was "Unknown error": the C library there knows no errors of sockets."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(10048, "Only one usage of each socket address (while attempting to bind on address)")

    monkeypatch.setattr("socket.create_server", refuse)
    with pytest.raises(UsageError, match=r"cannot be listened on \(Only one usage of each socket address\)"):
        _listen(ServeOptions())
