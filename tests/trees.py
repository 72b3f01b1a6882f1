"""Tiny data sets in the layouts that the sources read, made of phantoms; every test that needs one builds it here."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse

from unireason.data.sources.phantom import ORGANS, Patient, generate

Array = NDArray[Any]
ORGAN_NAMES = {o.label: o.name for o in ORGANS} | {20: "lesion"}
MAP_NAMES = ORGAN_NAMES | {30: "spine"}


@lru_cache(maxsize=8)
def patient(index: int = 0, seed: int = 0) -> Patient:
    """A phantom patient, kept between tests."""
    return generate(seed, index)


def busy(one: Patient) -> int:
    """The slice that shows most structures."""
    return int(np.argmax([len(np.unique(s)) for s in one.labels]))


def write_volume(path: Path, zyx: Array, affine_lps: Array | None = None, axes: str = "LPS") -> Path:
    """A volume whose canonical (LPS) array is ``zyx``, stored in another axis order if asked."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(zyx))
    affine = np.diag([2.0, 2.0, 5.0, 1.0]) if affine_lps is None else affine_lps
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing([float(s) for s in spacing])
    image.SetDirection([float(d) for d in (affine[:3, :3] / spacing).ravel()])
    image.SetOrigin([float(o) for o in affine[:3, 3]])
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.DICOMOrient(image, axes), str(path), useCompression=True)
    return path


def write_picture(path: Path, pixels: Array) -> Path:
    """A PNG or JPEG of uint8 values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return path


def write_json(path: Path, value: Any) -> Path:
    """A JSON file; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def grey(one: Patient, k: int) -> Array:
    """Slice ``k`` in a soft-tissue window, uint8."""
    return (np.clip((one.voxels[k] + 160.0) / 400.0, 0, 1) * 255).astype(np.uint8)


