"""Sizes of the data for planning a run whose data set is not at hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Planned:
    """The ``[plan]`` table of a run file; training does not look at it. What the data sets on disk tell is taken from there.

    Attributes:
        samples: Samples of an epoch.
        images: Share of 2D samples, in [0, 1].
        image_size: Height and width in pixels of a 2D picture in the model frame.
        slices: Slices of a volume.
        slice_size: Height and width in pixels of a slice in the model frame.
        text: Tokens of system prompt, question and options.
        response: Tokens that the assistant writes.
        crops: Regions injected into a response about an image.
        volume_crops: The same about a volume; a cuboid gives one a slice.
        crop_tokens: Visual tokens of a region.
        shared: Samples on one case that share its pictures in one SFT step, on average; at most ``together``.
    """

    samples: int = 220_000
    images: float = 0.77
    image_size: tuple[int, int] = (504, 504)
    slices: int = 32
    slice_size: tuple[int, int] = (252, 252)
    text: int = 160
    response: int = 180
    crops: float = 2.0
    volume_crops: float = 8.0
    crop_tokens: float = 16.0
    shared: float = 1.0
