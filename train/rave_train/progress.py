"""The function by which long work tells its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much is done, and how much there is."""
