"""A checkpoint in memory: network, tokenizer, image processor, special ids, prompt profile and provenance.

It loads any Qwen2.5-VL folder or hub repository: safetensors only, no remote code, no torchvision. It knows nothing of cases,
questions or sampling.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from unireason.core.errors import ModelError
from unireason.core.store import read_json, unloadable
from unireason.grounding.profile import BUILT_IN, GROUNDING_FILE, PROFILE_FILE, Profile, load_profile

from . import files
from .files import Scope, limits, load_processor, scope_of

_SMALL_BYTES = 4 << 30  # weights below this are computed in float32 on a CPU unless told otherwise
_DTYPES = {"bf16": "bfloat16", "bfloat16": "bfloat16", "fp32": "float32", "float32": "float32"}


@dataclass(frozen=True, slots=True)
class SpecialIds:
    """Token ids that the engine decides with.

    Attributes:
        box_start: Opens a box.
        box_end: Closes it.
        vision_start: Opens a picture.
        image_pad: One visual token.
        vision_end: Closes a picture.
        video_pad: One visual token of a film; never used.
        im_start: Opens a turn.
        im_end: Closes it.
        think_start: ``<think>``, or None if it is not one token of this tokenizer.
        think_end: ``</think>``, or None.
        stop: Ids that end a response: im_end, the tokenizer's end-of-sequence and end-of-text tokens.
    """

    box_start: int
    box_end: int
    vision_start: int
    image_pad: int
    vision_end: int
    video_pad: int
    im_start: int
    im_end: int
    think_start: int | None = None
    think_end: int | None = None
    stop: frozenset[int] = frozenset()

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Ids that must never be sampled: pictures come from the engine, turns from the prompt."""
        return (self.vision_start, self.image_pad, self.vision_end, self.video_pad, self.im_start)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Everything needed to ask a model.

    Attributes:
        network: ``Qwen2_5_VLForConditionalGeneration`` in evaluation mode.
        tokenizer: Its fast tokenizer.
        image_processor: ``Qwen2VLImageProcessorPil`` with the checkpoint's configuration.
        ids: Special token ids.
        profile: Wording and limits of questions that are answered in words.
        grounding: The same of implicit questions that are answered by a box and two points.
        scope: What it was made for; None if it does not say.
        name: "phantom", the folder's base name or the hub id.
        sha256: See ``files.fingerprint``; empty for a network made in memory.
        hashed: What of the weights was hashed: "files", "headers" or "".
        versions: Versions of python, torch, transformers and this package.
    """

    network: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    image_processor: Any = field(repr=False)
    ids: SpecialIds
    profile: Profile
    name: str
    sha256: str = ""
    hashed: Literal["files", "headers", ""] = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    grounding: Profile = BUILT_IN["umrg"]
    scope: Scope | None = None

    @property
    def device(self) -> Any:
        """The torch device of the weights."""
        return self.network.get_input_embeddings().weight.device

    @property
    def dtype(self) -> Any:
        """The torch type of the weights."""
        return self.network.get_input_embeddings().weight.dtype

    @property
    def patch(self) -> int:
        """Side of a patch in pixels."""
        return int(self.image_processor.patch_size)

    @property
    def merge(self) -> int:
        """Patches a side that make one visual token."""
        return int(self.image_processor.merge_size)

    @property
    def pixel_limits(self) -> tuple[int, int]:
        """(smallest, largest) picture area in pixels."""
        return limits(self.image_processor)

    @property
    def repetition_penalty(self) -> float:
        """What its ``generation_config.json`` asks for; 1 for nothing."""
        return float(self.network.generation_config.repetition_penalty or 1)

    @property
    def max_context(self) -> int:
        """Tokens the network was made for."""
        return int(self.network.config.get_text_config().max_position_embeddings)


def load(
    ref: str | Path, *, device: Any = None, dtype: Any = None, profile: Profile | None = None, weights: bool = True
) -> Checkpoint:
    """Load a Qwen2.5-VL checkpoint.

    Args:
        ref: "phantom", a folder or a hub id; also a folder of adapters as peft writes it, which go on top of the checkpoint that it names.
        device: Torch device; None takes CUDA where there is one, else the CPU.
        dtype: "bf16", "fp32", a torch type, or None: float32 on a CPU for weights below 4 GiB, bfloat16 else.
        profile: Prompt profile; None reads ``profile.toml`` of the checkpoint, or takes the built-in "default". The profile of implicit
            questions is that of its ``grounding.toml``, or the built-in "umrg".
        weights: Whether weights are loaded; without them the network is an outline on torch's device "meta", for an engine elsewhere.

    Returns:
        The checkpoint, in evaluation mode, without gradients switched off for its parameters.

    Raises:
        ModelError: If it cannot be found, is of another architecture, incomplete, pickled, or lacks a special token.
        FormatError: If a profile of it or the scope in its card cannot be read.
    """
    folder = files.locate(ref)
    if files.is_adapter(folder):
        return _adapted(folder, weights, device=device, dtype=dtype, profile=profile)
    config, found = files.check(folder)
    sha256, hashed = files.fingerprint(folder, found)
    known = str(ref) == files.BUILT_IN_CHECKPOINT or not Path(ref).expanduser().is_dir()
    if weights:
        target = _device(device)
        network = _network(folder, config, target, _dtype(dtype, target, sum(p.stat().st_size for p in found)))
    else:
        network = _outline(folder, config)
    return assemble(
        network,
        load_tokenizer(folder),
        load_processor(folder),
        profile=profile or load_profile(own if (own := folder / PROFILE_FILE).exists() else "default"),
        grounding=load_profile(own if (own := folder / GROUNDING_FILE).exists() else "umrg"),
        name=str(ref) if known else folder.resolve().name,
        origin=(sha256, hashed),
        scope=scope_of(folder),
    )


def _adapted(folder: Path, weights: bool, **how: Any) -> Checkpoint:
    """The checkpoint that an adapter names, with it on top; profiles beside the adapter win."""
    from .adapters import WEIGHTS, load_adapter

    base = files.adapted(folder)
    own = folder / PROFILE_FILE
    if how["profile"] is None and own.exists():
        how["profile"] = load_profile(own)
    made = load(base, weights=weights, **how)
    if weights:
        load_adapter(made.network, folder)
    digest, hashed = files.fingerprint(folder, [folder / WEIGHTS])
    grounding = load_profile(own) if (own := folder / GROUNDING_FILE).exists() else made.grounding
    combined = hashlib.sha256(f"{made.sha256} {digest}".encode()).hexdigest()
    return replace(made, name=folder.resolve().name, sha256=combined, hashed=hashed, grounding=grounding)


def assemble(
    network: Any,
    tokenizer: Any,
    image_processor: Any,
    *,
    profile: Profile | None = None,
    grounding: Profile | None = None,
    name: str = "in-memory",
    origin: tuple[str, Literal["files", "headers", ""]] = ("", ""),
    scope: Scope | None = None,
) -> Checkpoint:
    """Put parts that are already in memory together, and check that they fit each other; ModelError if not.

    The network is put into evaluation mode. Without profiles the built-in "default" and, for implicit questions, "umrg" are
    taken. ``name`` is kept in traces, ``origin`` is (sha256, what was hashed) of the files it came from, ``scope`` what it was
    made for.
    """
    ids = special_ids(tokenizer)
    config = network.config
    for attribute, expected in (("image_token_id", ids.image_pad), ("video_token_id", ids.video_pad)):
        if getattr(config, attribute) != expected:
            raise ModelError(
                f"the network's {attribute} is {getattr(config, attribute)}", f"the tokenizer's {expected}", "use matching files"
            )
    rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(f"the tokenizer has {len(tokenizer)} ids for {rows} embeddings", "at most as many", "use matching files")
    vision, own = config.vision_config, image_processor
    pairs = (("patch_size", "patch_size"), ("temporal_patch_size", "temporal_patch_size"), ("spatial_merge_size", "merge_size"))
    for of_network, of_processor in pairs:
        if getattr(vision, of_network) != getattr(own, of_processor):
            raise ModelError(
                f"the image processor's {of_processor} is {getattr(own, of_processor)}", f"{getattr(vision, of_network)}"
            )
    import torch
    import transformers

    from unireason import __version__

    versions = {
        "unireason": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "transformers": str(transformers.__version__),
    }
    asking, grounds = profile or BUILT_IN["default"], grounding or BUILT_IN["umrg"]
    return Checkpoint(network.eval(), tokenizer, own, ids, asking, name, origin[0], origin[1], versions, grounds, scope)


def special_ids(tokenizer: Any) -> SpecialIds:
    """Look up the special tokens."""
    vocabulary = tokenizer.get_vocab()
    names = ("box_start", "box_end", "vision_start", "image_pad", "vision_end", "video_pad", "im_start", "im_end")
    missing = [f"<|{n}|>" for n in names if f"<|{n}|>" not in vocabulary]
    if missing:
        raise ModelError(f"the tokenizer lacks {', '.join(missing)}", "the special tokens of Qwen2.5-VL", "use its own tokenizer")
    known = {n: int(vocabulary[f"<|{n}|>"]) for n in names}
    ends = {known["im_end"], vocabulary.get("<|endoftext|>"), tokenizer.eos_token_id}
    return SpecialIds(
        **known,
        think_start=vocabulary.get("<think>"),
        think_end=vocabulary.get("</think>"),
        stop=frozenset(int(i) for i in ends if i is not None),
    )


def load_tokenizer(folder: Path) -> Any:
    """Load the fast tokenizer of a checkpoint folder, with its chat template if it has one."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if (folder / "tokenizer.json").exists():
            # The file says all; classes chosen by architecture would rebuild parts of it by their own rules.
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
            # Servers choose by the class that the settings name, so that it must survive saving.
            settings = folder / "tokenizer_config.json"
            named = read_json(settings).get("tokenizer_class") if settings.exists() else None
            tokenizer.init_kwargs["tokenizer_class"] = named if isinstance(named, str) else None
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the tokenizers library raises bare exceptions
        raise ModelError(f"the tokenizer cannot be loaded: {error}", "tokenizer.json, or vocab.json and merges.txt") from error
    template = folder / "chat_template.json"
    if not tokenizer.chat_template and template.exists():
        tokenizer.chat_template = read_template(template)
    return tokenizer


