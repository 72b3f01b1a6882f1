"""The expert "classical": a box or points become a mask with no weights at all, in an image, on a slice and in a volume at once.

It knows how prompts become places of a grid and what is found a segmentation; ``search`` and ``fit`` hold the method.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unireason.segment.expert import Prompt, Segmentation, checked, finished
from unireason.segment.propagate import follow, on_slice
from unireason.types import Case

from .fit import Settings
from .search import enclosed, search

_AROUND_ONE = 0.06  # of the shorter side of a slice: radius around a single point


class Classical:
    """Likelihood ratio of grey levels inside a box against those around it, with an elliptic prior. No network, no state.

    The score of a segmentation is the Dice coefficient to be expected of its mask if the voxels' probabilities held.
    """

    name = "classical"

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()

    def segment(self, case: Case, prompts: Sequence[Prompt]) -> list[Segmentation]:
        """One mask a prompt, in order; no prompts give none.

        A box is taken for about right: its structure may reach out of it by a fifth. Points lie inside, and the components that hold
        them are kept; one that lies farther outside of the box is not believed. Points alone stand for a circle or sphere, the first two
        for the ends of its diameter, from which the box is found.

        Args:
            case: Image or volume of any number type, grey or colour. Voxels without a finite value are never inside.
            prompts: Boxes, points or both.

        Returns:
            A segmentation each. Where nothing tells inside from outside, the ellipse that touches the box's sides.

        Raises:
            FormatError: If a prompt does not fit the case.
        """
        return [self._one(case, checked(case, prompt)) for prompt in prompts]

    def _one(self, case: Case, prompt: Prompt) -> Segmentation:
        if prompt.propagate:
            return follow(self, case, prompt)
        if prompt.slice is not None:
            return on_slice(self, case, prompt)
        axes = len(case.geometry.shape)
        spacing = np.array((case.geometry.spacing_mm or (1.0,) * axes)[::-1], float)
        points = np.array([p[::-1] for p in prompt.points], float).reshape(-1, axes)
        if prompt.box is None:
            points = np.unique(points[:2], axis=0) if len(points) == 2 else points
            least = _AROUND_ONE * float((np.array(case.geometry.shape) * spacing)[-2:].min()) if len(points) == 1 else 0.0
            low, high = enclosed(case.pixels, points, spacing=spacing, settings=self._settings, least=least)
        else:
            coords = prompt.box.coords
            low, high = np.array(coords[:axes][::-1], float), np.array(coords[axes:][::-1], float)
        found = search(case.pixels, low, high, spacing=spacing, points=points, settings=self._settings)
        mask = np.zeros(case.geometry.shape, bool)
        mask[found.block] = found.mask
        return finished(mask, found.score, found.notes)
