"""Low-rank adapters (LoRA) in the linear layers of the language model, by peft, which is imported here only.

Layers are replaced inside the network, so that everybody who holds it sees the adapted one. Switched off, the adapters leave the start
of the run: the frozen reference policy, which costs no second copy of the weights.

Source: LoRA, arXiv 2106.09685, equation 3: h = W x + (alpha / rank) B A x, A random and B zero at first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from unireason.core.errors import ModelError
from unireason.core.store import json_text, read_json, replaced_folder

from .files import whole, write

LANGUAGE = ("model.language_model.", "lm_head.")
_PROJECTOR = "model.visual.merger."
_ADAPTER = ".lora_"  # in the name of every adapter weight


def choose(network: Any, *, tower: bool, projector: bool, language: bool) -> None:
    """Let the chosen parts learn and freeze all others: vision tower without merger, merger (``projector``), language model.

    Tied input and output embeddings are one parameter, which belongs to the language model. In a network with adapters the language
    model means its adapters: the weights underneath stay frozen. Nothing to train, or a weight of no part, is a ModelError.
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
    """What learns, by name, in the order of the network's modules; a tied parameter is named once. ModelError if nothing does."""
    chosen = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    if not chosen:
        raise ModelError("nothing is trained", "tower, projector or language", "set one of them to true in the table 'model'")
    return chosen


