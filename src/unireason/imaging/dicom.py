"""One DICOM file as a Case: a single image, a frame, or the volume of an enhanced multi-frame file.

Source: DICOM PS3.3 C.7.6.2 (Image Plane), C.7.6.3 (Image Pixel).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from unireason.errors import FormatError, GeometryError, ImageReadError
from unireason.types import Case, Geometry, Source

from .decode import decoding, sha256
from .dicom_values import REMEDY, FrameHeader, display_notes, frame_count, frame_values, made_by, parse, stored_window
from .limits import file_bytes
from .multiframe import concatenation_notes, frame_plane, read_multiframe
from .options import ReadOptions
from .planes import numbers


def read_dicom(path: Path, options: ReadOptions) -> Case:
    """Read one DICOM file: a single image, a cine frame, or an enhanced multi-frame volume.

    Rescale slope and intercept are applied, MONOCHROME1 is turned so that bright means bright, palettes and YBR become RGB. The
    first stored window is kept in ``Case.window``. The hash is that of the file.

    Args:
        path: The file.
        options: ``frame`` picks a frame of a multi-frame file, which then is an image; ``series`` one volume of several.

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
        dataset = parse(content, path.name, options.limits)
        count = frame_count(dataset, path.name, options.limits)
        source = Source(path.name, "dicom", sha256(content), made_by(dataset))
        del content
        in_groups = "PerFrameFunctionalGroupsSequence" in dataset
        if count > 1 and in_groups and options.frame is None and FrameHeader(dataset).is_placed:
            return read_multiframe([dataset], source, options)
        if options.series not in (None, 0, "0", str(dataset.get("SeriesInstanceUID"))):
            raise FormatError(f"series {options.series!r} of one image or frame, '{path.name}'", "no choice", "leave series out")
        index = options.pick(count, f"'{path.name}'")
        return _image_case(dataset, source, options, index, count)


def _image_case(dataset: Any, source: Source, options: ReadOptions, index: int, count: int) -> Case:
    header = FrameHeader(dataset, index)
    pixels, scale = frame_values(dataset, index)
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise ImageReadError(f"'{source.name}' decodes to shape {pixels.shape}", "one image")
    window = stored_window(header, scale) if pixels.ndim == 2 else None
    notes = (*display_notes(scale), *concatenation_notes(dataset))
    if count > 1:
        notes = (*notes, f"frame {index} of {count}")
    geometry, more = _image_geometry(header, source.name, (pixels.shape[1], pixels.shape[0]), options)
    if count > 1 or "PerFrameFunctionalGroupsSequence" in dataset:
        geometry = replace(geometry, header={"frames": (index,)})
    modality = options.modality or str(dataset.get("Modality") or "")
    return Case(np.ascontiguousarray(pixels), "image", geometry, modality, source, window, (*notes, *more))


def _image_geometry(
    header: FrameHeader, name: str, sizes: tuple[int, int], options: ReadOptions
) -> tuple[Geometry, tuple[str, ...]]:
    """Placement of a single image; what is stored but unusable is left out with a note."""
    affine, spacing = None, options.spacing_mm and options.spacing_mm[:2]
    notes: tuple[str, ...] = ()
    try:
        if header.is_placed:
            where = frame_plane(header, name)
            affine, spacing = where.affine(where.normal * (where.thickness_mm or 1.0)), where.spacing_mm
        else:
            for key in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
                if header.get(key):
                    rows, columns = (float(v) for v in numbers(header.get(key), 2, name, key))
                    if min(rows, columns) <= 0:
                        raise GeometryError(f"{key} is {rows:g} x {columns:g}", "positive numbers")
                    spacing, notes = (columns, rows), () if key == "PixelSpacing" else (f"spacing from {key} (at the detector)",)
                    break
    except (GeometryError, ValueError, TypeError) as error:
        notes = (f"position in the patient ignored: {error}",)
    return Geometry(sizes[::-1], sizes, (0, 1), (False, False), affine, spacing), notes
