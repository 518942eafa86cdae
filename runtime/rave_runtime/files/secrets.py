"""Passwords and tokens in URLs, which must not reach a message, a log, a report or a journal."""

from __future__ import annotations

import re
from typing import Final

_SCHEME: Final = r"\b[A-Za-z][A-Za-z0-9+.-]{1,40}:/{1,2}"
"""How a URL begins; one that was taken for a path has a single slash. Every part of these patterns has a
greatest length, so that a search takes time in proportion to the text's length."""

_USER: Final = re.compile(
    rf"({_SCHEME})(?:[^/?#@\s:]{{0,200}}@"
    r"|[^/?#@\s:]{0,200}:(?!:)(?!\d+(?:/|$))(?:(?!::)[^?#\s]){0,1000}@)"
)
"""The user and password of a URL. A password may hold slashes and signs that should have been encoded."""

_REST: Final = r"[^\s'\"<>)]*"

_QUERY: Final = re.compile(rf"({_SCHEME}[^\s'\"?<>]{{0,1000}})\?{_REST}")
"""A URL with its query, which holds the signature of a presigned URL."""

_FRAGMENT: Final = re.compile(rf"({_SCHEME}[^\s'\"?#<>]{{0,1000}})#[A-Za-z_]{{1,40}}={_REST}")
"""A URL whose fragment names values, as a sign-in gives its token."""

_PATH_QUERY: Final = re.compile(rf"(\burl: /[^\s'\"?<>]{{0,1000}})\?{_REST}")
"""The path of a URL with its query, as some libraries print it in their errors."""


def without_secrets(text: str) -> str:
    """Returns a text without the users, passwords, queries and tokens of the URLs in it."""
    if ":/" in text:
        text = _FRAGMENT.sub(r"\1", _QUERY.sub(r"\1", _USER.sub(r"\1", text)))
    return _PATH_QUERY.sub(r"\1", text)
