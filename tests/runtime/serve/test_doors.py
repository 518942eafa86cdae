"""Who may use rave-serve, what they learn, and what is left behind: nothing."""

from __future__ import annotations

import hmac
import re
from pathlib import Path

import numpy as np
import pytest

from rave_runtime.errors import UsageError
from rave_runtime.serve import guard, intake, protocol
from rave_runtime.serve.options import ServeOptions
from rave_runtime.serve.problems import RefusedError, problem_of

from .conftest import Answer, Serve, Service, encode, form
from .wire import connected, is_well, read_all

TOKEN = "0123456789abcdef0123"


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.css/../cli.py",
        "//etc/passwd",
        "/page.js%00",
        "/healthz/",
    ],
)
def test_path_tricks_find_nothing(service: Service, path: str) -> None:
    with connected(service) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"root:" not in answer


def test_hostile_names_of_files(service: Service, jpeg: bytes) -> None:
    for name in ("../../x.jpg", "a\0b.jpg", "x" * 4000, "\"; filename*=utf-8''%ff", "<script>.jpg"):
        body, kind = form([jpeg], name=name)
        answer = service.post("/enhance", body, {"Content-Type": kind})
        assert answer.status in (200, 400)
        assert answer.headers.get("content-disposition", "").endswith(('"enhanced.jpg"', ""))
        assert b"script" not in answer.body[:100]
    is_well(service)


def test_wrong_tokens(serve: Serve, jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    service = serve("--host", "0.0.0.0", "--token-file", tmp_path / "token")
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
    ):
        for path in ("/enhance", "/light", "/batch"):
            answer = service.post(path, jpeg, headers)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
    assert service.get("/metrics").status == 401
    assert service.get("/healthz").status == service.get("/").status == 200
    assert service.post("/enhance", jpeg, {"Authorization": f"Bearer {TOKEN}"}).status == 200
    service = serve(environment={"RAVE_SERVE_TOKEN": TOKEN})
    assert service.post("/enhance", jpeg).status == 401


