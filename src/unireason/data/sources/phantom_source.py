"""Phantom patients as a source: generated when loaded, nothing on disk, every organ and lesion annotated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from unireason.data.item import Item, Layer, Loaded, MaskRef, Skipped
from unireason.errors import FormatError, UniReasonError

from .options import check, number
from .phantom import LESION_LABEL, ORGANS, SPINE_LABEL, STREAMS, generate

NAMES: dict[int, str] = {o.label: o.name for o in ORGANS} | {LESION_LABEL: "lesion", SPINE_LABEL: "spine"}
MAX_PATIENTS = 10_000_000


@dataclass(frozen=True, slots=True)
class PhantomSource:
    """Synthetic patients.

    Attributes:
        patients: How many.
        seed: Cohort; the same number gives the same patients.
        stream: Number of their stream (``phantom.STREAMS``); no patient is in two.
    """

    patients: int = 50
    seed: int = 0
    stream: int = 0

    name = "phantom"
    title = "UniReason phantoms"
    licence = "CC0-1.0 (synthetic)"
    root = Path()

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> PhantomSource:
        """The source for a command line; ``root`` must be None.

        Raises:
            FormatError: If a folder was given or an option cannot be used.
        """
        if root is not None and root != Path():
            raise FormatError(f"the folder '{root}' was given for phantoms", "no folder: they are generated")
        check(cls.name, options, ("patients", "seed", "stream"))
        return cls(
            number(options, "patients", 50, least=1, most=MAX_PATIENTS),
            number(options, "seed", 0),
            number(options, "stream", 0, most=len(STREAMS) - 1),
        )

    def items(self) -> Iterator[Item | Skipped]:
        """One volume a patient.

        Raises:
            UniReasonError: If there is no patient or the seed is negative.
        """
        if not 1 <= self.patients <= MAX_PATIENTS or self.seed < 0:
            raise UniReasonError(
                f"{self.patients} phantom patients with seed {self.seed}", f"1 to {MAX_PATIENTS:,} and a seed from 0"
            )
        annotated = tuple(sorted(NAMES.values()))
        masks = (MaskRef("", NAMES),)
        for index in range(self.patients):
            case = f"{STREAMS[self.stream]}-{self.seed}-{index:05d}"
            yield Item(case, case, "volume", f"{self.seed}/{index}", masks, annotated, modality="CT")

    def load(self, item: Item) -> Loaded:
        """Generate the patient.

        Raises:
            FormatError: If the item is not one of a phantom source.
        """
        seed, _, index = item.image.partition("/")
        if not (seed.isascii() and seed.isdigit() and index.isascii() and index.isdigit()):
            raise FormatError(f"the phantom {item.image!r}", "seed/index")
        patient = generate(int(seed), int(index), stream=self.stream)
        return Loaded(item, patient.case(), (Layer(patient.labels, dict(NAMES)),))
