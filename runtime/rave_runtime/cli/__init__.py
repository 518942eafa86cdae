"""rave-run: enhances photographs and folders of them.

The program itself is imported inside `main`, so that Ctrl-C during its imports is answered as at any other
time.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point."""
    try:
        from rave_runtime.cli.program import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        words = "rave-run: interrupted; finished photographs are whole, --skip-existing resumes"
        print(words, file=sys.stderr, flush=True)
        code = 130  # as shells have it for Ctrl-C
    sys.exit(code)
