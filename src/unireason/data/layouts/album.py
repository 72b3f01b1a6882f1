"""Picture files of an export: every picture and every crop written once, one folder a case."""

from __future__ import annotations

from pathlib import Path

from unireason.errors import UniReasonError

from .entries import Entry
from .folders import stem
from .posing import Cut, picture_id

FOLDER = "images"


class Album:
    """Writes pictures below ``images/``; entries must come case by case."""

    def __init__(self, folder: Path) -> None:
        """Set the folder of the export."""
        self._folder = folder
        self._case = ""
        self._written: set[str] = set()
        self.count = 0

    def path(self, entry: Entry, cut: Cut) -> str:
        """The file of a picture, relative to the export, with forward slashes; it is written if it is not there yet.

        Raises:
            UniReasonError: If it cannot be written.
        """
        if entry.case.scene.case != self._case:
            self._case, self._written = entry.case.scene.case, set()
        name = stem(self._case)
        relative = f"{FOLDER}/{name}/{picture_id(name, cut)}.png"
        if relative not in self._written:
            self._written.add(relative)
            self.count += 1
            self._write(self._folder / relative, entry.png(cut))
        return relative

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        # No renaming here: the whole export takes its place at the end.
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise UniReasonError(f"'{path.name}' cannot be written ({error.strerror})", "", "make room and try again") from error
