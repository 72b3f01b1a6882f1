"""Networks from a folder or a hub repository: safetensors only, no code of a checkpoint is ever run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers.utils import logging

from unireason.errors import ModelError
from unireason.files import hub_folder, is_hub_id, no_folder, read_json, unloadable

from .sam import SamNetwork
from .sam2 import Sam2Network
from .sam_med2d import SamMed2DModel

_WANTED = ("*.safetensors", "*.json")


def folder_of(weights: str | Path) -> Path:
    """The folder of a network's weights.

    Args:
        weights: A folder, or a hub id such as "owner/name"; an existing folder wins. Of a hub repository only safetensors and JSON files
            are fetched.

    Raises:
        ModelError: If there is none, it holds no config.json, or its weights are pickled only.
    """
    path = Path(weights).expanduser()
    if not path.exists():
        if not is_hub_id(weights):
            raise no_folder(weights, "a folder with config.json and model.safetensors, or a hub id such as owner/name")
        path = hub_folder(str(weights), _WANTED)
    if not (path / "config.json").is_file():
        raise ModelError(
            f"'{weights}' holds no network",
            "a folder with config.json and model.safetensors, or a hub id such as owner/name",
            "an original .pt or .pth file is converted by: unireason weights convert",
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"'{weights}' holds no safetensors file; pickled weights are not opened, for they can run any code",
            "model.safetensors",
            "convert it with: unireason weights convert",
        )
    return path


def load_network(weights: str | Path, kind: str, device: Any = None) -> SamNetwork | Sam2Network:
    """Load a network; :class:`.expert.NetworkExpert` freezes it.

    Args:
        weights: See :func:`folder_of`.
        kind: "sam", "sam-med2d" (SAM with adapters) or "sam2".
        device: Torch device; None takes CUDA where there is one, else the CPU.

    Raises:
        ModelError: If the weights are missing, incomplete, pickled, or of another architecture.
    """
    folder = folder_of(weights)
    found = read_json(folder / "config.json").get("model_type")
    classes: dict[Any, Any] = {
        "sam": {"sam": transformers.SamModel},
        "sam-med2d": {"sam": SamMed2DModel},
        "sam2": {"sam2_video": transformers.Sam2VideoModel, "sam2": transformers.Sam2Model},
    }[kind]
    if found not in classes:
        raise ModelError(f"the weights '{weights}' are of model type {found!r}", " or ".join(repr(c) for c in classes))
    model = _loaded(folder, classes[found])
    target = device if device is not None else ("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(target)
    return Sam2Network(model) if kind == "sam2" else SamNetwork(model)


def _loaded(folder: Path, kind: Any) -> Any:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # callers draw their own, or must stay quiet
    try:
        model, report = kind.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, SafetensorError) as error:
        raise unloadable(f"'{folder.name}'", error, read_json(folder / "config.json")) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{len(missing)} tensors are missing from the weights in '{folder.name}', first {missing[0]}",
            f"all of {kind.__name__}",
        )
    return model
