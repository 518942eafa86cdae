"""Wraps the application: checks who may ask, adds headers, bounds the answer's time, logs and counts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
import traceback
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rave_runtime.errors import RaveError
from rave_runtime.serve.intake import BODY_S, discard_body
from rave_runtime.serve.log import LineLog
from rave_runtime.serve.metrics import Metrics
from rave_runtime.serve.options import ServeOptions
from rave_runtime.serve.page import PAGE_FILES
from rave_runtime.serve.problems import ClientGoneError, RefusedError, problem_of
from rave_runtime.serve.protocol import IS_SPARE

PIECE_BYTES: Final = 128 * 1024
"""The largest piece of an answer that is handed to the connection at a time."""

SEND_S: Final = 30.0
"""How long a client may take to read one piece."""

_ENDING_S: Final = 0.5
"""How long the rest of a refused body is waited for while the service ends."""

OPEN_PATHS: Final = frozenset({*PAGE_FILES, "/healthz", "/readyz", "/version", "/openapi.json"})
"""The paths that are answered without a token, since they tell nothing about photographs."""

ROUTES: Final = OPEN_PATHS | {"/enhance", "/light", "/batch", "/metrics"}

_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"cache-control", b"no-store"),
)


_FOREIGN: Final = (
    "another web site may not use this service: --allow-origin lets one (if this is the service's own page, "
    "behind a proxy, the proxy must pass on the header Host)"
)


class Guard:
    """Checks requests before the application gets them, and turns its errors into answers.

    Args:
        app: the application.
        options: the options of the service.
        secret: the token that requests must bring; None asks for none.
        metrics: where requests are counted.
        log: where requests are written.
        is_ending: whether connections are closed after their answers, so that clients go elsewhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: ServeOptions,
        secret: str | None,
        metrics: Metrics,
        log: LineLog,
        is_ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._app = app
        self._origins = frozenset(options.allow_origins)
        self._hosts = {"localhost", "127.0.0.1", "::1", options.host.lower()}
        self._hosts.update(name.lower() for name in options.allow_hosts)
        self._checks_host = secret is None
        self._secret = None if secret is None else hashlib.sha256(secret.encode()).digest()
        self._metrics = metrics
        self._log = log
        self._is_ending = is_ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, then logs and counts it.

        Raises:
            ClientGoneError: the answer is not complete; uvicorn then closes the connection.
        """
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        answer = _Answer(send, self._is_ending, scope["method"] != "HEAD")
        facts: dict[str, Any] = {"id": uuid.uuid4().hex[:16]}
        scope["facts"] = facts
        scope["app"] = self  # makes Starlette raise its refusals, which then become answers like all others
        bytes_in = 0
        has_more = True

        async def counted_receive() -> Message:
            nonlocal bytes_in, has_more
            message = await receive()
            bytes_in += len(message.get("body", b""))
            has_more = message.get("more_body", False)
            return message

        async def let_client_read() -> None:
            """Takes the rest of the body, since many clients read no answer before they have sent all."""
            if has_more and answer.status != 408:  # who was too slow has had its time
                scope[IS_SPARE] = True
                await discard_body(counted_receive, _ENDING_S if self._is_ending() else BODY_S)

        try:
            try:
                self._check(scope)
                await self._app(scope, counted_receive, answer)
                if not answer.is_complete:  # Starlette says nothing where the client of a stream has left
                    raise ClientGoneError
            except ClientGoneError:
                raise
            except Exception as error:
                answer.before_end = let_client_read
                await self._tell(scope, error, answer, facts)
        except (ClientGoneError, TimeoutError, OSError):
            facts["left"] = True
        finally:
            seconds = time.perf_counter() - started
            route = scope["path"] if scope["path"] in ROUTES else "other"
            status = answer.status or 499
            self._metrics.count_request(route, status, seconds, bytes_in, answer.length)
            self._log.write(
                id=facts.pop("id"),
                method=scope["method"][:10],
                route=route,
                status=status,
                seconds=round(seconds, 4),
                bytes_in=bytes_in,
                bytes_out=answer.length,
                client=(scope.get("client") or ("",))[0],
                **facts,
            )
        if answer.status is None or not answer.is_complete:
            raise ClientGoneError

    async def _tell(self, scope: Scope, error: Exception, answer: _Answer, facts: dict[str, Any]) -> None:
        """Answers with the problem that an error is for the client, and adds it to the facts for the log."""
        problem = problem_of(error)
        if problem is None:
            lines = traceback.format_exception(error)
            facts["bug"] = "".join(lines)[-4000:]
            problem = RefusedError(
                500, f"the request {facts['id']} hit a bug in rave-serve: please report it"
            )
        elif isinstance(error, RaveError):
            facts["error"] = type(error).__name__
            if problem.status == 503:
                facts["reason"] = str(error)  # about the model or device: only for the operator's log
        if answer.status is not None:
            raise ClientGoneError  # the answer has begun, and cannot become another one
        await problem.response()(scope, _nothing, answer)

    def _check(self, scope: Scope) -> None:
        """Refuses requests that are not allowed.

        Raises:
            RefusedError: 401 the token is missing or wrong; 403 the request comes from another site's page,
                or uses another host name.
        """
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if self._checks_host and _host_name(host) not in self._hosts:
            raise RefusedError(
                403,
                "this service answers as localhost only, so that no web site can pass for it: "
                "start it with --allow-host NAME for other names",
            )
        if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            origin = headers.get(b"origin", b"").decode("latin-1")
            site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
            is_own = not origin or origin.partition("://")[2].lower() == host
            is_foreign = not is_own or (not origin and site not in ("", "none", "same-origin"))
            if is_foreign and origin not in self._origins:
                raise RefusedError(403, _FOREIGN)
        if self._secret is None or scope["path"] in OPEN_PATHS:
            return
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        # Digests are compared: they have one length, so the time does not tell how much of a token is right.
        is_right = hmac.compare_digest(hashlib.sha256(token.strip()).digest(), self._secret)
        if scheme.lower() != b"bearer" or not is_right:
            raise RefusedError(401, "the token is missing or wrong: send Authorization: Bearer TOKEN")


class Crossings(CORSMiddleware):
    """Tells browsers which other sites may use the service, and how; its refusals are problems in JSON."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answers a browser that asks before it sends another site's request."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        if self.is_allowed_origin(request_headers["origin"]):
            problem = RefusedError(
                400, "other web sites may use GET and POST, with the headers Authorization and Content-Type"
            )
        else:
            problem = RefusedError(403, _FOREIGN)
        refusal = problem.response()
        for name, value in answer.headers.items():
            if name == "vary" or name.startswith("access-control-"):
                refusal.headers[name] = value
        return refusal


