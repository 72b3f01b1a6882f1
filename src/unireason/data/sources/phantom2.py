"""Phantom patients, version 2: torsos whose fine detail shows only at full resolution.

One patient is seen as a CT or MR volume, as one axial plane of it at twice the resolution, as a frontal film and by an ultrasound probe.
What is finer than a model frame of a quarter of the width is stated by word, structure by structure: the texture of organs, how many
small spots lie in one, the margin of a mass and the form of the calcification inside it. All of them are drawn so that their mean over
4 x 4 pixels says little: stripes and grains have a period of four pixels and mean zero, margins have one mean profile, and the grains
of a calcification cover one area whatever their form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.types import PHANTOM, Affine, Case, Geometry, Source

from .anatomy import LABELS, OPTIONAL, TISSUES, Body, BodyGrid, Field, T, draw, waves

VIEWS = ("volume", "slice", "film", "echo")
"""What is made of a patient: a volume, one axial plane, a frontal X-ray, an ultrasound picture."""
VOLUME, PICTURE = (64, 192, 192), 448
"""Voxels of a volume (z, y, x) and pixels of a side of a picture."""
TEXTURES = ("homogeneous", "finely granular", "lined from side to side", "lined from front to back")
MARGINS = ("smooth", "finely lobulated", "spiculated")
CALCIFICATIONS = ("solid", "ring-shaped", "in separate grains")
STATED = ("texture", "spots", "margin", "calcification")
"""What is stated of structures; values of "spots" are whole numbers as text."""
MOST_SPOTS = 6
NAMES = {label: name for name, label in LABELS.items()}

_CT = {
    **{"air": -1000, "skin": 10, "fat": -100, "muscle": 55, "bone": 700, "marrow": 210, "disc": 85, "cord": 30, "lung": -840},
    **{"vessel": 130, "mediastinum": -20, "gas": -950, "airway": -980, "liver": 60, "spleen": 50, "cortex": 38, "medulla": 32},
    **{"pancreas": 42, "wall": 48, "stomach": 18, "chyme": 22, "bile": 6, "urine": 4, "myocardium": 48, "blood": 42, "aorta": 43},
    **{"cava": 42, "colon": 30, "bowel": 46, "table": -250},
}
"""Hounsfield units without contrast medium."""
PHASES: dict[str, dict[str, float]] = {
    "unenhanced": {"vessel": -75.0},
    "arterial": {
        "aorta": 260,
        "blood": 170,
        "cortex": 130,
        "spleen": 75,
        "pancreas": 60,
        "medulla": 30,
        "bowel": 40,
        "vessel": -20,
    },
    "venous": {
        "aorta": 110.0,
        "cava": 105,
        "blood": 105,
        "cortex": 145,
        "medulla": 110,
        "liver": 50,
        "spleen": 65,
        "pancreas": 48,
    }
    | {"wall": 35.0, "bowel": 50.0, "myocardium": 55.0, "vessel": 35.0},
    "delayed": {"aorta": 65, "cava": 65, "blood": 62, "cortex": 95, "medulla": 110, "liver": 32, "spleen": 36, "urine": 420},
}
"""Hounsfield units that a contrast medium adds."""
_MR = {
    "T1": {"skin": 300, "fat": 980, "muscle": 330, "bone": 40, "marrow": 640, "disc": 260, "cord": 330, "lung": 25, "vessel": 130}
    | {
        "mediastinum": 430,
        "liver": 470,
        "spleen": 310,
        "cortex": 400,
        "medulla": 280,
        "pancreas": 520,
        "wall": 330,
        "stomach": 160,
    }
    | {
        "chyme": 200,
        "bile": 140,
        "urine": 110,
        "myocardium": 340,
        "blood": 90,
        "aorta": 60,
        "cava": 80,
        "colon": 420,
        "bowel": 320,
    },
    "T2": {"skin": 220, "fat": 640, "muscle": 150, "bone": 30, "marrow": 420, "disc": 480, "cord": 420, "lung": 25, "vessel": 60}
    | {
        "mediastinum": 430,
        "liver": 230,
        "spleen": 420,
        "cortex": 480,
        "medulla": 620,
        "pancreas": 300,
        "wall": 260,
        "stomach": 760,
    }
    | {
        "chyme": 640,
        "bile": 980,
        "urine": 1060,
        "myocardium": 260,
        "blood": 70,
        "aorta": 40,
        "cava": 70,
        "colon": 330,
        "bowel": 300,
    },
}
"""Signal of the two weightings."""
_ECHO = {
    **{
        "skin": 0.7,
        "fat": 0.34,
        "muscle": 0.22,
        "bone": 3.0,
        "marrow": 0.3,
        "disc": 0.3,
        "cord": 0.1,
        "lung": 1.6,
        "vessel": 0.012,
    },
    **{
        "mediastinum": 0.5,
        "gas": 2.6,
        "airway": 2.0,
        "liver": 0.30,
        "spleen": 0.28,
        "cortex": 0.17,
        "medulla": 0.07,
        "pancreas": 0.4,
    },
    **{
        "wall": 0.75,
        "stomach": 0.05,
        "chyme": 0.16,
        "bile": 0.006,
        "urine": 0.004,
        "myocardium": 0.25,
        "blood": 0.01,
        "aorta": 0.01,
    },
    **{"cava": 0.01, "colon": 0.5, "bowel": 0.4},
}
"""How much sound comes back."""
_PASS = {"bone": 0.55, "gas": 0.5, "lung": 0.75, "airway": 0.5, "marrow": 0.8}
"""Share of sound that a pixel lets through; 1 for all other tissues."""

_TEXTURED = ("liver", "spleen", "pancreas", "left kidney", "right kidney", "heart")
_HOSTS = ("right lung", "left lung", "liver", "spleen", "left kidney", "right kidney")
_STREAMS = ("phantom2", "phantom2-training", "phantom2-exam")


def table(values: Mapping[str, float], default: float = 0.0) -> Field:
    """Values by tissue index."""
    return np.array([values.get(name, default) for name in TISSUES], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class PhantomView:
    """One picture or volume of a patient.

    Attributes:
        id: Patient and view.
        patient: The patient.
        voxels: int16 (Z, Y, X) or (Y, X): Hounsfield units (CT), signal (MR), or grey levels 0 to 255 (DX, US).
        labels: uint8 on the same grid, by ``anatomy.LABELS``.
        spacing_mm: Voxel size along x, y (and z).
        affine_lps: (4, 4) canonical index (x, y, z) to LPS millimetres; None for film and ultrasound.
        modality: "CT", "MR", "DX" or "US".
        protocol: Contrast phase or weighting; "" where there is none.
        stated: Of structures, by name: what is drawn finer than the model frame, by the keys STATED.
    """

    id: str
    patient: str
    voxels: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, ...]
    affine_lps: Affine | None
    modality: str
    protocol: str
    stated: dict[str, dict[str, str]]

    def case(self) -> Case:
        """The view as a Case, without going through a file."""
        axes = self.voxels.ndim
        geometry = Geometry(
            shape=self.voxels.shape,
            source_shape=self.voxels.shape[::-1],
            order=tuple(range(axes)),
            flips=(False,) * axes,
            affine_lps=self.affine_lps,
            spacing_mm=self.spacing_mm,
        )
        grey = self.modality in ("DX", "US")
        pixels = self.voxels.astype(np.uint8) if grey else self.voxels
        return Case(pixels, "volume" if axes == 3 else "image", geometry, self.modality, Source(self.id, "phantom", "", PHANTOM))


def grey(view: PhantomView) -> NDArray[np.uint8]:
    """A view as grey levels: the abdominal window of a CT (40, 400), an MR up to its brightest half per cent, others as they are."""
    values: NDArray[np.floating[Any]] = view.voxels.astype(np.float32)
    if view.modality == "CT":
        values = (values + 160) / 400 * 255
    elif view.modality == "MR":
        values *= 255 / max(1.0, float(np.percentile(values, 99.5)))
    found: NDArray[np.uint8] = np.clip(values, 0, 255).round().astype(np.uint8)
    return found


@dataclass(frozen=True, slots=True)
class _Plan:
    """What holds for every view of a patient: drawn once, from the patient's own numbers."""

    half: NDArray[np.float64]
    mirrored: bool
    missing: frozenset[str]
    modality: str
    protocol: str
    field: float
    draws: int


