"""A frozen segmentation expert in the loop: what the mask is worth that it makes of a response's box and points."""

from __future__ import annotations

from collections.abc import Sequence

from unireason.data.pictures import structure_mask
from unireason.engine.pointing import masks_of
from unireason.metrics.overlap import mask_dice

from .feed.cases import Cases, Unreadable
from .rollout import Rolled
from .settings.grpo import Outline


class Outliner:
    """Outlines the answers of implicit questions. The expert never learns; what it makes of a case once serves all responses to it."""

    def __init__(self, cases: Cases, settings: Outline) -> None:
        """Prepare the expert.

        Args:
            cases: Where cases and true masks come from.
            settings: Name and weights of the expert.

        Raises:
            UniReasonError: If there is no such expert or its weights cannot be used.
        """
        from unireason.segment.catalogue import make_expert

        self._cases = cases
        self._expert = make_expert(settings.expert, weights=settings.weights or None)

    def dice(self, rolled: Sequence[Rolled]) -> list[float]:
        """Dice of the mask of each response to one implicit question with the true mask, 0 where there is no usable box.

        Raises:
            Unreadable: If the case or the mask cannot be read.
            UniReasonError: If the expert cannot take it.
        """
        if not rolled:
            return []
        asked = rolled[0].asked
        loaded = self._cases.loaded(asked.case)
        true = structure_mask(loaded, asked.sample.target)
        if not true.any():
            raise Unreadable(asked.case.id, "the mask of what is asked about is empty")
        marked = [masks_of(one.trace, loaded.case, self._expert) for one in rolled]
        answers = [next((m.segmentation.mask for m in found if m.look == 0), None) for found in marked]
        return [0.0 if mask is None else mask_dice(mask, true) for mask in answers]
