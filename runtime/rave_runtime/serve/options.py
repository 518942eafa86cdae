"""The options of `rave-serve`, and the rules for its token."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

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
            UsageError: two tokens are set, the token is too short, its file cannot be read, or none is set
                although other machines can reach the address.
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
            if len(text) < _SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
                raise UsageError(
                    f"the token of {name} must have at least {_SHORTEST_TOKEN} letters, digits or signs "
                    "without blanks: openssl rand -hex 16 makes one"
                )
            return text
        if not self.is_loopback:
            raise UsageError(
                f"--host {self.host} can be reached from other machines: give --token-file FILE (or --token, "
                f"or {TOKEN_VARIABLE}), or leave out --host"
            )
        return None


def _read_token(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"--token-file {file} cannot be read: {reason}") from error
