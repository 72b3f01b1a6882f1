"""Phantom patients: anatomically arranged, CT-like, deterministic by seed, with exact masks.

A patient is a body cylinder with organs as superellipsoids at roughly anatomical places, in Hounsfield units that need
different windows (lung, soft tissue, bone). Organs are missing at random, sizes vary widely, half of the patients are mirrored
(situs inversus), and most carry a mass in one organ, so that no question can be answered from its wording alone.

The generator knows nothing of questions or models. Patients of version 2, with detail at full resolution, come from ``phantom2``; this
file offers both as a source and writes both as files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.core.errors import FormatError, UniReasonError
from unireason.core.store import json_text, replaced_folder
from unireason.core.types import PHANTOM, Affine, Case, Geometry, Kind, Source
from unireason.data.item import Item, Layer, Loaded, MaskRef, Skipped

from . import phantom2
from .base import check, number

LESION_LABEL = 20
SPINE_LABEL = 30
BODY_HU, MUSCLE_HU, AIR_HU, BONE_HU = -95.0, 45.0, -1000.0, 650.0


@dataclass(frozen=True, slots=True)
class Organ:
    """One kind of organ."""

    name: str
    label: int
    centre: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    hu: float
    sided: bool = False
    lesions: bool = False


ORGANS: tuple[Organ, ...] = (
    Organ("right lung", 1, (-0.46, 0.00, 0.58), (56, 70, 66), -800, sided=True, lesions=True),
    Organ("left lung", 2, (0.46, 0.00, 0.58), (56, 70, 66), -800, sided=True, lesions=True),
    Organ("heart", 3, (0.14, -0.34, 0.50), (44, 38, 42), 165),
    Organ("liver", 4, (-0.44, -0.12, -0.02), (62, 60, 46), 85, lesions=True),
    Organ("spleen", 5, (0.58, 0.34, -0.02), (32, 34, 36), 125, lesions=True),
    Organ("stomach", 6, (0.34, -0.42, -0.10), (40, 32, 36), 5),
    Organ("gallbladder", 7, (-0.26, -0.50, -0.34), (20, 20, 24), -30),
    Organ("pancreas", 8, (0.06, 0.02, -0.30), (40, 18, 20), 60),
    Organ("left kidney", 9, (0.40, 0.46, -0.42), (27, 27, 42), 200, sided=True, lesions=True),
    Organ("right kidney", 10, (-0.40, 0.46, -0.42), (27, 27, 42), 200, sided=True, lesions=True),
    Organ("bladder", 11, (0.00, -0.22, -0.80), (38, 32, 30), -15),
)
BY_NAME = {o.name: o for o in ORGANS}


@dataclass(frozen=True, slots=True)
class Lesion:
    """A mass inside an organ; ``brighter`` tells its contrast against that organ."""

    organ: str
    label: int
    brighter: bool


@dataclass(frozen=True, slots=True, eq=False)
class Patient:
    """One phantom patient.

    Attributes:
        id: Stable identifier, made of seed and index.
        voxels: int16 (Z, Y, X) Hounsfield units, LPS axes.
        labels: uint8 (Z, Y, X) organ labels on the same grid; 20 is the lesion, 30 the spine, 0 everything else.
        spacing_mm: Voxel size along x, y, z.
        affine_lps: (4, 4) canonical index (x, y, z) to LPS millimetres; may be oblique.
        lesion: The mass, if any.
        expected_mm: For each organ name, centre and semi-axes (x, y, z, rx, ry, rz) in body millimetres where it lies or would lie.
        mirrored: True for situs inversus.
    """

    id: str
    voxels: NDArray[np.int16]
    labels: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    affine_lps: Affine
    lesion: Lesion | None
    expected_mm: dict[str, tuple[float, ...]]
    mirrored: bool

    def case(self) -> Case:
        """The patient as a Case, without going through a file."""
        geometry = Geometry(
            shape=self.voxels.shape,
            source_shape=self.voxels.shape[::-1],
            order=(0, 1, 2),
            flips=(False, False, False),
            affine_lps=self.affine_lps,
            spacing_mm=self.spacing_mm,
        )
        return Case(self.voxels, "volume", geometry, "CT", Source(self.id, "phantom", "", PHANTOM))


@dataclass(frozen=True, slots=True)
class _Place:
    """One ellipsoid of one patient, in body millimetres."""

    organ: Organ
    centre: NDArray[np.float64]
    radii: NDArray[np.float64]
    angle: float
    power: float
    present: bool


def _grid(rng: np.random.Generator) -> tuple[tuple[int, int, int], NDArray[np.float64], NDArray[np.float64]]:
    """Grid sizes (z, y, x), spacing (x, y, z) in mm and body semi-axes (x, y, z) in mm."""
    body = np.array([165.0, 118.0, 178.0]) * rng.uniform(0.92, 1.08, 3)
    nx = ny = int(rng.integers(104, 137))
    nz = int(rng.integers(28, 49))
    field_mm = 2 * body[0] * rng.uniform(1.04, 1.14)
    spacing = np.array([field_mm / nx, field_mm / ny, 2 * body[2] / nz])
    return (nz, ny, nx), spacing, body


def _places(rng: np.random.Generator, body: NDArray[np.float64], *, mirrored: bool) -> list[_Place]:
    """Where every organ lies, or would lie if it were there."""
    places = []
    for organ in ORGANS:
        centre = np.array(organ.centre) + rng.uniform(-1, 1, 3) * (0.07, 0.09, 0.07)
        if mirrored and not organ.sided:
            centre[0] = -centre[0]
        scale = np.exp(rng.uniform(-0.42, 0.34)) * np.exp(rng.uniform(-0.12, 0.12, 3))
        places.append(
            _Place(
                organ=organ,
                centre=centre * body,
                radii=np.array(organ.radii_mm) * scale,
                angle=rng.uniform(-0.35, 0.35),
                power=rng.uniform(1.8, 2.6),
                present=bool(rng.random() < 0.74),
            )
        )
    return places


def _ellipsoid(
    place: _Place, axes: tuple[NDArray[np.float64], ...], *, shrink: float = 1.0
) -> tuple[tuple[slice, slice, slice], NDArray[np.bool_]] | None:
    """Mask of one superellipsoid inside its bounding block; None if it covers no voxel centre. ``axes`` are x, y, z in mm."""
    radii = place.radii * shrink
    reach = np.array([max(radii[0], radii[1])] * 2 + [radii[2]]) * 1.05
    block = []
    for axis, c, r in zip(axes, place.centre, reach, strict=True):
        lo, hi = np.searchsorted(axis, [c - r, c + r])
        if hi <= lo:
            return None
        block.append(slice(int(lo), int(hi)))
    x, y, z = (a[s] - c for a, s, c in zip(axes, block, place.centre, strict=True))
    cos, sin = np.cos(place.angle), np.sin(place.angle)
    u = np.abs((cos * x[None, :] + sin * y[:, None]) / radii[0]) ** place.power
    v = np.abs((-sin * x[None, :] + cos * y[:, None]) / radii[1]) ** place.power
    w = np.abs(z / radii[2]) ** place.power
    inside = (u + v)[None] + w[:, None, None] <= 1.0
    return (block[2], block[1], block[0]), inside


def _paint_body(
    voxels: NDArray[np.float32], labels: NDArray[np.uint8], axes: tuple[NDArray[np.float64], ...], body: NDArray[np.float64]
) -> None:
    """Fat, a muscle wall and the spine, the same in every slice up to a slow taper towards both ends."""
    x, y, z = axes
    for k, height in enumerate(z):
        taper = 1.0 - 0.10 * (height / body[2]) ** 2
        r = (x[None, :] / (body[0] * taper)) ** 2 + (y[:, None] / (body[1] * taper)) ** 2
        voxels[k][r <= 1.0] = MUSCLE_HU
        voxels[k][r <= 0.86] = BODY_HU
        spine = x[None, :] ** 2 + (y[:, None] - 0.66 * body[1]) ** 2 <= (21.0 + 3.0 * np.sin(height / 9.0)) ** 2
        voxels[k][spine] = BONE_HU
        labels[k][spine] = SPINE_LABEL


def _grow_lesion(
    rng: np.random.Generator,
    places: list[_Place],
    voxels: NDArray[np.float32],
    labels: NDArray[np.uint8],
    axes: tuple[NDArray[np.float64], ...],
) -> Lesion | None:
    """A round mass well inside one visible organ that can carry one; None for one patient in eight or without such an organ."""
    hosts = [p for p in places if p.present and p.organ.lesions and np.count_nonzero(labels == p.organ.label) > 60]
    if not hosts or rng.random() < 0.125:
        return None
    host = hosts[int(rng.integers(len(hosts)))]
    radius = float(np.clip(host.radii.min() * rng.uniform(0.42, 0.62), 12.0, 30.0))
    room = np.maximum(host.radii - radius * 1.15, 0.0) * 0.6
    centre = host.centre + rng.uniform(-1, 1, 3) * room
    mass = _Place(host.organ, centre, np.array([radius] * 3) * rng.uniform(0.9, 1.15, 3), 0.0, 2.0, present=True)
    painted = _ellipsoid(mass, axes)
    if painted is None:
        return None
    block, inside = painted
    inside = inside & (labels[block] == host.organ.label)
    if np.count_nonzero(inside) < 12:
        return None
    lung = host.organ.hu < -500
    brighter = True if lung else bool(rng.random() < 0.5)
    contrast = 830.0 if lung else (115.0 if brighter else -115.0)
    voxels[block][inside] = host.organ.hu + contrast
    labels[block][inside] = LESION_LABEL
    return Lesion(host.organ.name, LESION_LABEL, brighter)


def _orientation(rng: np.random.Generator, spacing: NDArray[np.float64], shape: tuple[int, int, int]) -> Affine:
    """A slightly oblique affine around the volume's centre (half of the patients lie straight)."""
    angles = rng.uniform(-0.16, 0.16, 3) * (rng.random() < 0.5)
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rz @ ry @ rx @ np.diag(spacing)
    centre = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = rng.uniform(-60, 60, 3) - affine[:3, :3] @ centre
    return affine


