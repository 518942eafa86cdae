"""How near each provider comes to what the machine can do.

The limit of a network is the lesser of the machine's measured matrix-product rate and of its measured
copy rate times the FLOPs per byte that the network needs (Williams et al., CACM 2009).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch

SIDE = 2048
COPY_MIB = 256


def measure_product_rate(
    device: str = "cpu", threads: int = 1, side: int = SIDE, repetitions: int = 5
) -> float:
    """FLOP/s of a square float32 matrix product by torch, TF32 off: the best of some repetitions."""
    torch.set_num_threads(threads)
    a = torch.rand(side, side, device=device)
    b = torch.rand(side, side, device=device)
    return 2 * side**3 / _least_s(lambda: a @ b, device, repetitions)


def measure_copy_rate(
    device: str = "cpu", threads: int = 1, mib: int = COPY_MIB, repetitions: int = 5
) -> float:
    """Bytes read and written per second while copying an array larger than the caches, at best."""
    torch.set_num_threads(threads)
    source = torch.rand(mib * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / _least_s(lambda: target.copy_(source), device, repetitions)


def limit_flops(macs: float, traffic_bytes: float, product_rate: float, copy_rate: float) -> float:
    """FLOP/s that the machine allows a network of that intensity.

    Args:
        macs: multiply-accumulates.
        traffic_bytes: bytes that must move.
        product_rate: FLOP/s.
        copy_rate: bytes/s.
    """
    return min(product_rate, 2 * macs / traffic_bytes * copy_rate)


def add_shares(
    rows: Iterable[dict[str, Any]],
    traffic_bytes: Callable[[dict[str, Any]], float | None],
    product_rate: float,
    copy_rate: float,
) -> list[dict[str, Any]]:
    """Rows of networks that ran, each with its intensity, its limit and the share of it reached."""
    found = []
    for row in rows:
        traffic = traffic_bytes(row)
        if not row["gmacs"] or not row["median_s"] or not traffic:
            continue
        limit = limit_flops(row["gmacs"] * 1e9, traffic, product_rate, copy_rate)
        found.append(
            {
                **{k: row[k] for k in ("method", "title", "family", "device", "precision", "threads")},
                **{k: row[k] for k in ("height", "width", "megapixels", "gmacs", "median_s")},
                "traffic_gb": traffic / 1e9,
                "flop_per_byte": 2 * row["gmacs"] * 1e9 / traffic,
                "gflop_per_s": row["gflop_per_s"],
                "limit_gflop_per_s": limit / 1e9,
                "share": row["gflop_per_s"] * 1e9 / limit,
                "product_gflop_per_s": product_rate / 1e9,
                "copy_gb_per_s": copy_rate / 1e9,
            }
        )
    return found


def _least_s(run: Callable[[], object], device: str, repetitions: int) -> float:
    samples = []
    for _ in range(1 + repetitions):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        samples.append(time.perf_counter() - start)
    return min(samples)
