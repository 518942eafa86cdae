"""Starts and ends the service: opens the socket, loads the model, and handles signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from rave_runtime.backends.limits import startable_threads, usable_processors
from rave_runtime.enhancer import Enhancer
from rave_runtime.errors import RaveError, UsageError
from rave_runtime.run.memory import choose_tile_size, keep_freed_memory, most_workers
from rave_runtime.serve.app import Service
from rave_runtime.serve.log import LineLog
from rave_runtime.serve.options import ServeOptions
from rave_runtime.serve.pictures import Studio
from rave_runtime.serve.protocol import bounded_protocol

_FURTHER_THREADS: Final = 3
"""Threads beside those of the photographs: for the log, for loading the model, and for ending."""

_ANSWER_S: Final = 1
"""The last part of `drain_s`: what is not finished then is refused, and this long the answers may take."""

_LOOK_S: Final = 0.05
"""How often a service that ends looks whether all its requests are answered."""

_MOST_FILES: Final = (65536, 10240)
"""Open files that are asked for, the first number that the system allows. Every macOS allows the second."""

_SWITCH_S: Final = 0.0005
"""How long a worker may keep Python's lock while the event loop waits for it. Python's default is 5 ms, and
a health check would wait several times that."""


def serve(options: ServeOptions) -> int:
    """Answers requests until a signal ends it.

    Returns:
        The exit code: 0 if a signal ended the service, 1 if the model could not be loaded.

    Raises:
        RaveError: the options or the model cannot be used, or the address cannot be listened on.
    """
    secret = options.secret()
    keep_freed_memory()
    _raise_file_limit()
    sys.setswitchinterval(_SWITCH_S)
    processors = usable_processors()
    workers = options.workers or max(1, min(processors, most_workers(options.memory_limit_mib)))
    enhancer = Enhancer(
        options.model,
        precision=options.precision,
        device=options.device,
        tile_size=choose_tile_size(options.memory_limit_mib, workers),
        threads=max(1, processors // workers),
    )
    needed_threads = workers + _FURTHER_THREADS
    if (allowed := startable_threads(needed_threads)) < needed_threads:
        raise UsageError(
            f"{needed_threads} threads are needed for {workers} photographs at a time, and the system allows "
            f"{allowed}: raise the limit (ulimit -u, or the container's), or give fewer --workers"
        )
    listener = _listen(options)
    log = LineLog(sys.stdout if options.log else None)
    studio = Studio(enhancer, options.max_megapixels, options.memory_limit_mib)
    service = Service(studio, options, workers, log)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "python_multipart"):
        # The service has its log instead, and clients are told what is wrong with their requests.
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    config = uvicorn.Config(
        service.app(secret),
        http=bounded_protocol(options.max_connections, service.count_refusal),
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=_ANSWER_S,
    )
    server = _Server(config)
    try:
        code = asyncio.run(_serve(server, service, listener))
    finally:
        log.close()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if service.work.running:  # threads that do not stop must not delay the end
        os._exit(code)
    return code


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handling, which would end the process as if it had failed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to `_serve`."""
        yield


async def _serve(server: _Server, service: Service, listener: socket.socket) -> int:
    """Serves until a signal ends it, loads the model meanwhile, and returns the exit code."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _note(service, context))
    code = 0
    ending: asyncio.Future[None] | None = None

    def end() -> None:
        nonlocal ending
        if service.is_draining:
            server.should_exit = server.force_exit = True
            return
        ending = asyncio.ensure_future(_finish(server, service.drain()))

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, end)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(end))

    async def load() -> None:
        nonlocal code
        try:
            await loop.run_in_executor(None, service.studio.warm_up)
        except RaveError as error:
            print(f"rave-serve: {error}", file=sys.stderr, flush=True)  # noqa: T201
            code, server.should_exit = 1, True
            return
        service.is_ready = True
        service.log.write(event="ready", **service.facts)

    loading = asyncio.ensure_future(load())
    await server.serve(sockets=[listener])
    loading.cancel()
    if ending is not None:
        ending.cancel()
    service.log.write(event="ended", in_work=service.work.running)
    return code


async def _finish(server: _Server, seconds: float) -> None:
    """Lets the server end once all requests are answered, or after so many seconds.

    Until then it listens, which uvicorn alone does not: probes and clients are told that the service ends,
    since nobody can tell a closed port from a crash.
    """
    end = asyncio.get_running_loop().time() + seconds
    while server.server_state.tasks and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(_LOOK_S)
    server.should_exit = True


def _note(service: Service, context: dict[str, Any]) -> None:
    """Logs an error that asyncio would print, such as a connection that broke."""
    service.log.write(event="connection", reason=str(context.get("message", ""))[:200])


def _listen(options: ServeOptions) -> socket.socket:
    """Opens a socket at the address and prints the address.

    Raises:
        UsageError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        socket.getaddrinfo(options.host or None, options.port, family, socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the second: it cannot be a name
        raise UsageError(
            f"--host {options.host} is no address, and no name of which an address is known: give an address "
            "of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=1024)
    except OSError as error:
        # In Python's words, which repeat the address: os.strerror knows no errors of sockets on Windows.
        reason = str(error.strerror or error).partition(" (while ")[0]
        raise UsageError(
            f"{options.host}:{options.port} cannot be listened on ({reason}): give another --port or --host"
        ) from error
    listener.setblocking(False)
    host = f"[{options.host}]" if ":" in options.host else options.host
    place = f"http://{host}:{listener.getsockname()[1]}/"
    words = "no photograph leaves this machine" if options.is_loopback else "requests need the token"
    print(f"rave-serve: {place} ({words}; Ctrl-C ends it)", file=sys.stderr, flush=True)  # noqa: T201
    return listener


def _raise_file_limit() -> None:
    """Raises the process's limit of open files, and so of connections, as far as the system allows."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # macOS names no limit, and refuses more than its kernel has set aside.
        for limit in _MOST_FILES if hard == resource.RLIM_INFINITY else (min(hard, _MOST_FILES[0]),):
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
                return
