"""Passwords and tokens in URLs, which must not reach a message, a log, a report or a journal."""

from __future__ import annotations

import re
from typing import Final

_USER: Final = re.compile(r"(?<=://)(?:[^/?#@\s:]*@|[^/?#@\s:]*:(?!:)(?!\d+(?:/|$))(?:(?!::)[^?#\s])*@)")
"""The user and password of a URL. A password may hold slashes and signs that should have been encoded."""

_QUERY: Final = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"?<>]*)\?[^\s'\"<>)]*")
"""A URL with its query, which holds the signature of a presigned URL."""


def without_secrets(text: str) -> str:
    """A text in which URLs have neither user and password nor a query."""
    return _QUERY.sub(r"\1", _USER.sub("", text)) if "://" in text else text
