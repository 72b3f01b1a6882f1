"""Tiny networks of the real architectures with seeded random weights, and cases to show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Sam2VideoConfig, Sam2VideoModel, SamConfig, SamModel

from unireason.core.types import Case, Geometry, Source
from unireason.imaging.geometry import volume_geometry
from unireason.segment.sam import SamMed2DModel

SIZE = 64
_DECODER = {"hidden_size": 128, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
_PROMPTS = {"hidden_size": 128, "mask_input_channels": 8, "image_size": SIZE}
_VISION = {
    "hidden_size": 16,
    "output_channels": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "window_size": 2,
    "global_attn_indexes": [1],
    "num_pos_feats": 64,
    "mlp_dim": 16,
}


def _awake(model: Any) -> Any:
    """Fresh networks start with weights so small that nothing depends on the prompt; these do not."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        if hasattr(model.mask_decoder, "pred_obj_score_head"):
            model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(1e4)  # everything is seen
    return model.eval()


def _sam_config() -> Any:
    return SamConfig(vision_config=_VISION, prompt_encoder_config=_PROMPTS, mask_decoder_config=_DECODER)


def sam_model() -> Any:
    torch.manual_seed(0)
    return _awake(SamModel(_sam_config()))


def sam_med2d_model() -> Any:
    torch.manual_seed(0)
    return _awake(SamMed2DModel(_sam_config()))


def sam2_config() -> Any:
    small = {"hidden_size": 8, "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 2, 2]}
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "blocks_per_stage": [1, 1, 2, 1],
        "global_attention_blocks": [3],
        "image_size": [SIZE, SIZE],
        "window_size_per_stage": [2, 2, 2, 2],
        **small,
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 128,
    }
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=_PROMPTS,
        mask_decoder_config=_DECODER,
        image_size=SIZE,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=128,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
        memory_fuser_num_layers=1,
    )


def sam2_model() -> Any:
    torch.manual_seed(0)
    return _awake(Sam2VideoModel(sam2_config()))


MODELS = {"sam": sam_model, "medsam": sam_model, "sam-med2d": sam_med2d_model, "sam2": sam2_model, "medsam2": sam2_model}


def saved(name: str, folder: Path) -> Path:
    """The folder of a tiny network of an expert."""
    MODELS[name]().save_pretrained(folder)
    return folder


def image_case(pixels: np.ndarray) -> Case:
    height, width = pixels.shape[:2]
    geometry = Geometry((height, width), (width, height), (0, 1), (False, False))
    return Case(pixels, "image", geometry, "", Source("picture", "png", ""))


def volume_case(pixels: np.ndarray, modality: str = "CT") -> Case:
    return Case(pixels, "volume", volume_geometry(pixels.shape[::-1], np.eye(4)), modality, Source("volume", "nifti", ""))
