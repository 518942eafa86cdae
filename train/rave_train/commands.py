"""The commands of `rave-train`."""

from __future__ import annotations

from typing import Final

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
