"""Reads the bodies of requests, within limits of size and time and only in memory, and their parts."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import python_multipart
from python_multipart.exceptions import FormParserError
from starlette.requests import Request
from starlette.types import Receive

from rave_runtime.serve.problems import ClientGoneError, RefusedError
from rave_runtime.serve.work import ByteLedger

Answer = TypeVar("Answer")

PAUSE_S: Final = 10.0
"""The longest pause in a body."""

BODY_S: Final = 120.0
"""The longest time for a whole body."""

_FIELD_BYTES: Final = 256
"""The longest value of a field of a form, other than a photograph, in bytes."""

_QUOTED: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_CODED_FILE_NAME: Final = re.compile(rb";\s*filename\*[\d*]*\s*=", re.IGNORECASE)
"""A file name in the coding of RFC 5987 or 2231: some clients send one that is not ASCII only so."""


@dataclass(frozen=True)
class Form:
    """The parts of a body.

    Attributes:
        photographs: the bytes of each file, in the order in which they came. File names are ignored.
        fields: the texts of the other parts, by name.
    """

    photographs: tuple[bytes, ...]
    fields: dict[str, str]


@contextlib.asynccontextmanager
async def reading_body(request: Request, limit: int, ledger: ByteLedger) -> AsyncIterator[bytes]:
    """Reads a request's body; its bytes are counted in the ledger for as long as the context lasts.

    Args:
        request: a request whose body has not been read.
        limit: most bytes of the body.
        ledger: where the bytes are counted as they come.

    Raises:
        RefusedError: 413 the body is too long, 408 it comes too slowly, 415 it is compressed, 429 all bodies
            together are too long.
        ClientGoneError: the client went away in the middle.
    """
    if request.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise RefusedError(415, "the body is compressed (Content-Encoding): send the file as it is")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_long(limit)
    pieces: list[bytes] = []
    length = 0
    try:
        try:
            async with asyncio.timeout(BODY_S):
                more = True
                while more:
                    message = await asyncio.wait_for(request.receive(), PAUSE_S)
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    piece = message.get("body", b"")
                    if length + len(piece) > limit:
                        raise _too_long(limit)
                    ledger.take(len(piece))
                    length += len(piece)
                    pieces.append(piece)
                    more = message.get("more_body", False)
        except TimeoutError:
            raise RefusedError(408, f"the body stopped for {PAUSE_S:g} s or took over {BODY_S:g} s") from None
        body = b"".join(pieces)
        pieces.clear()
        yield body
    finally:
        ledger.give(length)


async def discard_body(receive: Receive, seconds: float) -> None:
    """Reads what still comes of a body that is refused, and throws it away.

    Args:
        receive: gives the next part of the body, of which more is to come.
        seconds: the longest time for it; a pause in it ends it, too.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (await asyncio.wait_for(receive(), PAUSE_S)).get("more_body", False):
                pass


async def while_connected(request: Request, work: Awaitable[Answer]) -> Answer:
    """Waits for work and returns its answer; cancels the work when the client has gone.

    Args:
        request: a request whose body has been read.
        work: the work to wait for.

    Raises:
        ClientGoneError: the client has closed the connection.
    """

    async def wait_for_end() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(wait_for_end())
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientGoneError
        return doing.result()
    finally:
        for future in (doing, leaving):
            if not future.done():
                future.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await future


def read_form(body: bytes, content_type: str, max_files: int) -> Form:
    """Parses a body: the parts of a form, or one photograph, depending on its Content-Type.

    Args:
        body: the body of the request.
        content_type: the header's value; empty where there was none.
        max_files: most photographs.

    Raises:
        RefusedError: 400 the form is damaged, 413 it has too many parts, 415 the body is of another kind.
    """
    kind, options = python_multipart.multipart.parse_options_header(content_type)
    if kind != b"multipart/form-data":
        if kind not in (b"", b"application/octet-stream", b"application/x-www-form-urlencoded") and (
            not kind.startswith(b"image/")
        ):
            raise RefusedError(
                415,
                "a photograph is needed, as the body itself (image/jpeg, application/octet-stream) or as a "
                "file of multipart/form-data; /batch takes a zip (application/zip), too",
            )
        return Form((body,), {})
    boundary = options.get(b"boundary")
    if not boundary:
        raise RefusedError(400, "the multipart body has no boundary: let your HTTP library set Content-Type")
    parts = _Parts(max_files)
    try:
        parser = python_multipart.MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise RefusedError(400, "the multipart body is cut short or makes no sense") from None
    if not parts.is_complete:
        raise RefusedError(400, "the multipart body is cut short or makes no sense")
    return Form(tuple(parts.photographs), parts.fields)


class _Parts:
    """Collects the parts of a form through the parser's callbacks."""

    def __init__(self, max_files: int) -> None:
        self.photographs: list[bytes] = []
        self.fields: dict[str, str] = {}
        self.is_complete = False
        self._max_parts = max_files + 16
        self._max_files = max_files
        self._count = 0
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self._pieces: list[bytes] = []

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """Returns the functions that the parser calls, by the parser's names for them."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._count += 1
        if self._count > self._max_parts:
            raise RefusedError(413, f"the form has over {self._max_parts} parts: send fewer")
        self._disposition, self._pieces = b"", []

    def _end_header(self) -> None:
        name, value = bytes(self._header[0]).lower(), bytes(self._header[1])
        self._header = (bytearray(), bytearray())
        if name == b"content-disposition":
            self._disposition = value

    def _end_part(self) -> None:
        """Keeps a finished part: as a photograph if it has a file name, otherwise as a field."""
        content = b"".join(self._pieces)
        self._pieces = []
        _, options = python_multipart.multipart.parse_options_header(self._disposition)
        if options.get(b"filename") == b"" and not content:
            return  # in a browser's form nothing was chosen here
        if b"filename" in options or _CODED_FILE_NAME.search(_QUOTED.sub(b"", self._disposition)):
            if len(self.photographs) >= self._max_files:
                raise _too_many(self._max_files)
            self.photographs.append(content)
            return
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if len(content) > _FIELD_BYTES:
            raise RefusedError(400, "a field of the form is too long: photographs must be files of the form")
        if name in self.fields:
            raise RefusedError(400, "a field of the form is there twice: give it once")
        self.fields[name] = content.decode("utf-8", "replace")

    def _end(self) -> None:
        self.is_complete = True


def _too_many(limit: int) -> RefusedError:
    if limit == 1:
        words = "the form holds several photographs: send one photograph per request, or use /batch"
    else:
        words = f"the form holds over {limit} photographs: send fewer at a time"
    return RefusedError(413, words)


def _too_long(limit: int) -> RefusedError:
    return RefusedError(413, f"the body is over the limit of {limit >> 20} MiB: send a smaller file")
