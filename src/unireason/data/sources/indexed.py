"""What sources with a ``dataset.json`` share: nnU-Net and the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .labels import IGNORE
from .listing import plain_text, read_json
from .options import check, folder, number, yes

S = TypeVar("S", bound="IndexedSource")


@dataclass(frozen=True, slots=True)
class IndexedSource:
    """A folder with ``dataset.json``.

    Attributes:
        root: The folder.
        channel: Which channel is shown, from 0.
        patient: Regular expression for the patient in a case name; "" takes the case (see ``listing.subject``).
        ignore_unnamed: True to take mask values without a name for background.
    """

    root: Path
    channel: int = 0
    patient: str = ""
    ignore_unnamed: bool = False

    name: ClassVar[str] = ""

    @classmethod
    def open(cls: type[S], root: Path | None, options: Mapping[str, str]) -> S:
        """The source for a command line.

        Raises:
            FormatError: If no folder was given or an option cannot be used.
        """
        check(cls.name, options, ("channel", "patient", IGNORE))
        place = folder(cls.name, root, "the folder with dataset.json")
        return cls(place, number(options, "channel", 0, most=9999), options.get("patient", ""), yes(options, IGNORE))

    @property
    def title(self) -> str:
        """The name in dataset.json, or that of the folder."""
        return plain_text(self.index(), "name") or self.root.name

    @property
    def licence(self) -> str:
        """The licence in dataset.json, or "unknown"."""
        return plain_text(self.index(), "licence", "license") or "unknown"

    def index(self) -> dict[str, Any]:
        """The content of dataset.json.

        Raises:
            UniReasonError: If it is missing or damaged.
        """
        index: dict[str, Any] = read_json(self.root / "dataset.json")
        return index
