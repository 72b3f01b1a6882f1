"""NIfTI, NRRD and MetaImage volumes, decoded by SimpleITK; nibabel where SimpleITK refuses a NIfTI; plain bytes by numpy.

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
from .nifti import NiftiHeader, read_header
from .options import ReadOptions
from .picture import picture_case
from .textheader import TextHeader, metaimage_header, nrrd_header


def read_nifti(path: Path, options: ReadOptions) -> Case:
    """Read ``.nii`` or ``.nii.gz``.

    The sform is used if it has a code, else the qform, else the axes are taken as LPS, as ITK does (nibabel would say LAS); a
    note tells. A sheared affine is kept as it is, with a note. The hash is that of the file on disk.

    Args:
        path: The file.
        options: ``frame`` picks a volume out of a 4-D file.

    Returns:
        A volume Case in real values (slope and intercept applied).

    Raises:
        ImageReadError: If the file is damaged, or holds colour or complex values.
        GeometryError: If the orientation is unusable.
        SizeLimitError: If it is too large; checked before decoding.
        FormatError: If it is 4-D and no frame was chosen.
    """
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise ImageReadError(f"'{path.name}' is NIfTI or gzip by content", "a name ending in .nii or .nii.gz", "rename it")
    header = read_header(path, options.limits)
    frame = options.pick(header.frames, f"'{path.name}' (4-D)")
    geometry = replace(volume_geometry(header.sizes, header.affine_lps), header=header.placement)
    digest = BackgroundHash(path)
    with decoding(path, "NIfTI"):
        if header.frames == 1:
            stored, notes = _nifti_values(path, header)
        else:
            stored, notes = _with_nibabel(path, header, frame), (f"frame {frame} of {header.frames}",)
    source = Source(path.name, "nifti", digest.hexdigest(), header.made_by)
    return _volume(stored, geometry, source, options, (*header.notes, *notes))


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


def _nifti_values(path: Path, header: NiftiHeader) -> tuple[NDArray[Any], tuple[str, ...]]:
    if header.plain is not None:
        # Nothing to unpack or to rescale: reading the bytes as they are takes half of SimpleITK's memory.
        values = np.fromfile(path, header.plain[0], int(np.prod(header.sizes)), offset=header.plain[1])
        values = values.astype(values.dtype.newbyteorder("="), copy=False).reshape(header.sizes[::-1])
        values.flags.writeable = False
        return values, ()
    if header.packed and path.with_suffix("").exists():
        # ITK would read the header of name.nii.gz and the values of its neighbour name.nii.
        return _with_nibabel(path, header, 0), ()
    try:
        stored = _shared(_image(path, "NiftiImageIO"))
        if stored.size == int(np.prod(header.sizes)):
            if header.packed:
                check_unpacked(path, (0, path.stat().st_size), header.prefix, stored, header.length)
            return stored.reshape(header.sizes[::-1]), ()
        refusal = f"it gave shape {stored.shape}"
    except RuntimeError as error:
        refusal = str(error)
    reason = "axes not at right angles" if "orthonormal" in refusal else "SimpleITK refused the file"
    return _with_nibabel(path, header, 0), (f"decoded by nibabel ({reason})",)


def _with_nibabel(path: Path, header: NiftiHeader, frame: int) -> NDArray[Any]:
    """Values of one frame, (k, j, i)."""
    import nibabel

    if header.packed:
        check_unpacked(path, (0, path.stat().st_size), b"", np.empty(0), header.length)
    proxy = nibabel.load(path).dataobj
    place = np.unravel_index(frame, proxy.shape[3:], order="F") if len(proxy.shape) > 3 else ()
    values = np.asanyarray(proxy[(..., *(int(n) for n in place))] if place else proxy)
    stored: NDArray[Any] = values.reshape(header.sizes, order="F").transpose(2, 1, 0)
    return stored


def _read_itk(path: Path, kind: str, header: TextHeader, options: ReadOptions) -> Case:
    io = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}[kind]
    digests = [BackgroundHash(file) for file in dict.fromkeys((path, header.data))]
    frame = options.pick(header.sizes[3] if len(header.sizes) == 4 else 1, f"'{path.name}' (4-D)")
    with decoding(path, "NRRD" if kind == "nrrd" else "MetaImage"):
        image = _image(path, io)
        stored = _shared(image)
        if header.packed is not None:
            check_unpacked(header.data, header.packed, b"", stored, header.length)
    if image.GetNumberOfComponentsPerPixel() != 1 or stored.shape != header.sizes[::-1]:
        raise ImageReadError(
            f"'{path.name}' holds an array of shape {stored.shape} with {image.GetNumberOfComponentsPerPixel()} values a voxel",
            "one value a voxel",
            "save one channel",
        )
    sums = [digest.hexdigest() for digest in digests]
    source = Source(path.name, kind, sums[0] if len(sums) == 1 else sha256_of_files(sums))
    if len(header.sizes) == 2:
        return _flat(image, stored, source, options)
    notes = header.notes
    if len(header.sizes) == 4:
        stored, notes = stored[frame], (*notes, f"frame {frame} of {header.sizes[3]}")
    return _volume(stored, volume_geometry(header.sizes[:3], _itk_affine(image)), source, options, notes)


def _flat(image: Any, stored: NDArray[Any], source: Source, options: ReadOptions) -> Case:
    case = picture_case(stored, source, options)
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
    if stored.dtype.kind not in "buif":
        raise ImageReadError(f"'{source.name}' holds values of type {stored.dtype}", "real numbers")
    return Case(to_canonical(stored, geometry), "volume", geometry, options.modality or "", source, None, notes)
