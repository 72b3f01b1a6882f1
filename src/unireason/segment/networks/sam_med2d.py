"""SAM-Med2D: SAM for pictures of 256 x 256 pixels with an adapter beside the perceptron of every layer of its vision encoder.

An adapter weights the channels by what they hold on average, passes them through a convolution that halves the grid and one that
doubles it, adds its input and normalises. It reads what the perceptron reads, and the layer adds both answers.

Source: SAM-Med2D (arXiv 2308.16184), section 3.2 and figure 3; names and shapes of the public checkpoint.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import SamConfig, SamModel

_SQUEEZE = 4  # channels go through a layer a quarter as wide


class Adapter(nn.Module):
    """One adapter.

    Args:
        channels: Of the encoder.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // _SQUEEZE, bias=False)
        self.excite = nn.Linear(channels // _SQUEEZE, channels, bias=False)
        self.down = nn.Conv2d(channels, channels, kernel_size=3, stride=2, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(channels, channels, kernel_size=4, stride=2, padding=1, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape; H and W are even."""
        weight = self.excite(self.squeeze(hidden.mean(dim=(1, 2))).relu()).sigmoid()  # (B, C)
        weighted = (hidden * weight[:, None, None]).permute(0, 3, 1, 2)
        spatial = self.up(self.down(weighted).relu()).relu().permute(0, 2, 3, 1)
        normalised: Tensor = self.norm(hidden + spatial)
        return normalised


class AdaptedPerceptron(nn.Module):
    """The perceptron of an encoder layer with its adapter beside it.

    Args:
        perceptron: What the layer had.
        channels: Of the encoder.
    """

    def __init__(self, perceptron: Any, channels: int) -> None:
        super().__init__()
        self.lin1, self.lin2, self.act = perceptron.lin1, perceptron.lin2, perceptron.act
        self.adapter = Adapter(channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        answer: Tensor = self.lin2(self.act(self.lin1(hidden))) + self.adapter(hidden)
        return answer


class SamMed2DModel(SamModel):  # type: ignore[misc]
    """``SamModel`` with adapters in the vision encoder."""

    def __init__(self, config: SamConfig) -> None:
        super().__init__(config)
        for layer in self.vision_encoder.layers:
            layer.mlp = AdaptedPerceptron(layer.mlp, config.vision_config.hidden_size)
