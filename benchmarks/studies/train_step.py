"""Times a training step against the published way: `python -m benchmarks.studies.train_step`.

The published way calls the encoders picture by picture, runs the whole identity encoder, records gradients
for the input's identity features too, and computes everything in float32 and the default layout. Our way
makes one batched pass per encoder, records no gradients for the input, runs no layer deeper than the identity
loss needs, folds batch norms, and computes in channels-last and in the precision of `--precision`. As in
`rave-train`, that is bf16 by default where the GPU or CPU multiplies it natively.

Each variant runs in a separate process, so that its peak memory can be measured. They take turns, so that
other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import open_clip
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor

from benchmarks.processes.memory import peak_rss_mib
from rave_runtime.backends.limits import usable_processors
from rave_train.encoders import open_encoder
from rave_train.encoders.preprocessing import Preprocessing
from rave_train.encoders.spec import parse_spec
from rave_train.guidance.identity import identity_loss, stage_weights
from rave_train.guidance.objective import IDENTITY_SCALE, Objective
from rave_train.guidance.residual import Residual, residual_loss, unit
from rave_train.loop.device import pick_precision, precision_name
from rave_train.network import EnhancementNetwork, relight

VARIANTS = ("published", "ours")

CLIP_INPUT = Preprocessing(224, 224, "bicubic", OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)

Models = tuple[Any, ...]
"""open_clip's models of guidance and identity."""


def published_losses(backlit: Tensor, enhanced: Tensor, models: Models, residual: Residual) -> Tensor:
    """The encoders' part of the loss, computed picture by picture with open_clip's models.

    Args:
        backlit: [n, 3, h, w] in [0, 1].
        enhanced: the enhanced pictures, in the same shape.
        models: the models of guidance and identity.
        residual: what guides.
    """
    guidance_losses, identity_losses = [], []
    for i in range(len(backlit)):
        picture, original = enhanced[i : i + 1], backlit[i : i + 1]
        guidance_losses.append(residual_loss(models[0].encode_image(CLIP_INPUT.squash(picture)), residual))
        after, before = (
            models[1].visual.forward_intermediates(CLIP_INPUT.squash(seen))["image_intermediates"]
            for seen in (picture, original)
        )
        identity_losses.append(identity_loss(before, after, stage_weights(len(after), warm_up=False)))
    guidance, identity = (torch.stack(losses).mean() for losses in (guidance_losses, identity_losses))
    return 6 * 320 * guidance + 0.9 * IDENTITY_SCALE * identity


def open_models(specs: tuple[str, str], device: torch.device) -> Models:
    """Builds open_clip's models without any change, and freezes them."""
    models = [open_clip.create_model(parse_spec(spec).model) for spec in specs]
    return tuple(model.eval().requires_grad_(False).to(device) for model in models)


