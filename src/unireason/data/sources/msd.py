"""Medical Segmentation Decathlon: ``dataset.json`` with labels by value and a list of image and label files.

Images of several channels are 4-D files; one channel is read. Paths in the list start with "./". The tasks' test images have no labels
and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unireason.data.item import Item, Loaded, MaskRef, Skipped, inside
from unireason.errors import FormatError, UniReasonError

from .indexed import IndexedSource
from .labels import load_files
from .listing import kind_of, natural, relative, stem, subject, unique
from .structures import legend, modality_code


@dataclass(frozen=True, slots=True)
class MsdSource(IndexedSource):
    """One task of the decathlon, or a data set in its layout."""

    name = "msd"

    def items(self) -> Iterator[Item | Skipped]:
        """The training cases, by file name.

        Raises:
            UniReasonError: If dataset.json is missing or cannot be used, or lists no case.
        """
        index = self.index()
        table = index.get("labels")
        names = legend(table) if isinstance(table, dict) else {}
        if not any(names.values()):
            raise FormatError(
                "dataset.json has no usable 'labels'", 'values with names, such as {"0": "background", "1": "liver"}'
            )
        listed = index.get("training")
        if not isinstance(listed, list) or not listed:
            raise FormatError("dataset.json lists no 'training' cases", "a list of {image, label}")
        channels = index.get("modality")
        channels = channels if isinstance(channels, dict) else {}
        said = channels.get(str(self.channel))
        modality = modality_code(said) if isinstance(said, str) else ""
        frame = (("frame", self.channel),) if len(channels) > 1 else ()
        if len(channels) > 1 and said is None:
            raise FormatError(f"channel {self.channel} was asked for", f"one of {', '.join(map(str, channels))}")
        yield from unique(self._item(entry, names, modality, frame) for entry in sorted(listed, key=_order))

    def _item(self, entry: Any, names: dict[int, str], modality: str, frame: tuple[tuple[str, Any], ...]) -> Item | Skipped:
        if not isinstance(entry, dict):
            return Skipped(str(entry)[:100], "the entry is no {image, label}")
        case = str(entry.get("image"))[:200]
        try:
            image, label = (relative(entry.get(key)) for key in ("image", "label"))
            case = stem(image.rsplit("/", 1)[-1]) or case
            for path in (image, label):
                if not inside(self.root, path).is_file():
                    return Skipped(case, f"there is no file '{path}'")
            return Item(
                id=case,
                patient=subject(case, self.patient),
                kind=kind_of(image),
                image=image,
                masks=(MaskRef(label, names),),
                annotated=tuple(sorted({name for name in names.values() if name})),
                modality=modality,
                read=frame,
                split="train",
            )
        except UniReasonError as error:
            return Skipped(case, str(error))

    def load(self, item: Item) -> Loaded:
        """Read one case.

        Raises:
            UniReasonError: If a file is missing, damaged, or the label lies on another grid than the image.
        """
        return load_files(self.root, item, ignore_unnamed=self.ignore_unnamed)


def _order(entry: Any) -> tuple[tuple[int, int, str], ...]:
    return natural(str(entry.get("image")) if isinstance(entry, dict) else str(entry))
