"""Anatomy of phantom patients, version 2: which tissue lies where in a torso, drawn on any grid.

A torso has skin, fat, muscle, ribs, spine and pelvis, lungs above a domed diaphragm, and organs that push against each other in a fixed
order of overlap; one smooth warp bends all of it. Every part is an implicit surface in body millimetres, so that a volume, a picture of
one plane and the rays of a projection are cut out of the same patient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Block = tuple[slice, slice, slice]

TISSUES = (
    *("air", "skin", "fat", "muscle", "bone", "marrow", "disc", "cord", "lung", "vessel", "mediastinum", "gas", "airway"),
    *("liver", "spleen", "cortex", "medulla", "pancreas", "wall", "stomach", "chyme", "bile", "urine", "myocardium", "blood"),
    *("aorta", "cava", "colon", "bowel", "table"),
)
"""Names of tissues; a tissue map holds indices into them."""
T = {name: index for index, name in enumerate(TISSUES)}

LABELS = {
    **{"right lung": 1, "left lung": 2, "heart": 3, "liver": 4, "spleen": 5, "stomach": 6, "gallbladder": 7, "pancreas": 8},
    **{"left kidney": 9, "right kidney": 10, "bladder": 11, "aorta": 12, "inferior vena cava": 13, "colon": 14},
    **{"lesion": 20, "spine": 30},
}
"""Label of every structure; those of the first version keep theirs."""
OPTIONAL = {
    **{"right lung": 0.06, "left lung": 0.06, "heart": 0.03, "liver": 0.1, "spleen": 0.3, "stomach": 0.25, "gallbladder": 0.35},
    **{"pancreas": 0.25, "left kidney": 0.22, "right kidney": 0.22, "bladder": 0.25, "colon": 0.3},
}
"""How often an organ is missing, so that nothing can be known without looking."""


@dataclass(frozen=True, slots=True)
class BodyGrid:
    """Where the voxels of a picture or volume lie: body millimetres along x (to the left), y (to the back), z (to the head)."""

    x: Field
    y: Field
    z: Field

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return len(self.z), len(self.y), len(self.x)


@dataclass(eq=False)
class Body:
    """A torso on a grid while it is drawn.

    Attributes:
        tissue: uint8 (Z, Y, X) indices into TISSUES.
        labels: uint8 (Z, Y, X) structures by LABELS, 0 elsewhere.
        at: Warped body millimetres of every voxel, along x, y, z.
        grid: The voxels before the warp; mirrored where the patient is.
        half: Semi-axes of the torso along x, y, z in millimetres.
        missing: Organs that are not there.
        inner: Depth below the muscles of the wall in millimetres, below 0 in the wall and outside.
        centres: Middle and semi-axes of organs drawn, in millimetres.
    """

    tissue: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    at: tuple[Field, Field, Field]
    grid: BodyGrid
    half: NDArray[np.float64]
    missing: frozenset[str]
    inner: Field
    centres: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    def block(self, centre: NDArray[np.float64], reach: NDArray[np.float64]) -> Block | None:
        """Voxels near a place, by unwarped coordinates with a margin for the warp; None if the grid misses it."""
        found = []
        for axis, line in ((2, self.grid.z), (1, self.grid.y), (0, self.grid.x)):
            near = np.flatnonzero(np.abs(line - centre[axis]) <= reach[axis] + _MARGIN)
            if not len(near):
                return None
            found.append(slice(int(near[0]), int(near[-1]) + 1))
        return found[0], found[1], found[2]


_MARGIN = 14.0


def waves(rng: np.random.Generator, grid: BodyGrid, *, count: int, length_mm: float) -> Field:
    """A smooth random field of about unit spread, from plane waves no shorter than ``length_mm``."""
    direction = rng.standard_normal((count, 3))
    direction *= (2 * np.pi / (length_mm * rng.uniform(1.0, 1.8, (count, 1)))) / np.linalg.norm(direction, axis=1, keepdims=True)
    phase = rng.uniform(0, 2 * np.pi, count)
    plane = direction[:, 1, None, None] * grid.y[None, None, :] + direction[:, 2, None, None] * grid.z[None, :, None]
    plane = plane + phase[:, None, None]
    line = direction[:, 0, None] * grid.x[None]
    # sin(a + b) = sin a cos b + cos a sin b: one product of matrices for all voxels.
    left = np.concatenate([np.cos(plane), np.sin(plane)]).reshape(2 * count, -1).T.astype(np.float32)
    right = np.concatenate([np.sin(line), np.cos(line)]).astype(np.float32)
    found: Field = (left @ right).reshape(grid.shape) * np.float32(np.sqrt(2.0 / count))
    return found


def ellipsoid(body: Body, centre: Any, radii: Any, *, angle: float = 0.0, power: float = 2.0) -> tuple[Block, Field] | None:
    """A superellipsoid, turned about z: its block and there the radius of every voxel as a share of the surface's (below 1: inside)."""
    middle, size = np.asarray(centre, float), np.asarray(radii, float)
    reach = np.array([max(size[:2])] * 2 + [size[2]]) * 1.3
    block = body.block(middle, reach)
    if block is None:
        return None
    x, y, z = (a[block] - np.float32(c) for a, c in zip(body.at, middle, strict=True))
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v, w = (cos * x + sin * y) / np.float32(size[0]), (cos * y - sin * x) / np.float32(size[1]), z / np.float32(size[2])
    if power == 2.0:
        return block, np.sqrt(u * u + v * v + w * w)
    p = np.float32(power)
    return block, (np.abs(u) ** p + np.abs(v) ** p + np.abs(w) ** p) ** (1 / p)


