"""The model frame of a case, known without loading a network.

The same arithmetic as in training and serving: the profile says to which size pictures are brought, then the checkpoint's image
processor resizes. A test holds this against the frame of the tensors really fed to the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unireason.errors import FormatError
from unireason.files import json_text
from unireason.grounding.crop import MAX_PIXELS, MIN_PIXELS, PATCH_FACTOR, fitted_size
from unireason.grounding.prompts import load_profile
from unireason.types import Frame

PREPROCESSOR = "preprocessor_config.json"
_MAX_JSON_BYTES = 1 << 20
_MOST_FACTOR, _MOST_SIDE, _MOST_PIXELS = 1024, 1 << 14, 1 << 40


@dataclass(frozen=True, slots=True)
class FrameRule:
    """How pictures become the model frame.

    Attributes:
        name: "published", "phantom" or the name of a checkpoint folder.
        volume_shape: (D, H, W) to which a volume is serialised.
        image_size: (H, W) to which an image is brought first; None keeps its size.
        factor: Patch size times merge size.
        min_pixels: Smallest area of a picture.
        max_pixels: Largest area of a picture.
        window: Intensity window, see ``imaging.window.choose``.
    """

    name: str = "published"
    volume_shape: tuple[int, int, int] = (32, 256, 256)
    image_size: tuple[int, int] | None = None
    factor: int = PATCH_FACTOR
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    window: str = "auto"

    def __post_init__(self) -> None:
        """Check types and ranges.

        Raises:
            FormatError: If a value makes no sense.
        """
        good = {
            "name": isinstance(self.name, str),
            "volume_shape": _is_size(self.volume_shape, 3),
            "image_size": self.image_size is None or _is_size(self.image_size, 2),
            "factor": _is_number(self.factor, _MOST_FACTOR),
            "min_pixels": _is_number(self.min_pixels, _MOST_PIXELS),
            "max_pixels": _is_number(self.max_pixels, _MOST_PIXELS) and self.max_pixels >= self.min_pixels,
            "window": isinstance(self.window, str),
        }
        wrong = [f"{name} {getattr(self, name)!r}" for name, fits in good.items() if not fits]
        if wrong:
            raise FormatError(
                f"a model frame of {', '.join(wrong)}", "sizes in whole pixels, and areas of which the larger comes last"
            )

    def frame(self, shape: tuple[int, ...]) -> Frame:
        """The frame of a case.

        Args:
            shape: Canonical shape, (Z, Y, X) or (Y, X); colour left out.

        Raises:
            FormatError: If the sides differ by more than 200 times, or there is no such frame.
        """
        if len(shape) == 3:
            depth, height, width = self.volume_shape
            h, w = self._fitted(height, width)
            return Frame(w, h, depth, "volume")
        h, w = self._fitted(*(self.image_size or shape))
        return Frame(w, h, 1, "image")

    def holds(self, frame: Frame) -> bool:
        """True if pictures of a frame's size are fed as they are; else the image processor would resize them once more."""
        return self._fitted(frame.height, frame.width) == (frame.height, frame.width)

    def _fitted(self, height: int, width: int) -> tuple[int, int]:
        return fitted_size(height, width, factor=self.factor, limits=(self.min_pixels, self.max_pixels))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; tuples become lists."""
        values: dict[str, Any] = json.loads(json_text(asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Any) -> FrameRule:
        """The inverse of :meth:`to_json`.

        Raises:
            FormatError: If this is no mapping, a key is unknown or missing, or a value makes no sense.
        """
        if not isinstance(values, Mapping):
            raise FormatError(f"a frame rule is {str(values)[:100]!r}", "an object as the builder wrote it")
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**fields)
        except TypeError as error:
            raise FormatError(f"the frame rule {values!r} cannot be used ({error})") from error


def rule(name: str) -> FrameRule:
    """The frame rule of a preset or of a checkpoint.

    Args:
        name: "published" (32 x 256 x 256, Qwen2.5-VL's resizing), "phantom" (the built-in checkpoint) or the folder of a checkpoint.

    Raises:
        FormatError: If there is no such preset or folder, or its ``preprocessor_config.json`` cannot be used.
    """
    if name == "published":
        return FrameRule()
    folder = _folder(name)
    try:
        values = json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))
        factor = int(values.get("patch_size", 14)) * int(values.get("merge_size", 2))
        least, most = _limits(values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(
            f"{PREPROCESSOR} of {folder.name} cannot be used ({error})", "the file of a Qwen2.5-VL checkpoint"
        ) from error
    profile = load_profile(folder if (folder / "profile.toml").is_file() else "default")
    return FrameRule(folder.name, profile.volume_shape, profile.image_size, factor, least, most)


def _is_number(value: object, most: int) -> bool:
    return type(value) is int and 0 < value <= most


def _is_size(value: object, sides: int) -> bool:
    return isinstance(value, tuple) and len(value) == sides and all(_is_number(v, _MOST_SIDE) for v in value)


def _folder(name: str) -> Path:
    """The folder of a checkpoint, by its own name wherever it is looked at from."""
    try:
        folder = (
            Path(__file__).parents[1] / "assets" / "phantom"
            if name == "phantom"
            else Path(os.path.abspath(Path(name).expanduser()))
        )
        if (folder / PREPROCESSOR).stat().st_size <= _MAX_JSON_BYTES:
            return folder
        reason = f"its {PREPROCESSOR} is larger than {_MAX_JSON_BYTES:,} bytes"
    except (OSError, RuntimeError, ValueError) as error:
        reason = f"it lacks {PREPROCESSOR} ({getattr(error, 'strerror', None) or error})"
    raise FormatError(f"there is no frame {name!r}", "'published', 'phantom' or a checkpoint folder", reason)


def _limits(values: dict[str, Any]) -> tuple[int, int]:
    """Smallest and largest area; old files say min_pixels, new ones size.shortest_edge."""
    size = values.get("size") or {}
    least = values.get("min_pixels") or size.get("shortest_edge") or MIN_PIXELS
    most = values.get("max_pixels") or size.get("longest_edge") or MAX_PIXELS
    return int(least), int(most)
