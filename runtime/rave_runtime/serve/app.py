"""The application: the service's paths and their answers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from rave_runtime.photos.formats import usual_ending
from rave_runtime.run.one_photo import EnhancedPhoto
from rave_runtime.serve.batches import Source, photographs_of, stream_zip
from rave_runtime.serve.guard import Crossings, Guard
from rave_runtime.serve.intake import read_form, reading_body, while_connected
from rave_runtime.serve.log import LineLog
from rave_runtime.serve.metrics import CONTENT_TYPE, Metrics, resident_bytes
from rave_runtime.serve.openapi import describe
from rave_runtime.serve.options import ServeOptions
from rave_runtime.serve.page import PAGE_FILES
from rave_runtime.serve.pictures import (
    ENHANCE_PARAMETERS,
    LIGHT_PARAMETERS,
    LightMap,
    Studio,
    Wishes,
    parse_wishes,
)
from rave_runtime.serve.problems import RefusedError
from rave_runtime.serve.work import ByteLedger, IsStopped, WorkQueue
from rave_runtime.version import __version__

_MOST_BATCHES: Final = 2
"""Most batches in work at a time; each has as many photographs in work or waiting as there are workers."""


class Service:
    """The state that all requests share, and the functions that answer them.

    Attributes:
        work: the queue of tasks for the worker threads.
        ledger: counts the bytes of bodies and results in memory.
        is_ready: whether the model is loaded.
        is_draining: whether the service takes no more photographs, since it is ending.
        facts: version, precision, provider and number of workers, for clients and logs.

    Args:
        studio: enhances photographs.
        options: the options of the service.
        workers: photographs in work at a time.
        log: where requests are written.
    """

    def __init__(self, studio: Studio, options: ServeOptions, workers: int, log: LineLog) -> None:
        self.studio: Final = studio
        self.options: Final = options
        self.work: Final = WorkQueue(workers, options.max_queue, options.timeout_s)
        self.ledger: Final = ByteLedger(options.body_budget_bytes)
        self.is_ready = False
        self.is_draining = False
        self.log: Final = log
        self._batches = 0
        setup = studio.enhancer.setup
        self.facts: Final[dict[str, str | int]] = {
            "version": __version__,
            "precision": setup.precision,
            "provider": setup.provider,
            "workers": workers,
        }
        self.metrics: Final = Metrics(
            {
                "rave_queue_length": ("Requests that wait for a worker.", lambda: self.work.waiting),
                "rave_in_work": ("Photographs in work.", lambda: self.work.running),
                "rave_held_bytes": ("Bytes of bodies in memory.", lambda: self.ledger.held),
                "process_resident_memory_bytes": ("Resident memory.", resident_bytes),
            },
            tuple((name, str(value)) for name, value in self.facts.items()),
        )

    def count_refusal(self, status: int) -> None:
        """Counts an answer to what could not be read as a request, or came on a connection too many."""
        self.metrics.count_request("other", status, 0, 0, 0)

    def drain(self) -> float:
        """Takes no more photographs; returns the seconds after which those still in work are refused."""
        seconds = max(0.1, self.options.drain_s - 1)
        self.is_draining = True
        self.work.drain(seconds)
        return seconds

    def app(self, secret: str | None) -> ASGIApp:
        """Makes the application, with its guard in front.

        Args:
            secret: the token that requests must bring; None asks for none.
        """
        routes = [
            *(Route(path, self.page, methods=["GET"]) for path in PAGE_FILES),
            Route("/enhance", self.enhance, methods=["POST"]),
            Route("/light", self.light, methods=["POST"]),
            Route("/batch", self.batch, methods=["POST"]),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/readyz", self.readiness, methods=["GET"]),
            Route("/metrics", self.figures, methods=["GET"]),
            Route("/version", self.version, methods=["GET"]),
            Route("/openapi.json", self.openapi, methods=["GET"]),
        ]
        self._document = json.dumps(describe(self.options, secret is not None)).encode()
        app: ASGIApp = Guard(
            Router(routes, redirect_slashes=False),
            self.options,
            secret,
            self.metrics,
            self.log,
            lambda: self.is_draining,
        )
        if self.options.allow_origins:
            app = Crossings(
                app,
                allow_origins=self.options.allow_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type"],
                expose_headers=["rave-size", "rave-warnings", "server-timing", "retry-after"],
            )
        return app

    async def page(self, request: Request) -> Response:
        """Answers with the web page, or with one of its files."""
        file = PAGE_FILES[request.url.path]
        return Response(file.content, media_type=file.media_type)

    async def health(self, request: Request) -> Response:
        """Answers whether the process works; 503 when every worker hangs and a restart is needed."""
        del request
        if self.work.is_stuck(time.monotonic()):
            raise RefusedError(503, "every worker has been busy far longer than allowed: restart the service")
        return _json({"status": "ok"})

    async def readiness(self, request: Request) -> Response:
        """Answers whether photographs may be sent here now; 503 while the service starts or ends."""
        del request
        if self.is_draining or not self.is_ready:
            raise RefusedError(
                503, "the service is ending" if self.is_draining else "the model is being loaded", 1
            )
        return _json({"status": "ready"})

    async def version(self, request: Request) -> Response:
        """Answers with the version and how this service computes."""
        del request
        return _json(self.facts)

    async def openapi(self, request: Request) -> Response:
        """Answers with the description in OpenAPI."""
        del request
        return Response(self._document, media_type="application/json")

    async def figures(self, request: Request) -> Response:
        """Answers with the metrics for Prometheus."""
        del request
        return Response(self.metrics.text(), media_type=CONTENT_TYPE)

    async def enhance(self, request: Request) -> Response:
        """Enhances one photograph and answers with its file."""
        photo: EnhancedPhoto = await self._one_photo(request, ENHANCE_PARAMETERS, self.studio.enhance)
        self._count(photo)
        stages = ", ".join(f"{name};dur={took * 1000:.1f}" for name, took in photo.stage_seconds.items())
        headers = _facts(photo.width_px, photo.height_px, photo.warnings) | {"Server-Timing": stages}
        headers["Content-Disposition"] = f'inline; filename="enhanced{usual_ending(photo.format)}"'
        return _Result(photo.content, self.ledger, headers=headers, media_type=photo.media_type)

    async def light(self, request: Request) -> Response:
        """Estimates the illumination map of one photograph and answers with its file."""
        light: LightMap = await self._one_photo(request, LIGHT_PARAMETERS, self.studio.light)
        return _Result(
            light.content,
            self.ledger,
            headers=_facts(light.width_px, light.height_px, light.warnings),
            media_type=light.media_type,
        )

    async def batch(self, request: Request) -> Response:
        """Enhances many photographs and answers with a zip of them, sent while it is made."""
        self._refuse_early()
        if self._batches >= _MOST_BATCHES:
            raise RefusedError(429, f"{self._batches} batches are in work: try again", 10)
        async with contextlib.AsyncExitStack() as held:
            self._batches += 1
            held.callback(self._end_batch)
            reading = reading_body(request, self.options.max_batch_mib << 20, self.ledger)
            body = await held.enter_async_context(reading)
            content_type = request.headers.get("content-type", "")
            limit = self.options.max_body_mib << 20

            def prepare(_: IsStopped) -> tuple[list[Source], Wishes]:
                sources, fields = photographs_of(body, content_type, self.options.max_batch_photos, limit)
                return sources, parse_wishes(
                    [*request.query_params.multi_items(), *fields], ENHANCE_PARAMETERS
                )

            (sources, wishes), _ = await while_connected(request, self.work.run(prepare))

            async def enhance(source: Source) -> EnhancedPhoto:
                photo, waited = await self.work.run(
                    lambda is_stopped: self.studio.enhance(source(), wishes, is_stopped), patient=True
                )
                self.metrics.add_stage("queue", waited)
                self._count(photo)
                return photo

            pieces = stream_zip(sources, enhance, self.work.workers)
            held.push_async_callback(pieces.aclose)
            return _Archive(
                pieces,
                held.pop_all(),
                headers={"Content-Disposition": 'attachment; filename="enhanced.zip"'},
                media_type="application/zip",
            )

    def _end_batch(self) -> None:
        self._batches -= 1

    async def _one_photo(self, request: Request, parameters: tuple[str, ...], task: Any) -> Any:
        """Reads a body, runs a task with its photograph while the client waits, and returns the answer."""
        self._refuse_early()
        async with reading_body(request, self.options.max_body_mib << 20, self.ledger) as body:
            content_type = request.headers.get("content-type", "")
            pairs = request.query_params.multi_items()

            def work(is_stopped: IsStopped) -> Any:
                form = read_form(body, content_type, 1)
                if not form.photographs:  # said first: who forgets the @ of curl has sent a field
                    words = "send one as a file of it (curl -F photo=@a.jpg)"
                    raise RefusedError(400, f"the form holds no photograph: {words}")
                wishes = parse_wishes([*pairs, *form.fields.items()], parameters)
                return task(form.photographs[0], wishes, is_stopped)

            answer, waited = await while_connected(request, self.work.run(work))
            self.metrics.add_stage("queue", waited)
            request.scope["facts"] |= {
                "queue_seconds": round(waited, 4),
                "width_px": answer.width_px,
                "height_px": answer.height_px,
            }
            return answer

    def _refuse_early(self) -> None:
        if not self.is_ready:
            raise RefusedError(503, "the model is being loaded: try again", 1)
        self.work.refuse_when_full()

    def _count(self, photo: EnhancedPhoto) -> None:
        self.metrics.count_photograph(photo.width_px, photo.height_px)
        for stage, seconds in photo.stage_seconds.items():
            self.metrics.add_stage(stage, seconds)


class _Result(Response):
    """An answer whose bytes count as memory in use until the client has read them, however slowly."""

    def __init__(self, content: bytes, ledger: ByteLedger, **settings: Any) -> None:
        super().__init__(content, **settings)
        self._ledger = ledger
        ledger.take_anyway(len(content))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ledger.give(len(self.body))


class _Archive(StreamingResponse):
    """A zip that is sent while it is made; in the end, even if it never began, what it holds is let go."""

    def __init__(
        self, pieces: AsyncIterator[bytes], held: contextlib.AsyncExitStack, **settings: Any
    ) -> None:
        super().__init__(pieces, **settings)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)


def _facts(width_px: int, height_px: int, warnings: tuple[str, ...]) -> dict[str, str]:
    """Returns the headers of a result: its upright size, and the notes for users as a JSON list."""
    return {"Rave-Size": f"{width_px}x{height_px}", "Rave-Warnings": json.dumps(list(warnings))}


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), media_type="application/json")