def patient_id(seed: int, index: int, stream: int = 0) -> str:
    """Identifier of a patient."""
    return f"{_STREAMS[stream]}-{seed}-{index:05d}"


def _plan(seed: int, index: int, stream: int) -> _Plan:
    rng = np.random.default_rng([2, stream, seed, index])
    half = np.array([168.0, 114.0, 182.0]) * rng.uniform(0.92, 1.08, 3)
    mr = rng.random() < 0.34
    return _Plan(
        half=half,
        mirrored=bool(rng.random() < 0.5),
        missing=frozenset(name for name, share in OPTIONAL.items() if rng.random() < share),
        modality="MR" if mr else "CT",
        protocol=str(rng.choice(list(_MR) if mr else list(PHASES))),
        field=float(2 * half[0] * rng.uniform(1.06, 1.16)),
        draws=int(rng.integers(2**32)),
    )


def names_of(view: str) -> dict[int, str]:
    """Label to name of the structures that are annotated in a view."""
    return {LABELS[name]: name for name in SHOWN.get(view, tuple(LABELS))}


def modality_of(seed: int, index: int, view: str, stream: int = 0) -> str:
    """DICOM modality of a view, without drawing it."""
    return {"film": "DX", "echo": "US"}.get(view) or _plan(seed, index, stream).modality


