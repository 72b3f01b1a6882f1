"""The adapter of SAM-Med2D, computed by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from segment_networks import sam_med2d_model
from unireason.segment.sam import AdaptedPerceptron, Adapter

CHANNELS = 4


def made(adapter: Adapter) -> Adapter:
    """No weight of a channel is preferred (1/2 each); the convolution takes every second pixel and the other lays it on four."""
    with torch.no_grad():
        adapter.excite.weight.zero_()
        adapter.down.weight.zero_()
        adapter.down.weight[range(CHANNELS), range(CHANNELS), 1, 1] = 1.0
        adapter.up.weight.zero_()
        adapter.up.weight[range(CHANNELS), range(CHANNELS)] = 1.0
    return adapter


def test_an_adapter_on_a_picture_of_four():
    hidden = torch.tensor([[1.0, -2, 3, 0], [0, 1, 0, 1], [2, 2, 0, 0], [5, 1, 1, 1]]).view(1, 2, 2, CHANNELS)
    spread = torch.tensor([0.5, 0, 1.5, 0])  # half of the upper left pixel, cut at 0
    with torch.no_grad():
        out = made(Adapter(CHANNELS))(hidden)
    assert torch.allclose(out, layer_norm(hidden + spread, (CHANNELS,)), atol=1e-6)


def test_channels_are_weighted_by_their_mean():
    adapter = made(Adapter(CHANNELS))
    hidden = torch.ones(1, 2, 2, CHANNELS) * torch.tensor([1.0, 2, 3, 4])
    with torch.no_grad():
        adapter.squeeze.weight.copy_(torch.tensor([[0.0, 0, 0, 1]]))  # one of four channels is left: the mean of the last, 4
        adapter.excite.weight.copy_(torch.tensor([[1.0], [0], [0], [-1]]))
        out = adapter(hidden)
    gate = torch.tensor([4.0, 0, 0, -4]).sigmoid()
    assert torch.allclose(out, layer_norm(hidden + hidden * gate, (CHANNELS,)), atol=1e-6)


def test_the_layer_adds_both_answers():
    class Perceptron(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin1, self.lin2, self.act = nn.Linear(CHANNELS, 6), nn.Linear(6, CHANNELS), nn.GELU()

    plain = Perceptron()
    both = AdaptedPerceptron(plain, CHANNELS)
    hidden = torch.randn(1, 2, 2, CHANNELS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = plain.lin2(plain.act(plain.lin1(hidden))) + both.adapter(hidden)
        assert torch.allclose(both(hidden), expected)
        assert not torch.allclose(both(hidden), plain.lin2(plain.act(plain.lin1(hidden))))


def test_every_layer_has_six_tensors_more():
    model = sam_med2d_model()
    extra = [name for name in model.state_dict() if ".adapter." in name]
    assert len(extra) == 6 * len(model.vision_encoder.layers)
    assert model.vision_encoder.layers[0].mlp.adapter.norm.eps == pytest.approx(1e-5)