def read_template(path: Path) -> str:
    """The chat template of an older checkpoint, which keeps it in a JSON file of its own."""
    text = read_json(path).get("chat_template")
    if not isinstance(text, str):
        raise ModelError(f"{path.name} holds no chat template", '{"chat_template": "..."}')
    return text


def _network(folder: Path, config: Mapping[str, Any], device: Any, dtype: Any) -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # callers draw their own, or must stay quiet
    try:
        settings = Qwen2_5_VLConfig.from_dict({k: v for k, v in config.items() if k != "auto_map"})
        network, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
            str(folder),
            config=settings,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # a broken configuration or weight file fails in many libraries, each with its own errors
        raise unloadable("the checkpoint", error, config) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    is_tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
    tied = {"lm_head.weight"} if is_tied else set()
    missing = sorted(set(report["missing_keys"]) - tied)
    if missing or report["mismatched_keys"]:
        raise ModelError(
            f"{len(missing)} weights are missing and {len(report['mismatched_keys'])} have another shape, such as "
            f"{(missing or list(report['mismatched_keys']))[0]}",
            "the weights that config.json describes",
        )
    try:
        return network.to(device)
    except (RuntimeError, ValueError) as error:  # quantised weights refuse to be moved with a ValueError
        raise ModelError(f"the network does not fit on {device}: {error}", remedy="use another device or bf16") from error


