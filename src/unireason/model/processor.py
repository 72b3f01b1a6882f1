"""The image processor of a checkpoint, assembled from its configuration without torchvision.

Published configurations write the area limits in several ways: ``min_pixels``/``max_pixels`` beside or inside ``size``, or
``size`` with ``shortest_edge``/``longest_edge``. All of them end here as one pair of limits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unireason.errors import ModelError

from .files import read_json

_PLAIN = ("image_mean", "image_std", "rescale_factor", "patch_size", "temporal_patch_size", "merge_size")


def load_processor(folder: Path) -> Any:
    """Build the image processor of a checkpoint folder.

    Args:
        folder: Holds ``preprocessor_config.json``, or ``processor_config.json`` with an ``image_processor`` inside.

    Returns:
        A ``Qwen2VLImageProcessorPil``.

    Raises:
        ModelError: If neither file is there or a value cannot be used.
    """
    plain, joint = folder / "preprocessor_config.json", folder / "processor_config.json"
    if plain.exists():
        return make_processor(read_json(plain))
    table = read_json(joint).get("image_processor") if joint.exists() else None
    if not isinstance(table, dict):
        raise ModelError("the checkpoint has no image-processor configuration", "preprocessor_config.json")
    return make_processor(table)


def make_processor(table: dict[str, Any]) -> Any:
    """Build an image processor from a configuration in any of its published forms.

    Args:
        table: Keys of ``preprocessor_config.json``; those left out take the defaults of transformers.

    Returns:
        A ``Qwen2VLImageProcessorPil`` that resizes (bicubic unless configured otherwise), rescales and normalises.

    Raises:
        ModelError: If a limit or a size is not a positive whole number.
    """
    from transformers import Qwen2VLImageProcessorPil

    options = {key: table[key] for key in _PLAIN if table.get(key) is not None}
    for key in ("patch_size", "temporal_patch_size", "merge_size"):
        if key in options:
            _positive(key, options[key])
    if table.get("resample") is not None:
        options["resample"] = table["resample"]
    default = Qwen2VLImageProcessorPil.size
    low, high = (_limit(table, *names) for names in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")))
    size = {"shortest_edge": low or default["shortest_edge"], "longest_edge": high or default["longest_edge"]}
    if size["shortest_edge"] > size["longest_edge"]:
        raise ModelError(
            f"the image processor's smallest area {size['shortest_edge']} exceeds its largest {size['longest_edge']}"
        )
    try:
        return Qwen2VLImageProcessorPil(size=size, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the image-processor configuration cannot be used: {error}") from error


def limits(processor: Any) -> tuple[int, int]:
    """(smallest, largest) picture area in pixels; transformers 5 keeps them in ``size``, whose names speak of edges."""
    return int(processor.size["shortest_edge"]), int(processor.size["longest_edge"])


def _limit(table: dict[str, Any], pixels: str, edge: str) -> int | None:
    """An area limit: the key beside ``size`` wins over those inside it, as in transformers."""
    inside = table.get("size")
    inside = inside if isinstance(inside, dict) else {}
    found = next((v for v in (table.get(pixels), inside.get(pixels), inside.get(edge)) if v is not None), None)
    return None if found is None else _positive(pixels, found)


def _positive(key: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ModelError(f"the image processor's {key} is {value!r}", "a positive whole number")
    return value
