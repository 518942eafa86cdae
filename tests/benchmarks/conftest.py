"""One thread, and a bundle that reduces even toy pictures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rave_runtime.bundle import embedded_bundle, read_bundle, write_manifest

WORKING_SIZE_PX = 48


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Toy networks gain nothing from threads, and lose much on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded bundle with a working size of 48 pixels."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    shutil.copytree(embedded_bundle(), folder)
    manifest = read_bundle(folder).manifest
    write_manifest(folder, replace(manifest, working_size_px=WORKING_SIZE_PX))
    return folder
