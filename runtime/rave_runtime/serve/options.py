"""The options of `rave-serve`, and the rules for its token."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rave_runtime.errors import UsageError
from rave_runtime.run.memory import default_limit_mib

TOKEN_VARIABLE: Final = "RAVE_SERVE_TOKEN"
"""The environment variable that may hold the token."""

_SHORTEST_TOKEN: Final = 16
"""Fewest characters of a token."""


@dataclass(frozen=True)
class ServeOptions:
    """The options of `rave-serve`, as its help describes them."""

    host: str = "127.0.0.1"
    port: int = 8000
    model: Path | None = None
    device: str = "auto"
    precision: str = "auto"
    workers: int | None = None
    memory_limit_mib: int = field(default_factory=default_limit_mib)
    max_megapixels: float = 100.0
    max_body_mib: int = 64
    max_batch_mib: int = 256
    max_batch_photos: int = 200
    max_queue: int = 16
    max_connections: int = 512
    timeout_s: float = 60.0
    drain_s: float = 25.0
    token: str | None = None
    token_file: Path | None = None
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    log: bool = True

    def __post_init__(self) -> None:
        """Refuses names of web sites and hosts that no browser sends, since they would allow nothing.

        Raises:
            UsageError: one of `allow_origins` is not an origin, or one of `allow_hosts` is not a host.
        """
        for text in self.allow_origins:
            if (origin := _origin_of(text)) != text:
                near = "" if origin is None else f" (here perhaps {origin})"
                raise UsageError(
                    f"--allow-origin {text} is not a web site as browsers name it: give https://HOST, or "
                    f"https://HOST:PORT if it has a port of its own{near}"
                )
        for text in self.allow_hosts:
            if (host := _host_of(text)) != text.lower():
                near = "" if host is None else f" (here perhaps {host})"
                raise UsageError(
                    f"--allow-host {text} is not the name of a host: give it alone, as HOST, "
                    f"without a port{near}"
                )

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine can reach the address."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def body_budget_bytes(self) -> int:
        """The most bytes that all bodies and results in memory may have together."""
        return max(self.max_body_mib, self.max_batch_mib, self.memory_limit_mib // 4) << 20

    def secret(self, environment: Mapping[str, str] = os.environ) -> str | None:
        """Returns the token that requests must bring; None if none was set and the address is loopback.

        Args:
            environment: the environment variables.

        Raises:
            UsageError: two tokens are set, the token is too short or has signs that it must not have, its
                file cannot be read, or none is set although other machines can reach the address.
        """
        options = {
            "--token": self.token,
            "--token-file": None if self.token_file is None else _read_token(self.token_file),
        }
        tokens = {name: text for name, text in options.items() if text is not None}
        if len(tokens) > 1:
            raise UsageError("--token and --token-file both name a token: give one of them")
        if not tokens and environment.get(TOKEN_VARIABLE):
            tokens = {TOKEN_VARIABLE: environment[TOKEN_VARIABLE]}
        for name, text in tokens.items():
            if (fault := _fault_of(text)) is not None:
                raise UsageError(f"the token of {name} {fault}: openssl rand -hex 16 makes a good one")
            return text
        if not self.is_loopback:
            raise UsageError(
                f"--host {self.host} can be reached from other machines: give --token-file FILE (or --token, "
                f"or {TOKEN_VARIABLE}), or leave out --host"
            )
        return None


def _fault_of(token: str) -> str | None:
    """Returns what is wrong with a token, in words that do not repeat it; None if nothing is."""
    if len(token.splitlines()) > 1:
        return "has several lines, and one is needed"
    if any(sign.isspace() for sign in token):
        return "has a space in it, which a token must not have"
    if not token.isascii():
        return "has a character outside of ASCII, such as an accented letter, which not every client can send"
    if not token.isprintable():
        return "has a control character in it, which a token must not have"
    if len(token) < _SHORTEST_TOKEN:
        have = f"has {len(token)}" if token else "is empty"
        return f"{have}, and must have at least {_SHORTEST_TOKEN} characters"
    return None


def _origin_of(text: str) -> str | None:
    """Returns the origin, as browsers send it, of a web address or of its host alone; None if it has none."""
    try:
        place = urlsplit(text if "://" in text else f"https://{text}")
        host, port = (place.hostname or "").encode("idna").decode(), place.port
    except ValueError:  # UnicodeError is one, too
        return None
    if text == "null" or not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:]+", host):  # null: any sandboxed page
        return None
    origin = f"{place.scheme}://" + (f"[{host}]" if ":" in host else host)
    is_usual = port is None or (place.scheme, port) in (("https", 443), ("http", 80))
    return origin if is_usual else f"{origin}:{port}"


def _host_of(text: str) -> str | None:
    """Returns the name or address of a host, as browsers send it, without its port; None if it has none."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(text))
    origin = _origin_of(text)
    return None if origin is None else urlsplit(origin).hostname


def _read_token(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise UsageError(f"--token-file {file} cannot be read: {reason}") from error
