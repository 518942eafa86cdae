"""The service's description in OpenAPI 3.1, for programs that make clients and for people."""

from __future__ import annotations

from typing import Any, Final

from rave_runtime.photos.formats import WRITTEN_FORMATS
from rave_runtime.serve.options import ServeOptions
from rave_runtime.version import __version__

_REFUSALS: Final = {
    "400": "A parameter is unknown or out of range, or the body cannot be understood.",
    "401": "The token is missing or wrong.",
    "403": "The request comes from another web site, or uses a host name that is not allowed.",
    "408": "The body came too slowly.",
    "413": "The body or the photograph is too large.",
    "415": "The body is not a picture of a known format, or is compressed.",
    "422": "The photograph is damaged, or cannot be enhanced.",
    "429": "Too many requests are waiting: Retry-After says when to try again.",
    "500": "The request hit a bug in the service, whose log has the traceback.",
    "503": "It took too long, the service is starting or ending, or the model cannot be used.",
}

_BINARY: Final = {"type": "string", "format": "binary"}

_RETRY: Final = {
    "Retry-After": {"description": "After how many seconds to try again.", "schema": {"type": "integer"}}
}

_FACTS: Final = {
    "Rave-Size": {
        "description": "Width and height of the upright photograph in pixels, such as 4000x3000.",
        "schema": {"type": "string", "pattern": "^[0-9]+x[0-9]+$"},
    },
    "Rave-Warnings": {
        "description": "Notes for people, as a JSON list of strings.",
        "content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}},
    },
}

_TIMING: Final = {
    "Server-Timing": {
        "description": "The milliseconds of reading, enhancing and writing.",
        "schema": {"type": "string"},
    }
}

_STATUS: Final = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"type": "string"}},
}

_VERSION: Final = {
    "type": "object",
    "required": ["version", "precision", "provider", "workers"],
    "properties": {
        "version": {"type": "string"},
        "precision": {"type": "string"},
        "provider": {"type": "string"},
        "workers": {"type": "integer"},
    },
}


