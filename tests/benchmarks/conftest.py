"""A tiny bundle for the runtime, exported once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

WORKING_SIZE_PX = 48


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Toy networks gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a random network of 4 channels, proven at export."""
    from rave_export.bundles import export_bundle
    from rave_train.checkpoint import Checkpoint
    from rave_train.network import EnhancementNetwork

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    network = EnhancementNetwork(channels=4).eval()
    with torch.no_grad():
        assert network.cond_add1.bias is not None
        network.cond_add1.bias.fill_(0.5)
    export_bundle(Checkpoint(network), folder, working_size_px=WORKING_SIZE_PX)
    return folder
