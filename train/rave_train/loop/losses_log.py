"""The losses and validation figures of a run, as CSV and for TensorBoard."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from rave_train.loop.schedule import Position
from rave_train.whole_files import write_whole

_LOSS_COLUMNS: Final = (
    "step",
    "phase",
    "round",
    "loss",
    "guidance",
    "identity",
    "pixel",
    "running",
    "seconds",
)
_VALIDATION_COLUMNS: Final = ("step", "psnr_input_db", "psnr_db")


class LossesLog:
    """Appends to losses.csv, validation.csv and tensorboard/ in a run's folder.

    Args:
        folder: the folder of the run.
        total: steps done so far; rows of later steps, which a resumed run does again, are dropped.
    """

    def __init__(self, folder: Path, total: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.losses = folder / "losses.csv"
        self.validation = folder / "validation.csv"
        _forget_after(self.losses, total - 1)
        _forget_after(self.validation, total)
        self.board = SummaryWriter(folder / "tensorboard", purge_step=total)

    def log(self, position: Position, losses: dict[str, float], running: float, seconds: float) -> None:
        """Adds the step at `position`."""
        row: dict[str, Any] = {name: f"{value:.6g}" for name, value in losses.items()}
        row |= {"step": position.total, "phase": position.phase, "round": position.round}
        row |= {"running": f"{running:.6g}", "seconds": f"{seconds:.4f}"}
        _append(self.losses, _LOSS_COLUMNS, row)
        for name, value in losses.items():
            self.board.add_scalar(f"{position.phase}/{name}", value, position.total)

    def log_validation(self, total: int, psnr_input_db: float, psnr_db: float) -> None:
        """Adds the mean PSNR of the validation pictures, unchanged and enhanced, after `total` steps."""
        row = {"step": total, "psnr_input_db": f"{psnr_input_db:.4f}", "psnr_db": f"{psnr_db:.4f}"}
        _append(self.validation, _VALIDATION_COLUMNS, row)
        self.board.add_scalar("validation/psnr_db", psnr_db, total)

    def show(self, total: int, grid: Image.Image) -> None:
        """Adds a picture grid to TensorBoard."""
        self.board.add_image("grid", np.asarray(grid), total, dataformats="HWC")

    def close(self) -> None:
        """Writes what is still buffered, and closes the files."""
        self.board.close()


def _append(file: Path, columns: tuple[str, ...], row: dict[str, Any]) -> None:
    """Appends a row to a CSV file, after a line of titles if the file is new."""
    is_new = not file.is_file()
    with file.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)  # refuses a term without a column
        if is_new:
            writer.writeheader()
        writer.writerow(row)


def _forget_after(file: Path, last_step: int) -> None:
    """Drops the rows of later steps, and rows that a power cut left incomplete.

    A table without its titles, which a power cut or a spreadsheet took, is set aside, and a new one begins.
    """
    if not file.is_file():
        return
    lines = file.read_text(encoding="utf-8", errors="replace").replace("\0", "").splitlines()
    reader = csv.DictReader(lines)
    columns = list(reader.fieldnames or ())
    if "step" not in columns:
        file.replace(file.with_suffix(".unreadable.csv"))
        return
    rows = [row for row in reader if (row["step"] or "").isdigit() and None not in row.values()]
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, columns)
    writer.writeheader()
    writer.writerows(row for row in rows if int(row["step"]) <= last_step)
    write_whole(file, buffer.getvalue())
