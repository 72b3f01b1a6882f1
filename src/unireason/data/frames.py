"""The model frame of a case, known without loading a network.

The same arithmetic as in training and serving: the profile says to which size pictures are brought, then the checkpoint's image
processor resizes. A test holds this against the frame of the tensors really fed to the network.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import FormatError
from unireason.core.store import json_text
from unireason.core.types import Box, Case, Frame, Stack
from unireason.grounding.crop import MAX_PIXELS, MIN_PIXELS, PATCH_FACTOR, fitted_size
from unireason.grounding.profile import GROUNDING_FILE, load_profile
from unireason.imaging.present import serialize
from unireason.imaging.reader import decoding

from .item import Loaded
from .records import ImageRecord
from .scene import Scene, readable

# --- The model frame of a case, known without loading a network.


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
        scale: True if the prompt states how large a pixel is (the profile's ``scale``); only then may texts measure in millimetres.
        looks: True if the profile of implicit questions allows looks; only then does reasoning about them look.
    """

    name: str = "published"
    volume_shape: tuple[int, int, int] = (32, 256, 256)
    image_size: tuple[int, int] | None = None
    factor: int = PATCH_FACTOR
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    window: str = "auto"
    scale: bool = False
    looks: bool = False

    def __post_init__(self) -> None:
        """Check types and ranges."""
        good = {
            "name": isinstance(self.name, str),
            "volume_shape": _is_size(self.volume_shape, 3),
            "image_size": self.image_size is None or _is_size(self.image_size, 2),
            "factor": _is_number(self.factor, _MOST_FACTOR),
            "min_pixels": _is_number(self.min_pixels, _MOST_PIXELS),
            "max_pixels": _is_number(self.max_pixels, _MOST_PIXELS) and self.max_pixels >= self.min_pixels,
            "window": isinstance(self.window, str),
            "scale": isinstance(self.scale, bool),
            "looks": isinstance(self.looks, bool),
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
        if not self.looks:  # as data sets say that are older than this field
            del values["looks"]
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
        return FrameRule(scale=load_profile("default").scale, looks=load_profile("umrg").injects)
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
    grounding = load_profile(folder / GROUNDING_FILE if (folder / GROUNDING_FILE).is_file() else "umrg")
    return FrameRule(
        folder.name, profile.volume_shape, profile.image_size, factor, least, most, scale=profile.scale, looks=grounding.injects
    )


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


# --- The pictures of a case at the size of the model frame, and masks on the same grid.


V = TypeVar("V", np.bool_, np.uint8)


def model_pictures(case: Case, rule: FrameRule) -> list[NDArray[np.uint8]]:
    """What the network is shown.

    Args:
        case: Image or volume.
        rule: How pictures become the model frame.

    Returns:
        uint8 (H, W) or (H, W, 3) pictures of the model frame's size, one a model slice; one for an image.

    Raises:
        FormatError: If the window or a size cannot be used.
    """
    from PIL import Image

    stack = model_stack(case, rule)
    frame = rule.frame(case.geometry.shape)
    if stack.slices.shape[1:3] == (frame.height, frame.width):
        return list(stack.slices)
    size = (frame.width, frame.height)
    return [np.asarray(Image.fromarray(s).resize(size, Image.Resampling.BICUBIC)) for s in stack.slices]


def model_stack(case: Case, rule: FrameRule) -> Stack:
    """A case as serialised for a model frame, before the image processor resizes it.

    Args:
        case: Image or volume.
        rule: How pictures become the model frame.

    Raises:
        FormatError: If the window or a size cannot be used.
    """
    if case.kind == "volume":
        depth, *size = rule.volume_shape
        return serialize(case, depth=depth, size=(size[0], size[1]), window=rule.window)
    return serialize(case, size=rule.image_size, window=rule.window)


MOST_TILES = 6
_SIDE, _TILE, _ENLARGED = 896, 448, 4
_TONES = ("#4cc2ff", "#ffb02e", "#5ddc86", "#ff7ab8", "#ffe14a", "#b59bff")


def marked(pictures: Sequence[NDArray[np.uint8]], boxes: Sequence[Box]) -> bytes:
    """A picture with numbered boxes, or of a volume the slices through their middles side by side, as a PNG file of bounded size.

    Args:
        pictures: All of the model frame, as ``model_pictures`` gives them.
        boxes: Model boxes, the first one number 1.
    """
    from PIL import Image, ImageDraw, ImageFont

    volume = len(pictures) > 1
    shown: list[int] = []
    for box in boxes if volume else ():
        middle = min(int(box.coords[2] + box.coords[5]) // 2, len(pictures) - 1)
        well_seen = any(abs(z - middle) <= (box.coords[5] - box.coords[2]) / 4 for z in shown)
        if not well_seen and len(shown) < MOST_TILES:
            shown.append(middle)
    shown = sorted(shown) or [len(pictures) // 2]
    height, width = pictures[0].shape[:2]
    scale = min((_TILE if len(shown) > 1 else _SIDE) / max(width, height), _ENLARGED)
    side = (max(1, round(width * scale)), max(1, round(height * scale)))
    font = ImageFont.load_default(14)
    columns = min(len(shown), 3)
    sheet = Image.new("RGB", (columns * side[0], -(-len(shown) // columns) * side[1]))
    for place, z in enumerate(shown):
        tile = Image.fromarray(pictures[z]).convert("RGB").resize(side, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(tile)
        for number, box in enumerate(boxes, start=1):
            x1, y1, *_ = box.coords
            x2, y2 = box.coords[len(box.coords) // 2 :][:2]
            if volume and not box.coords[2] <= z < box.coords[5]:
                continue
            tone = _TONES[number % len(_TONES)]
            corners = [x1 * scale, y1 * scale, max(x1 * scale, x2 * scale - 1), max(y1 * scale, y2 * scale - 1)]
            draw.rectangle(corners, outline=tone, width=2)
            draw.text((corners[0] + 4, corners[1] + 2), str(number), tone, font, stroke_width=2, stroke_fill="#08090b")
        if volume:
            draw.text((4, side[1] - 20), f"slice {z}", "#ffffff", font, stroke_width=2, stroke_fill="#08090b")
        sheet.paste(tile, (place % columns * side[0], place // columns * side[1]))
    return png(np.asarray(sheet))


def mask_on_frame(mask: NDArray[V], frame: Frame) -> NDArray[V]:
    """A mask or label map at the centres of the model frame's pixels.

    Args:
        mask: (Y, X) or (Z, Y, X), canonical.
        frame: Target frame.

    Returns:
        (height, width) or (depth, height, width).
    """
    grid = (frame.depth, frame.height, frame.width)[-mask.ndim :]
    picks = [((np.arange(n) + 0.5) * size / n).astype(int) for n, size in zip(grid, mask.shape, strict=True)]
    return mask[np.ix_(*picks)]


def structure_mask(loaded: Loaded, name: str) -> NDArray[np.bool_]:
    """The mask of one structure on the canonical grid; all False if there is none.

    Args:
        loaded: An item in memory.
        name: Structure name.
    """
    shape = loaded.case.geometry.shape
    mask: NDArray[np.bool_] = np.zeros(shape, bool)
    for layer in loaded.layers:
        for value in (v for v, n in layer.names.items() if readable(n) == name):
            mask |= layer.labels == value
    return mask


def embedded(loaded: Loaded, scene: Scene, rule: FrameRule) -> list[ImageRecord]:
    """Pictures and, for images, masks of a case as they are stored in a data set."""
    pictures = model_pictures(loaded.case, rule)
    if scene.kind == "volume":
        return [ImageRecord(scene.case, z, png(p)) for z, p in enumerate(pictures)]
    names = tuple(scene.structures)
    masks = [mask_on_frame(structure_mask(loaded, n), scene.frame).astype(np.uint8) * 255 for n in names]
    return [ImageRecord(scene.case, 0, png(pictures[0]), tuple(png(m) for m in masks), names)]


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 (H, W) or (H, W, 3)."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png", compress_level=6)
    return stream.getvalue()


def from_png(data: bytes) -> NDArray[np.uint8]:
    """The inverse of :func:`png`.

    Raises:
        UniReasonError: If it is damaged or no PNG file, or does not fit into memory.
    """
    from PIL import Image

    remedy = "check the data set, and build or import it again"
    with decoding(Path("embedded picture"), "a PNG file", remedy), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        pixels: NDArray[np.uint8] = np.asarray(image)
    return pixels