_FIXED = np.array([T[n] for n in ("bone", "marrow", "disc", "cord", "air", "skin", "muscle")], np.uint8)


def paint(
    body: Body, block: Block, inside: NDArray[np.bool_], tissue: str, label: str = "", *, over: tuple[str, ...] = ()
) -> None:
    """Fill a part, never over bones and the body wall; only over the named tissues if there are any."""
    under = body.tissue[block]
    free = np.isin(under, [T[n] for n in over]) if over else ~np.isin(under, _FIXED)
    chosen = inside & free
    under[chosen] = T[tissue]
    body.labels[block][chosen] = LABELS[label] if label else 0


def draw(rng: np.random.Generator, grid: BodyGrid, half: NDArray[np.float64], missing: frozenset[str], *, mirrored: bool) -> Body:
    """Draw a patient.

    Args:
        rng: Of this patient; the same draws are made on every grid.
        grid: The voxels.
        half: Semi-axes of the torso in millimetres.
        missing: Organs left out.
        mirrored: True for situs inversus: left and right exchanged, and sided organs named anew.
    """
    seen_from = BodyGrid(-grid.x if mirrored else grid.x, grid.y, grid.z)
    warp = [waves(rng, seen_from, count=7, length_mm=95.0) * np.float32(4.5) for _ in range(3)]
    at = (seen_from.x[None, None, :] + warp[0], seen_from.y[None, :, None] + warp[1], seen_from.z[:, None, None] + warp[2])
    exchanged = {"right": "left", "left": "right"}
    gone = {" ".join(exchanged.get(w, w) for w in name.split()) if mirrored else name for name in missing}
    empty = np.zeros(grid.shape, np.uint8)
    body = Body(empty, empty.copy(), at, seen_from, half, frozenset(gone), np.zeros(0, np.float32))
    _wall(rng, body)
    _thorax(rng, body)
    _abdomen(rng, body)
    _bones(rng, body)
    if mirrored:
        for one, other in (("right lung", "left lung"), ("right kidney", "left kidney")):
            a, b = body.labels == LABELS[one], body.labels == LABELS[other]
            body.labels[a], body.labels[b] = LABELS[other], LABELS[one]
    return body


def _wall(rng: np.random.Generator, body: Body) -> None:
    """Skin, fat and muscle around the cavities, which start out full of fat; ``body.inner`` is the depth below the muscle in mm."""
    x, y, z = body.at
    a, b, c = map(float, body.half)
    height = z / np.float32(c)
    width = 1.0 - 0.05 * np.sin(np.pi * (height + 0.15)) ** 2 - 0.12 * np.clip(height - 0.75, 0, None) * 4
    flat = np.where(y > 0, np.float32(0.93), np.float32(1.0))  # a back is flatter than a belly
    power = np.float32(2.35)
    reach = (np.abs(x / (a * width)) ** power + np.abs(y / (b * width * flat)) ** power) ** (1 / power)
    depth = ((1 - reach) * np.float32(0.5 * (a + b))).astype(np.float32)
    fat = np.float32(rng.uniform(9, 22)) * (1 + 0.35 * np.clip(-y / np.float32(b), -1, 1) * np.clip(-height, 0, 1))
    muscle = np.float32(rng.uniform(9, 13))
    tissue = body.tissue
    tissue[depth > 0] = T["skin"]
    tissue[depth > 2.2] = T["fat"]
    tissue[depth > fat] = T["muscle"]
    tissue[(depth > fat + 0.36 * muscle) & (depth < fat + 0.44 * muscle)] = T["fat"]  # between the layers
    body.inner = depth - fat - muscle
    tissue[body.inner > 0] = T["fat"]


