"""A published release becomes a data set: the same records, pictures, manifest and card that the builder writes.

Rows that cannot be learned from are left out, each with its reason in ``skipped.jsonl``; the manifest counts them by reason under
"dropped". What a release does not tell stays empty. See docs/explanation/data.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unireason.data.build.gather import seal
from unireason.data.frames import FrameRule
from unireason.errors import FormatError, UniReasonError

from . import READABLE, intake_umrg, intake_unimed_cot, umrg, unimed_cot
from .folders import whole
from .scratch import scratch
from .shelving import Shelving

Progress = Callable[[int], None]

TITLES = {"unimed-cot": "UniMed-CoT", "umrg": "U-MRG-14K"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a release is taken in.

    Attributes:
        frame: How the checkpoint that will be trained sees pictures.
        validation: Share of the training pictures that become the validation split, in [0, 1); 0 for none.
        volumes: Folder of the volumes of rows that carry none (UniMed-CoT only).
    """

    frame: FrameRule
    validation: float = 0.0
    volumes: Path | None = None

    def __post_init__(self) -> None:
        """Check the share.

        Raises:
            FormatError: If it is not in [0, 1).
        """
        if not 0 <= self.validation < 1:
            raise FormatError(f"the share of the validation split is {self.validation}", "a number from 0, below 1")


def take_in(layout: str, path: Path, out: Path, *, wanted: Wanted, progress: Progress | None = None) -> dict[str, Any]:
    """Read a release and write it as a data set.

    Args:
        layout: One of READABLE.
        path: The release.
        out: A new or empty folder; it takes its place when everything is written.
        wanted: How.
        progress: Called with the number of rows done so far, of ``rows_in``.

    Returns:
        The manifest. ``counts.broken`` is the number of rows left out because the release is not whole or contradicts itself.

    Raises:
        FormatError: If the layout is unknown, has no volumes, or the release has another one.
        UniReasonError: If a folder cannot be read or written, or not one row can be learned from.
    """
    if layout not in READABLE:
        raise FormatError(f"the layout {layout!r} is unknown", ", ".join(READABLE))
    if layout == "umrg" and wanted.volumes is not None:
        raise FormatError("a folder of volumes was given", "none: U-MRG has pictures alone", "leave out --volumes")
    tell = progress or (lambda done: None)
    with whole(out) as folder:
        shelving = Shelving(folder, layout, wanted.frame, validation=wanted.validation)
        with scratch(folder / "scratch.sqlite") as aside:
            if layout == "umrg":
                intake_umrg.take_in(path, aside, shelving, tell)
            else:
                intake_unimed_cot.take_in(path, aside, shelving, tell, volumes=wanted.volumes)
        counts = shelving.close()
        if not counts["samples"]:
            reasons = ", ".join(f"{reason} {number}" for reason, number in counts.get("dropped", {}).items())
            first = f"; the first: {shelving.skipped[0][1]}" if shelving.skipped else ""
            raise UniReasonError(
                f"not one row of '{path.name}' can be learned from ({reasons or 'there is none'}{first})",
                "at least one",
                "check the path",
            )
        config = {"layout": layout, "frame": wanted.frame.to_json(), "validation": wanted.validation}
        about = {"title": TITLES[layout], "licence": "unknown", "command": command(layout, wanted), "counts": counts}
        root = str(wanted.volumes.resolve()) if wanted.volumes else ""
        return seal(folder, config, about, skipped=shelving.skipped, root=root)


def command(layout: str, wanted: Wanted) -> str:
    """The command that makes the same data set again; folders are left for the reader to fill in."""
    parts = [f"unireason data import {layout} PATH --out DIR --frame {wanted.frame.name}"]
    parts += ["--volumes VOLUMES"] if wanted.volumes else []
    return " ".join([*parts, *([f"--validation {wanted.validation:g}"] if wanted.validation else [])])


def rows_in(layout: str, path: Path) -> int:
    """How many rows ``take_in`` will pass, for a progress bar; those of U-MRG are passed twice.

    Raises:
        FormatError: If there are no such files, or one is damaged.
    """
    from .tables import row_count

    if layout == "umrg":
        return 2 * sum(map(row_count, umrg.files_of(path)))
    return sum(row_count(file) for files in unimed_cot.files_of(path).values() for file in files)
