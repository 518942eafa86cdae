"""Turns checkpoints into bundles that the runtime reads, and proves them. Needs torch and onnx."""

from __future__ import annotations

from rave_runtime.backends.privacy import turn_off_reports

turn_off_reports()
