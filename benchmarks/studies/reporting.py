"""Parses the options of studies, and prints and saves their findings with command and machine."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes.machine import describe_machine


def study_parser(study: str, description: str | None) -> argparse.ArgumentParser:
    """Makes a parser for a study's options.

    Args:
        study: the command's name.
        description: the module's docstring, which the help shows with its line breaks.
    """
    return argparse.ArgumentParser(
        f"python -m benchmarks {study}",
        description=description,
        formatter_class=argparse.RawTextHelpFormatter,
    )


def report_study(
    study: str,
    arguments: Sequence[str],
    findings: Mapping[str, Any],
    output: Path | None,
    model: str | None = None,
) -> None:
    """Prints a study's findings as JSON and saves them.

    Args:
        study: the command's name.
        arguments: the arguments of the command line; of paths only the last part is kept.
        findings: what was measured.
        output: a file to write as well, or None.
        model: hash of the bundle that was measured; None where none was.
    """
    words = [Path(word).name if "/" in word else word for word in arguments]
    command = " ".join(["python -m benchmarks", study, *words])
    report = {"command": command, "machine": describe_machine().line()}
    report |= {**({"model": model} if model else {}), **findings}
    text = json.dumps(report, indent=1)
    print(text)
    if output is not None:
        output.write_text(text + "\n", "utf-8", newline="\n")
