"""How many tokens a unit has, known without its pictures: every process can lay out a whole step and read only its own share of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unireason.data.records import SampleRecord
from unireason.train.network.encode import Encoder

from .cases import CaseSamples


def unit_length(encoder: Encoder, case: CaseSamples, samples: Sequence[SampleRecord]) -> int:
    """Tokens of some samples on one case: what they share once, and a row for each.

    Args:
        encoder: Writes them.
        case: The case; its frame says how large its pictures are.
        samples: Samples about it, at least one.

    Raises:
        FormatError: If a sample cannot be asked or a look of it cannot be executed.
    """
    blank = np.broadcast_to(np.uint8(0), (case.frame.height, case.frame.width))
    return sum(tree.length for tree in encoder.trees(samples, case.frame, [blank] * case.frame.depth))
