"""The promise of the project: exported and tiled equals torch on the whole image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from rave_export.bundles import export_bundle
from rave_export.graphs.variants import Graph
from rave_export.proof.parity import probe_picture
from rave_export.proof.reference import torch_reference
from rave_runtime import Enhancer
from rave_train.checkpoint import Checkpoint, read_checkpoint
from rave_train.network import PADDINGS, EnhancementNetwork, Padding
from tests.export.conftest import with_weights_of

SIDES = st.one_of(st.integers(1, 60), st.sampled_from([1, 2, 3, 61, 97, 149, 211]))


def strong_network(padding: Padding, channels: int) -> EnhancementNetwork:
    torch.manual_seed(3)
    network = EnhancementNetwork(channels, padding)
    with torch.no_grad():
        network.cond_add1.weight *= 0.3
        assert network.cond_add1.bias is not None
        network.cond_add1.bias.fill_(0.5)
    return network.eval()


@pytest.fixture(scope="module")
def bundles(
    fp32_graphs: list[Graph], narrow_graphs: list[Graph], tmp_path_factory: pytest.TempPathFactory
) -> dict[Padding, tuple[EnhancementNetwork, Path]]:
    """Of eight channels and of four, whose graphs the exporter has made for other tests as well."""
    folder = tmp_path_factory.mktemp("exactness")
    graphs: dict[Padding, list[Graph]] = {"reflect": fp32_graphs, "zeros": narrow_graphs}
    made = {}
    for padding in PADDINGS:
        network = strong_network(padding, 8 if padding == "reflect" else 4)
        exported = with_weights_of(network, graphs[padding])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("rave_export.bundles.float_graphs", lambda *_, exported=exported: exported)
            patch.setattr("rave_export.bundles.measure_bundle", lambda *_: [])  # the tests below measure
            export_bundle(Checkpoint(network), folder / padding)
        made[padding] = network, folder / padding
    return made


@pytest.mark.parametrize("padding", PADDINGS)
@settings(max_examples=30, deadline=None)
@given(height=SIDES, width=SIDES, tile=st.one_of(st.none(), st.integers(40, 90)))
@example(height=39, width=41, tile=35)  # cores of one pixel, of which a large picture has thousands
def test_tiled_graphs_equal_the_whole_network(
    bundles: dict[Padding, tuple[EnhancementNetwork, Path]],
    padding: Padding,
    height: int,
    width: int,
    tile: int | None,
) -> None:
    network, bundle = bundles[padding]
    picture = probe_picture(max(height, 2), max(width, 2))[:height, :width]
    enhancer = Enhancer(bundle, device="cpu", precision="fp32", working_size=None, tile_size=tile, threads=1)
    expected = torch_reference(network).light(picture)
    np.testing.assert_allclose(enhancer.illumination(picture), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_two_paddings_differ(
    bundles: dict[Padding, tuple[EnhancementNetwork, Path]], padding: Padding
) -> None:
    network, _ = bundles[padding]
    other = strong_network("zeros" if padding == "reflect" else "reflect", network.channels)
    other.load_state_dict(network.state_dict())
    picture = probe_picture(40, 50)
    mine, others = torch_reference(network).light(picture), torch_reference(other).light(picture)
    assert np.abs(mine - others).max() > 1e-3


@pytest.mark.shared
@pytest.mark.parametrize("padding", ["reflect", pytest.param("zeros", marks=pytest.mark.slow)])
def test_the_published_checkpoint_gives_the_published_light(
    shared: Path, tmp_path: Path, padding: Padding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rave_export.bundles.measure_bundle", lambda *_: [])
    checkpoint = read_checkpoint(shared / "upstream" / "rave_paired.pth", padding)
    export_bundle(checkpoint, tmp_path / "bundle")
    name = "c5b8b4070688114c602b27933c6699b6.jpg"
    image = np.asarray(Image.open(shared / "data" / "backlit" / name))
    published = np.load(shared / "upstream" / "rave_paired_light_map.npz")[padding]
    enhancer = Enhancer(
        tmp_path / "bundle", device="cpu", precision="fp32", working_size=None, tile_size=256, threads=1
    )
    np.testing.assert_allclose(enhancer.illumination(image), published, atol=2e-5, rtol=0)
