"""Entry point of `rave-train`, which needs what only the extra `train` installs."""

from __future__ import annotations

import sys
from typing import Final

from rave_runtime.backends.limits import fit_libraries
from rave_runtime.version import __version__

COMMANDS: Final = {
    "rave": "Train by RAVE: the residual vector between well-lit and backlit pictures guides.",
    "clip-lit": "Train by CLIP-LIT: two learned prompts guide. Needs an encoder with text.",
    "clip-lit-latent": "Train by CLIP-LIT-Latent: two learned vectors guide. Any encoder will do.",
    "resume": "Resume a stopped run; on a CPU, bit for bit as if it had never stopped.",
    "synthesize": "Make backlit versions of well-lit photographs or panoramas, to train or measure on.",
    "brackets": "Make training pairs from your own exposure brackets, which are found by their EXIF.",
    "interpret": "Name the vocabulary tokens nearest to and farthest from a run's guidance direction.",
    "evaluate": "Measure PSNR, SSIM, LPIPS and FID against ground truth, by a stated protocol.",
}
"""What the help says of each command, for those too who have not installed what the commands need."""


def main() -> None:
    """Runs the command line, or says what to install where it cannot even be read."""
    try:
        fit_libraries()
        from rave_train.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("rave_train", "rave_runtime"):
            raise
        sys.exit(_run_without_extra(sys.argv[1:], error.name or "more"))
    except KeyboardInterrupt:
        print("rave-train: interrupted before it began", file=sys.stderr)
        sys.exit(130)
    run()


def _run_without_extra(arguments: list[str], missing: str) -> int:
    """Answers what can be answered without the extra; returns the exit code."""
    remedy = f"rave-train needs {missing}: pip install 'rave-backlit[train]'"
    if arguments == ["--version"]:
        print(f"rave-train {__version__}")
        return 0
    if arguments and not {"-h", "--help"} & set(arguments):
        print(remedy, file=sys.stderr)
        return 1
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    print("\n".join(["Usage: rave-train COMMAND [OPTIONS]", "", *lines, "", remedy]))
    return 0 if arguments else 2


if __name__ == "__main__":
    main()
