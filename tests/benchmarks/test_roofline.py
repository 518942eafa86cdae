"""The machine's limits and the share of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.contestants.counting import count_traffic
from benchmarks.suites.roofline import (
    add_shares,
    kind_of_numbers,
    limit_flops,
    measure_copy_rate,
    measure_product_rates,
)


def test_traffic_is_what_products_read_and_write() -> None:
    a, b = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert count_traffic(torch.matmul, a, b) == 4 * (15 + 35 + 21)
    assert count_traffic(torch.exp, a) == 0
    with torch.device("meta"):
        conv, image = nn.Conv2d(2, 3, 3, padding=1), torch.empty(1, 2, 4, 5)
    assert count_traffic(conv, image) == 4 * (40 + 54 + 3 + 60)


def test_the_limit_is_memory_below_the_ridge_and_products_above() -> None:
    assert limit_flops(macs=50, traffic_bytes=100, product_rate=1000, copy_rate=10) == 10
    assert limit_flops(macs=50_000, traffic_bytes=100, product_rate=1000, copy_rate=10) == 1000


def test_rates_of_this_machine_are_plausible_and_repeatable() -> None:
    rates = measure_product_rates(side=128, repetitions=3)
    assert {"fp32", "bf16"} <= rates.keys()
    assert all(1e7 < rate < 1e15 for rate in rates.values())
    assert 1e8 < measure_copy_rate(mib=4, repetitions=3) < 1e14


def test_shares_of_rows_that_ran() -> None:
    row = dict.fromkeys(
        ("method", "title", "family", "device", "precision", "threads", "height", "width"), ""
    )
    ran = {**row, "megapixels": 1, "gmacs": 0.5, "median_s": 2.0, "gflop_per_s": 0.5}
    idle = {**ran, "median_s": None}
    rates = {"fp32": 2e9, "int8": 8e9}
    (found,) = add_shares([ran, idle], lambda _: 1e6, rates, copy_rate=1e7)
    assert found["flop_per_byte"] == 1000
    assert found["limit_gflop_per_s"] == 2.0
    assert found["share"] == pytest.approx(0.25)
    in_int8 = {**ran, "precision": "int8", "gmacs": 5.0}
    (found,) = add_shares([in_int8], lambda _: 1e6, rates, copy_rate=1e7)
    assert (found["numbers"], found["limit_gflop_per_s"]) == ("int8", 8.0)


def test_engines_of_a_gpu_are_held_against_the_gpus_numbers() -> None:
    """Those of TensorRT in fp16 were held against float32, which processors multiply instead."""
    row = dict.fromkeys(("method", "title", "family", "threads", "height", "width", "megapixels"), "")
    ran = {**row, "device": "tensorrt", "precision": "fp16", "gmacs": 5.0, "median_s": 1, "gflop_per_s": 1}
    (found,) = add_shares([ran], lambda _: 1.0, {"fp32": 1e9, "fp16": 8e9}, copy_rate=1e12)
    assert (found["numbers"], found["limit_gflop_per_s"]) == ("fp16", 8.0)


@pytest.mark.parametrize(
    ("device", "precision", "kind"),
    [("cpu", "fp16", "fp32"), ("cpu", "int8", "int8"), ("cuda", "fp16", "fp16"), ("cpu", "auto", "fp32")],
)
def test_each_precision_is_held_against_the_numbers_it_multiplies(
    device: str, precision: str, kind: str
) -> None:
    assert kind_of_numbers(device, precision) == kind
