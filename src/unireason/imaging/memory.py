"""Images in memory become Cases: what their saved file would give, without a file.

Nothing is imported to tell a kind of image: an object can only be of a package that its owner has loaded.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError
from unireason.types import PHANTOM, Case, Source

from .array import array_case, content
from .decode import decoding
from .options import ReadOptions

_NAME = Path("image")


def kind_of(image: Any) -> str:
    """ "array", "picture", "nifti" (any spatial image of nibabel) or "itk".

    Raises:
        ImageReadError: If it is no image that can be read.
    """
    if isinstance(image, np.ndarray):
        return "array"
    for kind, module, name in (
        ("picture", "PIL.Image", "Image"),
        ("nifti", "nibabel.spatialimages", "SpatialImage"),
        ("itk", "SimpleITK", "Image"),
    ):
        if module in sys.modules and isinstance(image, getattr(sys.modules[module], name)):
            return kind
    raise ImageReadError(
        f"an object of type {type(image).__name__} was to be read",
        "a path, a numpy array, or an image of Pillow, nibabel or SimpleITK",
        "save it to a file first",
    )


def read_object(image: Any, options: ReadOptions) -> Case:
    """Read an image in memory; the hash is that of its canonical pixels, their shape and type.

    Args:
        image: Of a kind that `kind_of` knows.
        options: As for a file of that kind.

    Returns:
        The Case that its saved file would give, but for the source.

    Raises:
        UniReasonError: As `unireason.imaging.read` would for the file.
    """
    kind = kind_of(image)
    with decoding(_NAME, "an image in memory"):
        case = {"array": _array, "picture": _picture, "nifti": _nibabel, "itk": _itk}[kind](image, options)
        return replace(case, source=replace(case.source, sha256=content(case.pixels)))


def _array(image: NDArray[Any], options: ReadOptions) -> Case:
    # A copy, as a file would be: the owner may fill the array anew.
    return array_case(np.array(image, order="K"), Source(_NAME.name, "array", ""), options)


def _picture(image: Any, options: ReadOptions) -> Case:
    from .picture import check_pixels, made_by, pillow_case

    check_pixels(image, _NAME.name, options)
    options.pick(1, "the picture")
    return pillow_case(image, Source(_NAME.name, "pillow", "", made_by(image)), options)


def _nibabel(image: Any, options: ReadOptions) -> Case:
    import nibabel

    from .nifti import fields_of, parsed, rescaled
    from .volume import nifti_case

    if not isinstance(image, nibabel.Nifti1Pair):  # Analyze, MGH and others in the words of NIfTI
        image = nibabel.Nifti1Image.from_image(image)
    fields = fields_of(image.header.binaryblock)
    if fields is None:
        raise ImageReadError("the image has no NIfTI header", "an image of nibabel that can be saved as NIfTI")
    values = image.dataobj
    if isinstance(values, nibabel.arrayproxy.ArrayProxy):  # on disk: stored values, rescaled as in reading the file
        header = parsed({**fields, "scl": (values.slope, values.inter)}, _NAME.name, options.limits)
        stored = np.asanyarray(values.get_unscaled())
    else:
        header = parsed({**fields, "scl": (1.0, 0.0)}, _NAME.name, options.limits)
        stored = np.array(np.asanyarray(values), order="K")
    frame = options.pick(header.frames, "the image (4-D)")
    volume = stored.reshape((*header.sizes, header.frames), order="F")[..., frame].transpose(2, 1, 0)
    real = rescaled(np.ascontiguousarray(volume).ravel(), header.scale).reshape(volume.shape)
    return nifti_case(header, real, Source(_NAME.name, "nibabel", "", header.made_by), options, frame)


def _itk(image: Any, options: ReadOptions) -> Case:
    from .volume import itk_case

    notes = "ITK_FileNotes"  # what it reads from, and writes to, the description of a NIfTI file
    marked = image.HasMetaDataKey(notes) and image.GetMetaData(notes) == PHANTOM
    return itk_case(image, Source(_NAME.name, "simpleitk", "", PHANTOM if marked else ""), options)