def describe(options: ServeOptions, needs_token: bool) -> dict[str, Any]:
    """Returns the OpenAPI document of the service.

    Args:
        options: the options of the service; the document names its limits.
        needs_token: whether requests must bring a token.
    """
    several = {"type": "array", "items": _BINARY}
    photograph = {kind: {"schema": _BINARY} for kind in ("image/*", "application/octet-stream")}
    zipped = {"application/zip": {"schema": _BINARY}}
    formats = [name.lower() for name in WRITTEN_FORMATS]
    strength = _parameter(
        "strength", {"type": "number", "minimum": 0, "maximum": 2}, "0 changes nothing, 1 is the model."
    )
    highlights = _parameter(
        "highlights",
        {"type": "number", "minimum": 0, "maximum": 2},
        "The strength in bright parts, such as skies; if left out, the strength, but at most 1.",
    )
    written = _parameter(
        "format",
        {"type": "string", "enum": formats},
        "The format of the result; if left out, that of the photograph.",
    )
    quality = _parameter(
        "quality",
        {"type": "integer", "minimum": 1, "maximum": 100},
        "The quality of lossy formats; if left out, like that of the photograph.",
    )
    working = _parameter(
        "working_size",
        {"anyOf": [{"type": "integer", "minimum": 32, "maximum": 65536}, {"const": "full"}]},
        "The long side, in pixels, on which the light is estimated, or the full size.",
    )
    long_side = _parameter(
        "long_side",
        {"type": "integer", "minimum": 16, "maximum": 65536},
        "The long side of the map, in pixels; if left out, that of the photograph.",
    )
    kind = _parameter(
        "format",
        {"type": "string", "enum": ["png", "npy"]},
        "A 16-bit grey PNG, in which 65535 is a light of 1, or a float32 NPY.",
    )
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    # No parameter states its default: clients that are made from this document would send it with each form,
    # once in the query and once in the form.
    again = _parameter(
        "again",
        {"type": "boolean"},
        "Enhance a photograph once more that was enhanced before. Otherwise it comes back as it is, and "
        "Rave-Warnings says so.",
    )
    hdr = _parameter(
        "hdr",
        {"type": "boolean"},
        "Give a JPEG an HDR gain map (Ultra HDR) where the photograph has none. Otherwise it gets none.",
    )
    enhance = [strength, highlights, written, quality, working, again, hdr]
    secured: dict[str, Any] = {"security": [{"token": []}]} if needs_token else {}

    def post(
        summary: str, raw: dict[str, Any], files: Any, parameters: list[Any], result: dict[str, Any]
    ) -> dict[str, Any]:
        fields = {"photo": files} | {parameter["name"]: parameter["schema"] for parameter in parameters}
        schema = {"type": "object", "required": ["photo"], "properties": fields}
        body = {"required": True, "content": raw | {"multipart/form-data": {"schema": schema}}}
        answers = {"200": result} | {
            status: {"description": text, "content": problem}
            | ({"headers": _RETRY} if status in ("429", "503") else {})
            for status, text in _REFUSALS.items()
        }
        return {
            "post": {"summary": summary, "requestBody": body, "parameters": parameters, "responses": answers}
            | secured
        }

    def get(
        summary: str, media: str, schema: dict[str, Any], extra: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        answers = {"200": _answer(summary, {media: schema})} | (extra or {})
        return {"get": {"summary": summary, "responses": answers}}

    unready = {"503": {"description": "The service is starting or ending, or hangs.", "content": problem}}
    no_token = {"401": {"description": _REFUSALS["401"], "content": problem}}
    metrics = get(
        "Figures for Prometheus.", "text/plain", {"type": "string"}, no_token if needs_token else None
    )
    metrics["get"] |= secured
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "rave-serve",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": (
                "Enhances backlit photographs. Nothing is kept and nothing is sent on. Limits: "
                f"{options.max_body_mib} MiB and {options.max_megapixels:g} megapixels a photograph, "
                f"{options.max_batch_mib} MiB and {options.max_batch_photos} photographs a batch, "
                f"{options.timeout_s:g} seconds each."
            ),
        },
        "paths": {
            "/enhance": post(
                "Enhances one photograph.",
                photograph,
                _BINARY,
                enhance,
                _answer("The enhanced photograph.", {"image/*": _BINARY}, _FACTS | _TIMING),
            ),
            "/light": post(
                "Estimates the illumination map.",
                photograph,
                _BINARY,
                [kind, long_side, working],
                _answer(
                    "The illumination map.",
                    {"image/png": _BINARY, "application/octet-stream": _BINARY},
                    _FACTS,
                ),
            ),
            "/batch": post(
                "Enhances many photographs.",
                zipped,
                several,
                enhance,
                _answer(
                    "The results, numbered as the photographs came, such as 0001.jpg, and results.json: a "
                    "list with the number and status of each photograph, and either name, width_px, "
                    "height_px and warnings of its result, or the error.",
                    {"application/zip": _BINARY},
                ),
            ),
            "/healthz": get("The process works.", "application/json", _STATUS, unready),
            "/readyz": get(
                "The model is loaded and no shutdown has begun.", "application/json", _STATUS, unready
            ),
            "/metrics": metrics,
            "/version": get(
                "The version, precision, device and number of workers.", "application/json", _VERSION
            ),
            "/openapi.json": get("This document.", "application/json", {"type": "object"}),
        },
        "components": {
            "schemas": {
                "Problem": {
                    "type": "object",
                    "required": ["title", "status", "detail"],
                    "properties": {
                        "title": {"type": "string"},
                        "status": {"type": "integer"},
                        "detail": {"type": "string"},
                    },
                }
            },
            **({"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if needs_token else {}),
        },
    }


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def _answer(description: str, media: dict[str, Any], headers: dict[str, Any] | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": description,
        "content": {kind: {"schema": schema} for kind, schema in media.items()},
    }
    return answer | ({"headers": headers} if headers else {})