def outline(folder: Path) -> Any:
    """The network of a folder without its weights, which need not be there; ModelError if it is of another architecture."""
    return _outline(folder, files.configuration(folder))


def _outline(folder: Path, config: Mapping[str, Any]) -> Any:
    """The network without its weights: what a session asks of a configuration."""
    import torch
    from transformers import GenerationConfig, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    try:
        with torch.device("meta"):
            network = Qwen2_5_VLForConditionalGeneration(
                Qwen2_5_VLConfig.from_dict({k: v for k, v in config.items() if k != "auto_map"})
            )
        if (folder / "generation_config.json").exists():
            network.generation_config = GenerationConfig.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # as for the weights
        raise unloadable("the checkpoint", error, config) from error
    return network


def _device(device: Any) -> Any:
    import torch

    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"there is no device {device!r}", "'cpu', 'cuda' or 'cuda:N'") from error
    if target.type == "cuda" and not torch.cuda.is_available():
        raise ModelError("CUDA was asked for and torch sees none", remedy="use the CPU, or install torch with CUDA")
    return target


def _dtype(dtype: Any, device: Any, weight_bytes: int) -> Any:
    import torch

    if dtype is None:
        return torch.float32 if device.type == "cpu" and weight_bytes < _SMALL_BYTES else torch.bfloat16
    found = getattr(torch, _DTYPES[dtype]) if isinstance(dtype, str) and dtype in _DTYPES else dtype
    if found not in (torch.bfloat16, torch.float32):
        raise ModelError(f"the type {dtype!r} was asked for", "'bf16' or 'fp32'")
    return found