def generate(seed: int, index: int, view: str = "volume", *, stream: int = 0) -> PhantomView:
    """One view of patient ``index`` of the cohort ``seed``; the same numbers always give the same voxels.

    Args:
        seed: Cohort number; any non-negative integer.
        index: Patient number inside the cohort.
        view: One of VIEWS: a volume of 64 x 192 x 192 voxels, or a picture of 448 x 448 pixels.
        stream: As in ``phantom.generate``.

    Raises:
        ValueError: If there is no such view.
    """
    if view not in VIEWS:
        raise ValueError(f"the view {view!r}; one of {', '.join(VIEWS)}")
    plan = _plan(seed, index, stream)
    rng = np.random.default_rng([VIEWS.index(view), 2, stream, seed, index])
    make = {"volume": _sections, "slice": _sections, "film": _film, "echo": _echo}[view]
    name = patient_id(seed, index, stream)
    return make(plan, rng, name, view)


def _line(count: int, length: float, middle: float = 0.0) -> Field:
    found: Field = (((np.arange(count) - (count - 1) / 2) / count * length) + middle).astype(np.float32)
    return found


def _draw(plan: _Plan, grid: BodyGrid) -> Body:
    return draw(np.random.default_rng(plan.draws), grid, plan.half, plan.missing, mirrored=plan.mirrored)


# --- Detail finer than the model frame. Lengths are in pixels of the picture; a volume has the same in each of its planes.

_PERIOD = 4
_LEAST = 260
"""Pixels of a plane from which a texture is drawn in an organ."""
_RING = 6.0
"""Width of the zone round a mass in which its margin is drawn."""


