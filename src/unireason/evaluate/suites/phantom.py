"""An examination of phantom patients that nothing is trained on; see ``evaluate.heldout.make_exam``."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from unireason.data.frames import rule
from unireason.data.sources.options import number
from unireason.errors import FormatError
from unireason.evaluate.heldout import make_exam

from .built import KINDS, BuiltSuite
from .listed import check_options

_QUESTIONS = 250


class PhantomSuite(BuiltSuite):
    """Questions about phantom patients; without a folder they are made in a temporary one, which goes with the suite."""

    name = "phantom"

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
        folder = root or Path(tempfile.mkdtemp(prefix="unireason-exam-"))
        try:
            dataset = make_exam(seed, count, folder, frame=frame)
        except BaseException:
            if root is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        suite = cls(dataset, split=None, kind=options.get("kind", "both"), count=count)
        if root is None:
            weakref.finalize(suite, shutil.rmtree, folder, ignore_errors=True)
        return suite