def dome(body: Body) -> Field:
    """Height of the diaphragm at every voxel: a dome on either side of the spine."""
    x, y, _ = body.at
    a, b, c = map(float, body.half)
    right = np.exp(-(((x + 0.42 * a) / (0.5 * a)) ** 2) - ((y + 0.05 * b) / (0.75 * b)) ** 2)
    left = np.exp(-(((x - 0.45 * a) / (0.48 * a)) ** 2) - ((y + 0.02 * b) / (0.75 * b)) ** 2)
    found: Field = (c * (-0.12 + 0.36 * np.maximum(right, 0.88 * left))).astype(np.float32)
    return found


def _thorax(rng: np.random.Generator, body: Body) -> None:
    a, b, c = map(float, body.half)
    x, y, z = body.at
    above = z - dome(body)
    chest = (above > 0) & (body.inner > 0)
    body.tissue[chest] = T["fat"]
    f1, f2 = (waves(rng, body.grid, count=11, length_mm=30.0) for _ in range(2))
    for name, side in (("right lung", -1.0), ("left lung", 1.0)):
        notch = 0.04 * a if side < 0 else 0.09 * a * np.exp(-(((z - 0.42 * c) / (0.3 * c)) ** 2))
        inner = side * x - (0.17 * a + notch + 0.06 * a * np.sin(z / 31.0 + side))
        behind = 0.30 * a * np.clip((y - 0.1 * b) / b, 0, 1)  # beside the spine the lung comes nearer to the middle
        apex = ((z - 0.2 * c) / (0.78 * c)) ** 4
        lung = (inner + behind > 0) & (body.inner > 1.5) & (above > 1.5) & (apex < 1)
        scale = rng.uniform(0.0, 1.0)
        if name in body.missing:
            body.tissue[lung] = T["mediastinum"] if scale < 0.5 else T["fat"]
            continue
        body.tissue[lung] = T["lung"]
        body.labels[lung] = LABELS[name]
        # Where two smooth fields are both near zero runs a curve: vessels that branch, without drawing a tree.
        hilum = np.sqrt((side * x - 0.3 * a) ** 2 + y * y + (z - 0.4 * c) ** 2)
        thick = np.clip(0.34 - 0.0024 * hilum, 0.05, 0.3)
        body.tissue[lung & (f1 * f1 + f2 * f2 < thick * thick)] = T["vessel"]
    for name, centre, radii, tissue in (
        ("", (0.0, 0.0, 0.62 * c), (0.15 * a, 0.55 * b, 0.3 * c), "mediastinum"),
        ("", (0.01 * a, 0.02 * b, 0.78 * c), (9, 9, 0.34 * c), "airway"),
        ("", (0.03 * a, 0.2 * b, 0.5 * c), (8, 7, 0.6 * c), "muscle"),
    ):
        _organ(rng, body, name, centre, radii, tissue, power=3.0, over=("fat", "mediastinum", "vessel"))
    heart = np.array([0.13 * a, -0.30 * b, 0.40 * c])
    size = np.array([0.36 * a, 0.40 * b, 0.26 * c]) * rng.uniform(0.88, 1.1)
    tilt = 0.5 + rng.uniform(-0.15, 0.15)
    if "heart" not in body.missing:
        found = _organ(
            rng, body, "heart", heart, size, "myocardium", angle=tilt, over=("fat", "lung", "mediastinum", "vessel", "muscle")
        )
        if found is not None:
            for dx, dy, dz, share in (
                (-0.3, 0.15, 0.2, 0.42),
                (0.35, -0.1, -0.1, 0.44),
                (-0.2, -0.4, 0.0, 0.34),
                (0.1, 0.5, 0.3, 0.36),
            ):
                room = ellipsoid(body, heart + size * (dx, dy, dz), size * share, angle=tilt)
                if room is not None:
                    mine = body.labels[room[0]] == LABELS["heart"]
                    paint(body, room[0], (room[1] < 1) & mine, "blood", "heart")


