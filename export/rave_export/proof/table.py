"""Writes measurements as tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rave_export.proof.parity import is_of, is_too_small
from rave_export.proof.report import PartProof
from rave_runtime.bundle import Bundle, Parity


def parity_table(rows: Iterable[Parity]) -> str:
    """A table with a line per measurement."""
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


def files_table(bundle: Bundle) -> str:
    """A table with a line per file: its size, and the worst figures that were measured with it."""
    rows = [["file", "KiB", "light max err", "worst PSNR dB"]]
    for item in bundle.manifest.running_files():
        measurements = [row for row in bundle.manifest.parity if is_of(row, item) and not is_too_small(row)]
        size = (bundle.folder / item.file).stat().st_size
        rows.append([item.file, f"{size / 1024:.0f}", *_worst(measurements)])
    if bundle.manifest.checkpoint is not None:
        file = bundle.manifest.checkpoint.file
        size = (bundle.folder / file).stat().st_size
        rows.append([file, f"{size / 1024:.0f}", "", ""])
    return align(rows)


def parts_table(parts: Iterable[PartProof]) -> str:
    """A table with a line per file: whether it was run, and on what, or why it was not."""
    return align([["file", "proof", "how"], *([part.file, part.status, part.detail] for part in parts)])


def _worst(measurements: Sequence[Parity]) -> tuple[str, str]:
    """The greatest error and the least PSNR among measurements, as text."""
    if not measurements:
        return "not measured", "not measured"
    psnr = [row.psnr_db for row in measurements if row.psnr_db is not None]
    error = max(row.max_abs_error for row in measurements)
    return f"{error:.1e}", f"{min(psnr):.1f}" if psnr else "same"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Lays rows of cells out as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
