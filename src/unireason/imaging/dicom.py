"""One DICOM file as a Case: a single image, or the volume of an enhanced multi-frame file.

Source: DICOM PS3.3 C.7.6.2 (Image Plane), C.7.6.3 (Image Pixel).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unireason.errors import GeometryError, ImageReadError
from unireason.types import Case, Geometry, Source

from .decode import decoding, sha256
from .dicom_values import REMEDY, Scale, display_notes, frame_count, made_by, parse, scale_of, stored_values, stored_window
from .limits import file_bytes
from .options import ReadOptions
from .planes import numbers, plane


def read_dicom(path: Path, options: ReadOptions) -> Case:
    """Read one DICOM file: a single image, a cine frame, or an enhanced multi-frame volume.

    Rescale slope and intercept are applied, MONOCHROME1 is turned so that bright means bright, palettes and YBR become RGB. The
    first stored window is kept in ``Case.window``. The hash is that of the file.

    Args:
        path: The file.
        options: ``frame`` picks a frame of a multi-frame file that is not a volume.

    Returns:
        An image Case, with an affine where the file gives position, orientation and spacing; or a volume Case.

    Raises:
        ImageReadError: If the file is damaged, holds no image or uses an encoding that no decoder here knows.
        GeometryError: If the frames of a volume do not make a regular stack.
        SizeLimitError: If it is too large; checked before decoding.
        FormatError: If it has several frames without positions and none was chosen.
    """
    content = file_bytes(path, options.limits)
    with decoding(path, "DICOM", REMEDY):
        dataset = parse(content, path.name)
        count = frame_count(dataset, path.name, options.limits)
        source = Source(path.name, "dicom", sha256(content), made_by(dataset))
        del content
        if count > 1 and "PerFrameFunctionalGroupsSequence" in dataset:
            from .multiframe import read_multiframe

            return read_multiframe(dataset, source, options)
        index = options.pick(count, f"'{path.name}'")
        return _image_case(dataset, source, options, index if count > 1 else None)


def _image_case(dataset: Any, source: Source, options: ReadOptions, index: int | None) -> Case:
    stored = stored_values(dataset, index)
    if stored.ndim not in (2, 3) or stored.size == 0:
        raise ImageReadError(f"'{source.name}' decodes to shape {stored.shape}", "one image")
    window = None
    notes: tuple[str, ...] = ()
    if stored.ndim == 2:
        if dataset.get("ModalityLUTSequence"):
            from pydicom.pixels import apply_modality_lut

            stored, scale = apply_modality_lut(stored, dataset).astype(np.float32), Scale()
        else:
            scale = scale_of(dataset)
        window, notes = stored_window(dataset, scale), display_notes(scale)
        stored = scale.apply(stored)
    if index is not None:
        notes = (*notes, f"frame {index} of {dataset.NumberOfFrames}")
    geometry, more = _image_geometry(dataset, source.name, (stored.shape[1], stored.shape[0]), options)
    if index is not None:
        geometry = replace(geometry, header={"frames": (index,)})
    modality = options.modality or str(dataset.get("Modality") or "")
    return Case(np.ascontiguousarray(stored), "image", geometry, modality, source, window, (*notes, *more))


def _image_geometry(dataset: Any, name: str, sizes: tuple[int, int], options: ReadOptions) -> tuple[Geometry, tuple[str, ...]]:
    """Placement of a single image; what is stored but unusable is left out with a note."""
    affine, spacing = None, options.spacing_mm and options.spacing_mm[:2]
    notes: tuple[str, ...] = ()
    try:
        if dataset.get("ImagePositionPatient") and dataset.get("ImageOrientationPatient") and dataset.get("PixelSpacing"):
            keys = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")
            where = plane(name, *(dataset.get(key) for key in keys))
            affine, spacing = where.affine(where.normal * (where.thickness_mm or 1.0)), where.spacing_mm
        else:
            for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
                if dataset.get(key):
                    rows, columns = (float(v) for v in numbers(dataset.get(key), 2, name, key))
                    if min(rows, columns) <= 0:
                        raise GeometryError(f"{key} is {rows:g} x {columns:g}", "positive numbers")
                    spacing, notes = (columns, rows), () if key == "PixelSpacing" else (f"spacing from {key} (at the detector)",)
                    break
    except (GeometryError, ValueError, TypeError) as error:
        notes = (f"position in the patient ignored: {error}",)
    return Geometry(sizes[::-1], sizes, (0, 1), (False, False), affine, spacing), notes
