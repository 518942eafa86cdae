"""Measures how near each provider comes to the limit of the machine.

The limit of a network is the lesser of two measured rates: that of matrix products in the kind of numbers in
which the network is computed, and the copy rate times the FLOPs per byte that the network needs (Williams et
al., CACM 2009). Matrices are multiplied by torch, whose libraries (MKL and oneDNN; cuBLAS) are the fastest
for each kind of number.

A share above 1 can be right, since Winograd's algorithm computes a convolution with fewer products than are
counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from rave_runtime.backends.devices import GPUS

SIDE = 2048
COPY_MIB = 256

_KINDS: dict[str, dict[str, torch.dtype]] = {
    "cpu": {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8},
    "cuda": {
        "fp32": torch.float32,
        "fp16": torch.float16,
        "bf16": torch.bfloat16,
        "int8": torch.int8,
    },
}


def measure_product_rates(
    device: str = "cpu", threads: int = 1, side: int = SIDE, repetitions: int = 5
) -> dict[str, float]:
    """Measures the FLOP/s of a square matrix product by torch, for each kind of numbers.

    Kinds that this torch cannot multiply on the device are left out.

    Args:
        device: "cpu" or "cuda".
        threads: how many threads compute on the processor.
        side: number of rows and columns.
        repetitions: how many products are timed; the fastest counts.
    """
    torch.set_num_threads(threads)
    rates = {}
    for name, dtype in _KINDS[device].items():
        is_integer = dtype == torch.int8
        matrix = torch.randint(-127, 128, (side, side)) if is_integer else torch.rand(side, side)
        multiply = partial(torch._int_mm if is_integer else torch.matmul, *[matrix.to(device, dtype)] * 2)
        try:
            rates[name] = 2 * side**3 / _least_s(multiply, device, repetitions)
        except (RuntimeError, NotImplementedError):
            continue
    return rates


def kind_of_numbers(device: str, precision: str) -> str:
    """The kind of numbers in which a precision multiplies on a device; processors multiply fp16 as fp32."""
    kind = "fp32" if precision == "auto" else precision
    return kind if kind in _KINDS[device] else "fp32"


def measure_copy_rate(
    device: str = "cpu", threads: int = 1, mib: int = COPY_MIB, repetitions: int = 5
) -> float:
    """Measures the most bytes read and written per second while copying an array larger than the caches."""
    torch.set_num_threads(threads)
    source = torch.rand(mib * 2**18, device=device)
    target = torch.empty_like(source)
    return 2 * source.numel() * 4 / _least_s(lambda: target.copy_(source), device, repetitions)


def limit_flops(macs: float, traffic_bytes: float, product_rate: float, copy_rate: float) -> float:
    """The FLOP/s to which the machine limits a network.

    Args:
        macs: multiply-accumulates of the network.
        traffic_bytes: bytes that the network must move.
        product_rate: rate of matrix products, FLOP/s.
        copy_rate: rate of copying, bytes/s.
    """
    return min(product_rate, 2 * macs / traffic_bytes * copy_rate)


def add_shares(
    rows: Iterable[dict[str, Any]],
    traffic_bytes: Callable[[dict[str, Any]], float | None],
    product_rates: dict[str, float],
    copy_rate: float,
) -> list[dict[str, Any]]:
    """Rows of the networks that ran, with FLOPs per byte, the limit, and the share of it that was reached.

    Args:
        rows: the rows of a contest.
        traffic_bytes: gives the bytes that a row's network must move; None if that is not known.
        product_rates: the result of `measure_product_rates`.
        copy_rate: rate of copying, bytes/s.
    """
    results = []
    for row in rows:
        traffic = traffic_bytes(row)
        if not row["gmacs"] or not row["median_s"] or not traffic:
            continue
        device = "cuda" if row["device"] in GPUS else "cpu"
        kind = kind_of_numbers(device, row["precision"])
        product_rate = product_rates.get(kind, product_rates["fp32"])
        limit = limit_flops(row["gmacs"] * 1e9, traffic, product_rate, copy_rate)
        results.append(
            {
                **{k: row[k] for k in ("method", "title", "family", "device", "precision", "threads")},
                **{k: row[k] for k in ("height", "width", "megapixels", "gmacs", "median_s")},
                "traffic_gb": traffic / 1e9,
                "flop_per_byte": 2 * row["gmacs"] * 1e9 / traffic,
                "gflop_per_s": row["gflop_per_s"],
                "limit_gflop_per_s": limit / 1e9,
                "share": row["gflop_per_s"] * 1e9 / limit,
                "numbers": kind if kind in product_rates else "fp32",
                "product_gflop_per_s": product_rate / 1e9,
                "copy_gb_per_s": copy_rate / 1e9,
            }
        )
    return results


def _least_s(run: Callable[[], object], device: str, repetitions: int) -> float:
    """The least seconds of several runs and one to warm up."""
    samples = []
    for _ in range(1 + repetitions):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        samples.append(time.perf_counter() - start)
    return min(samples)
