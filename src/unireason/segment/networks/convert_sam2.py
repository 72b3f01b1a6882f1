"""Checkpoints of the original SAM 2 code base, for MedSAM2's network: SAM 2.1 with the tiny Hiera encoder at 512 x 512 pixels.

Source: names and shapes of the public checkpoint and its configuration ``sam2.1_hiera_t512`` (bowang-lab/MedSAM2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import Sam2VideoConfig, Sam2VideoModel

from .convert_sam import prompt_and_decoder_name

State = Mapping[str, Tensor]

_SIZE = 512
_LEVELS = [[_SIZE // stride] * 2 for stride in (4, 8, 16)]  # grids of the encoder, fine to coarse

_TOP = {
    "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    "no_mem_embed": "no_memory_embedding",
    "no_mem_pos_enc": "no_memory_positional_encoding",
    "no_obj_ptr": "no_object_pointer",
    "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
    "obj_ptr_tpos_proj": "temporal_positional_encoding_projection_layer",
    "obj_ptr_proj": "object_pointer_proj",
    "sam_prompt_encoder": "prompt_encoder",
    "sam_mask_decoder": "mask_decoder",
}
_MEMORY = (
    ("memory_encoder.out_proj", "memory_encoder.projection"),
    ("pix_feat_proj", "feature_projection"),
    ("memory_encoder.fuser", "memory_encoder.memory_fuser"),
    ("dwconv", "depthwise_conv"),
    ("pwconv", "pointwise_conv"),
    (".gamma", ".scale"),
    ("mask_downsampler.encoder.12", "mask_downsampler.final_conv"),
)
_ENDS = ("proj_in", "proj_out")  # a perceptron of two layers


def sam2_name(name: str) -> str:
    """The new name of a tensor of SAM 2.

    >>> sam2_name("memory_encoder.mask_downsampler.encoder.4.bias")
    'memory_encoder.mask_downsampler.layers.1.layer_norm.bias'
    """
    first, _, rest = name.partition(".")
    name = ".".join(part for part in (_TOP.get(first, first), rest) if part)
    if name.startswith("image_encoder."):
        return _encoder_name(name)
    if name.startswith("memory_encoder."):
        for old, new in _MEMORY:
            name = name.replace(old, new)
        return re.sub(r"downsampler\.encoder\.(\d+)", _downsampler, name).replace(".norm.", ".layer_norm.")
    if name.startswith("object_pointer_proj."):
        return prompt_and_decoder_name(name.replace("_proj.", "_head.")).replace("_head.", "_proj.")
    name = name.replace(".out_proj.", ".o_proj.")
    if name.startswith("memory_attention."):
        return re.sub(r"\.norm", ".layer_norm", name)
    name = re.sub(r"(transformer\.layers\.\d+\.mlp)\.layers\.(\d)", lambda m: f"{m[1]}.{_ENDS[int(m[2])]}", name)
    return prompt_and_decoder_name(name)


def _encoder_name(name: str) -> str:
    name = name.replace("image_encoder.trunk.", "vision_encoder.backbone.").replace("image_encoder.", "vision_encoder.")
    name = name.replace("patch_embed.proj.", "patch_embed.projection.")
    name = re.sub(r"neck\.convs\.(\d+)\.conv\.", r"neck.convs.\1.", name)
    name = re.sub(r"(blocks\.\d+)\.norm", r"\1.layer_norm", name)
    return re.sub(r"mlp\.layers\.(\d)", lambda m: f"mlp.{_ENDS[int(m[1])]}", name)


def _downsampler(found: re.Match[str]) -> str:
    """Convolution, normalisation and activation take turns."""
    step, part = divmod(int(found[1]), 3)
    return f"downsampler.layers.{step}.{('conv', 'layer_norm')[part]}"


def sam2_tensors(state: State) -> dict[str, Tensor]:
    """All tensors under their new names; the embeddings of points become one tensor."""
    made = {sam2_name(name): tensor for name, tensor in state.items()}
    points = [made.pop(f"prompt_encoder.point_embed.{i}.weight") for i in range(4)]
    made["prompt_encoder.point_embed.weight"] = torch.cat(points)
    made["shared_image_embedding.positional_embedding"] = made["prompt_encoder.shared_embedding.positional_embedding"].clone()
    return made


def medsam2_model(state: State) -> tuple[type[Any], Sam2VideoConfig]:
    """The class and the configuration of MedSAM2's network, whatever the tensors are."""
    backbone = {"model_type": "sam2_hiera_det_model", "image_size": [_SIZE, _SIZE]}
    config = Sam2VideoConfig(
        vision_config={"model_type": "sam2_vision_model", "backbone_config": backbone, "backbone_feature_sizes": _LEVELS},
        prompt_encoder_config={"image_size": _SIZE},
        mask_decoder_config={},
        image_size=_SIZE,
        memory_attention_rope_feat_sizes=_LEVELS[-1],
    )
    return Sam2VideoModel, config
