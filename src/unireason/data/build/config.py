"""What a data set is built from. Everything in here shapes the result; workers and engine do not, and are not in here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unireason.data.frames import FrameRule
from unireason.data.select.duplicates import NEAR
from unireason.data.select.splits import SHARES, check_shares
from unireason.errors import FormatError
from unireason.files import json_text

BUILDER = 1
"""Raised whenever the builder gives another result for the same configuration."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """One build.

    Attributes:
        source: Name of the source, see ``sources.catalogue``.
        root: Its folder; None for phantoms.
        options: Options of the source.
        frame: How pictures become the model frame.
        seed: Seed of splits, of the questions drawn and of the template's wording.
        slices: Axial slices of every volume that become images of their own.
        questions: Questions with options a case at most.
        implicit: Implicit grounding questions an image at most.
        most: Largest number of questions with options of each kind; None for no limit.
        shares: Of train, validation and test.
        near: Perceptual hashes within so many bits are one picture.
        embed: True to store pictures and masks in the data set instead of referring to the source.
        annotator: "template" or "llm".
        annotation: Settings of the annotator that shape the result, as plain values.
        shard_rows: Rows of a Parquet file at most.
        unit_items: Volumes of one unit of work; of images eight times as many.
    """

    source: str
    root: Path | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    frame: FrameRule = field(default_factory=FrameRule)
    seed: int = 0
    slices: int = 0
    questions: int = 3
    implicit: int = 1
    most: int | None = None
    shares: tuple[float, float, float] = SHARES
    near: int = NEAR
    embed: bool = False
    annotator: str = "template"
    annotation: Mapping[str, Any] = field(default_factory=dict)
    shard_rows: int = 4096
    unit_items: int = 8

    def __post_init__(self) -> None:
        check_shares(self.shares)
        for name, least in (("seed", 0), ("slices", 0), ("questions", 0), ("implicit", 0), ("shard_rows", 1), ("unit_items", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise FormatError(f"{name} is {value!r}", f"a whole number from {least}")
        if self.questions == self.implicit == 0:
            raise FormatError("questions and implicit are both 0", "at least one question a case")
        if self.most is not None and (type(self.most) is not int or self.most < 1):
            raise FormatError(f"most is {self.most!r}", "a whole number from 1, or none")
        if not 0 <= self.near < 128:
            raise FormatError(f"near is {self.near!r}", "a number of bits from 0 to 127")
        if self.annotator not in ("template", "llm"):
            raise FormatError(f"the annotator {self.annotator!r} is unknown", "template or llm")

    @property
    def place(self) -> str:
        """Absolute path of the source's folder; "" for phantoms."""
        return "" if self.root is None else str(self.root.resolve())

    def to_json(self) -> dict[str, Any]:
        """All that shapes the result as plain values. The folder of the source is left out: it differs from machine to machine."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in ("root", "frame", "options")}
        values["options"] = dict(sorted(self.options.items()))
        plain: dict[str, Any] = json.loads(json_text(values | {"frame": self.frame.to_json(), "builder": BUILDER}, default=dict))
        return plain

    def identity(self) -> str:
        """Hash of :meth:`to_json`."""
        return hashlib.sha256(json_text(self.to_json(), sort_keys=True).encode()).hexdigest()
