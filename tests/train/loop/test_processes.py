"""A batch in parts, or on two processes, gives the result of the whole."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rave_train.loop.config import RunConfig, read_config
from rave_train.loop.distributed import Processes, join_processes
from rave_train.loop.state import read_state
from rave_train.loop.training import train
from tests.train.small_runs import SMALL_NETWORK, SMALL_PAIR, of_method, rows_of


def test_accumulation_gives_the_whole_batchs_result(config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(config, precision="fp32")  # bf16 rounds each part for itself
    network = dataclasses.replace(SMALL_NETWORK, batch=4)
    train(dataclasses.replace(config, network=network), tmp_path / "whole")
    parts = dataclasses.replace(network, accumulate=2)
    train(dataclasses.replace(config, network=parts), tmp_path / "parts")
    assert_close_runs(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_two_processes_give_the_single_ones_result(config: RunConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(
        of_method(config, "clip-lit-latent"),
        network=dataclasses.replace(SMALL_NETWORK, batch=4),
        precision="fp32",
    )
    train(config, tmp_path / "single")
    values: dict[str, object] = {**SMALL_PAIR, "size_px": 16, "batch": 4, "warm_up": 2, "light_bias": 0.7}
    values |= {"encoder": config.encoder, "cache": config.cache, "save_every": 2, "precision": "fp32"}
    flags = [word for name, value in values.items() for word in ("--" + name.replace("_", "-"), str(value))]
    arguments = [
        "clip-lit-latent",
        config.data.backlit,
        config.data.well_lit,
        "--out",
        str(tmp_path / "double"),
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*torchrun, "-m", "rave_train", *arguments, *flags],
        env=environment, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("best.safetensors") == 1
    assert read_config(tmp_path / "double" / "config.json") == config
    assert_close_runs(tmp_path / "single", tmp_path / "double")


@pytest.mark.parametrize(
    ("device", "has_nccl", "backend"),
    [("cuda", True, "nccl"), ("cuda", False, "gloo"), ("cpu", True, "gloo")],
)
def test_gpus_exchange_tensors_where_torch_has_no_nccl(
    device: str, has_nccl: bool, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows it never has it, and training on two GPUs ended with torch's error."""
    begun: list[str] = []
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "1"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: has_nccl)
    monkeypatch.setattr(torch.distributed, "init_process_group", begun.append)
    assert join_processes(device) == Processes(1, 2, 1)
    assert begun == [backend]


def assert_close_runs(left: Path, right: Path) -> None:
    for a, b in zip(rows_of(left), rows_of(right), strict=True):
        assert (a["step"], a["phase"]) == (b["step"], b["phase"])
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-3)
    # A mean of the parts' decibels would not be that of the whole, and a collapse be seen in one run only.
    one_db, other_db = (read_state(run / "state.pt")["recent_psnr"] for run in (left, right))
    assert one_db == pytest.approx(other_db, abs=1e-3)
    one, other = (load_file(run / "checkpoints/last.safetensors") for run in (left, right))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=1e-5)
