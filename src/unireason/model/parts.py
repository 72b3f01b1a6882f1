"""Which parts of a network learn: vision tower, projector, language model.

It knows nothing of optimisers. Names are those of the network in memory (``model.visual``, ``model.language_model``, ``lm_head``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from unireason.errors import ModelError

LANGUAGE = ("model.language_model.", "lm_head.")
_PROJECTOR = "model.visual.merger."
_ADAPTER = ".lora_"  # in the name of every adapter weight


def choose(network: Any, *, tower: bool, projector: bool, language: bool) -> None:
    """Let the chosen parts learn and freeze all others.

    Tied input and output embeddings are one parameter, which belongs to the language model. In a network with adapters the language
    model means its adapters: the weights underneath stay frozen.

    Args:
        network: ``Qwen2_5_VLForConditionalGeneration``, with adapters or without.
        tower: True trains the vision tower without its merger.
        projector: True trains the merger, which brings visual tokens to the width of the language model.
        language: True trains the language model and its output layer.

    Raises:
        ModelError: If nothing would be trained, or the network has a weight that belongs to none of the parts.
    """
    adapted = any(True for _ in adapter_parameters(network))
    for name, parameter in network.named_parameters():
        if name.startswith(LANGUAGE):
            parameter.requires_grad_(language and (not adapted or _ADAPTER in name))
        elif name.startswith("model.visual."):
            parameter.requires_grad_(projector if name.startswith(_PROJECTOR) else tower)
        else:
            raise ModelError(f"the network has the weight {name}", "a Qwen2.5-VL: model.visual, model.language_model and lm_head")
    trainable(network)


def trainable(network: Any) -> dict[str, torch.nn.Parameter]:
    """What learns, by name, in the order of the network's modules; a tied parameter is named once.

    Raises:
        ModelError: If nothing is trained.
    """
    chosen = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    if not chosen:
        raise ModelError("nothing is trained", "tower, projector or language", "set one of them to true in the table 'model'")
    return chosen


def adapter_parameters(network: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Name and weight of every adapter matrix; none in a network without adapters."""
    return ((name, parameter) for name, parameter in network.named_parameters() if _ADAPTER in name)