def _organ(
    rng: np.random.Generator,
    body: Body,
    name: str,
    centre: Any,
    radii: Any,
    tissue: str,
    *,
    angle: float = 0.0,
    power: float = 2.0,
    over: tuple[str, ...] = (),
) -> tuple[Block, Field] | None:
    """Draw one organ unless it is missing; block and radius field, None if it is missing or outside."""
    if name in body.missing:
        return None
    found = ellipsoid(body, centre, radii, angle=angle, power=power)
    if found is None:
        return None
    paint(body, found[0], found[1] < 1, tissue, name, over=over)
    if name:
        body.centres[name] = (np.asarray(centre, float), np.asarray(radii, float))
    return found


_SOFT = ("fat", "mediastinum", "bowel", "chyme", "gas", "wall", "colon")


def _abdomen(rng: np.random.Generator, body: Body) -> None:
    a, b, c = map(float, body.half)
    z = body.at[2]
    below = (z < dome(body) - 1.5) & (body.inner > 1.0)
    jitter = rng.uniform(-1, 1, (16, 3)) * (0.035 * a, 0.05 * b, 0.035 * c)
    scale = np.exp(rng.uniform(-0.2, 0.16, 16))
    turn = rng.uniform(-0.25, 0.25, 16)
    outside = body.tissue[~below].copy(), body.labels[~below].copy()
    _bowel(rng, body)
    for k, (x0, y0) in enumerate(((0.07, 0.27), (-0.10, 0.20))):
        name, tissue = (("aorta", "aorta"), ("inferior vena cava", "cava"))[k]
        radius = (11.5, 12.5)[k] * scale[k]
        found = ellipsoid(body, (x0 * a, y0 * b, 0), (radius, radius * (1, 0.8)[k], 3 * c))
        if found is not None:
            paint(body, found[0], found[1] < 1, tissue, name, over=(*_SOFT, "lung", "vessel"))
    outside = body.tissue[~below].copy(), body.labels[~below].copy()  # the great vessels go through the diaphragm
    more = np.random.default_rng(rng.integers(2**32))
    _colon(more, body)
    for k, (name, side) in enumerate((("left kidney", 1.0), ("right kidney", -1.0)), start=2):
        centre = np.array([side * 0.40 * a, 0.42 * b, -0.30 * c - (side < 0) * 0.04 * c]) + jitter[k] * 0.6
        radii = np.array([0.16 * a, 0.21 * b, 0.24 * c]) * scale[k]
        found = _organ(rng, body, name, centre, radii, "cortex", angle=0.5 * side + turn[k] * 0.4)
        if found is not None:
            block, q = found
            mine = body.labels[block] == LABELS[name]
            lobes = waves(more, body.grid, count=9, length_mm=26.0)[block]
            paint(body, block, mine & (q < 0.72 + 0.10 * lobes), "medulla", name)
            paint(body, block, mine & (q < 0.34), "fat", name)
    _organ(
        rng,
        body,
        "spleen",
        np.array([0.60 * a, 0.22 * b, 0.02 * c]) + jitter[4],
        np.array([0.17, 0.42, 0.24]) * (a, b, c) * scale[4],
        "spleen",
        angle=0.55 + turn[4],
        power=2.3,
    )
    hollow = (
        (
            "stomach",
            np.array([0.36 * a, -0.26 * b, -0.01 * c]) + jitter[5],
            np.array([0.27, 0.32, 0.23]) * (a, b, c) * scale[5],
            3.0,
        ),
        (
            "bladder",
            np.array([0.0, -0.15 * b, -0.84 * c]) + jitter[6] * 0.5,
            np.array([0.24, 0.30, 0.14]) * (a, b, c) * scale[6],
            3.5,
        ),
    )
    for name, centre, radii, wall in hollow:
        found = _organ(rng, body, name, centre, radii, "wall", angle=float(turn[6]), power=2.2)
        if found is not None:
            block, q = found
            mine = (body.labels[block] == LABELS[name]) & (q < 1 - wall / radii.min())
            paint(body, block, mine, "stomach" if name == "stomach" else "urine", name)
            if name == "stomach":  # gas above the level of the fluid: the patient lies on the back
                paint(body, block, mine & (body.at[1][block] < centre[1] - radii[1] * more.uniform(0.15, 0.55)), "gas", name)
    pancreas = np.array([0.10 * a, -0.02 * b, -0.20 * c]) + jitter[7]
    bend = 0.25 * b * ((body.at[0] - pancreas[0]) / (0.4 * a)) ** 2
    if "pancreas" not in body.missing:
        found = ellipsoid(body, pancreas, np.array([0.40 * a, 0.36 * b, 0.14 * c]) * scale[7] ** 0.5, angle=-0.25)
        if found is not None:
            block, _ = found
            u, v, w = (body.at[i][block] - pancreas[i] for i in range(3))
            thick = (1.25 - 0.5 * u / (0.4 * a)) * 0.11 * b * scale[7]
            tube = (
                ((v + 0.3 * u - bend[block] + 0.05 * b) / thick) ** 2 + (w / (0.11 * c * scale[7])) ** 2 + (u / (0.36 * a)) ** 4
            )
            paint(body, block, tube < 1, "pancreas", "pancreas")
    liver = np.array([-0.36 * a, -0.10 * b, 0.02 * c]) + jitter[8] * 0.7
    size = np.array([0.56, 0.80, 0.36]) * (a, b, c) * scale[8] ** 0.6
    found = None
    if "liver" not in body.missing:
        for centre, radii in ((liver, size), (liver + np.array([0.42 * a, -0.24 * b, 0.04 * c]), size * (0.62, 0.45, 0.5))):
            found = _organ(rng, body, "liver", centre, radii, "liver", angle=-0.2, power=2.3, over=(*_SOFT, "stomach"))
            if found is not None:
                block, _ = found
                mine = body.labels[block] == LABELS["liver"]
                f1, f2 = (waves(more, body.grid, count=9, length_mm=52.0)[block] for _ in range(2))
                paint(body, block, mine & (f1 * f1 + f2 * f2 < 0.19**2), "vessel", "liver")
    gall = np.array([-0.24 * a, -0.42 * b, -0.22 * c]) + jitter[9]
    radii = np.array([0.12, 0.19, 0.13]) * (a, b, c) * scale[9]
    found = _organ(rng, body, "gallbladder", gall, radii, "wall", angle=0.5 + turn[9])
    if found is not None:
        block, q = found
        paint(body, block, (body.labels[block] == LABELS["gallbladder"]) & (q < 1 - 2.2 / radii.min()), "bile", "gallbladder")
    body.tissue[~below], body.labels[~below] = outside


