"""NIfTI, NRRD and MetaImage volumes; the latter two are decoded by SimpleITK.

Headers are judged first (`nifti`, `textheader`), because native decoders trust them. Pixels stay in the decoder's memory: the
canonical array is a permuted and flipped, read-only view of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError
from unireason.types import Case, Geometry, Source

from .decode import BackgroundHash, check_unpacked, decoding, sha256_of_files
from .geometry import to_canonical, volume_geometry
from .nifti import NiftiHeader, read_header, read_values
from .options import ReadOptions
from .picture import picture_case
from .textheader import TextHeader, metaimage_header, nrrd_header


def read_nifti(path: Path, options: ReadOptions) -> Case:
    """Read NIfTI: a single file or a pair of ``.hdr`` and ``.img``, packed or not, whatever its name.

    The sform is used if it has a code, else the qform, else the axes are taken as LPS, as ITK does (nibabel would say LAS); a
    note tells. A sheared affine is kept as it is, with a note. The hash is that of the file on disk.

    Args:
        path: The file; of a pair either one.
        options: ``frame`` picks a volume out of a 4-D file.

    Returns:
        A volume Case in real values (slope and intercept applied).

    Raises:
        ImageReadError: If the file is damaged, or holds colour or complex values.
        GeometryError: If the orientation is unusable.
        SizeLimitError: If it is too large; checked before memory is taken.
        FormatError: If it is 4-D and no frame was chosen.
    """
    header = read_header(path, options.limits)
    frame = options.pick(header.frames, f"'{path.name}' (4-D)")
    digests = [BackgroundHash(file) for file in header.files]
    with decoding(path, "NIfTI"):
        stored = read_values(header, frame)
    sums = [digest.hexdigest() for digest in digests]
    source = Source(path.name, "nifti", sums[0] if len(sums) == 1 else sha256_of_files(sums), header.made_by)
    return nifti_case(header, stored, source, options, frame)


def nifti_case(header: NiftiHeader, stored: NDArray[Any], source: Source, options: ReadOptions, frame: int) -> Case:
    """The Case of a header and the (k, j, i) values of one of its frames."""
    notes = header.notes if header.frames == 1 else (*header.notes, f"frame {frame} of {header.frames}")
    geometry = replace(volume_geometry(header.sizes, header.affine_lps), header=header.placement)
    return _volume(stored, geometry, source, options, notes)


def read_nrrd(path: Path, options: ReadOptions) -> Case:
    """Read ``.nrrd``, or ``.nhdr`` with its data beside it.

    Args:
        path: The file that starts with the header.
        options: ``frame`` picks a volume out of a 4-D file.

    Returns:
        A volume Case, or an image Case (without an affine) for two axes.

    Raises:
        ImageReadError: If the file is damaged or uses what is not supported.
        GeometryError: If the orientation is unusable.
        SizeLimitError: If it is too large; checked before decoding.
        FormatError: If it is 4-D and no frame was chosen.
    """
    return _read_itk(path, "nrrd", nrrd_header(path, options.limits), options)


def read_metaimage(path: Path, options: ReadOptions) -> Case:
    """Read ``.mha``, or ``.mhd`` with its data beside it.

    Args:
        path: The file that starts with the header.
        options: ``frame`` picks a volume out of a 4-D file.

    Returns:
        A volume Case, or an image Case (without an affine) for two axes.

    Raises:
        ImageReadError: If the file is damaged or uses what is not supported.
        GeometryError: If the orientation is unusable.
        SizeLimitError: If it is too large; checked before decoding.
        FormatError: If it is 4-D and no frame was chosen.
    """
    return _read_itk(path, "metaimage", metaimage_header(path, options.limits), options)


class _ItkMemory:
    """Lets an array share the memory of a SimpleITK image and keeps the image alive as long as the array.

    An array view alone does not hold its image: reading it after the image is gone crashes the process.
    """

    def __init__(self, image: Any, view: NDArray[Any]) -> None:
        self._image = image
        self.__array_interface__ = {**view.__array_interface__, "data": (view.__array_interface__["data"][0], True)}


def _shared(image: Any) -> NDArray[Any]:
    import SimpleITK

    return np.asarray(_ItkMemory(image, SimpleITK.GetArrayViewFromImage(image)))


def _image(path: Path, kind: str) -> Any:
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(kind)
    reader.SetFileName(str(path))
    return reader.Execute()


def _read_itk(path: Path, kind: str, header: TextHeader, options: ReadOptions) -> Case:
    io = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}[kind]
    digests = [BackgroundHash(file) for file in dict.fromkeys((path, header.data))]
    count = 1 if header.listed is None else header.sizes[header.listed]
    frame = options.pick(count, f"'{path.name}' ({len(header.sizes)}-D)")
    with decoding(path, "NRRD" if kind == "nrrd" else "MetaImage"):
        image = _image(path, io)
        stored = _shared(image)
        if header.packed is not None:
            check_unpacked(header.data, header.packed, stored, header.length)
    # ITK takes an axis that is a list for the values of one voxel, which come first in the file and last in the array.
    sizes = [n for axis, n in enumerate(header.sizes) if axis != header.listed]
    values = image.GetNumberOfComponentsPerPixel()
    layered = values == count and stored.shape == (*sizes[::-1], *((count,) if count > 1 else ()))
    stacked = values == 1 and header.listed == 3 and stored.shape == header.sizes[::-1]
    if not layered and not stacked:
        raise ImageReadError(
            f"'{path.name}' holds an array of shape {stored.shape} with {values} values a voxel",
            f"{count} of sizes {sizes}",
            "save one channel or one volume",
        )
    if count > 1:
        stored = stored[..., frame] if layered else stored[frame]
    elif stacked:
        stored = stored.reshape(sizes[::-1])
    sums = [digest.hexdigest() for digest in digests]
    source = Source(path.name, kind, sums[0] if len(sums) == 1 else sha256_of_files(sums))
    return _placed(image, stored, source, options, header.notes, frame, count)


def itk_case(image: Any, source: Source, options: ReadOptions) -> Case:
    """The Case of a SimpleITK image in memory, its values copied.

    Raises:
        ImageReadError: If it holds several values a voxel, or others than real numbers.
        SizeLimitError: If it is too large.
        FormatError: If it is 4-D and no frame was chosen.
    """
    import SimpleITK

    sizes = image.GetSize()
    options.limits.check("max_voxels", int(np.prod(sizes, dtype=object)), f"'{source.name}' ({' x '.join(map(str, sizes))})")
    if image.GetNumberOfComponentsPerPixel() != 1 or not 2 <= len(sizes) <= 4:
        raise ImageReadError(
            f"'{source.name}' has {len(sizes)} axes and {image.GetNumberOfComponentsPerPixel()} values a voxel",
            "2 to 4 axes and one value",
            "choose one channel, e.g. with SimpleITK.VectorIndexSelectionCast",
        )
    count = sizes[3] if len(sizes) == 4 else 1
    frame = options.pick(count, f"'{source.name}' (4-D)")
    stored = SimpleITK.GetArrayFromImage(image)
    return _placed(image, stored[frame] if len(sizes) == 4 else stored, source, options, (), frame, count)


def _placed(
    image: Any, stored: NDArray[Any], source: Source, options: ReadOptions, notes: tuple[str, ...], frame: int, count: int
) -> Case:
    """The Case of one frame of a SimpleITK image: a volume, or an image if it is flat."""
    if stored.dtype.kind not in "buif":
        raise ImageReadError(f"'{source.name}' holds values of type {stored.dtype}", "real numbers")
    notes = notes if count == 1 else (*notes, f"frame {frame} of {count}")
    if stored.ndim == 3:
        return _volume(stored, volume_geometry(stored.shape[::-1], _itk_affine(image)), source, options, notes)
    case = picture_case(stored, source, options, notes=notes)
    steps = options.spacing_mm[:2] if options.spacing_mm else tuple(float(s) for s in image.GetSpacing())
    placement = {"origin": tuple(image.GetOrigin()), "direction": tuple(image.GetDirection())}
    return replace(case, geometry=replace(case.geometry, spacing_mm=steps, header=placement))


def _itk_affine(image: Any) -> NDArray[np.float64]:
    """(4, 4) index to LPS millimetres of the first three axes."""
    n = image.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (n, n)) * np.array(image.GetSpacing()))[:3, :3]
    affine[:3, 3] = image.GetOrigin()[:3]
    return affine


def _volume(stored: NDArray[Any], geometry: Geometry, source: Source, options: ReadOptions, notes: tuple[str, ...]) -> Case:
    return Case(to_canonical(stored, geometry), "volume", geometry, options.modality or "", source, None, notes)
