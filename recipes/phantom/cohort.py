"""Phantom patients as training views: pictures in the model frame, their label maps and their questions.

A view is one volume or one axial slice, windowed and resized by the very functions that serve a user's file, so that training and
serving see the same pixels. Views are small (a volume is 50 kB) and made once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unireason.core.types import Frame
from unireason.data.frames import mask_on_frame
from unireason.data.scene import DataQuestion
from unireason.data.sources import phantom
from unireason.data.sources.phantom import busy_slices, image_case
from unireason.imaging.present import serialize
from unireason.model.vision import resized_picture

from .questions import Balancer, draw_all
from .scene import LessonScene, image_scene, volume_scene

VOLUME = Frame(56, 56, 16, "volume")
IMAGE = Frame(112, 112, 1, "image")
SLICES_A_PATIENT = 2


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One volume or image as the network sees it."""

    frame: Frame
    pictures: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    scene: LessonScene
    questions: tuple[DataQuestion, ...]


def views(seed: int, indices: Iterator[int] | range, *, rounds: int = 2) -> Iterator[View]:
    """The views of phantom patients: one volume and two axial slices each."""
    balance = {"volume": Balancer(), "image": Balancer()}
    for index in indices:
        patient = phantom.generate(seed, index, stream=phantom.TRAINING_STREAM)
        rng = np.random.default_rng([seed, index, 1])
        stack = serialize(patient.case(), depth=VOLUME.depth, size=(VOLUME.height, VOLUME.width))
        scene = volume_scene(patient, VOLUME)
        drawn = draw_all(scene, rng, balance["volume"], rounds=rounds)
        yield View(VOLUME, stack.slices, mask_on_frame(patient.labels, VOLUME), scene, tuple(drawn))
        for k in busy_slices(patient, rng, SLICES_A_PATIENT):
            stack = serialize(image_case(patient, k))
            picture = resized_picture(stack.slices[0], IMAGE.height, IMAGE.width)
            scene = image_scene(patient, k, IMAGE)
            drawn = draw_all(scene, rng, balance["image"], rounds=max(1, rounds // 2))
            yield View(IMAGE, picture[None], mask_on_frame(patient.labels[k], IMAGE)[None], scene, tuple(drawn))
