"""Limits the number of connections, and the time that each may wait for a request or leave answers unread.

uvicorn waits for ever for a request that does not come or comes letter by letter. Here such a connection
is closed after `HEAD_S` seconds, or earlier if another one needs its place. uvicorn also waits for ever for a
client to read; here such a connection is closed after `UNREAD_S` seconds. And uvicorn parses whatever a
client has sent before it turns to the others; here it turns to them sooner where the parsing takes long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from rave_runtime.serve.problems import RefusedError

HEAD_S: Final = 10.0
"""How long a connection may have no request, or only an incomplete head of one."""

UNREAD_S: Final = 40.0
"""How long a client may read nothing while bytes wait for it. It is longer than the time that the guard gives
for a piece of an answer, so that the log says first that the client has left."""

IS_SPARE: Final = "rave_serve_is_spare"
"""The key that is true in the scope of a request that was refused and whose body is only thrown away: its
connection may be closed when another one needs its place."""

_LINGER_S: Final = 0.3
"""How long a refused client may take to read the reason."""

_HEAD_BYTES: Final = 16 * 1024
"""Most bytes of a request's head."""

_READ_BYTES: Final = (256, 2048, 64 * 1024)
"""How much is read from a connection before the others have their turn: at least, at first and at most. In a
body whose chunks are of one byte, each takes about 30 microseconds: to parse what asyncio reads at a time,
256 KiB, would keep all others waiting for over a second."""

_LONG_S: Final = 0.003
"""After a read that took so much of the processor's time to parse, the connection's next one is shorter."""


class _StrictConnection(h11.Connection):
    """h11's parser, which also refuses a request that has two lengths.

    A proxy in front may go by the other one: what it takes for a body would then be the next request here.
    """

    def next_event(self) -> Any:
        """Returns the next part of a request, as h11 does.

        Raises:
            h11.RemoteProtocolError: it makes no sense, or has both Content-Length and Transfer-Encoding.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("the request has two lengths")
        return event


class BoundedProtocol(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP/1.1 with limits for connections. `bounded_protocol` sets the attributes for a server.

    It is a `BufferedProtocol`, since only those say how much is read at a time.

    Attributes:
        max_connections: most connections at a time.
        idle: the connections that wait for a request, the longest first; a dictionary for its order.
        lingering: the refused connections that are not yet closed.
    """

    max_connections: ClassVar[int] = 512
    idle: ClassVar[dict[BoundedProtocol, None]] = {}
    lingering: ClassVar[set[BoundedProtocol]] = set()

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.conn = _StrictConnection(h11.SERVER, _HEAD_BYTES)
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._is_refused = False
        self._read_bytes = _READ_BYTES[1]
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accepts a connection; at the limit it closes an idle one instead, or else refuses the new one."""
        if len(self.connections) >= self.max_connections and not self._evict():
            self._refuse(transport)
            return
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of every byte that waits
        self._become_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets a connection."""
        self._stop_timer()
        self._stop_unread_timer()
        self.idle.pop(self, None)
        self.lingering.discard(self)
        if not self._is_refused:
            super().connection_lost(exc)

    @staticmethod
    def count_refusal(status: int) -> None:
        """Is told the status of each answer of which the application does not know."""

    def get_buffer(self, sizehint: int) -> bytearray:
        """Returns the memory for the next read, which is as long as that read may be."""
        del sizehint
        self._buffer = bytearray(self._read_bytes)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Parses what was read; where that takes long, less is read the next time."""
        data, self._buffer = bytes(memoryview(self._buffer)[:nbytes]), bytearray()
        started = time.thread_time()
        self.data_received(data)
        is_long = time.thread_time() - started > _LONG_S
        wanted = self._read_bytes // 4 if is_long else self._read_bytes * 2
        self._read_bytes = min(max(wanted, _READ_BYTES[0]), _READ_BYTES[2])

    def data_received(self, data: bytes) -> None:
        """Parses what came, and keeps the time limit running until the head is complete."""
        if self._is_refused:
            return
        super().data_received(data)
        if self._is_busy():
            self._stop_timer()
            self.idle.pop(self, None)
        elif self._head_timer is None:
            self._become_idle()

    def on_response_complete(self) -> None:
        """Starts the time limit of the next request."""
        super().on_response_complete()
        if not self.transport.is_closing() and not self._is_busy():
            self._stop_timer()
            self._become_idle()

    def pause_writing(self) -> None:
        """Starts the time limit for a client that does not read, when bytes begin to wait for it."""
        super().pause_writing()
        self._unread_timer = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends that time limit, since the client has read; after a whole answer the next request may come."""
        super().resume_writing()
        self._stop_unread_timer()
        if self._head_timer is None and not self.transport.is_closing() and not self._is_busy():
            self._become_idle()

    def send_400_response(self, msg: str) -> None:
        """Answers with a problem in JSON where the request cannot be parsed."""
        del msg
        content = RefusedError(400, "this is not a request of HTTP/1.1 that can be read").content()
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        try:
            pieces = [self.conn.send(h11.Response(status_code=400, headers=headers, reason=b"Bad Request"))]
            pieces += [self.conn.send(h11.Data(data=content)), self.conn.send(h11.EndOfMessage())]
        except h11.LocalProtocolError:  # an answer is on its way already
            self.transport.close()
            return
        self.count_refusal(400)
        self.transport.write(b"".join(piece for piece in pieces if piece))
        self.transport.close()

    def _is_busy(self) -> bool:
        """Whether a request is in work, or a part of its answer is not yet on its way to the client."""
        if self.transport.get_write_buffer_size():
            return True
        return bool(self.cycle) and not self.cycle.response_complete

    def _become_idle(self) -> None:
        self.idle[self] = None
        self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self._is_busy():
            self.transport.abort()

    def _evict(self) -> bool:
        """Closes the connection that has been idle for longest, or a spare one; returns False without any."""
        spare = (one for one in self.connections if isinstance(one, BoundedProtocol) and one._is_spare())
        found = next(iter(self.idle), None) or next(spare, None)
        if found is None:
            return False
        self.idle.pop(found, None)
        self.connections.discard(found)
        found.transport.abort()
        return True

    def _is_spare(self) -> bool:
        return bool(self.cycle) and IS_SPARE in self.cycle.scope

    def _refuse(self, transport: asyncio.Transport) -> None:
        """Answers a connection over the limit with 503 and closes it, without reading its request."""
        self._is_refused = True
        self.transport = transport
        self.count_refusal(503)
        if len(self.lingering) >= self.max_connections:
            transport.abort()
            return
        self.lingering.add(self)
        content = RefusedError(503, "too many connections are open: try again").content()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 2\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        transport.write(head.encode() + content)
        if transport.can_write_eof():
            transport.write_eof()
        self.loop.call_later(_LINGER_S, transport.abort)


def bounded_protocol(max_connections: int, count_refusal: Callable[[int], None]) -> type[BoundedProtocol]:
    """Makes the protocol class of one server, which limits its number of connections.

    Args:
        max_connections: most connections at a time.
        count_refusal: called with the status of each answer that the application does not know of.
    """
    bounds: dict[str, Any] = {
        "max_connections": max_connections,
        "idle": {},
        "lingering": set(),
        "count_refusal": staticmethod(count_refusal),
    }
    return type("ServerProtocol", (BoundedProtocol,), bounds)
