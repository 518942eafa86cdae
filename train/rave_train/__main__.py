"""Entry point of `rave-train`, which needs what only the extra `train` installs."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line, or says what to install where it cannot even be read."""
    from rave_runtime.backends.limits import fit_libraries

    fit_libraries()
    try:
        from rave_train.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("rave_train", "rave_runtime"):
            raise
        print(f"rave-train needs {error.name}: pip install 'rave-backlit[train]'", file=sys.stderr)
        sys.exit(1)
    run()


if __name__ == "__main__":
    main()