def adapter_parameters(network: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Name and weight of every adapter matrix; none in a network without adapters."""
    return ((name, parameter) for name, parameter in network.named_parameters() if _ADAPTER in name)


# --- Low-rank adapters (LoRA) in the linear layers of the language model, by peft, which is imported here only.


WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
_NAME = "default"  # peft's name of an adapter that got none
_HEAD = "base_model.model."  # what peft writes in front of the names of the network
_USED = {"r", "lora_alpha", "lora_dropout", "target_modules"}
_REMARKS = {"base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "auto_mapping"}


def attach(network: Any, *, rank: int, alpha: float, dropout: float, targets: Sequence[str], seed: int) -> None:
    """Put fresh adapters into the language model of a network, in place; it computes what it did before.

    The language model underneath is frozen; tower and projector learn or not as before. The update is scaled by alpha / rank;
    ``targets`` are the last names of the linear layers that get an adapter, such as "q_proj". The seed gives the same initial
    weights on every device. A network with adapters, an unknown target or a number out of range is a ModelError.
    """
    if rank < 1 or not alpha > 0 or not 0 <= dropout < 1:
        raise ModelError(
            f"adapters of rank {rank}, alpha {alpha} and dropout {dropout}", "rank >= 1, alpha > 0 and dropout in [0, 1)"
        )
    if attached(network):
        raise ModelError("the network has adapters already", "a network without", "merge them first")
    known = {n.rsplit(".", 1)[-1] for n, m in network.model.language_model.named_modules() if isinstance(m, torch.nn.Linear)}
    wrong = sorted(set(targets) - known)
    if wrong or not targets:
        came = f"the language model has no linear layer named {', '.join(wrong)}" if wrong else "no layer was named for adapters"
        raise ModelError(came, f"some of {', '.join(sorted(known))}", "change 'targets' in the table 'model.lora'")
    from peft import LoraConfig

    # A regular expression over full names: layers of the vision tower have the same last names.
    names = "|".join(re.escape(t) for t in sorted(set(targets)))
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=rf"model\.language_model\.(?:.*\.)?(?:{names})"
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # adapters are made on the CPU; seeding all devices would disturb the others
        _inject(network, config)


def attached(network: Any) -> bool:
    """True if the network has adapters."""
    return next(adapter_parameters(network), None) is not None


@contextmanager
def reference(network: Any) -> Iterator[None]:
    """Switch the adapters of a network off for a while: it is the start of the run, weights and gradients untouched."""
    layers = _layers(network)
    flags = [(parameter, parameter.requires_grad) for _, parameter in adapter_parameters(network)]
    on = [layer for layer in layers.values() if not layer.disable_adapters]
    try:
        for layer in on:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in on:
            layer.enable_adapters(True)
        for parameter, flag in flags:  # peft switches gradients along
            parameter.requires_grad_(flag)


def adapter_state(network: Any) -> dict[str, torch.Tensor]:
    """The weights of the adapters under peft's names; sharded ones are gathered, so that all processes must call this together."""
    _layers(network)
    return {_saved_name(name): whole(parameter.detach()) for name, parameter in adapter_parameters(network)}


def save_adapter(network: Any, folder: Path, *, start: str, state: Mapping[str, torch.Tensor] | None = None) -> Path:
    """Write the adapters alone, as peft does, so that ``peft.PeftModel.from_pretrained`` reads them; the folder is replaced as a whole.

    ``start`` names the checkpoint underneath; ``state`` is from ``adapter_state``, for networks that are sharded over processes.
    """
    weights = adapter_state(network) if state is None else state
    table = {k: sorted(v) if isinstance(v, set) else v for k, v in network.peft_config[_NAME].to_dict().items()}
    table |= {"base_model_name_or_path": start, "inference_mode": True}
    with replaced_folder(folder) as partial:
        write(partial / WEIGHTS, weights, {"format": "pt"})
        (partial / CONFIG).write_text(json_text(table, indent=2, sort_keys=True) + "\n")
    return folder


def load_adapter(network: Any, folder: Path) -> None:
    """Put saved adapters into a network, or their values into adapters of the same form that it has already."""
    table = read_json(folder / CONFIG)
    config = _config(table, folder)
    try:
        state = load_file(str(folder / WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}", WEIGHTS) from error
    if not attached(network):
        try:
            _inject(network, config)
        except ValueError as error:  # no layer has one of the names
            raise ModelError(f"the adapter in {folder} does not fit the network: {error}", "the checkpoint underneath") from error
    scales = {layer.scaling[_NAME] for layer in _layers(network).values()}
    if scales != {config.lora_alpha / config.r}:
        raise ModelError(
            f"the adapter in {folder} is scaled by {config.lora_alpha / config.r}", f"{scales.pop()} as in the network"
        )
    own = {_saved_name(name): parameter for name, parameter in adapter_parameters(network)}
    wrong = sorted(own.keys() ^ state.keys()) or sorted(k for k in own if own[k].shape != state[k].shape)
    if wrong:
        raise ModelError(
            f"the adapter in {folder} does not fit the network: {len(wrong)} weights differ, such as {wrong[0]}",
            "the same checkpoint, rank and targets",
        )
    with torch.no_grad():
        for key, parameter in own.items():
            parameter.copy_(state[key])


@torch.no_grad()
def merged_state(network: Any, *, keep: bool = True) -> dict[str, torch.Tensor]:
    """The weights as if the adapters had been merged, under the names of a network without adapters, which is not changed.

    The sum is made in float32 and kept in the type of the weight. Weights without adapter are the network's own memory; sharded
    ones are gathered, one after the other, on the CPU. ``keep=False`` only takes part in gathering, which all processes must do
    together.
    """
    merged: dict[str, torch.Tensor] = {}
    layers = _layers(network) if attached(network) else {}
    for name, tensor in network.state_dict().items():
        if ".lora_" in name:
            continue
        value = whole(tensor)
        gathered = value is not tensor
        layer = layers.get(name.removesuffix(".base_layer.weight"))
        if layer is not None:
            down, up = (whole(side[_NAME].weight).float() for side in (layer.lora_A, layer.lora_B))
            value = (value.float() + layer.scaling[_NAME] * (up @ down)).to(value.dtype)
        if keep:
            merged[name.replace(".base_layer.", ".")] = value.cpu() if gathered else value
    return merged


def _inject(network: Any, config: Any) -> None:
    from peft import inject_adapter_in_model

    seen = {n: p.requires_grad for n, p in network.named_parameters() if n.startswith("model.visual.")}
    inject_adapter_in_model(config, network)
    for name, parameter in network.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.float()  # steps are too small for bfloat16, whatever the weights underneath are
        elif name in seen:
            parameter.requires_grad_(seen[name])  # peft freezes all that is no adapter


def _config(table: dict[str, Any], folder: Path) -> Any:
    """peft's configuration of a saved adapter; what would compute something else than plain LoRA is refused."""
    from peft import LoraConfig

    plain = LoraConfig().to_dict()
    odd = sorted(k for k, v in table.items() if k not in _USED | _REMARKS and (v or plain.get(k)) and v != plain.get(k))
    if odd or not table.keys() >= _USED:
        came = f"sets {', '.join(odd)}" if odd else f"lacks {', '.join(sorted(_USED - table.keys()))}"
        raise ModelError(f"the adapter in {folder} {came}", "plain LoRA as peft writes it")
    try:
        return LoraConfig(**{key: table[key] for key in _USED})
    except (TypeError, ValueError) as error:
        raise ModelError(f"{CONFIG} in {folder} cannot be used: {error}", "plain LoRA as peft writes it") from error


def _saved_name(name: str) -> str:
    return _HEAD + name.replace(f".{_NAME}.", ".")


def _layers(network: Any) -> dict[str, Any]:
    """Adapted layers by name."""
    from peft.tuners.lora import LoraLayer

    found = {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}
    if not found:
        raise ModelError("the network has no adapters", "a network that went through attach or load_adapter")
    return found
