"""Scenes drawn by hand, phantom scenes with their masks, and a second way to the answers: from masks, by the reference page alone."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache, lru_cache

import numpy as np

from unireason.core.types import Box2D, Box3D, Frame
from unireason.data.frames import rule
from unireason.data.item import Loaded
from unireason.data.measure import describe
from unireason.data.questions.families import candidates
from unireason.data.regions import axial, busy
from unireason.data.scene import DataQuestion, Part, Scene, Structure
from unireason.data.sources.phantom import PhantomSource

SIZE = 200


def structure(name, box, *, measure=None, parts=None, **changes) -> Structure:
    """A structure of a 200 mm picture whose frame has one pixel a millimetre; ``box`` is (x1, y1[, z1], x2, y2[, z2])."""
    half = len(box) // 2
    sides = [box[half + i] - box[i] for i in range(half)]
    voxels = int(np.prod(sides)) if measure is None else int(measure)
    model = Box2D(*box) if half == 2 else Box3D(*box)
    counts = [voxels] if parts is None else parts
    values = {
        "name": name,
        "box_canonical": tuple(box),
        "box_voxel": tuple(box),
        "box_model": model,
        "voxels": voxels,
        "measure": float(voxels),
        "centre": tuple((box[i] + box[half + i]) / 2 - SIZE / 2 for i in range(half)),
        "side": "",
        "parts": tuple(Part(tuple(box), model, float(n), n) for n in counts),
        "part_count": len(counts),
        "neighbours": (),
        "slices": (0, 1) if half == 2 else (box[2], box[5]),
        "borders": (),
        "contrast": 0.0,
        "elongation": 1.7,
        "points": (tuple(box[:half]), tuple(box[:half])),
    }
    return Structure(**{**values, **changes})


def scene(*structures, space="patient", kind="image", absent=(), unclear=(), unit=None, scale=None) -> Scene:
    """A picture of 200 by 200 (by 200) millimetres, whose scale is told unless its unit is pixels."""
    n = 2 if kind == "image" else 3
    return Scene(
        case="drawn",
        patient="drawn",
        kind=kind,
        modality="CT",
        frame=Frame(SIZE, SIZE, 1 if n == 2 else SIZE, kind),
        shape=(SIZE,) * n,
        spacing_mm=None if unit == "pixels" else (1.0,) * n,
        extent=(float(SIZE),) * n,
        space=space,
        unit=unit or f"mm{n}",
        structures={s.name: s for s in sorted(structures, key=lambda s: s.name)},
        absent=absent,
        unclear=unclear,
        scale=("" if unit == "pixels" else "told") if scale is None else scale,
    )


def asked(drawn: Scene, ask: str, *, seeds: int = 30) -> list[DataQuestion]:
    """All questions of one kind that many draws give."""
    return [q for seed in range(seeds) for q in candidates(drawn, np.random.default_rng(seed), each=60) if q.ask == ask]


def rights(drawn: Scene, ask: str, *, seeds: int = 30) -> dict[tuple[str, ...], set[str]]:
    """Right options by arguments."""
    found: dict[tuple[str, ...], set[str]] = {}
    for question in asked(drawn, ask, seeds=seeds):
        found.setdefault(question.about, set()).add(question.right)
    return found


@lru_cache(maxsize=1)
def phantoms() -> tuple[tuple[Loaded, Scene], ...]:
    """Volumes and axial slices of phantom patients, straight and oblique, described; some of them without orientation."""
    found = []
    for item in PhantomSource(14, 7).items():
        loaded = PhantomSource(14, 7).load(item)
        found.append((loaded, describe(loaded, rule("published"), case=item.id)))
        for k in busy(loaded, 3, np.random.default_rng(3)):
            flat = axial(loaded, k)
            found.append((flat, describe(flat, rule("published"), case=f"{item.id}-{k}")))
    plain = [(flat, plain_picture(flat)) for flat, s in found if s.kind == "image"][:12]
    return (*found, *((flat, describe(flat, rule("published"), case="plain")) for _, flat in plain))


def plain_picture(flat: Loaded) -> Loaded:
    """The same image without orientation and spacing."""
    geometry = replace(flat.case.geometry, affine_lps=None, spacing_mm=None)
    return replace(flat, case=replace(flat.case, geometry=geometry))


class Masks:
    """Plain measurements of one case, straight from its labels."""

    def __init__(self, loaded: Loaded, described: Scene) -> None:
        self.scene, self.pixels = described, loaded.case.pixels
        layer = loaded.layers[0]
        self.labels, self.names = layer.labels, {name: value for value, name in layer.names.items()}
        affine = loaded.case.geometry.affine_lps
        n = self.labels.ndim
        # Canonical steps in the scene's directions; the phantoms' files are canonical already.
        self.steps = np.eye(n) if affine is None else affine[:n, :n]
        if affine is None and loaded.case.geometry.spacing_mm:
            self.steps = np.diag(loaded.case.geometry.spacing_mm)
        self.centre, self.size, self.ring = cache(self._centre), cache(self._size), cache(self._ring)

    def mask(self, name):
        return self.labels == self.names[name]

    def there(self, name):
        return bool(self.mask(name).any())

    def _centre(self, name):
        index = np.argwhere(self.mask(name))[:, ::-1].mean(axis=0) + 0.5 - np.array(self.labels.shape[::-1]) / 2
        return self.steps @ index

    def _size(self, name):
        per_voxel = 1.0
        if self.scene.spacing_mm:
            per_voxel = float(np.prod(self.scene.spacing_mm))
        return np.count_nonzero(self.mask(name)) * per_voxel

    def box(self, name):
        return tuple(int(v) for v in self.scene.structures[name].box_model.coords)

    def gap(self, name, other):
        """Shortest way between two masks."""
        from scipy import ndimage

        away = ndimage.distance_transform_edt(~self.mask(name), sampling=self.scene.spacing_mm[::-1])
        return away[self.mask(other)].min()

    def across(self, name):
        """Longest way across the largest slice of a mask of one piece, and across that, by turning calipers degree by degree."""
        from scipy import ndimage

        labels, _ = ndimage.label(self.mask(name), np.ones((3,) * self.labels.ndim))
        mask = labels == np.bincount(labels.ravel())[1:].argmax() + 1
        flat = mask if mask.ndim == 2 else max(mask, key=np.count_nonzero)
        y, x = np.nonzero(flat)
        ends = [(x + dx, y + dy) for dx, dy in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))]
        points = np.concatenate([np.stack(e, 1) for e in ends]) * np.array(self.scene.spacing_mm[:2])
        turns = np.radians(np.arange(0, 180, 0.25))
        widths = [np.ptp(points @ np.array([np.cos(t), np.sin(t)])) for t in turns]
        best = int(np.argmax(widths))
        return widths[best], widths[(best + 360) % 720]

    def shown(self):
        """Grey levels in the soft-tissue window."""
        return np.clip((self.pixels.astype(float) + 160) * 255 / 400 + 0.5, 0, 255).astype(int)

    def touch(self, name, other):
        from scipy import ndimage

        return bool((ndimage.binary_dilation(self.mask(name), np.ones((3,) * self.labels.ndim)) & self.mask(other)).any())

    def spread(self, name):
        """Standard deviation of grey levels without pixels at the edge in their slice."""
        mask = self.mask(name)
        inside = mask & np.roll(mask, 1, -1) & np.roll(mask, -1, -1) & np.roll(mask, 1, -2) & np.roll(mask, -1, -2)
        return self.shown()[inside].std()

    def form(self, name):
        """Length over width on the largest slice, turning degree by degree, and how many pixels of its convex outline it has."""
        from scipy.spatial import Delaunay

        mask = self.mask(name)
        flat = mask if mask.ndim == 2 else max(mask, key=np.count_nonzero)
        steps = np.array((self.scene.spacing_mm or (1.0, 1.0))[:2])
        index = np.argwhere(flat)[:, ::-1]
        wide = [(index * steps) @ np.array([np.cos(t), np.sin(t)]) for t in np.radians(np.arange(0, 180, 0.5))]
        deviations = [w.std() for w in wide]
        every = np.argwhere(np.ones_like(flat))[:, ::-1]
        return max(deviations) / min(deviations), len(index) / np.count_nonzero(Delaunay(index).find_simplex(every) >= 0)

    def _ring(self, name):
        """Names in the surroundings of a mask, by number of voxels."""
        from scipy import ndimage

        spacing = self.scene.spacing_mm or (1.0,) * self.labels.ndim
        mask = self.mask(name)
        distance = ndimage.distance_transform_edt(~mask, sampling=spacing[::-1])
        values = self.labels[(distance > 0) & (distance <= 5.0)]
        return {n: int(np.count_nonzero(values == v)) for n, v in self.names.items() if n != name}


WORDS = {
    "patient": {
        "right": (0, -1),
        "left": (0, 1),
        "anterior": (1, -1),
        "posterior": (1, 1),
        "inferior": (2, -1),
        "superior": (2, 1),
    },
    "picture": {"left": (0, -1), "right": (0, 1), "upper": (1, -1), "lower": (1, 1), "above": (1, -1), "below": (1, 1)},
}


def _ends(option):
    """The millimetres that a word for a distance stands for."""
    numbers = [float(v) for v in re.findall(r"\d+", option)]
    return (0, numbers[0]) if option.startswith("up") else (numbers[0], np.inf) if option.startswith("more") else numbers


def right_options(question: DataQuestion, masks: Masks) -> list[int]:
    """Indices of all right options, recomputed from the masks by the rules of docs/reference/questions.md."""
    words, ask, about, options = WORDS[masks.scene.space], question.ask, question.about, question.options

    def lies_in(name, part):
        return all(masks.centre(name)[words[w][0]] * words[w][1] > 0 for w in part.split())

    def in_range(text, size):
        low, high, unit = re.fullmatch(r"([\d.]+) to ([\d.]+) (mm2|cm2|mm3|ml|pixels|voxels)", text).groups()
        shape, frame = masks.labels.shape[::-1], (masks.scene.frame.width, masks.scene.frame.height, masks.scene.frame.depth)
        pixel = np.prod([n / m for n, m in zip(shape, frame, strict=False)]) * np.prod(masks.scene.spacing_mm or 1)
        scale = {"mm2": 1, "mm3": 1, "cm2": 100, "ml": 1000, "pixels": pixel, "voxels": pixel}[unit]
        return float(low) * scale <= size < float(high) * scale

    if ask in ("quadrant", "lesion_quadrant", "lesion_side"):
        hits = [lies_in(about[0], o) for o in options]
    elif ask == "which_in_quadrant":
        hits = [lies_in(o, about[0]) for o in options]
    elif ask == "box":
        hits = [tuple(map(int, o.strip("[]").split(","))) == masks.box(about[0]) for o in options]
    elif ask == "which_at_box":
        box = tuple(map(int, re.search(r"\[(.*)\]", about[0])[1].split(",")))
        hits = [masks.box(o) == box for o in options]
    elif ask == "slices":
        box = masks.box(about[0])
        hits = [o == f"{box[2]} to {box[5] - 1}" for o in options]
    elif ask == "present":
        hits = [o == ("yes" if masks.there(about[0]) else "no") for o in options]
    elif ask in ("which_present", "which_absent"):
        hits = [masks.there(o) == (ask == "which_present") for o in options]
    elif ask in ("largest", "smallest"):
        sizes = [masks.size(o) for o in options]
        hits = [s == (max(sizes) if ask == "largest" else min(sizes)) for s in sizes]
    elif ask in ("how_large", "lesion_extent"):
        hits = [in_range(o, masks.size(about[0])) for o in options]
    elif ask == "direction":
        offset = masks.centre(about[0]) - masks.centre(about[1])
        axis = int(np.abs(offset).argmax())
        hits = [words[o] == (axis, np.sign(offset[axis])) for o in options]
    elif ask == "nearest":
        ways = [np.linalg.norm(masks.centre(o) - masks.centre(about[0])) for o in options]
        hits = [w == min(ways) for w in ways]
    elif ask == "which_direction":
        axis, sign = words[about[0]]
        hits = [(masks.centre(o) - masks.centre(about[1]))[axis] * sign > 0 for o in options]
    elif ask == "host":
        ring = masks.ring(about[0])
        hits = [ring[o] == max(ring.values()) for o in options]
    elif ask == "brightness":
        contrast = masks.scene.structures[about[0]].contrast
        strength = "about as" if abs(contrast) < 8 else "slightly" if abs(contrast) < 40 else "clearly"
        hits = [
            o == f"{strength} {'bright' if strength == 'about as' else 'brighter' if contrast > 0 else 'darker'}" for o in options
        ]
    elif ask in ("brightest", "darkest"):
        tones = [masks.shown()[masks.mask(o)].mean() for o in options]
        hits = [t == (max(tones) if ask == "brightest" else min(tones)) for t in tones]
    elif ask in ("attenuation", "attenuation_difference"):
        means = [masks.pixels[masks.mask(n)].mean() for n in about]
        value = means[0] - means[1] if ask == "attenuation_difference" else means[0]
        ends = [sorted(int(v) * (-1 if o.endswith("lower") else 1) for v in re.findall(r"-?\d+", o)) for o in options]
        hits = [low <= value < high for low, high in ends]
    elif ask == "pair_share":
        small, large = sorted(masks.size(n) for n in about)
        hits = [float(o.split()[0]) <= 100 * (large / small - 1) < float(o.split()[2]) for o in options]
    elif ask == "contact":
        way = masks.gap(*about)
        hits = [
            masks.touch(*about) if o == "in contact" else not masks.touch(*about) and _ends(o)[0] <= way < _ends(o)[1]
            for o in options
        ]
    elif ask == "which_on_slice":
        k, shown = int(about[0].split()[1]), [masks.box(o) for o in options]
        hits = [box[2] <= k < box[5] for box in shown]
    elif ask == "evenness":
        ratio = masks.spread(about[0]) / masks.spread(about[1])
        hits = [o == ("more even" if ratio < 1 / 1.3 else "less even" if ratio > 1.3 else "about as even") for o in options]
    elif ask == "shape":
        long, filled = masks.form(about[0])
        word = "irregular" if filled < 0.84 else "round" if long < 1.35 else "oval" if long < 2 else "elongated"
        hits = [o == word for o in options]
    elif ask == "count":
        from scipy import ndimage

        mask = masks.mask(about[0])
        parts, _ = ndimage.label(mask, np.ones((3,) * mask.ndim))
        counts = np.bincount(parts.ravel())[1:]
        hits = [int(o) == np.count_nonzero(counts >= 0.01 * counts.sum()) for o in options]
    elif ask == "widest":
        areas = [np.count_nonzero(plane) for plane in masks.mask(about[0])]
        most = int((np.argmax(areas) + 0.5) * masks.scene.frame.depth / len(areas))
        hits = [int(o) == most for o in options]
    elif ask == "pair":
        left, right = (masks.size(n) for n in about)
        larger = "about equal" if max(left, right) < 1.1 * min(left, right) else about[int(left < right)]
        hits = [o == larger for o in options]
    elif ask == "burden":
        share = 100 * masks.size(about[0]) / masks.size(about[1])
        hits = [float(o.split()[0]) <= share < float(o.split()[2]) for o in options]
    elif ask in ("long_diameter", "short_diameter"):
        way = masks.across(about[0])[ask == "short_diameter"]
        hits = [float(o.split()[0]) <= way < float(o.split()[2]) for o in options]
    elif ask == "gap":
        way = masks.gap(*about)
        hits = [float(o.split()[0]) <= way < float(o.split()[2]) for o in options]
    elif ask == "closest":
        ways = [masks.gap(about[0], o) for o in options]
        hits = [w == min(ways) for w in ways]
    elif ask == "grade":
        z = np.flatnonzero(masks.mask(about[0]).any(axis=(1, 2)))
        length = (z[-1] - z[0] + 1) * masks.scene.spacing_mm[2]
        assert about[0] == "spleen"
        hits = [o == ("enlarged" if length > 130 else "not enlarged") for o in options]
    else:
        raise AssertionError(f"no rule for {ask}")
    return [i for i, hit in enumerate(hits) if hit]
