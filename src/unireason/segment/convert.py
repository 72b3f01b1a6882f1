"""An original checkpoint becomes a folder that the experts load: config.json and model.safetensors.

A foreign .pt file is a pickle, which can run any code. It is opened by torch's restricted reader only, which builds tensors, numbers and
plain containers and refuses anything else; an optimiser that was saved along is read as an empty stand-in.

Source: names and shapes of the public checkpoint and its configuration ``sam2.1_hiera_t512`` (bowang-lab/MedSAM2).
Source: names and shapes of the public checkpoints (facebookresearch/segment-anything, OpenGVLab/SAM-Med2D).
"""

from __future__ import annotations

import collections
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals
from transformers import Sam2VideoConfig, Sam2VideoModel, SamConfig, SamModel

from unireason.core.errors import ModelError, SizeLimitError
from unireason.core.store import replaced_folder, share_as_usual

from .sam import SamMed2DModel, without_bars

_HEAD = ("proj_in", "layers.0", "proj_out")  # a perceptron of three layers
_CONVOLUTIONS = {"0": "conv1", "1": "layer_norm1", "2": "conv2", "3": "layer_norm2"}
_MASK = {"0": "conv1", "1": "layer_norm1", "3": "conv2", "4": "layer_norm2", "6": "conv3"}
_UPSCALING = {"0": "upscale_conv1", "1": "upscale_layer_norm", "3": "upscale_conv2"}
_ADAPTER = {"channel.0": "squeeze", "channel.2": "excite", "spatial.0": "down", "spatial.2": "up", "norm": "norm"}


def prompt_and_decoder_name(name: str) -> str:
    """The new name of a tensor of the prompt encoder or the mask decoder, which SAM and SAM 2 share; any other stays."""
    name = re.sub(r"mask_downscaling\.(\d)", lambda m: f"mask_embed.{_MASK[m[1]]}", name)
    name = re.sub(r"output_upscaling\.(\d)", lambda m: _UPSCALING[m[1]], name)
    name = re.sub(r"(mlps\.\d|_head)\.layers\.(\d)", lambda m: f"{m[1]}.{_HEAD[int(m[2])]}", name)
    name = re.sub(r"(transformer\.(?:layers\.\d+\.)?)norm", r"\1layer_norm", name)
    return name.replace("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding").replace(
        "point_embeddings", "point_embed"
    )


def sam_name(name: str) -> str:
    """The new name of a tensor of SAM or SAM-Med2D."""
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
    """The class and the configuration of the network whose tensors these are, under their original names."""
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


# --- Checkpoints of the original SAM 2 code base, for MedSAM2's network: SAM 2.1 with the tiny Hiera encoder at 512 x 512 pixels.


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
    """The new name of a tensor of SAM 2."""
    first, _, rest = name.partition(".")
    name = ".".join(part for part in (_TOP.get(first, first), rest) if part)
    if name.startswith("image_encoder."):
        name = name.replace("image_encoder.trunk.", "vision_encoder.backbone.").replace("image_encoder.", "vision_encoder.")
        name = name.replace("patch_embed.proj.", "patch_embed.projection.")
        name = re.sub(r"neck\.convs\.(\d+)\.conv\.", r"neck.convs.\1.", name)
        name = re.sub(r"(blocks\.\d+)\.norm", r"\1.layer_norm", name)
        return re.sub(r"mlp\.layers\.(\d)", lambda m: f"mlp.{_ENDS[int(m[1])]}", name)
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


# --- An original checkpoint becomes a folder that the experts load: config.json and model.safetensors.


State = Mapping[str, Tensor]

LARGEST_BYTES = 8 << 30
"""A larger checkpoint is refused: the largest published one of these kinds has about 3 GiB, its optimiser included."""

_KINDS: dict[str, tuple[Callable[[State], tuple[type[Any], Any]], Callable[[State], dict[str, Tensor]]]] = {
    "medsam": (sam_model, sam_tensors),
    "sam-med2d": (sam_model, sam_tensors),
    "medsam2": (medsam2_model, sam2_tensors),
}
KINDS = tuple(_KINDS)
"""What :func:`convert` knows."""


def convert(original: str | os.PathLike[str], kind: str, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Convert a published .pt or .pth file of one of :data:`KINDS` to a folder; an older one is replaced when all is well.

    Counts for people and machines: ``read`` and ``written`` tensors, ``parameters``, ``folder``. A file that cannot be read,
    holds code or other tensors is a ModelError, one above :data:`LARGEST_BYTES` a SizeLimitError.
    """
    if kind not in _KINDS:
        raise ModelError(f"there is no kind '{kind}' of checkpoint to convert", f"one of {', '.join(KINDS)}")
    state = read_original(original)
    plan, rename = _KINDS[kind]
    try:
        network, config = plan(state)
        tensors = rename(state)
    except (KeyError, ValueError, IndexError, RuntimeError) as error:
        raise _other(original, kind, f"there is no tensor {error}" if isinstance(error, KeyError) else str(error)) from error
    with torch.device("meta"):
        model = network(config)
    _compare(model.state_dict(), tensors, original, kind)
    model.load_state_dict({name: tensor.float().contiguous() for name, tensor in tensors.items()}, strict=True, assign=True)
    with without_bars(), replaced_folder(out) as folder:
        model.save_pretrained(folder)
        for file in folder.iterdir():
            share_as_usual(file)
    count = sum(p.numel() for p in model.parameters())
    return {"read": len(state), "written": len(tensors), "parameters": count, "folder": str(out)}


class _Ignored:
    """Stands for an object of which nothing is wanted."""

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


def read_original(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a checkpoint file, without running any code of it."""
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"there is no file '{path}'", "an original checkpoint (.pt or .pth)")
    if file.stat().st_size > LARGEST_BYTES:
        raise SizeLimitError(f"'{file.name}' has {file.stat().st_size >> 20} MiB", f"at most {LARGEST_BYTES >> 20}")
    stand_ins = [(_Ignored, f"torch.optim.{name}") for name in ("adam.Adam", "adamw.AdamW", "sgd.SGD")]
    try:
        with safe_globals([*stand_ins, collections.defaultdict, dict]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of other versions, which are read or refused all the same
            held = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or foreign file fails in many places of the reader, each with its own error
        raise ModelError(
            f"'{file.name}' cannot be read as plain weights ({' '.join(str(error).split())[:200]})",
            "a checkpoint of tensors, numbers and plain containers",
            "other objects in a checkpoint can run any code and are refused",
        ) from error
    for key in ("model", "state_dict"):
        if isinstance(held, dict) and isinstance(held.get(key), dict):
            held = held[key]
    if not isinstance(held, dict) or not held or not all(isinstance(t, Tensor) for t in held.values()):
        raise ModelError(f"'{file.name}' holds no table of tensors by name", "the state of a network, or one under 'model'")
    return {str(name).removeprefix("module."): tensor for name, tensor in held.items()}


def _compare(wanted: State, given: State, original: str | os.PathLike[str], kind: str) -> None:
    """Every tensor of the network is there once, with its shape, and none is left over."""
    missing, left = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
    if missing or left:
        first = (missing or left)[0]
        raise _other(original, kind, f"{len(missing)} tensors are missing and {len(left)} left over, first {first}")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise _other(original, kind, f"{name} has the shape {tuple(given[name].shape)} instead of {tuple(tensor.shape)}")


def _other(original: str | os.PathLike[str], kind: str, why: str) -> ModelError:
    return ModelError(f"'{Path(original).name}' is no checkpoint of the kind '{kind}': {why}", remedy="check --kind and the file")