def _bowel(rng: np.random.Generator, body: Body) -> None:
    """Loops of small bowel in the lower belly: neighbours for everything, no structure of their own."""
    a, b, c = map(float, body.half)
    for _ in range(44):
        centre = np.array([rng.uniform(-0.55, 0.55) * a, rng.uniform(-0.62, 0.12) * b, rng.uniform(-0.92, -0.16) * c])
        radius = np.array([rng.uniform(15, 30), rng.uniform(10, 14), rng.uniform(10, 20)])
        turn, gas = rng.uniform(-1.5, 1.5), rng.random() < 0.25
        found = ellipsoid(body, centre, radius, angle=turn)
        if found is None:
            continue
        block, q = found
        free = body.inner[block] > 2
        paint(body, block, (q < 1) & free, "bowel", over=("fat", "chyme", "bowel", "gas"))
        paint(body, block, (q < 0.78) & free, "chyme", over=("bowel",))
        if gas:
            paint(body, block, (q < 0.74) & free & (body.at[1][block] < centre[1] - 1), "gas", over=("chyme",))


def _colon(rng: np.random.Generator, body: Body) -> None:
    """A frame of wide bowel with folds, stool and gas, on both sides and across."""
    a, b, c = map(float, body.half)
    x, y, z = body.at
    if "colon" in body.missing:
        return
    width = rng.uniform(17, 23)
    fold = width * (1 + 0.16 * np.sin(z / 7.0) * np.sin(x / 7.0 + 1))
    ways = [(np.hypot(x - s * 0.66 * a, y - 0.08 * b), (z < -0.16 * c) & (z > -0.72 * c)) for s in (-1.0, 1.0)]
    sag = -0.24 * c - 0.1 * c * (1 - (x / (0.66 * a)) ** 2)
    ways.append((np.hypot(y + 0.5 * b, z - sag), np.abs(x) < 0.66 * a))
    stool = waves(rng, body.grid, count=9, length_mm=24.0)
    whole = (slice(None), slice(None), slice(None))
    for away, part in ways:
        free = part & (body.inner > 2)
        paint(body, whole, (away < fold) & free, "wall", "colon", over=("fat", "bowel", "chyme", "gas"))
        inside = (away < fold - 3) & free & (body.labels == LABELS["colon"])
        paint(body, whole, inside, "colon", "colon")
        paint(body, whole, inside & (stool > 0.15), "gas", "colon")