def make_steps(
    variant: str, options: argparse.Namespace
) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """Functions that do a whole step of one variant, its encoders' part, and its network's part."""
    device = torch.device(options.device)
    torch.manual_seed(0)
    ours = variant == "ours"
    specs = (options.guidance, options.identity)
    precision = pick_precision(options.precision, device) if ours else torch.float32
    residual = Residual(unit(torch.randn(512)), torch.tensor(0.1)).to(device)
    if ours:
        guidance, identity = (open_encoder(spec).to(device) for spec in specs)
        guidance.text = identity.text = None  # training needs no text either after its start
        objective = Objective(
            guidance, identity, lambda e: residual_loss(e, residual), 6.0, 0.9, 0.0, precision
        )
    else:
        models = open_models(specs, device)
    network = EnhancementNetwork().to(device)
    torch.nn.init.constant_(network.cond_add1.bias, 0.7)  # type: ignore[arg-type]
    layout = torch.channels_last if ours else torch.contiguous_format
    network.to(memory_format=layout)
    backlit = torch.rand(options.batch, 3, options.size, options.size).to(device)
    backlit = backlit.contiguous(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), 2e-5)

    def losses(light: Tensor) -> Tensor:
        if ours:
            loss: Tensor = objective.losses(backlit, light, backlit, warm_up=False)["loss"]
            return loss
        enhanced = relight(backlit, light + 1e-9)
        return published_losses(backlit, enhanced, models, residual)

    def light() -> Tensor:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            found: Tensor = network(backlit)
            return found.float()

    def whole() -> None:
        optimizer.zero_grad(set_to_none=True)
        losses(light()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    fixed = torch.full((options.batch, 1, options.size, options.size), 0.7, device=device)

    def encoders() -> None:
        losses(fixed.clone().requires_grad_()).backward()  # type: ignore[no-untyped-call]

    def network_alone() -> None:
        optimizer.zero_grad(set_to_none=True)
        light().square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return whole, encoders, network_alone


def serve(options: argparse.Namespace) -> None:
    """Runs the parts named on standard input; prints the seconds of each, and at the end the peak MiB."""
    torch.set_num_threads(options.threads)
    parts = dict(zip(("whole", "encoders", "network"), make_steps(options.serve, options), strict=True))
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # resets the peak on Linux, so that loading the models does not count
    for line in sys.stdin:
        run = parts[line.strip()]
        started = time.perf_counter()
        run()
        if options.device != "cpu":
            torch.cuda.synchronize()
        print(time.perf_counter() - started, flush=True)
    on_cpu = options.device == "cpu"
    print(peak_rss_mib() if on_cpu else torch.cuda.max_memory_allocated() / 2**20, flush=True)


@contextlib.contextmanager
def served(variant: str, arguments: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Runs the process of one variant until the block ends, and yields it."""
    command = [sys.executable, "-m", "benchmarks.studies.train_step", *arguments, "--serve", variant]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def ask(process: subprocess.Popen[str], part: str) -> float:
    """Has a process run a part once; returns the seconds."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(part + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure_part(part: str, repeats: int, arguments: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Measures the least seconds and the peak MiB of each variant, in turns after a run to warm up."""
    seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    results = {}
    with contextlib.ExitStack() as stack:
        processes = {variant: stack.enter_context(served(variant, arguments)) for variant in VARIANTS}
        for turn in range(repeats + 1):
            for variant, process in processes.items():
                seconds_of_turn = ask(process, part)
                if turn:
                    seconds[variant].append(seconds_of_turn)
        for variant, process in processes.items():
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            results[variant] = (min(seconds[variant]), float(process.stdout.readline()))
    return results


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="side of the training pictures, pixels")
    parser.add_argument("--guidance", default="open_clip:ViT-B-32@random")
    parser.add_argument("--identity", default="open_clip:RN101@random")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", help="precision of our step: auto, fp32, bf16 or fp16")
    parser.add_argument("--threads", type=int, default=usable_processors())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--serve", choices=VARIANTS, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    """Measures both variants and prints them side by side."""
    options = parse(arguments)
    if options.serve:
        serve(options)
        return
    parts = {
        part: measure_part(part, options.repeats, arguments) for part in ("encoders", "network", "whole")
    }
    machine = f"{platform.machine()}, {options.threads} threads, {options.device}, torch {torch.__version__}"
    print(f"batch {options.batch}, {options.size}x{options.size} px, {options.guidance}, {options.identity}")
    precision = pick_precision(options.precision, torch.device(options.device))
    print(f"{machine}; ours in {precision_name(precision)}; best of {options.repeats}")
    print(f"{'':<22}{'published':>12}{'ours':>12}{'ratio':>8}")
    labels = {"encoders": "guidance and identity", "network": "network alone", "whole": "whole step"}
    for part, label in labels.items():
        (slow, slow_mib), (fast, fast_mib) = (parts[part][variant] for variant in VARIANTS)
        print(f"{label:<22}{slow:>10.3f} s{fast:>10.3f} s{slow / fast:>8.2f}")
        print(f"{'  peak memory':<22}{slow_mib:>8.0f} MiB{fast_mib:>8.0f} MiB{slow_mib / fast_mib:>8.2f}")
    for variant in VARIANTS:
        share = parts["encoders"][variant][0] / (parts["encoders"][variant][0] + parts["network"][variant][0])
        print(f"{variant}: {share:.0%} of the step in the encoders, {1 - share:.0%} in the network")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            precisions = {"published": "fp32", "ours": precision_name(precision)}
            figures = {"machine": machine, "options": vars(options), "precisions": precisions, "parts": parts}
            json.dump(figures, stream, indent=2)


if __name__ == "__main__":
    main(sys.argv[1:])
