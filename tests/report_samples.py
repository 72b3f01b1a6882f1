"""Small traces, cases and stacks for the tests of the report: exact numbers, every kind of text, no model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unireason.core.types import (
    AnswerStep,
    Box2D,
    Box3D,
    Case,
    Crop,
    Frame,
    Geometry,
    LookStep,
    Problem,
    Source,
    Stack,
    TextStep,
    Trace,
)
from unireason.grounding.crop import cut, plan
from unireason.imaging.geometry import model_to_voxel, volume_geometry, voxel_to_world_bounds
from unireason.imaging.present import serialize

HOSTILE = (
    "</script></style></title><img src=x onerror=\"document.title='owned'\"><svg onload=alert(1)>'\" $title ${x} \u202e&amp;"
)


@dataclass(frozen=True)
class Sample:
    """A trace with what it was made from."""

    trace: Trace
    case: Case
    stack: Stack


def oblique_affine() -> NDArray[np.float64]:
    """Index to LPS mm of a file whose i runs to the head, j to the right, k to the front, turned 20 degrees about z."""
    angle = np.deg2rad(20.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    axes = np.array([[0, -1.0, 0], [0, 0, -1.0], [1.0, 0, 0]])  # columns: where i, j, k point
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes @ np.diag([5.0, 0.8, 1.25])
    affine[:3, 3] = (-30.5, 12.25, 140.0)
    return affine


def look(text: str, box: Box2D | Box3D, frame: Frame, made_of: tuple[Geometry, Stack], label: str = "") -> LookStep:
    """An executed look with its crops and its boxes in every space."""
    geometry, stack = made_of
    planned = plan(box, frame)
    assert not isinstance(planned, Problem)
    voxel = model_to_voxel(box, frame, geometry)
    crops = tuple(Crop(rect, z, np.ascontiguousarray(cut(stack.slices[z], rect)), (1, 2, 2)) for z, rect in planned)
    slices = tuple(z for z, _ in planned)
    world = voxel_to_world_bounds(voxel, geometry)
    return LookStep(text, box.coords, voxel, world, slices, crops, executed=True, label=label)


def volume() -> Sample:
    """An oblique, anisotropic volume of 20 x 60 x 40 (i, j, k): 10 model slices of 56 x 56, three looks, one not carried out."""
    geometry = volume_geometry((20, 60, 40), oblique_affine())
    rng = np.random.default_rng(7)
    grid = np.indices(geometry.shape).astype(np.float32)
    pixels = (grid[0] * 3 + grid[1] * 2 + grid[2] + rng.normal(0, 3, geometry.shape)).astype(np.float32)
    source = Source("knee.nii.gz", "nifti", "ab" * 32)
    case = Case(pixels, "volume", geometry, "MR", source, notes=("Oblique axes: boxes follow the nearest patient axes.",))
    stack = serialize(case, depth=10, size=(56, 56))
    frame = Frame(56, 56, 10, "volume")
    made_of = (geometry, stack)
    steps = (
        TextStep("The left condyle lies at "),
        look("<|box_start|>[10,8,2,30,24,5]<|box_end|>", Box3D(10, 8, 2, 30, 24, 5), frame, made_of, "left condyle"),
        TextStep(". Compare the meniscus at "),
        look("<|box_start|>[26,20,4,48,44,9]<|box_end|>", Box3D(26, 20, 4, 48, 44, 9), frame, made_of, "meniscus"),
        TextStep(". A last glance at "),
        LookStep("<|box_start|>[40,2,0,54,12,2]<|box_end|>", (40.0, 2.0, 0.0, 54.0, 12.0, 2.0), label="patella"),
        TextStep(" was not granted."),
        AnswerStep("B. meniscus", "B"),
    )
    trace = Trace(
        question="Which structure lies nearer to the head?",
        options=("condyle", "meniscus", "patella", "tibia"),
        steps=steps,
        frame=frame,
        finish="round_budget",
        problems=(Problem("round_budget", "[40,2,0,54,12,2]", 171),),
        source=source,
        provenance={
            "checkpoint": "phantom",
            "checkpoint_sha256": "cd" * 32,
            "profile": "default",
            "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
            "sampling": {"temperature": 0.0, "seed": 3},
            "crop_source": "model",
        },
        raw_text="<think>The left condyle lies at <|box_start|>[10,8,2,30,24,5]<|box_end|>…</think>B. meniscus",
    )
    return Sample(trace, case, stack)


def image(*, affine: NDArray[np.float64] | None = None, flips: tuple[bool, bool] = (False, False)) -> Sample:
    """A colour picture of 90 x 60 pixels with one look in a frame of 84 x 56; optionally placed in the patient."""
    spacing = None if affine is None else tuple(float(v) for v in np.linalg.norm(affine[:3, :2], axis=0))
    geometry = Geometry((60, 90), (90, 60), (0, 1), flips, affine, spacing)
    pixels = np.zeros((60, 90, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[20:40, 30:60, 2] = 60, 90, 220
    source = Source("skin.png", "png", "12" * 32)
    case = Case(pixels, "image", geometry, "", source)
    stack = serialize(case)
    frame = Frame(84, 56, 1, "image")
    box = Box2D(28, 19, 56, 37)
    voxel = model_to_voxel(box, frame, geometry)
    crop = Crop((28, 19, 56, 37), 0, pixels[20:40, 30:60].copy(), (1, 2, 2), "native")
    world = voxel_to_world_bounds(voxel, geometry)
    step = LookStep(
        "<|box_start|>[28,19,56,37]<|box_end|>", box.coords, voxel, world, (0,), (crop,), executed=True, label="lesion"
    )
    trace = Trace(
        question="What colour is the lesion?",
        options=(),
        steps=(TextStep("There is a lesion at "), step, TextStep(". It is blue."), AnswerStep("Blue.")),
        frame=frame,
        finish="end_of_turn",
        source=source,
        raw_text="<think>…</think>Blue.",
    )
    return Sample(trace, case, stack)


def hostile() -> Sample:
    """The volume with markup, quotes, template holes and control characters in every text that a file or a model may supply."""
    sample = volume()
    source = Source(HOSTILE, HOSTILE, HOSTILE)
    steps = tuple(
        replace(step, text=HOSTILE, label=HOSTILE) if isinstance(step, LookStep) else replace(step, text=HOSTILE + "\x00\ud800")
        for step in sample.trace.steps
    )
    trace = replace(
        sample.trace,
        question=HOSTILE,
        options=(HOSTILE,) * 4,
        steps=steps,
        finish=HOSTILE,
        problems=(Problem(HOSTILE, HOSTILE),),
        source=source,
        provenance={HOSTILE: HOSTILE, "nested": {HOSTILE: [HOSTILE]}},
        raw_text=HOSTILE,
    )
    stack = replace(sample.stack, window=HOSTILE)
    return Sample(trace, replace(sample.case, source=source, modality=HOSTILE, notes=(HOSTILE,)), stack)
