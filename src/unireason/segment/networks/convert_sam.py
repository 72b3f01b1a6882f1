"""Checkpoints of the original SAM code base, MedSAM's and SAM-Med2D's among them, under the names that transformers uses.

The sizes of the network are read from the shapes of its tensors.

Source: names and shapes of the public checkpoints (facebookresearch/segment-anything, OpenGVLab/SAM-Med2D).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import SamConfig, SamModel

from .sam_med2d import SamMed2DModel

State = Mapping[str, Tensor]

_HEAD = ("proj_in", "layers.0", "proj_out")  # a perceptron of three layers
_CONVOLUTIONS = {"0": "conv1", "1": "layer_norm1", "2": "conv2", "3": "layer_norm2"}
_MASK = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_UPSCALING = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_ADAPTER = {"channel.0": "squeeze", "channel.2": "excite", "spatial.0": "down", "spatial.2": "up", "norm": "norm"}


def prompt_and_decoder_name(name: str) -> str:
    """The new name of a tensor of the prompt encoder or the mask decoder, which SAM and SAM 2 share; any other stays.

    >>> prompt_and_decoder_name("mask_decoder.iou_prediction_head.layers.1.bias")
    'mask_decoder.iou_prediction_head.layers.0.bias'
    """
    name = re.sub(r"mask_downscaling\.(\d)", lambda m: f"mask_embed.{_MASK[m[1]]}", name)
    name = re.sub(r"output_upscaling\.(\d)", lambda m: _UPSCALING[m[1]], name)
    name = re.sub(r"(mlps\.\d|_head)\.layers\.(\d)", lambda m: f"{m[1]}.{_HEAD[int(m[2])]}", name)
    name = re.sub(r"(transformer\.(?:layers\.\d+\.)?)norm", r"\1layer_norm", name)
    return name.replace("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding").replace(
        "point_embeddings", "point_embed"
    )


def sam_name(name: str) -> str:
    """The new name of a tensor of SAM or SAM-Med2D.

    >>> sam_name("image_encoder.blocks.3.Adapter.spatial.2.weight")
    'vision_encoder.layers.3.mlp.adapter.up.weight'
    """
    if not name.startswith("image_encoder."):
        return prompt_and_decoder_name(name)
    name = name.replace("image_encoder.", "vision_encoder.", 1).replace("patch_embed.proj.", "patch_embed.projection.")
    name = re.sub(r"neck\.(\d)", lambda m: f"neck.{_CONVOLUTIONS[m[1]]}", name)
    name = re.sub(r"blocks\.(\d+)\.norm", r"layers.\1.layer_norm", name)
    name = re.sub(r"Adapter\.(channel\.\d|spatial\.\d|norm)", lambda m: f"mlp.adapter.{_ADAPTER[m[1]]}", name)
    return name.replace(".blocks.", ".layers.")


def sam_tensors(state: State) -> dict[str, Tensor]:
    """All tensors under their new names."""
    made = {sam_name(name): tensor for name, tensor in state.items()}
    made["shared_image_embedding.positional_embedding"] = made["prompt_encoder.shared_embedding.positional_embedding"]
    return made


def sam_model(state: State) -> tuple[type[Any], SamConfig]:
    """The class and the configuration of the network whose tensors these are, under their original names.

    Raises:
        KeyError: If a tensor that tells a size is missing.
    """
    encoder = "image_encoder."
    _, grid, _, hidden = state[encoder + "pos_embed"].shape
    depth = 1 + max(int(name.split(".")[2]) for name in state if name.startswith(encoder + "blocks."))
    spans = [state[f"{encoder}blocks.{i}.attn.rel_pos_h"].shape for i in range(depth)]
    windows = {(length + 1) // 2 for length, _ in spans if length != 2 * grid - 1}
    channels = state["prompt_encoder.no_mask_embed.weight"].shape[1]
    patch = state[encoder + "patch_embed.proj.weight"].shape[-1]
    vision = {
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": hidden // spans[0][1],
        "image_size": grid * patch,
        "patch_size": patch,
        "output_channels": channels,
        "num_pos_feats": channels // 2,
        "mlp_dim": state[encoder + "blocks.0.mlp.lin1.weight"].shape[0],
        "window_size": windows.pop() if windows else 0,
        "global_attn_indexes": [i for i, (length, _) in enumerate(spans) if length == 2 * grid - 1],
    }
    prompts = {
        "hidden_size": channels,
        "image_size": grid * patch,
        "patch_size": patch,
        "mask_input_channels": state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
    }
    decoder = {
        "hidden_size": channels,
        "mlp_dim": state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0],
        "iou_head_hidden_dim": state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
    }
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    return (SamMed2DModel if any(".Adapter." in name for name in state) else SamModel), config