class _Answer:
    """Sends an answer in pieces, each of which the client must read within `SEND_S`.

    Attributes:
        status: the HTTP status that was sent; None before.
        length: how many bytes of the body were sent.
        is_complete: whether the whole body was sent.
        before_end: waited for between the last byte of the body and the end of the answer, if it is set.

    Args:
        send: takes the messages for the client.
        is_ending: whether the connection is closed after the answer.
        has_body: False for HEAD, of whose answer only the head is sent.
    """

    def __init__(self, send: Send, is_ending: Callable[[], bool], has_body: bool) -> None:
        self._send = send
        self._is_ending = is_ending
        self._has_body = has_body
        self.status: int | None = None
        self.length = 0
        self.is_complete = False
        self.before_end: Callable[[], Awaitable[None]] | None = None

    async def __call__(self, message: Message) -> None:
        """Sends one message of the application: the head with our headers added, or a part of the body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            present = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *((name, value) for name, value in _HEADERS if name not in present),
                *([(b"connection", b"close")] if self._is_ending() else []),
            ]
            await asyncio.wait_for(self._send(message), SEND_S)
            return
        body = message.get("body", b"")
        more = message.get("more_body", False)
        for start in range(0, max(1, len(body)), PIECE_BYTES):
            piece = body[start : start + PIECE_BYTES]
            is_last = start + PIECE_BYTES >= len(body) and not more
            await self._send_part(piece, not is_last or self.before_end is not None)
            self.length += len(piece) if self._has_body else 0
        if self.before_end is not None and not more:
            await self.before_end()
            await self._send_part(b"", False)
        self.is_complete = not more

    async def _send_part(self, content: bytes, more: bool) -> None:
        part = {"type": "http.response.body", "body": content, "more_body": more}
        await asyncio.wait_for(self._send(part), SEND_S)


def _host_name(text: str) -> str:
    """Returns the name or address in a Host header without its port; empty where it is not valid."""
    if not all(sign.isalnum() or sign in ".-:[]_" for sign in text):
        return ""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""


async def _nothing() -> Message:
    raise ClientGoneError
