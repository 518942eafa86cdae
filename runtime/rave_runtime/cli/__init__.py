"""rave-run: enhances photographs and folders of them.

The program itself is imported inside `main`, so that Ctrl-C during the imports is handled as at any other
time.
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Runs the program with the arguments of the command line, and exits with its code."""
    gc.disable()  # modules that load make a lot of objects and no garbage; the program enables it
    try:
        from rave_runtime.cli.program import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        message = "rave-run: interrupted; finished photographs are whole, --skip-existing resumes"
        print(message, file=sys.stderr, flush=True)
        code = 130  # the code that shells use for Ctrl-C
    gc.freeze()  # otherwise the last collection walks over all objects
    sys.exit(code)
