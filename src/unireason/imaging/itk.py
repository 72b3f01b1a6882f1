"""NIfTI, NRRD and MetaImage volumes; the latter two are decoded by SimpleITK.

Headers are judged first (`nifti`, `textheader`), because native decoders trust them. Pixels stay in the decoder's memory: the
canonical array is a permuted and flipped, read-only view of it.

Source: NRRD file format definition (teem.sourceforge.net/nrrd/format.html); MetaIO documentation (ITK).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import GeometryError, ImageReadError
from unireason.core.types import Case, Geometry, Source

from .geometry import to_canonical, volume_geometry
from .nifti import NiftiHeader, read_header, read_values
from .raster import picture_case
from .reader import BackgroundHash, Limits, ReadOptions, check_unpacked, decoding, file_size, sha256_of_files

_LONGEST = 2**16  # bytes of header looked at
_DEFLATE_LIMIT = 1032
_UNPLACED = ("no orientation in the header: axes taken as LPS",)
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t", "double"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
}
# Kinds of an axis that runs through space or time; an unknown one counts as such.
_SPATIAL = ("domain", "space", "time", "???", "none")
_META_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}


@dataclass(frozen=True, slots=True)
class TextHeader:
    """What matters of a header."""

    sizes: tuple[int, ...]
    data: Path
    notes: tuple[str, ...]
    packed: tuple[int, int] | None
    length: int
    listed: int | None = None


def nrrd_header(path: Path, limits: Limits) -> TextHeader:
    """Read and judge a NRRD header, attached (``.nrrd``) or detached (``.nhdr``)."""
    raw, ended = _head(path, limits), False
    fields: dict[str, str] = {}
    offset = 0
    for line in raw.split(b"\n"):
        offset += len(line) + 1
        text = _text(line.rstrip(b"\r"), path.name)
        if text == "":
            ended = True
            break
        key, colon, value = text.partition(":")
        if colon and not value.startswith("=") and not text.startswith("#"):
            fields[key.strip().lower().replace(" ", "")] = value.strip()
    if not ended and "datafile" not in fields:
        raise ImageReadError(f"'{path.name}' has a NRRD header without an end", "a blank line behind it")
    dimension = _integers(fields.get("dimension", ""), path.name, "dimension", 1)[0]
    sizes = _sizes(_integers(fields.get("sizes", ""), path.name, "sizes", dimension), path.name, limits)
    listed = _nrrd_list(fields, path.name, dimension)
    each = _NRRD_BYTES.get(fields.get("type", "").lower())
    encoding = fields.get("encoding", "").lower()
    if each is None or encoding not in ("raw", "gzip", "gz"):
        raise ImageReadError(
            f"'{path.name}' has type {fields.get('type')!r} and encoding {encoding!r}",
            "plain numbers, raw or gzip",
            "save it again as such",
        )
    for skip in ("lineskip", "byteskip", "blocksize"):
        if fields.get(skip, "0") != "0":
            raise ImageReadError(f"'{path.name}' uses '{skip}'", "data that follow the header at once", "save it again")
    _nrrd_directions(fields, path.name, dimension, listed)
    data = _neighbour(path, fields["datafile"]) if "datafile" in fields else path
    start = offset if data == path else 0
    end = file_size(data, limits)
    packed = (start, end) if encoding != "raw" else None
    length = _check_length(path.name, sizes, each, end - start, packed is not None, limits)
    placed = ("spacedirections" in fields and "space" in fields) or dimension - (listed is not None) == 2
    return TextHeader(sizes, data, () if placed else _UNPLACED, packed, length, listed)


def metaimage_header(path: Path, limits: Limits) -> TextHeader:
    """Read and judge a MetaImage header, attached (``.mha``) or detached (``.mhd``)."""
    raw, fields, offset = _head(path, limits), dict[str, str](), 0
    for line in raw.split(b"\n"):
        offset += len(line) + 1
        key, equals, value = _text(line.rstrip(b"\r"), path.name).partition("=")
        if not equals:
            raise ImageReadError(f"'{path.name}' has a MetaImage header with the line {key[:60]!r}", "lines of 'Key = Value'")
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    dimension = _integers(fields.get("ndims", ""), path.name, "NDims", 1)[0]
    sizes = _sizes(_integers(fields.get("dimsize", ""), path.name, "DimSize", dimension), path.name, limits)
    each = _META_BYTES.get(fields.get("elementtype", ""))
    plain = fields.get("elementnumberofchannels", "1") == "1" and fields.get("binarydata", "true").lower() == "true"
    if each is None or not plain or fields.get("headersize", "0") not in ("0", "-1"):
        raise ImageReadError(
            f"'{path.name}' has element type {fields.get('elementtype')!r}",
            "one plain binary number a voxel, right behind the header",
            "save it again as a scalar image",
        )
    _meta_directions(fields, path.name, dimension)
    name = fields.get("elementdatafile", "")
    data = path if name.upper() == "LOCAL" else _neighbour(path, name)
    start = offset if data == path else 0
    end, packed = file_size(data, limits), None
    if fields.get("compresseddata", "false").lower() == "true":
        stream = _integers(fields.get("compresseddatasize", ""), path.name, "CompressedDataSize", 1)[0]
        if not 0 < stream <= end - start:
            raise ImageReadError(f"'{path.name}' is shorter than its compressed data", "", "copy or download it again")
        packed = (start, start + stream)
    length = _check_length(path.name, sizes, each, end - start, packed is not None, limits)
    placed = {"transformmatrix", "rotation", "orientation"} & set(fields) or dimension == 2
    return TextHeader(sizes, data, () if placed else _UNPLACED, packed, length, 3 if dimension == 4 else None)


def _head(path: Path, limits: Limits) -> bytes:
    file_size(path, limits)
    with path.open("rb") as file:
        return file.read(_LONGEST)


def _text(line: bytes, name: str) -> str:
    if len(line) > 4096 or any(byte < 32 and byte != 9 for byte in line):
        raise ImageReadError(f"'{name}' has binary data in its text header", "", "copy or download it again")
    return line.decode("latin-1").strip()


def _integers(text: str, name: str, what: str, count: int) -> tuple[int, ...]:
    parts = text.split()
    if len(parts) != count or not all(re.fullmatch(r"\d{1,18}", part) for part in parts):
        raise ImageReadError(f"'{name}' has {what} {text[:60]!r}", f"{count} whole numbers")
    return tuple(int(part) for part in parts)


def _sizes(sizes: tuple[int, ...], name: str, limits: Limits) -> tuple[int, ...]:
    if not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise ImageReadError(f"'{name}' has sizes {list(sizes)}", "2 to 4 axes of at least 1")
    limits.check("max_voxels", int(np.prod(sizes, dtype=object)), f"'{name}' ({' x '.join(map(str, sizes))})")
    return sizes


def _check_length(name: str, sizes: tuple[int, ...], each: int, available: int, packed: bool, limits: Limits) -> int:
    """Bytes of the values, once it is clear that the data can hold them."""
    payload = int(np.prod(sizes, dtype=object)) * each
    if payload > available * (_DEFLATE_LIMIT if packed else 1):
        raise ImageReadError(
            f"'{name}' is too short for the {payload:,} bytes that its header declares", "", "copy or download it again"
        )
    if packed:
        limits.check("max_unpacked_bytes", payload, f"'{name}'")
    return payload


def _neighbour(path: Path, name: str) -> Path:
    """A data file named by a header: a plain name in the same folder, so that no header can reach anything else."""
    if not name or name != Path(name).name or "%" in name or " " in name or name.upper().startswith("LIST"):
        raise ImageReadError(
            f"'{path.name}' takes its data from {name[:60]!r}", "one file in the same folder", "save it in one file"
        )
    return path.parent / name


def _nrrd_list(fields: dict[str, str], name: str, dimension: int) -> int | None:
    """The axis that counts values of one voxel (layers of a segmentation, components) or volumes; None if there is none."""
    kinds = re.findall(r"\S+", fields.get("kinds", "").lower())
    if kinds and len(kinds) != dimension:
        raise ImageReadError(f"'{name}' has kinds {fields['kinds'][:60]!r}", f"{dimension} of them", "repair the header")
    if any("color" in kind or kind.startswith("complex") for kind in kinds):
        raise ImageReadError(f"'{name}' holds colour or complex values", "one value a voxel", "save one channel")
    listed = {axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL}
    vectors = re.findall(r"\([^()]*\)|none", fields.get("spacedirections", ""))
    bare = {axis for axis, vector in enumerate(vectors) if vector == "none"}
    if bare - listed:
        line = " ".join("list" if axis in bare else "domain" for axis in range(dimension))
        raise ImageReadError(
            f"'{name}' has an axis without a direction that is called a part of space or time",
            "a list",
            f"write 'kinds: {line}' into the header if that is what it is, or save each volume alone",
        )
    if not listed and dimension == 4:
        listed = {kinds.index("time") if "time" in kinds else 3}
    if len(listed) > 1:
        raise ImageReadError(f"'{name}' has {len(listed)} axes that are not in space", "at most one", "save one volume")
    return listed.pop() if listed else None


def _nrrd_directions(fields: dict[str, str], name: str, dimension: int, listed: int | None) -> None:
    text = fields.get("spacedirections", "")
    vectors = re.findall(r"\(([^()]*)\)|\bnone\b", text)
    origin = re.findall(r"\(([^()]*)\)", fields.get("spaceorigin", ""))
    if text and len(vectors) != dimension:
        raise GeometryError(f"'{name}' has space directions {text[:80]!r}", f"{dimension} vectors", "repair the header")
    filled = [vector for vector in [*vectors, *origin] if vector]
    if not all(_finite(vector.split(",")) for vector in filled):
        raise GeometryError(f"'{name}' has directions that are not finite numbers", "", "repair the header")
    # One axis without a direction is a list of frames; its neighbours keep theirs.
    if text and len([v for v in vectors if v]) < min(dimension - (listed is not None), 3):
        raise GeometryError(f"'{name}' leaves the direction of a spatial axis open", "", "repair the header")
    if "spacings" in fields and not _finite(fields["spacings"].split()):
        raise GeometryError(f"'{name}' has spacings {fields['spacings'][:60]!r}", "positive numbers", "repair the header")


def _meta_directions(fields: dict[str, str], name: str, dimension: int) -> None:
    counts = {
        **dict.fromkeys(("transformmatrix", "rotation", "orientation"), dimension**2),
        **dict.fromkeys(("offset", "position", "origin", "elementspacing", "elementsize"), dimension),
    }
    for key, count in counts.items():
        parts = fields.get(key, "").split()
        if parts and (len(parts) != count or not _finite(parts)):
            raise GeometryError(f"'{name}' has {key} {fields[key][:60]!r}", f"{count} finite numbers", "repair the header")


def _finite(parts: list[str]) -> bool:
    try:
        return bool(np.isfinite([float(part) for part in parts]).all())
    except ValueError:
        return False


# --- NIfTI, NRRD and MetaImage volumes; the latter two are decoded by SimpleITK.


def read_nifti(path: Path, options: ReadOptions) -> Case:
    """Read NIfTI: a single file or a pair of ``.hdr`` and ``.img``, packed or not, whatever its name."""
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
    """Read ``.nrrd``, or ``.nhdr`` with its data beside it."""
    return _read_itk(path, "nrrd", nrrd_header(path, options.limits), options)


def read_metaimage(path: Path, options: ReadOptions) -> Case:
    """Read ``.mha``, or ``.mhd`` with its data beside it."""
    return _read_itk(path, "metaimage", metaimage_header(path, options.limits), options)


class _ItkMemory:
    """Lets an array share the memory of a SimpleITK image and keeps the image alive as long as the array."""

    def __init__(self, image: Any, view: NDArray[Any]) -> None:
        self._image = image
        self.__array_interface__ = {**view.__array_interface__, "data": (view.__array_interface__["data"][0], True)}


def _read_itk(path: Path, kind: str, header: TextHeader, options: ReadOptions) -> Case:
    import SimpleITK

    digests = [BackgroundHash(file) for file in dict.fromkeys((path, header.data))]
    count = 1 if header.listed is None else header.sizes[header.listed]
    frame = options.pick(count, f"'{path.name}' ({len(header.sizes)}-D)")
    with decoding(path, "NRRD" if kind == "nrrd" else "MetaImage"):
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
        reader = SimpleITK.ImageFileReader()
        reader.SetImageIO("NrrdImageIO" if kind == "nrrd" else "MetaImageIO")
        reader.SetFileName(str(path))
        image = reader.Execute()
        stored = np.asarray(_ItkMemory(image, SimpleITK.GetArrayViewFromImage(image)))
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
    """The Case of a SimpleITK image in memory, its values copied."""
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
        n = image.GetDimension()
        affine = np.eye(4)  # of the first three axes
        affine[:3, :3] = (np.reshape(image.GetDirection(), (n, n)) * np.array(image.GetSpacing()))[:3, :3]
        affine[:3, 3] = image.GetOrigin()[:3]
        return _volume(stored, volume_geometry(stored.shape[::-1], affine), source, options, notes)
    case = picture_case(stored, source, options, notes=notes)
    steps = options.spacing_mm[:2] if options.spacing_mm else tuple(float(s) for s in image.GetSpacing())
    placement = {"origin": tuple(image.GetOrigin()), "direction": tuple(image.GetDirection())}
    return replace(case, geometry=replace(case.geometry, spacing_mm=steps, header=placement))


def _volume(stored: NDArray[Any], geometry: Geometry, source: Source, options: ReadOptions, notes: tuple[str, ...]) -> Case:
    return Case(to_canonical(stored, geometry), "volume", geometry, options.modality or "", source, None, notes)
