"""Which questions about volumes are asked, and the volumes with their masks."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence

from unireason.data.frames import FrameRule
from unireason.data.item import Loaded
from unireason.errors import FormatError, UniReasonError
from unireason.evaluate.heldout import read_items
from unireason.evaluate.suites.built import BuiltSuite
from unireason.evaluate.suites.suite import Entry, Suite
from unireason.types import Box3D, Case

_BOX = re.compile(r"\d(\s*,\s*\d+){3}")
"""Four numbers in a row."""


class Volumes:
    """The questions of a suite about volumes whose looks can be compared; a suite itself."""

    def __init__(self, suite: Suite) -> None:
        """Take a suite.

        Raises:
            FormatError: If it has no masks.
        """
        if not isinstance(suite, BuiltSuite):
            raise FormatError(
                f"the suite '{suite.name}' has no masks",
                "phantom or built",
                "make a data set of masks with unireason data build, and take --suite built",
            )
        self._suite = suite

    @property
    def name(self) -> str:
        """See ``Suite.name``."""
        return self._suite.name

    @property
    def rule(self) -> str:
        """See ``Suite.rule``."""
        return self._suite.rule

    @property
    def frame(self) -> FrameRule:
        """How the data set's pictures become model frames: it decides what is large enough to be asked about."""
        return FrameRule.from_json(self._suite.dataset.manifest.get("config", {}).get("frame"))

    def entries(self) -> Iterator[Entry]:
        """See ``Suite.entries``; only those with a structure to compare."""
        return (entry for entry in self._suite.entries() if structures(entry))

    def read(self, case: str) -> Case:
        """See ``Suite.read``."""
        return self._suite.read(case)

    def load(self, cases: Sequence[str]) -> Iterator[tuple[str, Loaded | UniReasonError]]:
        """Volumes with their masks, in the order of the data set; in place of one that cannot be read the reason."""
        wanted, dataset = set(cases), self._suite.dataset
        left = deque(record.scene.case for record in dataset.cases() if record.scene.case in wanted)
        while left:
            try:
                for _, loaded in read_items(dataset, left):
                    yield left.popleft(), loaded
            except UniReasonError as error:  # reading ends with an error: it is begun anew behind the volume
                yield left.popleft(), error


def structures(entry: Entry) -> tuple[str, ...]:
    """The structures of a question that are compared, in the order of its true looks.

    They are named in its text or its options, and its true reasoning looks at them. A question about an image has none, nor one that
    writes a box itself.
    """
    texts = [text.lower() for text in (entry.question, *entry.options)]
    if any(_BOX.search(text) for text in texts):
        return ()
    looked = dict.fromkeys(look.label for look in entry.looks if look.seen and isinstance(look.box, Box3D))
    return tuple(name for name in looked if any(re.search(rf"\b{re.escape(name)}\b", text) for text in texts))