def _bones(rng: np.random.Generator, body: Body) -> None:
    """Spine, ribs, sternum and pelvis, over everything else."""
    a, b, c = map(float, body.half)
    x, y, z = body.at
    tissue, labels = body.tissue, body.labels
    pitch = 2 * c / rng.uniform(13.0, 15.0)
    level = np.mod(z / pitch + rng.random(), 1.0)
    disc = level < 0.2
    waist = 1 + 0.10 * np.cos(2 * np.pi * (level - 0.1))
    back = 0.46 * b
    core = np.sqrt((x / 22.0) ** 2 + ((y - back) / 16.5) ** 2 * np.where(y > back, 1.5, 1.0)) * np.where(disc, 1.02, 1.0) / waist
    parts = [
        (np.sqrt(((np.abs(x) - 27.0) / 21.0) ** 2 + ((y - 0.74 * b) / 15.0) ** 2) < 1, "muscle"),
        (np.sqrt(((np.abs(x) - 36.0) / 15.0) ** 2 + ((y - 0.50 * b) / 17.0) ** 2) < np.where(z < -0.15 * c, 1.0, 0.0), "muscle"),
    ]
    for inside, name in parts:
        chosen = inside & ~np.isin(tissue, (T["air"], T["skin"], T["lung"]))
        tissue[chosen], labels[chosen] = T[name], 0
    arch = np.sqrt((x / 13.5) ** 2 + ((y - back - 22.0) / 13.0) ** 2)
    spinous = (np.abs(x) < 3.6) & (y > back + 30) & (y < back + 56) & (level > 0.25) & (level < 0.8)
    wings = (np.abs(x) < 40) & (np.abs(y - back - 20 - 0.12 * np.abs(x)) < 4.5) & (level > 0.45) & (level < 0.75)
    deep = body.inner > -9
    spine = (core < 1) | (((arch < 1) | wings | spinous) & deep)
    inner = (core < 0.86) | ((arch < 0.86) & (arch > 0.78)) | (spinous & (np.abs(x) < 1.6))
    tissue[spine], labels[spine] = T["bone"], LABELS["spine"]
    tissue[spine & inner] = T["marrow"]
    tissue[(core < 1) & disc] = T["disc"]
    tissue[arch < 0.72] = T["fat"]
    tissue[arch < 0.48] = T["cord"]
    # A rib runs down and forward round the chest, so that a plane cuts it into short pieces.
    shell = np.abs(body.inner + 4.0)
    drop = z + 0.42 * c * (1 - np.clip((y + 0.2 * b) / (1.1 * b), -1, 1)) * 0.5
    turn = np.mod(drop / (pitch * 0.86), 1.0)
    chest = (z > -0.12 * c) & (z < 0.95 * c) & ~spine & (np.abs(x) > 0.12 * a)
    rib = np.sqrt((shell / 4.6) ** 2 + ((turn - 0.5) / 0.22) ** 2)
    tissue[(rib < 1) & chest] = T["bone"]
    tissue[(rib < 0.62) & chest] = T["marrow"]
    sternum = np.sqrt((x / 17.0) ** 2 + (shell / 5.5) ** 2)
    front = (y < 0) & (z > 0.16 * c)
    tissue[(sternum < 1) & front], tissue[(sternum < 0.66) & front] = T["bone"], T["marrow"]
    for side in (-1.0, 1.0):
        u, v, w = side * x - 0.50 * a, y - 0.16 * b, z + 0.70 * c
        wing = np.abs(np.sqrt((u / (0.36 * a)) ** 2 + (v / (0.62 * b)) ** 2 + (w / (0.34 * c)) ** 2) - 1) * 0.36 * a
        there = (w < 0.26 * c) & (side * x > 0.3 * a) & (v > -0.45 * b) & (body.inner > -14)
        tissue[(wing < 6.5) & there], tissue[(wing < 4.0) & there] = T["bone"], T["marrow"]
        head = np.sqrt(((side * x - 0.56 * a) / 23.0) ** 2 + (y / 23.0) ** 2 + ((z + 0.94 * c) / 24.0) ** 2)
        tissue[head < 1], tissue[head < 0.88] = T["bone"], T["marrow"]
    labels[np.isin(tissue, (T["air"], T["skin"]))] = 0
    bony = np.isin(tissue, (T["bone"], T["marrow"])) & ~spine
    labels[bony] = 0
