"""A checkpoint as a folder that this package, plain transformers and servers of the published checkpoints read.

The folder is replaced as a whole: who reads it sees the old checkpoint or the new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from unireason.core.errors import ModelError
from unireason.core.store import json_text, replaced_folder
from unireason.grounding.profile import GROUNDING_FILE, PROFILE_FILE

from .adapters import merged_state
from .checkpoint import Checkpoint
from .files import CARD, published, write_shards

_NOT_SETTINGS = {"backend", "is_local", "local_files_only", "name_or_path"}  # transformers 5 writes how it loaded
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def save(
    folder: Path,
    checkpoint: Checkpoint,
    *,
    state: Mapping[str, torch.Tensor] | None = None,
    dtype: Literal["bf16", "fp32"] = "bf16",
    shard: str = "5GB",
    card: str | None = None,
) -> Path:
    """Write a checkpoint folder, replaced as a whole; adapters are merged into the weights.

    safetensors (above the size ``shard`` several, with an index), config.json, generation_config.json, tokenizer with chat template,
    preprocessor_config.json, profile.toml and grounding.toml; card.json with what it was made for and README.md with ``card``, if given.
    ``state`` has weights in place of the network's own, for networks that are sharded over processes.

    Raises:
        ModelError: If ``state`` does not fit the network, or ``dtype`` or ``shard`` is unknown.
        UniReasonError: If the folder cannot be written, such as on a full disk; the old one stays as it was.
    """
    if dtype not in _DTYPES:
        raise ModelError(f"the type {dtype!r} was asked for", "'bf16' or 'fp32'")
    network, tokenizer, own = checkpoint.network, checkpoint.tokenizer, checkpoint.image_processor
    low, high = checkpoint.pixel_limits
    processor = {  # in the published form, which every version of transformers reads
        "image_processor_type": "Qwen2VLImageProcessor",
        "min_pixels": low,
        "max_pixels": high,
        "patch_size": own.patch_size,
        "temporal_patch_size": own.temporal_patch_size,
        "merge_size": own.merge_size,
        "resample": int(own.resample),
        "rescale_factor": own.rescale_factor,
        "image_mean": list(own.image_mean),
        "image_std": list(own.image_std),
    }
    weights = _weights(network, merged_state(network) if state is None else state)
    with replaced_folder(folder) as partial:
        write_shards(partial, weights, dtype=_DTYPES[dtype], shard=shard)
        _write_json(partial / "config.json", _config(network, _DTYPES[dtype]))
        network.generation_config.to_json_file(partial / "generation_config.json")
        tokenizer.save_pretrained(partial)
        settings = partial / "tokenizer_config.json"
        _write_json(settings, _tokenizer_settings(json.loads(settings.read_text(encoding="utf-8")), tokenizer))
        _write_json(partial / "preprocessor_config.json", processor)
        (partial / PROFILE_FILE).write_text(checkpoint.profile.to_toml(), encoding="utf-8")
        (partial / GROUNDING_FILE).write_text(checkpoint.grounding.to_toml(), encoding="utf-8")
        if checkpoint.scope is not None:
            _write_json(partial / CARD, {"scope": checkpoint.scope.to_json()})
        if card is not None:
            (partial / "README.md").write_text(card, encoding="utf-8")
    return folder


def _weights(network: Any, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights under published names, a tied output layer left out, checked against the network."""
    given = {published(name): tensor for name, tensor in state.items()}
    expected = {published(n.replace(".base_layer.", ".")): t.shape for n, t in network.state_dict().items() if ".lora_" not in n}
    if network.get_output_embeddings().weight is network.get_input_embeddings().weight:
        expected.pop("lm_head.weight")
        given.pop("lm_head.weight", None)
    wrong = sorted(expected.keys() ^ given.keys()) or sorted(n for n in expected if expected[n] != given[n].shape)
    if wrong:
        raise ModelError(f"{len(wrong)} weights do not fit the network, such as {wrong[0]}", "its names and shapes")
    return given


def _config(network: Any, dtype: torch.dtype) -> dict[str, Any]:
    """config.json as published: sizes of the language model at the top, rotary sections under ``rope_scaling``."""
    table: dict[str, Any] = json.loads(network.config.to_json_string())
    text = table.pop("text_config")
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type", "default")
    text["rope_scaling"] = {"type": "mrope" if kind == "default" else kind, **rope}
    table["vision_config"].pop("dtype", None)
    named = str(dtype).removeprefix("torch.")
    return {**text, **table, "architectures": [type(network).__name__], "dtype": named, "torch_dtype": named}


def _tokenizer_settings(table: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    """tokenizer_config.json in a form that transformers 4 reads too."""
    kept = {k: v for k, v in table.items() if k not in _NOT_SETTINGS}
    if "extra_special_tokens" in kept:
        kept["additional_special_tokens"] = kept.pop("extra_special_tokens")
    if tokenizer.chat_template:
        kept["chat_template"] = tokenizer.chat_template
    declared = tokenizer.init_kwargs.get("tokenizer_class")
    kept["tokenizer_class"] = "PreTrainedTokenizerFast" if declared in (None, "TokenizersBackend") else declared
    return kept


def _write_json(path: Path, table: Mapping[str, Any]) -> None:
    path.write_text(json_text(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