def test_the_time_for_a_token_does_not_depend_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length are compared, in constant time, whatever was sent."""
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(first: bytes, second: bytes) -> bool:
        compared.append((len(first), len(second)))
        return real(first, second)

    monkeypatch.setattr("rave_runtime.serve.guard.hmac.compare_digest", compare)
    door = guard.Guard(None, ServeOptions(host="0.0.0.0"), TOKEN, None, None)  # type: ignore[arg-type]
    sent = (b"", b"Bearer ", b"Bearer " + TOKEN[:10].encode(), b"Basic x", b"Bearer " + b"\xff" * 9000)
    for value in sent:
        scope = {"method": "POST", "path": "/enhance", "headers": [(b"authorization", value)]}
        with pytest.raises(RefusedError, match="missing or wrong"):
            door._check(scope)
    assert compared == [(32, 32)] * len(sent)


def test_other_web_sites_cannot_use_it(serve: Serve, service: Service, jpeg: bytes) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Host": f"evil.example:{service.port}"},
    ):
        answer = service.post("/enhance", jpeg, headers)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    behind = {"Origin": "https://photos.example", "Sec-Fetch-Site": "same-origin"}
    assert "the proxy must pass on the header Host" in service.post("/enhance", jpeg, behind).detail
    own = f"http://127.0.0.1:{service.port}"
    assert service.post("/enhance", jpeg, {"Origin": own}).status == 200
    policy = service.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    friendly = serve("--allow-origin", "https://good.example")
    answer = friendly.post("/enhance", jpeg, {"Origin": "https://good.example"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://good.example")
    assert friendly.post("/enhance", jpeg, {"Origin": "https://evil.example"}).status == 403


def test_browsers_that_ask_before_are_refused_in_json(serve: Serve) -> None:
    service = serve("--allow-origin", "https://good.example")

    def ask(origin: str, method: str) -> Answer:
        asked = {"Origin": origin, "Access-Control-Request-Method": method}
        return service.ask("OPTIONS", "/enhance", headers=asked)

    allowed = ask("https://good.example", "POST")
    assert (allowed.status, allowed.headers["access-control-allow-methods"]) == (200, "GET, POST")
    foreign = ask("https://evil.example", "POST")
    assert (foreign.status, foreign.headers["content-type"]) == (403, "application/problem+json")
    assert "another web site may not use this service" in foreign.detail
    assert "access-control-allow-origin" not in foreign.headers
    assert "Origin" in foreign.headers["vary"]
    other = ask("https://good.example", "DELETE")
    assert (other.status, other.headers["content-type"]) == (400, "application/problem+json")
    assert "may use GET and POST" in other.detail


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("evil.com", "https://evil.com"),
        ("https://Good.Example/", "https://good.example"),
        ("https://good.example:443", "https://good.example"),
        ("http://localhost:5173/page", "http://localhost:5173"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("*", None),
        ("null", None),
        ("https://", None),
        ("https://[", None),
    ],
)
def test_sites_that_no_browser_names_so_are_refused(given: str, near: str | None) -> None:
    with pytest.raises(UsageError, match=r"not a web site as browsers name it: give https://HOST") as told:
        ServeOptions(allow_origins=("https://good.example", given))
    assert str(told.value).startswith(f"--allow-origin {given} is not")
    assert str(told.value).partition("here perhaps ")[2] == (f"{near})" if near else "")


def test_sites_as_browsers_name_them_are_taken() -> None:
    sites = ("https://a.example", "http://localhost:5173", "http://[::1]:8080", "moz-extension://0a-1b")
    assert ServeOptions(allow_origins=sites).allow_origins == sites


def test_hosts_are_known_in_capitals_too(serve: Serve, jpeg: bytes) -> None:
    service = serve("--allow-host", "Photos.example")
    for name, status in (("photos.example", 200), ("PHOTOS.EXAMPLE", 200), ("evil.example", 403)):
        assert service.post("/enhance", jpeg, {"Content-Type": "image/jpeg", "Host": name}).status == status


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("https://a.example", "a.example"),
        ("a.example:8443", "a.example"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("[::1]", "::1"),
        ("*.example", None),
    ],
)
def test_what_no_browser_names_so_is_no_host_that_a_service_answers_as(given: str, near: str | None) -> None:
    with pytest.raises(
        UsageError, match=f"--allow-host {re.escape(given)} is not the name of a host"
    ) as caught:
        ServeOptions(allow_hosts=(given,))
    assert (f"(here perhaps {near})" in str(caught.value)) == (near is not None)
    ServeOptions(allow_hosts=("A.example", "192.0.2.1", "2001:db8::1"))


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (f"{TOKEN}\n{TOKEN}\n", "has several lines, and one is needed"),
        ("0123456789 abcdef0", "has a space in it"),
        ("café-0123456789abcdef", "has a character outside of ASCII, such as an accented letter"),
        ("0123456789\0abcdef0", "has a control character in it"),
        ("short", "has 5, and must have at least 16 characters"),
        ("\n", "is empty, and must have at least 16"),
    ],
)
def test_what_is_wrong_with_a_token(tmp_path: Path, token: str, words: str) -> None:
    (tmp_path / "token").write_text(token, "utf-8")
    with pytest.raises(UsageError, match=f"the token of --token-file {words}") as told:
        ServeOptions(token_file=tmp_path / "token").secret({})
    assert "0123456789" not in str(told.value)
    (tmp_path / "token").write_text(f"\ufeff{TOKEN}\r\n", "utf-8")  # as Windows saves it
    assert ServeOptions(token_file=tmp_path / "token").secret({}) == TOKEN


def test_answers_name_neither_paths_nor_objects() -> None:
    error = RefusedError(
        422, "cannot read <_io.BytesIO object at 0x7f12ab> in /usr/lib/python3/x.py, 3/4 of it"
    )
    assert error.detail == "cannot read ... in ..., 3/4 of it"
    assert problem_of(ValueError("a bug")) is None
    assert intake.PAUSE_S <= 10
    assert protocol.HEAD_S <= 10


def test_nothing_is_written_to_disk(serve: Serve, tmp_path: Path) -> None:
    places = {name: str(tmp_path / name) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    for place in places.values():
        Path(place).mkdir()
    service = serve(environment=places | {"RAVE_CACHE_DIR": ""}, cwd=tmp_path)
    large = encode(np.random.default_rng(0).integers(0, 256, (500, 700, 3), np.uint8), "PNG")
    assert len(large) > 1_000_000  # where HTTP libraries begin to write uploads to temporary files
    body, kind = form([large, large])
    assert service.post("/batch", body, {"Content-Type": kind}).status == 200
    body, kind = form([large])
    assert service.post("/enhance", body, {"Content-Type": kind}).status == 200
    assert service.end()[0] == 0
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == sorted(places)
