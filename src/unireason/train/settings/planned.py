"""Sizes of the data for planning a run whose data set is not at hand, and the machine it is planned for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Planned:
    """The ``[plan]`` table of a run file; training does not look at it. The sizes stand for means, and give way to those of the data
    sets where these are at hand.

    Attributes:
        gpu: Machine: "A100-80", "H100-80", "H200", "cpu-core", or another name for one given by its rates.
        gpus: How many of them.
        like: Published checkpoint that has the sizes of the start, for a start that is not at hand yet.
        samples: Samples of an epoch.
        images: Share of 2D samples, in [0, 1]; a share set in ``data.images`` comes before it.
        image_size: Height and width in pixels of a 2D picture in the model frame.
        slices: Slices of a volume.
        slice_size: Height and width in pixels of a slice in the model frame.
        text: Tokens of system prompt, question and options.
        response: Tokens that the assistant writes.
        longest: Tokens of the longest response of a group, as a multiple of ``response``.
        crops: Regions injected into a response about an image.
        volume_crops: The same about a volume; a cuboid gives one a slice.
        crop_tokens: Visual tokens of a region.
        shared: Samples on one case that share its pictures in one SFT step; at most ``together``.
    """

    gpu: str = "H100-80"
    gpus: int = 8
    like: str = ""
    samples: int = 220_000
    images: float = 0.77
    image_size: tuple[int, int] = (504, 504)
    slices: int = 32
    slice_size: tuple[int, int] = (252, 252)
    text: float = 160.0
    response: float = 180.0
    longest: float = 1.5
    crops: float = 2.0
    volume_crops: float = 8.0
    crop_tokens: float = 16.0
    shared: float = 1.0
