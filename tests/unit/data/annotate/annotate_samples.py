"""Small hand-made scenes, and tasks about phantoms, for the tests of the annotators."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from unireason.core.types import Box2D, Box3D, Frame
from unireason.data.frames import FrameRule
from unireason.data.measure import describe
from unireason.data.questions.families import candidates
from unireason.data.questions.referring import implicit
from unireason.data.rationale.template import Task
from unireason.data.regions import axial, busy
from unireason.data.scene import IMPLICIT, DataQuestion, Midline, Part, Scene, Structure
from unireason.data.sources.base import open_source

IMAGE, VOLUME = Frame(112, 112, 1, "image"), Frame(56, 56, 16, "volume")


def structure(name, box, centre, measure, **changes):
    """A structure with plain values; ``box`` are the numbers of its model box."""
    flat = len(box) == 4
    model = Box2D(*box) if flat else Box3D(*box)
    point = box[:2] if flat else box[:3]
    values = {
        "name": name,
        "box_canonical": tuple(box),
        "box_voxel": tuple(box),
        "box_model": model,
        "voxels": 100,
        "measure": measure,
        "centre": tuple(centre),
        "side": "left" if centre[0] > 5 else "right" if centre[0] < -5 else "midline",
        "parts": (),
        "part_count": 1,
        "neighbours": (),
        "slices": (0, 1) if flat else (box[2], box[5]),
        "borders": (),
        "contrast": 20.0,
        "elongation": 1.5,
        "points": (tuple(point), tuple(point)),
    }
    return Structure(**(values | changes))


def scene(*structures, kind="image", absent=("stomach",), space="patient", unit="", scale=""):
    """A scene of some structures, 200 mm a side."""
    axes = 2 if kind == "image" else 3
    return Scene(
        case="case-1",
        patient="patient-1",
        kind=kind,
        modality="CT",
        frame=IMAGE if kind == "image" else VOLUME,
        shape=(100,) * axes,
        spacing_mm=(2.0,) * axes,
        extent=(200.0,) * axes,
        space=space,
        unit=unit or ("mm2" if kind == "image" else "mm3"),
        structures={s.name: s for s in sorted(structures, key=lambda s: s.name)},
        absent=absent,
        scale=scale,
    )


KIDNEYS = tuple(Part(b, Box2D(*b), 450.0, 50) for b in ((30, 82, 44, 104), (72, 80, 90, 104)))


def image_scene(scale=""):
    """Liver right anterior, spleen left posterior with a neighbour, both kidneys (a plural), a lesion in the liver."""
    return scene(
        structure("liver", (10, 20, 50, 70), (-40, -20), 5200.0, neighbours=("lesion",)),
        structure("spleen", (80, 60, 100, 90), (50, 40), 1300.0, neighbours=("kidneys",), contrast=-30.0),
        structure("kidneys", (30, 80, 90, 104), (2, 60), 900.0, part_count=2, borders=("posterior",), parts=KIDNEYS),
        structure("lesion", (20, 30, 30, 40), (-50, -30), 80.0, contrast=60.0, elongation=1.1),
        scale=scale,
    )


def volume_scene(scale=""):
    """Two kidneys and a liver of a volume."""
    return scene(
        structure("left kidney", (36, 30, 4, 44, 38, 9), (40, 30, -10), 120_400.0, neighbours=("liver",)),
        structure("right kidney", (12, 30, 4, 20, 38, 5), (-40, 30, -10), 80_000.0),
        structure("liver", (6, 10, 6, 30, 34, 14), (-40, -20, 30), 1_254_000.0, borders=("right", "superior")),
        kind="volume",
        scale=scale,
    )


LARGEST = DataQuestion(
    "size_comparison",
    "largest",
    (),
    "Which of these structures is largest?",
    ("spleen", "liver", "kidneys", "lesion"),
    1,
    ("it measures 13 cm2", "it measures 52 cm2", "it measures 9 cm2", "it measures 0.8 cm2"),
    ("spleen", "liver", "kidneys", "lesion"),
)
QUADRANT = DataQuestion(
    "structure_localisation",
    "quadrant",
    ("spleen", "xy"),
    "Where does the spleen lie?",
    ("left anterior", "left posterior", "right anterior", "right posterior"),
    1,
    ("", "its centre lies 50 mm to the left and 40 mm to the back", "", ""),
    ("spleen",),
)
IMPLICIT_SPLEEN = DataQuestion(
    IMPLICIT,
    "segment",
    ("spleen",),
    "Which darker organ lies left posterior beside the kidneys?",
    (),
    -1,
    ("it lies in the left posterior part", "it is darker than its surroundings", "it touches the kidneys"),
    ("spleen", "kidneys"),
)
NEAREST = DataQuestion(
    "spatial_relation",
    "nearest",
    ("left kidney",),
    "Which of these lies nearest to the left kidney?",
    ("liver", "right kidney"),
    1,
    ("it lies 101 mm away", "it lies 80 mm away"),
    ("left kidney", "right kidney", "liver"),
)


def task(question, drawn, number=0):
    """A task with an identifier of its own."""
    return Task(f"sample-{number}", question, drawn)


@cache
def phantom_tasks():
    """Tasks of all families about four phantom patients and two slices of each."""
    source, found, rng = open_source("phantom", options={"patients": "4", "seed": "5"}), [], np.random.default_rng(5)
    for item in source.items():
        loaded = source.load(item)
        views = [("", loaded), *((f"-{k}", axial(loaded, k)) for k in busy(loaded, 2, rng))]
        for suffix, view in views:
            drawn = describe(view, FrameRule(scale=len(found) % 2 == 0), case=f"{item.id}{suffix}")
            found += _asked_about(drawn, rng)
            if suffix:
                found += _asked_about(_as_picture(drawn), rng)
    return tuple(found)


def _asked_about(drawn, rng):
    asked = [*candidates(drawn, rng, each=8), *implicit(drawn, rng)]
    return [Task(f"{drawn.case}/{i}", q, drawn) for i, q in enumerate(asked)]


def _as_picture(drawn):
    """The same scene as that of a plain picture, without directions and spacing."""
    sides = {"anterior": "top", "posterior": "bottom"}
    structures = {n: replace(s, side="", borders=tuple(sides.get(b, b) for b in s.borders)) for n, s in drawn.structures.items()}
    case = f"{drawn.case}-picture"
    return replace(
        drawn, case=case, space="picture", spacing_mm=None, unit="pixels", structures=structures, scale="", midline=Midline("")
    )