def _texture(rng: np.random.Generator, voxels: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Adds organ-wise intensity spread, a slow bias and noise; clips to the CT range."""
    shift = np.zeros(256, np.float32)
    for organ in ORGANS:
        shift[organ.label] = rng.normal(0, 9)
    noisy = voxels + shift[labels] * (labels > 0)
    _nz, ny, nx = voxels.shape
    bias = np.linspace(-1, 1, nx, dtype=np.float32) * rng.normal(0, 6) + np.linspace(-1, 1, ny, dtype=np.float32)[
        :, None
    ] * rng.normal(0, 6)
    noisy += bias * (voxels > AIR_HU)
    noisy += rng.standard_normal(voxels.shape, dtype=np.float32) * np.float32(rng.uniform(8, 22))
    clipped: NDArray[np.int16] = np.clip(noisy, -1024, 3071).astype(np.int16)
    return clipped


TRAINING_STREAM, EXAM_STREAM = 1, 2
STREAMS = ("phantom", "phantom-training", "phantom-exam")
"""Names of the streams of patients, none of whom is in two of them."""


def generate(seed: int, index: int, *, stream: int = 0) -> Patient:
    """Makes patient ``index`` of the cohort ``seed``; the same numbers always give the same voxels.

    Args:
        seed: Cohort number; any non-negative integer.
        index: Patient number inside the cohort.
        stream: 0 for everybody, data sets to train on included; TRAINING_STREAM for the patients that the base of the built-in
            checkpoint was trained on; EXAM_STREAM for those of examinations, so that no seed ever gives a patient of a training set.

    Returns:
        The patient, 28-48 slices of 104-136 squared pixels, 2.5-3.9 mm in plane and 7-14 mm between slices.
    """
    rng = np.random.default_rng([stream, seed, index])
    shape, spacing, body = _grid(rng)
    axes = tuple((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape[::-1], spacing, strict=True))
    mirrored = bool(rng.random() < 0.5)
    places = _places(rng, body, mirrored=mirrored)
    voxels = np.full(shape, AIR_HU, np.float32)
    labels = np.zeros(shape, np.uint8)
    _paint_body(voxels, labels, axes, body)
    for place in places:
        painted = _ellipsoid(place, axes) if place.present else None
        if painted is not None:
            block, inside = painted
            inside = inside & (voxels[block] != AIR_HU) & (voxels[block] != MUSCLE_HU) & (labels[block] != SPINE_LABEL)
            voxels[block][inside] = place.organ.hu
            labels[block][inside] = place.organ.label
    lesion = _grow_lesion(rng, places, voxels, labels, axes)
    affine = _orientation(rng, spacing, shape)
    return Patient(
        id=f"{STREAMS[stream]}-{seed}-{index:05d}",
        voxels=_texture(rng, voxels, labels),
        labels=labels,
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        affine_lps=affine,
        lesion=lesion,
        expected_mm={p.organ.name: (*map(float, p.centre), *map(float, p.radii)) for p in places},
        mirrored=mirrored,
    )


def axial(patient: Patient, k: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Slice ``k`` of a patient as an image: int16 (Y, X) Hounsfield units and its label map."""
    return patient.voxels[k], patient.labels[k]


def radiograph(patient: Patient) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A frontal X-ray-like projection, head up, patient left on the right of the picture."""
    density = np.clip(patient.voxels.astype(np.float32) + 1000.0, 0, 1800) / 1000.0
    depth = density.sum(axis=1) * (patient.spacing_mm[1] / 10.0)
    film = 1.0 - np.exp(-0.055 * depth)
    lo, hi = np.percentile(film, [1, 99.5])
    grey = (np.clip((film - lo) / max(hi - lo, 1e-6), 0, 1) * 255).astype(np.uint8)
    counts = np.stack([(patient.labels == o.label).sum(axis=1) for o in ORGANS])
    best = counts.argmax(axis=0)
    labels = np.array([o.label for o in ORGANS], np.uint8)[best] * (counts.max(axis=0) > 0)
    stretch = (grey.shape[1] / grey.shape[0], 1.0)
    smooth = ndimage.zoom(grey[::-1], stretch, order=1, grid_mode=True, mode="nearest")
    return smooth, ndimage.zoom(labels[::-1].astype(np.uint8), stretch, order=0, grid_mode=True, mode="nearest")


# --- Phantom patients as a source: generated when loaded, nothing on disk, every organ and lesion annotated.


NAMES: dict[int, str] = {o.label: o.name for o in ORGANS} | {LESION_LABEL: "lesion", SPINE_LABEL: "spine"}
MAX_PATIENTS = 10_000_000


@dataclass(frozen=True, slots=True)
class PhantomSource:
    """Synthetic patients of the first version, one CT volume each, or of the second one, as often as there are ``views``."""

    patients: int = 50
    seed: int = 0
    stream: int = 0
    version: int = 1
    views: tuple[str, ...] = ()

    name = "phantom"
    title = "UniReason phantoms"
    licence = "CC0-1.0 (synthetic)"
    root = Path()

    @classmethod
    def open(cls, root: Path | None, options: Mapping[str, str]) -> PhantomSource:
        """The source for a command line; ``root`` must be None."""
        if root is not None and root != Path():
            raise FormatError(f"the folder '{root}' was given for phantoms", "no folder: they are generated")
        check(cls.name, options, ("patients", "seed", "stream", "version", "views"))
        version = number(options, "version", 1, least=1, most=2)
        views = tuple(dict.fromkeys(part.strip() for part in options.get("views", "").split(",") if part.strip()))
        if views and (version == 1 or not set(views) <= set(phantom2.VIEWS)):
            known = ", ".join(phantom2.VIEWS)
            raise FormatError(f"the option views is {options['views']!r}", f"some of {known}, with version=2 alone")
        return cls(
            number(options, "patients", 50, least=1, most=MAX_PATIENTS),
            number(options, "seed", 0),
            number(options, "stream", 0, most=len(STREAMS) - 1),
            version,
            views or (phantom2.VIEWS if version == 2 else ()),
        )

    def items(self) -> Iterator[Item | Skipped]:
        """One volume a patient, or one item a view."""
        if not 1 <= self.patients <= MAX_PATIENTS or self.seed < 0:
            raise UniReasonError(
                f"{self.patients} phantom patients with seed {self.seed}", f"1 to {MAX_PATIENTS:,} and a seed from 0"
            )
        annotated = tuple(sorted(NAMES.values()))
        masks = (MaskRef("", NAMES),)
        for index in range(self.patients):
            if self.version == 1:
                case = f"{STREAMS[self.stream]}-{self.seed}-{index:05d}"
                yield Item(case, case, "volume", f"{self.seed}/{index}", masks, annotated, modality="CT")
                continue
            patient = phantom2.patient_id(self.seed, index, self.stream)
            for view in self.views:
                names = phantom2.names_of(view)
                kind: Kind = "volume" if view == "volume" else "image"
                yield Item(
                    id=f"{patient}-{view}",
                    patient=patient,
                    kind=kind,
                    image=f"{self.seed}/{index}/{view}",
                    masks=(MaskRef("", names),),
                    annotated=tuple(sorted(names.values())),
                    modality=phantom2.modality_of(self.seed, index, view, self.stream),
                )

    def load(self, item: Item) -> Loaded:
        """Generate the patient, or the view of one."""
        seed, index, *view = item.image.split("/")
        wants = "seed/index" if self.version == 1 else "seed/index/view"
        good = all(part.isascii() and part.isdigit() for part in (seed, index)) and len(view) == self.version - 1
        if not good or not set(view) <= set(phantom2.VIEWS):
            raise FormatError(f"the phantom {item.image!r}", wants)
        if view:
            seen = phantom2.generate(int(seed), int(index), view[0], stream=self.stream)
            return Loaded(item, seen.case(), (Layer(seen.labels, dict(item.masks[0].names)),), stated=seen.stated)
        patient = generate(int(seed), int(index), stream=self.stream)
        return Loaded(item, patient.case(), (Layer(patient.labels, dict(NAMES)),))


LAYOUTS = {"phantom": PhantomSource}


# --- Single axial slices of phantom patients, and the names of what their labels show.


SLICE_NAMES = {o.label: o.name for o in ORGANS} | {LESION_LABEL: "lesion"}


def image_case(patient: Patient, k: int) -> Case:
    """Axial slice ``k`` as an image Case in Hounsfield units, placed in the patient."""
    pixels, _ = axial(patient, k)
    shift = np.eye(4)
    shift[2, 3] = k
    geometry = Geometry(
        shape=pixels.shape,
        source_shape=pixels.shape[::-1],
        order=(0, 1),
        flips=(False, False),
        affine_lps=patient.affine_lps @ shift,
        spacing_mm=patient.spacing_mm[:2],
    )
    return Case(pixels, "image", geometry, "CT", Source(f"{patient.id}-{k:03d}", "phantom", "", PHANTOM))


def busy_slices(patient: Patient, rng: np.random.Generator, count: int) -> list[int]:
    """Draws axial slices in favour of those that show many structures; at least three where there are such."""
    shown = np.array([len(np.intersect1d(np.unique(s), list(SLICE_NAMES))) for s in patient.labels])
    lesion = (patient.labels == LESION_LABEL).any(axis=(1, 2))
    weight = np.where(shown >= min(3, shown.max()), shown + 2.0 * lesion, 0.0)
    pick = min(count, int(np.count_nonzero(weight)))
    return [int(k) for k in rng.choice(len(weight), size=pick, replace=False, p=weight / weight.sum())]


# --- Phantom patients as files: NIfTI with masks, DICOM series, PNG.


Format = Literal["nifti", "dicom", "png"]
FORMATS: tuple[Format, ...] = ("nifti", "dicom", "png")
AXIS_CODES = ("LPS", "RAS", "LAS", "RPI", "PIR", "SAL", "ASR", "LPI")  # storage orders that NIfTI patients take in turn
WINDOW = (40.0, 400.0)


def write_patients(folder: Path, *, count: int, seed: int, form: Format, version: int = 1) -> list[Path]:
    """Writes the first patients of a cohort.

    Args:
        folder: Created if missing; holds one folder a patient.
        count: Number of patients, at least 1.
        seed: Cohort seed.
        form: "nifti", "dicom" or "png".
        version: 1, or 2 for patients with detail at full resolution, which there are as "nifti" and "png".

    Returns:
        The patients' folders. Folders that exist already are left as they are.

    Raises:
        UniReasonError: If the count is below 1, the seed negative, the form unknown or the folder cannot be written.
    """
    if count < 1:
        raise UniReasonError(f"{count} patients were asked for", "at least 1")
    if seed < 0:
        raise UniReasonError(f"the seed is {seed}", "a whole number from 0")
    if form not in FORMATS:
        raise UniReasonError(f"the format {form!r} is not known", ", ".join(FORMATS))
    if version not in (1, 2) or (version == 2 and form == "dicom"):
        raise UniReasonError(f"phantoms of version {version} as {form}", "version 1, or version 2 as nifti or png")
    done = []
    for index in range(count):
        if version == 2:
            done.append(folder / phantom2.patient_id(seed, index))
            if not done[-1].exists():
                _write_views(seed, index, done[-1], form)
            continue
        patient = generate(seed, index)
        target = folder / patient.id
        if not target.exists():
            _write_one(patient, target, index=index, form=form)
        done.append(target)
    return done


def _write_one(patient: Patient, target: Path, *, index: int, form: Format) -> None:
    with replaced_folder(target) as folder:
        if form == "nifti":
            record = _write_nifti(patient, folder, AXIS_CODES[index % len(AXIS_CODES)])
        elif form == "dicom":
            record = _write_dicom(patient, folder)
        else:
            record = _write_png(patient, folder)
        (folder / "structures.json").write_text(json_text(record, indent=2) + "\n")


def _write_views(seed: int, index: int, target: Path, form: Format) -> None:
    """A patient of version 2: the volume as NIfTI, or the three pictures as PNG."""
    import SimpleITK as sitk
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    record: dict[str, Any] = {"patient": target.name, "views": {}}
    mark = PngInfo()
    mark.add_text("Source", PHANTOM)
    with replaced_folder(target) as folder:
        for view in ("volume",) if form == "nifti" else phantom2.VIEWS[1:]:
            seen = phantom2.generate(seed, index, view)
            if form == "nifti":
                for array, name in ((seen.voxels, "image"), (seen.labels, "labels")):
                    image = sitk.GetImageFromArray(array)
                    image.SetSpacing(seen.spacing_mm)
                    image.SetOrigin([float(v) for v in seen.affine_lps[:3, 3]] if seen.affine_lps is not None else [0.0] * 3)
                    image.SetMetaData("ITK_FileNotes", PHANTOM)
                    sitk.WriteImage(image, str(folder / f"{name}.nii.gz"), useCompression=True)
            else:
                Image.fromarray(phantom2.grey(seen)).save(folder / f"{view}.png", pnginfo=mark)
                Image.fromarray(seen.labels).save(folder / f"{view}_labels.png")
            record["views"][view] = {
                "modality": seen.modality,
                "protocol": seen.protocol,
                "spacing_mm": list(seen.spacing_mm),
                "labels": {phantom2.NAMES[int(v)]: int(v) for v in np.unique(seen.labels) if v},
                "stated": seen.stated,
            }
        (folder / "structures.json").write_text(json_text(record, indent=2) + "\n")


def structures(labels: NDArray[np.uint8], voxel_mm: float, patient: Patient, *, unit: str) -> dict[str, Any]:
    """What a label map holds, box by box."""
    counts = np.bincount(labels.ravel(), minlength=256)
    found = []
    for value, block in enumerate(ndimage.find_objects(labels), start=1):
        if block is None or value not in SLICE_NAMES:
            continue
        box = [int(s.start) for s in block[::-1]] + [int(s.stop) for s in block[::-1]]
        found.append({"name": SLICE_NAMES[value], "label": value, "box_voxel": box, unit: float(counts[value]) * voxel_mm})
    lesion = patient.lesion
    lesions = [s | {"organ": lesion.organ, "brighter": lesion.brighter} for s in found if s["label"] == LESION_LABEL and lesion]
    organs = [s for s in found if s["label"] != LESION_LABEL]
    return {"patient": patient.id, "modality": "CT", "structures": organs, "lesions": lesions}


def _image(array: NDArray[Any], patient: Patient) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(array)
    matrix = patient.affine_lps[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetDirection([float(d) for d in (matrix / spacing).ravel()])
    image.SetOrigin([float(o) for o in patient.affine_lps[:3, 3]])
    return image


def _write_nifti(patient: Patient, folder: Path, axes: str) -> dict[str, Any]:
    import SimpleITK as sitk

    image, labels = (sitk.DICOMOrient(_image(a, patient), axes) for a in (patient.voxels, patient.labels))
    image.SetMetaData("ITK_FileNotes", PHANTOM)  # becomes descrip
    sitk.WriteImage(image, str(folder / "image.nii.gz"), useCompression=True)
    sitk.WriteImage(labels, str(folder / "labels.nii.gz"), useCompression=True)
    record = structures(sitk.GetArrayFromImage(labels), float(np.prod(patient.spacing_mm)), patient, unit="volume_mm3")
    return record | {"axes": axes}


def _write_dicom(patient: Patient, folder: Path) -> dict[str, Any]:
    import SimpleITK as sitk

    (folder / "dicom").mkdir()
    write_series(patient, folder / "dicom")
    sitk.WriteImage(_image(patient.labels, patient), str(folder / "labels.nii.gz"), useCompression=True)
    return structures(patient.labels, float(np.prod(patient.spacing_mm)), patient, unit="volume_mm3")


def _write_png(patient: Patient, folder: Path) -> dict[str, Any]:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    k = busy_slices(patient, np.random.default_rng(0), 1)[0]
    pixels, labels = axial(patient, k)
    level, width = WINDOW
    grey = np.clip((pixels.astype(np.float32) - (level - width / 2)) / width, 0, 1)
    mark = PngInfo()
    mark.add_text("Source", PHANTOM)
    Image.fromarray((grey * 255).round().astype(np.uint8)).save(folder / "image.png", pnginfo=mark)
    Image.fromarray(labels).save(folder / "labels.png")
    film, film_labels = radiograph(patient)
    Image.fromarray(film).save(folder / "radiograph.png")
    Image.fromarray(film_labels).save(folder / "radiograph_labels.png")
    record = structures(labels, float(np.prod(patient.spacing_mm[:2])), patient, unit="area_mm2")
    return record | {"slice": k, "spacing_mm": list(patient.spacing_mm[:2])}


# --- A phantom patient as a DICOM CT series, one file a slice, with positions, orientation, rescale and window.


CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT = -1024


def _uid(patient: Patient, *parts: object) -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix="1.2.826.0.1.3680043.8.498.", entropy_srcs=[patient.id, *map(str, parts)]))


def _number(value: float) -> str:
    """A decimal string of at most 16 characters (DICOM PS3.5 section 6.2, DS)."""
    for digits in range(12, 0, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return "0"


def _slice(patient: Patient, k: int) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CT_IMAGE_STORAGE
    meta.MediaStorageSOPInstanceUID = _uid(patient, "slice", k)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    affine = patient.affine_lps
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    data.SOPClassUID, data.SOPInstanceUID = CT_IMAGE_STORAGE, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = _uid(patient, "study"), _uid(patient, "series")
    data.FrameOfReferenceUID = _uid(patient, "frame")
    data.PatientID, data.PatientName, data.Modality = patient.id, "PHANTOM^" + patient.id.upper(), "CT"
    data.Manufacturer, data.ManufacturerModelName = "UniReason", PHANTOM
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20260101", "120000", "1", ""
    data.SeriesDescription, data.SeriesNumber, data.InstanceNumber = "synthetic phantom, not a patient", 1, k + 1
    data.ImageOrientationPatient = [_number(v) for v in (*columns[:, 0], *columns[:, 1])]
    data.ImagePositionPatient = [_number(v) for v in (affine @ np.array([0, 0, k, 1.0]))[:3]]
    data.PixelSpacing = [_number(patient.spacing_mm[1]), _number(patient.spacing_mm[0])]
    data.SliceThickness = _number(patient.spacing_mm[2])
    data.WindowCenter, data.WindowWidth = "40", "400"
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "1", str(INTERCEPT), "HU"
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.Rows, data.Columns = patient.voxels.shape[1:]
    data.PixelData = (patient.voxels[k].astype(np.int32) - INTERCEPT).astype("<u2").tobytes()
    return data


def write_series(patient: Patient, folder: Path) -> None:
    """Writes all slices into an existing folder, as ``slice-0000.dcm`` and so on.

    Source: DICOM PS3.3 sections C.7.6.2 (Image Plane) and C.8.2.1 (CT Image).
    """
    for k in range(patient.voxels.shape[0]):
        _slice(patient, k).save_as(folder / f"slice-{k:04d}.dcm", enforce_file_format=True)
