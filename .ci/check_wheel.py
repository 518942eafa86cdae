"""Fails unless a wheel holds the three packages with the embedded model, and nothing else.

Usage: python check_wheel.py WHEEL
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

PACKAGES = ("rave_runtime", "rave_train", "rave_export")
RUNTIME = Path(__file__).parents[1] / "runtime"
NEEDED = (
    "rave_runtime/models/default/manifest.json",
    "rave_runtime/cli/__init__.py",
    *(str(file.relative_to(RUNTIME)) for file in (RUNTIME / "rave_runtime/serve/page").glob("*.*")),
    "rave_train/network.py",
    "rave_export/bundles.py",
    *(f"{package}/py.typed" for package in PACKAGES),
)
MAX_MODEL_BYTES = 3_000_000


def main() -> None:
    """Prints what is wrong and exits 1, or prints the wheel's size."""
    wheel = Path(sys.argv[1])
    with zipfile.ZipFile(wheel) as archive:
        sizes = {item.filename: item.compress_size for item in archive.infolist()}
    wrong = [f"{name} is missing" for name in NEEDED if name not in sizes]
    for name in sizes:
        room = name.split("/")[0]
        if room not in PACKAGES and not room.endswith(".dist-info"):
            wrong.append(f"{name} does not belong in the wheel")
    if shutil.which("cc"):
        passes = [
            name for name in sizes if name.startswith("rave_runtime/light/passes.") and name[-2:] != ".c"
        ]
        if len(passes) != 1 or wheel.name.endswith("-any.whl"):
            wrong.append("the passes over pixels were not compiled, though there is a C compiler")
    model = sum(size for name, size in sizes.items() if name.startswith("rave_runtime/models/"))
    if model > MAX_MODEL_BYTES:
        wrong.append(f"the embedded model takes {model} bytes, {MAX_MODEL_BYTES} are allowed")
    if wrong:
        sys.exit("\n".join(wrong))
    print(f"{wheel.name}: {sum(sizes.values())} bytes, of which the model {model}")


if __name__ == "__main__":
    main()