def nnunet_tree(folder: Path, patients: int = 2) -> Path:
    """nnU-Net v2: CT volumes stored LPS with labels stored RAS, a hidden file beside them."""
    for n in range(patients):
        one = patient(n)
        write_volume(folder / "imagesTr" / f"case_{n + 1}_0000.nii.gz", one.voxels, one.affine_lps)
        write_volume(folder / "labelsTr" / f"case_{n + 1}.nii.gz", one.labels, one.affine_lps, "RAS")
    (folder / "labelsTr" / "._case_1.nii.gz").write_bytes(b"junk")
    labels = {"background": 0} | {name.replace(" ", "_"): value for value, name in MAP_NAMES.items()}
    table = {"name": "Phantoms", "licence": "CC0", "channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    write_json(folder / "dataset.json", table | {"numTraining": patients})
    return folder


def msd_tree(folder: Path, patients: int = 2, channels: int = 2) -> Path:
    """Decathlon: 4-D images, "./" prefixes, labels by value, an unlabelled test image."""
    listed = []
    for n in range(patients):
        one = patient(n)
        shown = [one.voxels + 100 * c for c in range(channels)]
        path = folder / "imagesTr" / f"task_{n + 1:03d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        volumes = [sitk.GetImageFromArray(s) for s in shown]
        for volume in volumes:
            volume.SetSpacing(one.spacing_mm)
        joined = sitk.JoinSeries(volumes) if channels > 1 else volumes[0]
        sitk.WriteImage(joined, str(path), useCompression=True)
        write_volume(folder / "labelsTr" / f"task_{n + 1:03d}.nii.gz", one.labels, np.diag([*one.spacing_mm, 1.0]))
        listed.append({"image": f"./imagesTr/task_{n + 1:03d}.nii.gz", "label": f"./labelsTr/task_{n + 1:03d}.nii.gz"})
    labels = {"0": "background"} | {str(v): name for v, name in MAP_NAMES.items()}
    modality = {str(c): "CT" if c == 0 else "FLAIR" for c in range(channels)}
    table = {"name": "Phantoms", "licence": "CC-BY-SA 4.0", "modality": modality, "labels": labels, "training": listed[::-1]}
    write_json(folder / "dataset.json", table | {"test": ["./imagesTs/task_999.nii.gz"]})
    return folder


def amos_tree(folder: Path) -> Path:
    """AMOS22: a CT and an MR training case, a validation case, a test case without labels."""
    for suffix, number in (("Tr", 410), ("Tr", 507), ("Va", 409), ("Ts", 500)):
        one = patient(number % 2)
        write_volume(folder / f"images{suffix}" / f"amos_{number:04d}.nii.gz", one.voxels, one.affine_lps)
        if suffix != "Ts":
            write_volume(folder / f"labels{suffix}" / f"amos_{number:04d}.nii.gz", one.labels % 16, one.affine_lps)
    return folder


def totalsegmentator_tree(folder: Path, subjects: int = 2) -> Path:
    """TotalSegmentator: one binary file a structure; the last subject of meta.csv has no folder."""
    rows = ["image_id;age;split"]
    for n in range(subjects):
        one, name = patient(n), f"s{n + 9:04d}"
        write_volume(folder / name / ("ct.nii.gz" if n == 0 else "mri.nii.gz"), one.voxels, one.affine_lps)
        for organ in ORGANS:
            side = organ.name.split(" ")
            stem = f"{side[1]}_{side[0]}" if side[0] in ("left", "right") else organ.name
            mask = (one.labels == organ.label).astype(np.uint8)
            write_volume(folder / name / "segmentations" / f"{stem}.nii.gz", mask, one.affine_lps, "RAS")
        rows.append(f"{name};60;{'train' if n == 0 else 'test'}")
    (folder / "meta.csv").write_text("\n".join([*rows, "s0999;60;val"]), encoding="utf-8-sig")
    return folder


def pair_tree(folder: Path, patients: int = 2, volumes: bool = False) -> Path:
    """Images, label maps and labels.json; slices as PNG, or whole volumes as NIfTI."""
    for n in range(patients):
        one = patient(n)
        k = busy(one)
        if volumes:
            write_volume(folder / "images" / f"p{n + 1}.nii.gz", one.voxels, one.affine_lps)
            write_volume(folder / "masks" / f"p{n + 1}.nii.gz", one.labels, one.affine_lps)
        else:
            write_picture(folder / "images" / f"p{n + 1}.png", grey(one, k))
            write_picture(folder / "masks" / f"p{n + 1}.png", one.labels[k])
    write_json(folder / "labels.json", {"0": "background"} | {str(v): name for v, name in MAP_NAMES.items()})
    return folder


SAMED2D_CLASSES = {"liver": 0, "Kidney_Left": 1, "kidney_right": 2, "spleen": 3, "right_lung": 4, "union_kidneys": 5, "left": 6}


def samed2d_tree(folder: Path, patients: int = 2, slices: int = 2) -> Path:
    """SA-Med2D: slices with binary masks (two instances of one class), a union, an inverted ADAM picture, a misshapen mask."""
    index: dict[str, list[str]] = {}
    for n in range(patients):
        one = patient(n)
        for k in range(busy(one), busy(one) + slices):
            stem = f"ct_00--Phantom--case_{n:03d}--z_{k:04d}"
            write_picture(folder / "images" / f"{stem}.png", grey(one, k))
            index[f"images/{stem}.png"] = _samed2d_masks(folder, stem, one.labels[k])
    disc = np.full((40, 50), 255, np.uint8)
    disc[10:20, 15:30] = 0
    write_picture(folder / "images" / "fundus_00--ADAM--A0001--2d_none.png", np.zeros((40, 50, 3), np.uint8) + 90)
    index["images/fundus_00--ADAM--A0001--2d_none.png"] = ["masks/fundus_00--ADAM--A0001--2d_none--0000_000.png"]
    write_picture(folder / "masks" / "fundus_00--ADAM--A0001--2d_none--0000_000.png", disc)
    write_picture(folder / "images" / "mr_t1--Phantom--case_900--x_0001.png", np.zeros((32, 32), np.uint8))
    index["images/mr_t1--Phantom--case_900--x_0001.png"] = ["masks/mr_t1--Phantom--case_900--x_0001--0000_000.png"]
    write_picture(folder / "masks" / "mr_t1--Phantom--case_900--x_0001--0000_000.png", np.full((30, 32), 255, np.uint8))
    write_json(folder / "SAMed2D_v1.json", index)
    write_json(folder / "SAMed2D_v1_class_mapping_id.json", {"Phantom": SAMED2D_CLASSES, "ADAM": {"optic_disc": "0000"}})
    return folder


def _samed2d_masks(folder: Path, stem: str, labels: Array) -> list[str]:
    masks: dict[str, Array] = {}
    liver = labels == 4
    left, right = liver.copy(), liver.copy()
    left[:, labels.shape[1] // 4 :] = False
    right[:, : labels.shape[1] // 4] = False
    masks["0000_000"], masks["0000_001"] = left, right
    for value, number in ((9, 1), (10, 2), (5, 3)):
        masks[f"{number:04d}_000"] = labels == value
    masks["0005_000"] = (labels == 9) | (labels == 10)
    names = []
    for key, mask in masks.items():
        if mask.any():
            write_picture(folder / "masks" / f"{stem}--{key}.png", (mask * 255).astype(np.uint8))
            names.append(f"masks/{stem}--{key}.png")
    return names


def m3d_tree(folder: Path, patients: int = 2, axes: str = "xyz", training: str = "train") -> Path:
    """M3D-Seg: float images of 0-1 with a channel, sparse masks whose shape stands in the file name, one data set 0007."""
    entries = []
    for n in range(patients):
        one = patient(n)
        image = ((np.clip(one.voxels, -200, 300) + 200) / 500.0).astype(np.float32)
        masks = np.stack([one.labels == v for v in ORGAN_NAMES])
        if axes == "xyz":
            image, masks = image.transpose(2, 1, 0), masks.transpose(0, 3, 2, 1)
        place = folder / "0007" / str(n + 1)
        place.mkdir(parents=True)
        np.save(place / "image.npy", image[None])
        name = f"mask_{tuple(int(s) for s in masks.shape)}.npz"
        sparse.save_npz(place / name, sparse.csr_matrix(masks.reshape(len(masks), -1).astype(np.int32)))
        entries.append({"image": f"0007/{n + 1}/image.npy", "label": f"0007/{n + 1}/{name}"})
    labels = {"0": "background"} | {str(n): name for n, name in enumerate(ORGAN_NAMES.values(), start=1)}
    table = {"name": "0007", "labels": labels, "modality": {"0": "CT"}, training: entries[:-1], "test": entries[-1:]}
    write_json(folder / "0007" / "0007.json", table)
    return folder


def slake_tree(folder: Path, pictures: int = 2) -> Path:
    """SLAKE: pictures with values without a legend, detections, questions in two languages, a split file."""
    for n in range(pictures):
        one = patient(n)
        k = busy(one)
        labels, place = one.labels[k], folder / "imgs" / f"xmlab{n * 9 + 1}"
        write_picture(place / "source.jpg", grey(one, k))
        drawn = [o for o in ORGANS if np.any(labels == o.label)]
        values = np.zeros(labels.shape, np.uint8)
        detections = []
        for number, organ in enumerate(drawn, start=1):
            values[labels == organ.label] = 20 * number
            rows, columns = np.nonzero(labels == organ.label)
            x, y = int(columns.min()), int(rows.min())
            detections.append({organ.name.title(): [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y]})
        write_picture(place / "mask.png", values)
        write_json(place / "detection.json", detections)
        asked = {"img_name": f"{place.name}/source.jpg", "modality": "CT", "answer": "Yes"}
        write_json(place / "question.json", [asked | {"q_lang": "zh"}, asked | {"q_lang": "en"}])
        write_json(folder / ("train.json" if n == 0 else "validation.json"), [asked | {"q_lang": "en"}])
    return folder


TREES = {
    "nnunet": nnunet_tree,
    "msd": msd_tree,
    "amos": amos_tree,
    "totalsegmentator": totalsegmentator_tree,
    "pair": pair_tree,
    "sa-med2d": samed2d_tree,
    "m3d-seg": m3d_tree,
    "slake": slake_tree,
}
"""Source name to the function that writes a tree of its layout."""
