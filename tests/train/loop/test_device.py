from __future__ import annotations

import pytest
import torch

from rave_train.errors import ConfigError
from rave_train.loop.device import gpu_of, pick_device, pick_precision


def test_a_gpu_that_is_not_there_is_an_error() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match="torch finds no GPU here: use --device cpu"):
        pick_device("cuda")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA only said that an ordinal was invalid."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert gpu_of(1) == torch.device("cuda", 1)
    with pytest.raises(
        ConfigError, match="process 3 on this machine has no GPU, since torch finds 2 here: use"
    ):
        gpu_of(2)


def test_auto_is_bf16_where_the_processor_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for flags, wanted in (
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "avx2": True}, torch.float32),
        ({}, torch.float32),
    ):
        monkeypatch.setattr("torch.cpu.get_capabilities", lambda flags=flags: flags, raising=False)
        assert pick_precision("auto", cpu) == wanted
    monkeypatch.delattr("torch.cpu.get_capabilities")
    assert pick_precision("auto", cpu) == torch.float32, "older torch does not tell"
    assert pick_precision("bf16", cpu) == torch.bfloat16
