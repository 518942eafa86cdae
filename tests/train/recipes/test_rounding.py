"""Rounding while training is that of INT8 graphs."""

from __future__ import annotations

import torch
from torch import nn

from rave_train.network import EnhancementNetwork
from rave_train.recipes.rounding import FakeQuantization


def test_rounding_is_that_of_eight_bits_and_goes_away() -> None:
    torch.manual_seed(0)
    network = EnhancementNetwork(8).eval()
    image = torch.rand(2, 3, 24, 24)
    clean = network(image).detach()
    rounding = FakeQuantization(network, headroom=1.0)
    # Every inner convolution is disturbed, so compare one whose input is known: of the first block.
    got: list[torch.Tensor] = []
    second = network.ResidualBlock1.conv1.register_forward_hook(
        lambda _m, inputs, _o: got.append(inputs[0].detach())
    )
    rounded = network(image)
    wanted = nn.functional.leaky_relu(network.cond1(image), 0.2).detach()
    step = float(wanted.amax() - wanted.amin()) / 255
    assert 0.45 * step < float((got[0] - wanted).abs().max()) <= 0.5 * step * 1.01
    assert len(torch.unique(got[0])) <= 256
    assert not torch.equal(rounded, clean)
    gradient = torch.autograd.grad(rounded.sum(), network.ResidualBlock1.conv1.weight)[0]
    assert float(gradient.abs().sum()) > 0
    network(image / 4)
    narrow = got[1]
    assert len(torch.unique(narrow)) < 128  # a darker picture keeps the range of the brighter one
    rounding.spread()
    network(image)
    spread = rounding.spread()
    assert float(spread.detach()) > 0
    (pull,) = torch.autograd.grad(spread, network.ResidualBlock1.conv1.weight)
    assert float(pull.abs().sum()) > 0
    rounding.remove()
    second.remove()
    torch.testing.assert_close(network(image).detach(), clean)
