"""Phantom patients as files: NIfTI with masks, DICOM series, PNG.

Each patient becomes one folder, written next to its place and renamed when complete, so that a folder that exists is whole. The same
patient always gives the same files.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from unireason.errors import UniReasonError
from unireason.files import json_text
from unireason.types import PHANTOM

from .phantom import LESION_LABEL, Patient, axial, generate, radiograph
from .phantom_slices import NAMES, busy_slices

Format = Literal["nifti", "dicom", "png"]
FORMATS: tuple[Format, ...] = ("nifti", "dicom", "png")
AXIS_CODES = ("LPS", "RAS", "LAS", "RPI", "PIR", "SAL", "ASR", "LPI")  # storage orders that NIfTI patients take in turn
WINDOW = (40.0, 400.0)


def write_patients(folder: Path, *, count: int, seed: int, form: Format) -> list[Path]:
    """Writes the first patients of a cohort.

    Args:
        folder: Created if missing; holds one folder a patient.
        count: Number of patients, at least 1.
        seed: Cohort seed.
        form: "nifti", "dicom" or "png".

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
    done = []
    for index in range(count):
        patient = generate(seed, index)
        target = folder / patient.id
        if not target.exists():
            _write_one(patient, target, index=index, form=form)
        done.append(target)
    return done


def _write_one(patient: Patient, target: Path, *, index: int, form: Format) -> None:
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if form == "nifti":
            record = _write_nifti(patient, partial, AXIS_CODES[index % len(AXIS_CODES)])
        elif form == "dicom":
            record = _write_dicom(patient, partial)
        else:
            record = _write_png(patient, partial)
        (partial / "structures.json").write_text(json_text(record, indent=2) + "\n")
        partial.rename(target)
    except OSError as error:
        raise UniReasonError(f"cannot write {target}: {error.strerror}", remedy="choose a folder that can be written") from error


def structures(labels: NDArray[np.uint8], voxel_mm: float, patient: Patient, *, unit: str) -> dict[str, Any]:
    """What a label map holds, box by box.

    Args:
        labels: Label map in the file's own index order reversed, (k, j, i) or (y, x).
        voxel_mm: Volume of a voxel in mm3, or area of a pixel in mm2.
        patient: The patient.
        unit: "volume_mm3" or "area_mm2", the key of the size.

    Returns:
        ``{"patient", "modality", "structures": [...], "lesions": [...]}``; boxes are half-open in voxels of the file.
    """
    counts = np.bincount(labels.ravel(), minlength=256)
    found = []
    for value, block in enumerate(ndimage.find_objects(labels), start=1):
        if block is None or value not in NAMES:
            continue
        box = [int(s.start) for s in block[::-1]] + [int(s.stop) for s in block[::-1]]
        found.append({"name": NAMES[value], "label": value, "box_voxel": box, unit: float(counts[value]) * voxel_mm})
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

    from .phantom_dicom import write_series

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
