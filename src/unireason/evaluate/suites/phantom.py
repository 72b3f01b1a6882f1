"""An examination of phantom patients that nothing is trained on; see ``evaluate.heldout.make_exam``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unireason.data.frames import rule
from unireason.data.sources.options import number
from unireason.errors import FormatError
from unireason.evaluate.heldout import EXAM, make_exam
from unireason.files import Scratch

from .built import KINDS, BuiltSuite
from .listed import check_options

_QUESTIONS = 250


class PhantomSuite(BuiltSuite):
    """Questions about phantom patients; without a folder they are made in a temporary one, which goes with the suite."""

    name = "phantom"
    scratch: Scratch | None = None  # goes with the suite

    @classmethod
    def open(cls, root: Path | None, *, split: str, options: Mapping[str, str]) -> PhantomSuite:
        """The suite for a command line; the examination is made here, or found in the folder again.

        Args:
            root: A new or empty folder, or one that holds this examination already; None for a temporary one.
            split: "" or "test": all patients are held out.
            options: ``seed`` (0; each gives other patients), ``questions`` (of each kind, 250), ``kind`` ("both", "image", "volume")
                and ``frame`` (how the model sees pictures: "phantom", "published" or the folder of a checkpoint).

        Raises:
            FormatError: If the split or an option is unknown.
            UniReasonError: If the folder cannot be used.
        """
        check_options(cls.name, options, {"seed": (), "questions": (), "kind": tuple(KINDS), "frame": ()})
        if split not in ("", "test"):
            raise FormatError(f"the suite '{cls.name}' has no split {split!r}", "test")
        count = number(options, "questions", _QUESTIONS, least=1, most=100_000)
        seed = number(options, "seed", 0)
        frame = rule(options.get("frame", "phantom"))
        scratch = None
        if root is None:
            scratch = Scratch(EXAM)
            root = scratch.path / "exam"
        dataset = make_exam(seed, count, root, frame=frame)
        suite = cls(dataset, split=None, kind=options.get("kind", "both"), count=count)
        suite.scratch = scratch
        return suite
