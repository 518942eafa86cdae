"""The function by which long work tells its caller how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int], None]
"""It is called with what is being done, how many parts are done, and how many parts there are."""
