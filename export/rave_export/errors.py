"""What export and verification raise on purpose."""

from __future__ import annotations


class ExportError(Exception):
    """Something cannot be exported; the message says what came, what is needed and what to do."""


class ParityError(ExportError):
    """Exported graphs differ from the reference by more than their tolerance."""
