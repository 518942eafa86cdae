"""The reasons to refuse a request, as JSON: RFC 9457's problem details with rave-run's messages."""

from __future__ import annotations

import http
import json
import re
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from rave_runtime.backends.stopping import StoppedError
from rave_runtime.errors import PhotoError, RaveError, UsageError

_INSIDES: Final = re.compile(r"<[^<>]*\bat 0x[0-9a-fA-F]+>|(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][\w.\-@+~]+){2,}")
"""Descriptions of Python objects and paths of this machine, which clients must not see."""

_PHRASES: Final = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Phrases of RFC 9110 for which some versions of Python have older ones."""


class RefusedError(Exception):
    """A request that is refused, and the reason.

    Args:
        status: the HTTP status.
        detail: a sentence for users: what came, what is needed, what to do.
        retry_after_s: after how many seconds to try again; None leaves the header out.
        allow: the methods that the path has, for 405.
    """

    def __init__(
        self, status: int, detail: str, retry_after_s: int | None = None, allow: tuple[str, ...] = ()
    ) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.detail: Final = _INSIDES.sub("...", detail)
        self.retry_after_s: Final = retry_after_s
        self.allow: Final = allow

    @property
    def title(self) -> str:
        """The standard phrase of the status."""
        return _PHRASES.get(self.status) or http.HTTPStatus(self.status).phrase

    def content(self) -> bytes:
        """Returns the problem as JSON."""
        return json.dumps({"title": self.title, "status": self.status, "detail": self.detail}).encode()

    def response(self) -> Response:
        """Returns the answer to the client."""
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.allow:
            headers["Allow"] = ", ".join(self.allow)
        return Response(self.content(), self.status, headers, "application/problem+json")


class ClientGoneError(Exception):
    """The client has closed its connection, or stopped reading; there is nobody to answer."""


def problem_of(error: Exception) -> RefusedError | None:
    """Returns the answer that a client gets for an error; None if the error is a bug of the service."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, HTTPException):  # of Starlette's router
        return _not_routed(error)
    if isinstance(error, StoppedError):
        return RefusedError(503, "the photograph was not finished in time: try again", 5)
    if isinstance(error, PhotoError):
        return RefusedError(422, f"the photograph {error}")
    if isinstance(error, UsageError):
        return RefusedError(400, str(error))
    if isinstance(error, MemoryError):
        return RefusedError(503, "there is not enough memory for this photograph now: try again", 5)
    if isinstance(error, RaveError):  # about the model or device: its message is only for the operator's log
        return RefusedError(503, "the model cannot be used here: the service's log says why")
    return None


def _not_routed(error: HTTPException) -> RefusedError:
    """Returns the answer to a request for which Starlette's router has no function."""
    if error.status_code == 404:
        return RefusedError(404, "there is nothing at this path")
    if error.status_code == 405:
        allow = tuple(sorted((error.headers or {}).get("Allow", "").split(", ")))
        way = "photographs are sent with POST" if "POST" in allow else "it is read with GET"
        return RefusedError(405, f"this path is not for this method: {way}", allow=allow)
    return RefusedError(error.status_code, "the request makes no sense")