def ripples(rng: np.random.Generator, shape: tuple[int, int], kind: str) -> Field:
    """A texture of spread 1 and mean 0 on a plane (Y, X), gently bent."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    bend = [
        ndimage.zoom(
            rng.standard_normal((7, 7)).astype(np.float32), (shape[0] / 7, shape[1] / 7), order=1, grid_mode=True, mode="nearest"
        )[: shape[0], : shape[1]]
        * 1.2
        for _ in range(2)
    ]
    step = np.float32(2 * np.pi / _PERIOD)
    across, along = np.sin(step * (x + bend[0]) + 0.8), np.sin(step * (y + bend[1]) + 0.8)
    found = {
        TEXTURES[0]: np.zeros(shape, np.float32),
        TEXTURES[1]: 2 * across * along,
        TEXTURES[2]: along * 1.414,
        TEXTURES[3]: across * 1.414,
    }
    chosen: Field = found[kind].astype(np.float32)
    return chosen


def spots(rng: np.random.Generator, plane: NDArray[np.bool_], count: int) -> list[tuple[int, int]]:
    """Upper left corners (y, x) of spots of 2 x 2 pixels, four or five pixels apart, in the inner part of a mask; [] if they do not fit."""
    depth = ndimage.distance_transform_edt(plane)
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    if depth[y, x] < 13:
        return []
    cells = [(j, i) for j in (-1, 0, 1) for i in (-1, 0, 1)]
    chosen = rng.permutation(len(cells))[:count]
    return [(int(y + 5 * cells[k][0] + rng.integers(2)), int(x + 5 * cells[k][1] + rng.integers(2))) for k in chosen]


def mass(
    rng: np.random.Generator, size: int, radius: float, margin: str, calcification: str
) -> tuple[Field, Field, NDArray[np.bool_]]:
    """How much of a mass shows in every pixel of a square plane, how much of its calcification, and its mask with the margin."""
    y, x = np.mgrid[:size, :size].astype(np.float32) - np.float32((size - 1) / 2)
    away, angle = np.hypot(x, y), np.arctan2(y, x)
    angle = angle + 0.22 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.13 * np.sin(5 * angle + rng.uniform(0, 6))  # uneven rays
    turns = max(6, round(2 * np.pi * (radius + 2) / 5.5))
    phase = rng.uniform(0, 2 * np.pi)
    beyond = (away - radius) / _RING
    ring = (beyond > 0) & (beyond < 1)
    if margin == "smooth":
        zone = np.where(ring, 0.25, 0.0)
    elif margin == "spiculated":
        wave = np.cos(turns * angle + phase)
        zone = np.where(ring & (wave > 0.7), 1.0, 0.0)
    else:
        wave = 0.5 + 0.5 * np.cos(turns * angle + phase)
        zone = np.where(ring & (beyond < wave * 0.62), 1.0, 0.0)
    shown = np.where(away <= radius, 1.0, zone)
    white = np.zeros_like(away)
    if calcification == "solid":
        white[away <= 2.9] = 1
    elif calcification == "ring-shaped":
        white[(away > 2.5) & (away <= 3.7)] = 1
    elif calcification:
        middle = (size - 1) // 2
        for j, i in ((-4, -3), (-3, 2), (0, -1), (2, -4), (3, 1), (-1, 4)):
            white[middle + j : middle + j + 2, middle + i : middle + i + 2] = 1
    return ndimage.gaussian_filter(shown.astype(np.float32), 0.45), white.astype(np.float32), away < radius + _RING


def _details(
    plan: _Plan, rng: np.random.Generator, values: Field, labels: NDArray[np.uint8], sign: float, step: float
) -> dict[str, dict[str, str]]:
    """Draw textures, spots and a mass into values (Z, Y, X) in place, and say what was drawn. ``step`` is the depth of a texture."""
    stated: dict[str, dict[str, str]] = {}
    depth = values.shape[0]
    counts = np.stack([np.bincount(plane.ravel(), minlength=64) for plane in labels])
    for name in _TEXTURED:
        label = LABELS[name]
        k = int(counts[:, label].argmax())
        kind, many, fill = str(rng.choice(TEXTURES)), int(rng.integers(1, MOST_SPOTS + 1)), rng.random() < 0.3
        own = np.random.default_rng(rng.integers(2**32))
        if counts[k, label] < _LEAST:
            continue
        found = spots(own, ndimage.binary_erosion(labels[k] == label), many) if fill else []
        if found:
            reach = max(1, depth // 14)
            strength = sign * float(np.clip(11.0 / many, 2.2, 7.0)) * own.uniform(0.85, 1.15) * step
            planes = values[max(0, k - reach) : k + reach + 1]
            for y, x in found:
                planes[:, y : y + 2, x : x + 2] += strength
            stated[name] = {"spots": str(many)}
        elif kind != TEXTURES[0] or rng.random() < 0.8:
            values += (labels == label) * (ripples(own, labels.shape[1:], kind) * np.float32(step))[None]
            stated[name] = {"texture": kind}
    return stated


def _lesion(
    plan: _Plan, rng: np.random.Generator, values: Field, labels: NDArray[np.uint8], marked: Mapping[str, Any], step: float
) -> dict[str, str]:
    """Draw a mass into one organ, in place; what is stated of it, {} if there is none."""
    depth = values.shape[0]
    counts = np.stack([np.bincount(plane.ravel(), minlength=64) for plane in labels])
    hosts = [n for n in _HOSTS if counts[:, LABELS[n]].max() > 900 and "spots" not in marked.get(n, {})]
    if not hosts or rng.random() < 0.12:
        return {}
    host = str(rng.choice(hosts))
    label = LABELS[host]
    weight = counts[:, label] * (counts[:, label] > 0.6 * counts[:, label].max())
    k = int(rng.choice(depth, p=weight / weight.sum()))
    inner = ndimage.distance_transform_edt(labels[k] == label)
    radius = float(rng.uniform(8.0, 11.5) if depth > 1 else rng.uniform(8.5, 17.0))
    reach = inner.max() - _RING - 1
    if reach < 6.5:
        return {}
    radius = min(radius, reach)
    ys, xs = np.nonzero(inner >= radius + _RING)
    at = int(rng.integers(len(ys)))
    y, x = int(ys[at]), int(xs[at])
    margin = str(rng.choice(MARGINS))
    calcification = str(rng.choice(CALCIFICATIONS)) if rng.random() < 0.6 else ""
    size = 2 * int(radius + _RING + 2) + 1
    half = size // 2
    if min(y, x) < half or max(y, x) + half >= labels.shape[1]:
        return {}
    ratio = 0.62 if depth > 1 else 1.0
    tall = int(radius * ratio) if depth > 1 else 0
    brighter = rng.random() < 0.5
    for dz in range(-tall, tall + 1):
        if not 0 <= k + dz < depth:
            continue
        here = radius * np.sqrt(max(0.0, 1 - (dz / (tall + 1)) ** 2))
        if here < 2.5:
            continue
        turn = np.random.default_rng(plan.draws)  # the same rays on every plane
        shown, white, mask = mass(turn, size, here, margin, calcification if abs(dz) <= max(2, tall // 2) else "")
        plane = np.s_[k + dz, y - half : y + half + 1, x - half : x + half + 1]
        around = labels[plane] == label
        base = values[plane]
        level = (base[around].mean() if around.any() else 0.0) + (step * 2.4 if brighter else -step * 2.4)
        if "lung" in host:
            level = 35.0 if plan.modality == "CT" else 420.0
        values[plane] = np.where(
            around, base * (1 - shown) + level * shown + white * (step * 14 if plan.modality == "CT" else -level * 0.85), base
        )
        labels[plane][around & mask] = LABELS["lesion"]
    return {"margin": margin} | ({"calcification": calcification} if calcification else {})


# --- CT and MR: a volume, or one plane at twice the resolution.


def _sections(plan: _Plan, rng: np.random.Generator, name: str, view: str) -> PhantomView:
    field, tall = plan.field, 2 * float(plan.half[2])
    if view == "volume":
        depth, height, width = VOLUME
        z = _line(depth, tall)
    else:
        depth, height, width = 1, PICTURE, PICTURE
        z = np.array([rng.uniform(-0.42, 0.42) * plan.half[2]], np.float32)
    grid = BodyGrid(_line(width, field), _line(height, field), z)
    body = _draw(plan, grid)
    labels = body.labels
    step = 30.0 if plan.modality == "CT" else 55.0
    lut = table(_CT) + table(PHASES[plan.protocol]) if plan.modality == "CT" else table(_MR[plan.protocol])
    shift = np.zeros(len(TISSUES), np.float32)
    shift[1:] = rng.normal(0, 6 if plan.modality == "CT" else 22, len(TISSUES) - 1)
    shift[[T["lung"], T["gas"], T["airway"]]] = 0
    values = (lut + shift)[body.tissue]
    values += waves(rng, grid, count=10, length_mm=16.0) * np.float32(step * 0.12) * (body.tissue != T["air"])
    if plan.modality == "CT":
        rest = (grid.y[None, :, None] > plan.half[1] + 4) & (grid.y[None, :, None] < plan.half[1] + 13)
        values[np.broadcast_to(rest, values.shape) & (body.tissue == T["air"]) & (np.abs(grid.x) < 0.42 * field)] = -680
    values = ndimage.gaussian_filter(values, (0, 0.55, 0.55))  # partial volume, before what is drawn pixel by pixel
    stated = _details(plan, rng, values, labels, 1.0 if plan.modality == "CT" else -1.0, step)
    mass = _lesion(plan, rng, values, labels, stated, step)
    if mass:
        stated["lesion"] = mass
    noise = rng.standard_normal(values.shape, dtype=np.float32)
    coarse = ndimage.gaussian_filter(rng.standard_normal(values.shape, dtype=np.float32), (0, 0.9, 0.9)) * np.float32(3.2)
    if plan.modality == "CT":
        values += (noise * np.float32(0.5) + coarse * np.float32(0.85)) * np.float32(rng.uniform(6, 10))
        values = np.clip(values, -1024, 3071)
    else:
        bias = 1 + 0.16 * waves(rng, grid, count=4, length_mm=420.0)
        spread = np.float32(rng.uniform(9, 16))
        second = rng.standard_normal(values.shape, dtype=np.float32)
        values = np.clip(np.hypot(values * bias + noise * spread, second * spread), 0, 4095)
    here = {NAMES[int(v)] for v in np.unique(labels) if v}
    affine = np.diag([field / width, field / height, tall / VOLUME[0] if depth > 1 else 5.0, 1.0])
    affine[:3, 3] = [grid.x[0], grid.y[0], z[0]]
    spacing = tuple(float(v) for v in np.diag(affine)[:3])
    flat = view == "slice"
    return PhantomView(
        id=f"{name}-{view}",
        patient=name,
        voxels=(values[0] if flat else values).round().astype(np.int16),
        labels=labels[0] if flat else labels,
        spacing_mm=spacing[:2] if flat else spacing,
        affine_lps=affine,
        modality=plan.modality,
        protocol=plan.protocol,
        stated={n: s for n, s in stated.items() if n in here},
    )


# --- A frontal film: how much a ray is weakened on its way from front to back.


def _film(plan: _Plan, rng: np.random.Generator, name: str, view: str) -> PhantomView:
    rays, deep = PICTURE // 2, 56
    low, high = -0.22 * float(plan.half[2]), 0.98 * float(plan.half[2])
    grid = BodyGrid(_line(rays, plan.field), _line(deep, 2.3 * float(plan.half[1])), _line(rays, high - low, (low + high) / 2))
    body = _draw(plan, grid)
    weak = np.clip(table(_CT) + 1000, 0, None) / 1000
    weak[[T["bone"], T["marrow"]]] = 4.2, 1.9  # bone weakens the rays of a film more than its density tells
    path = (weak * np.float32(2.3 * plan.half[1] / deep / 10))[body.tissue].sum(axis=1)[::-1]
    film = ndimage.zoom(ndimage.gaussian_filter(path, 0.8), 2, order=1, grid_mode=True, mode="nearest").astype(np.float32)
    counts = {n: (body.labels == LABELS[n]).sum(axis=1)[::-1] for n in ("right lung", "left lung", "heart")}
    flat = np.zeros((rays, rays), np.uint8)
    for organ, least in (("right lung", 5), ("left lung", 5), ("heart", 5)):
        flat[counts[organ] >= least] = LABELS[organ]
    labels = np.kron(flat, np.ones((2, 2), np.uint8))[None]
    values = film[None]
    stated: dict[str, dict[str, str]] = {}
    found = _shadow(rng, values, labels)
    if found:
        stated["lesion"] = found
    grey = 1 - np.exp(-0.085 * np.clip(values[0] - np.percentile(values[0], 8), 0, None))
    grey = np.clip(grey / np.percentile(grey, 99.6), 0, 1)
    grey = grey * 225 + 10 + ndimage.gaussian_filter(rng.standard_normal(grey.shape), 0.6) * rng.uniform(3.0, 6.0)
    spacing = (plan.field / PICTURE, (high - low) / PICTURE)
    return PhantomView(
        f"{name}-{view}", name, np.clip(grey, 0, 255).round().astype(np.int16), labels[0], spacing, None, "DX", "", stated
    )


def _shadow(rng: np.random.Generator, values: Field, labels: NDArray[np.uint8]) -> dict[str, str]:
    """A nodule on a film: it weakens the ray a little more, wherever it lies."""
    for host in rng.permutation(["right lung", "left lung"]):
        inner = ndimage.distance_transform_edt(labels[0] == LABELS[str(host)])
        radius = float(rng.uniform(9.0, 15.0))
        ys, xs = np.nonzero(inner >= radius + _RING + 2)
        if not len(ys):
            continue
        at = int(rng.integers(len(ys)))
        margin, form = str(rng.choice(MARGINS)), str(rng.choice(CALCIFICATIONS)) if rng.random() < 0.6 else ""
        half = int(radius + _RING + 2)
        y, x = int(ys[at]), int(xs[at])
        if min(y, x) < half or max(y, x) + half >= PICTURE:
            continue
        shown, white, mask = mass(rng, 2 * half + 1, radius, margin, form)
        plane = np.s_[0, y - half : y + half + 1, x - half : x + half + 1]
        values[plane] += 3.4 * shown + 4.0 * white
        labels[plane][mask] = LABELS["lesion"]
        return {"margin": margin} | ({"calcification": form} if form else {})
    return {}


# --- An ultrasound picture: a sagittal plane through liver and kidney, seen through the belly.


def _echo(plan: _Plan, rng: np.random.Generator, name: str, view: str) -> PhantomView:
    b, c = map(float, plan.half[1:])
    x = np.array([(1.0 if plan.mirrored else -1.0) * plan.half[0] * rng.uniform(0.26, 0.44)], np.float32)
    deep = 1.62 * b
    middle = -float(rng.uniform(0.16, 0.26)) * c
    grid = BodyGrid(x, _line(PICTURE, deep, deep / 2 - 1.01 * b), _line(PICTURE, deep, middle))
    body = _draw(plan, grid)
    tissue, labels = (
        np.ascontiguousarray(a[:, :, 0].T[:, ::-1]) for a in (body.tissue, body.labels)
    )  # depth down, head to the left
    skin = int(np.argmax(tissue[:, PICTURE // 2] != T["air"]))
    tissue[:skin], tissue[tissue == T["air"]] = T["skin"], T["skin"]
    strength, through = table(_ECHO)[tissue], table(_PASS, 1.0)[tissue]
    # Along beams: depth below the probe by angle. What lies behind bone and gas gets no sound.
    above = 0.42 * PICTURE
    beams, depths = np.meshgrid(np.linspace(-_FAN, _FAN, PICTURE), np.arange(PICTURE), indexing="xy")
    where = np.stack([(depths + above) * np.cos(beams) - above + skin, PICTURE / 2 + (depths + above) * np.sin(beams)])
    along = ndimage.map_coordinates(through, where, order=0, mode="nearest")
    reach = np.cumprod(np.vstack([np.ones((1, PICTURE)), along[:-1]]), axis=0)
    speckle = [ndimage.gaussian_filter(rng.standard_normal((PICTURE, PICTURE)), (0.8, 1.5)) * 3.9 for _ in range(2)]
    rows, columns = np.mgrid[:PICTURE, :PICTURE].astype(np.float32)
    radius, angle = np.hypot(rows - skin + above, columns - PICTURE / 2), np.arctan2(columns - PICTURE / 2, rows - skin + above)
    back = np.stack([radius - above, (angle + _FAN) / (2 * _FAN) * (PICTURE - 1)])
    lit = ndimage.map_coordinates(reach, back, order=1, mode="nearest")
    sound = ndimage.map_coordinates(np.hypot(*speckle), back, order=1, mode="nearest") * lit
    stated: dict[str, dict[str, str]] = {}
    bile = tissue == T["bile"]
    many, stones = int(rng.integers(1, MOST_SPOTS + 1)), rng.random() < 0.75
    if np.count_nonzero(bile) > 700 and stones:
        found = spots(rng, ndimage.binary_erosion(bile & (lit > 0.6)), many)
        for y, x0 in found:
            strength[y : y + 2, x0 : x0 + 2] = 20.0
        if found:
            stated["gallbladder"] = {"spots": str(many)}
    edges = np.abs(np.diff(np.log(strength + 0.02), axis=0, prepend=np.log(strength[:1] + 0.02)))
    echo = strength * (1 + 0.9 * ndimage.gaussian_filter(edges, 0.7)) * sound
    grey = np.log1p(echo * 18) / np.log1p(18 * 2.0)
    fan = (back[0] >= 0) & (back[0] < PICTURE - skin - 2) & (np.abs(angle) < _FAN)
    grey = np.where(fan, np.clip(grey * (1.05 - 0.25 * back[0] / PICTURE), 0, 1) * 240 + 6, 0)
    labels[~fan | ~np.isin(labels, [LABELS[n] for n in SHOWN["echo"]])] = 0
    stated = stated if (labels == LABELS["gallbladder"]).any() else {}
    spacing = (deep / PICTURE, deep / PICTURE)
    return PhantomView(
        f"{name}-{view}", name, np.clip(grey, 0, 255).round().astype(np.int16), labels, spacing, None, "US", "", stated
    )


_FAN = 0.62
"""Half of the angle of the ultrasound picture."""
SHOWN = {
    "film": ("right lung", "left lung", "heart", "lesion"),
    "echo": ("liver", "gallbladder", "left kidney", "right kidney"),
}
"""Structures that are annotated in a view; all of them in sections."""
