"""The commands of `rave-train`."""

from __future__ import annotations

from typing import Final

COMMANDS: Final = {
    "rave": "Train by RAVE: the residual vector between well-lit and backlit pictures guides.",
    "clip-lit": "Train by CLIP-LIT: two learned prompts guide. Needs an encoder with text.",
    "clip-lit-latent": "Train by CLIP-LIT-Latent: two learned vectors guide. Any encoder will do.",
    "resume": "Go on with a stopped run, to the same bits as if it had never stopped (on a CPU).",
    "synthesize": "Make realistic backlit partners of well-lit photographs, to train or measure on.",
    "brackets": "Make training pairs of your own exposure brackets, which are found by their EXIF.",
    "interpret": "Name the vocabulary tokens nearest to and farthest from a run's guidance direction.",
    "evaluate": "Measure PSNR, SSIM, LPIPS and FID against true pictures, with the protocol stated.",
}
"""What the help says of each command, for those too who have not installed what the commands need."""
