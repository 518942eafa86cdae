"""Measurements as a table of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rave_runtime.bundle import Parity


def parity_table(rows: Iterable[Parity]) -> str:
    """One line per measurement, columns aligned."""
    head = ["precision", "provider", "picture", "tile", "light max err", "light mean err", "PSNR dB", "case"]
    body = [
        [
            row.precision,
            row.provider.removesuffix("ExecutionProvider"),
            f"{row.width_px}x{row.height_px}",
            str(row.tile_px or "whole"),
            f"{row.max_abs_error:.1e}",
            f"{row.mean_abs_error:.1e}",
            "same" if row.psnr_db is None else f"{row.psnr_db:.1f}",
            row.label,
        ]
        for row in rows
    ]
    return align([head, *body])


def align(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
