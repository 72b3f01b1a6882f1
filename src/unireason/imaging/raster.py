"""PNG, JPEG, TIFF and BMP through Pillow: ordinary pictures without a place in the patient."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from unireason.core.errors import FormatError, ImageReadError
from unireason.core.types import PHANTOM, Case, Geometry, Source

from .geometry import to_canonical, to_source, volume_geometry
from .reader import ReadOptions, decoding, file_bytes, sha256

if TYPE_CHECKING:
    from PIL.Image import Image

_Found = TypeVar("_Found")

_ORIENTATION_TAG = 0x0112
# Tags and one value of TIFF 6.0.
_BITS, _PHOTOMETRIC, _PLANES, _TILE_WIDTH, _TILE_LENGTH, _SAMPLE_FORMAT = 258, 262, 284, 322, 323, 339
_WHITE_IS_ZERO = 0
_FEW_BITS = re.compile(r"'L;([24])(?!\d)")  # how Pillow calls greys of a few bits
_BOUND = threading.Lock()  # Pillow's bound is one for the whole process
_BAND = 2**20  # pixels taken over at once
# EXIF orientation to (order, flips) of the shown picture; 1 is upright. Source: Exif 2.32, table 6, tag 274.
_TURNS: dict[int, tuple[tuple[int, int], tuple[bool, bool]]] = {
    1: ((0, 1), (False, False)),
    2: ((0, 1), (True, False)),
    3: ((0, 1), (True, True)),
    4: ((0, 1), (False, True)),
    5: ((1, 0), (False, False)),
    6: ((1, 0), (True, False)),
    7: ((1, 0), (True, True)),
    8: ((1, 0), (False, True)),
}


def read_picture(path: Path, options: ReadOptions) -> Case:
    """Read a picture as it is meant to be shown."""
    return _read(path, options, pillow_case)


def read_stored(path: Path, options: ReadOptions) -> Case | None:
    """Read the values that a picture stores where showing it would change them; None for any other picture.

    These are the indices of a palette and greys of 1, 2 or 4 bits, which are spread over 0 to 255 to be shown. Turned like the
    picture that is shown.
    """

    def case(picture: Image, source: Source, options: ReadOptions, notes: tuple[str, ...]) -> Case | None:
        few = _FEW_BITS.search(_tiles(picture)) if picture.mode == "L" else None
        if picture.mode not in ("P", "1") and not few:
            return None
        found = pillow_case(picture, source, options, notes, stored=True)
        step = 255 // (2 ** int(few[1]) - 1) if few else 1
        return replace(found, pixels=found.pixels.astype(np.uint8) // step)

    return _read(path, options, case)


def _read(path: Path, options: ReadOptions, case: Callable[[Image, Source, ReadOptions, tuple[str, ...]], _Found]) -> _Found:
    from PIL import Image

    content = file_bytes(path, options.limits)
    with decoding(path, "a picture"):
        with _BOUND:  # Pillow's own bound on pixels is set aside: ours is checked next, and its advice can be followed
            bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                picture = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF", "BMP"))
            finally:
                Image.MAX_IMAGE_PIXELS = bound
        with picture:
            check_pixels(picture, path.name, options)
            frames = getattr(picture, "n_frames", 1)
            count = frames if picture.format == "TIFF" else 1
            page = options.pick(count, f"'{path.name}'")
            notes: tuple[str, ...] = ("animated: the first frame was taken",) if frames > count else ()
            if count > 1:
                picture.seek(page)
                check_pixels(picture, path.name, options)
                notes = (f"page {page} of {count}",)
            kind = "jpeg" if picture.format == "MPO" else (picture.format or "picture").lower()  # MPO: several JPEG in one
            return case(picture, Source(path.name, kind, sha256(content), made_by(picture)), options, notes)


def made_by(picture: Image) -> str:
    """``Source.made_by`` of a picture."""
    return PHANTOM if picture.info.get("Source") == PHANTOM else ""


def pillow_case(
    picture: Image, source: Source, options: ReadOptions, notes: tuple[str, ...] = (), *, stored: bool = False
) -> Case:
    """A Case of an open Pillow picture, as it is meant to be shown, or ``stored``: values as they are, such as indices of a palette.

    The picture is not closed here; Pillow's own errors for damaged pictures pass through.
    """
    tiles = _tiles(picture)  # gone once the picture is loaded, as looking for EXIF in a PNG does
    turn = picture.getexif().get(_ORIENTATION_TAG, 1)
    if picture.mode in ("RGB", "RGBA", "LA", "CMYK") and ";16" in tiles:
        notes = (*notes, "colour of 16 bits was reduced to 8")
    # Pillow hands values that libtiff has put into the order of the machine to an unpacker for the order of the file.
    swapped = "libtiff" in tiles and any(mode in tiles for mode in ("'F;32BF'", "'I;32BS'", "'I;16BS'"))
    picture.load()
    order, flips = _TURNS.get(turn, _TURNS[1])
    # Pillow turns a TIFF while it loads it, and no other kind.
    turned = turn in _TURNS and picture.getexif().get(_ORIENTATION_TAG, 1) != turn
    look, note = (None, "") if stored else _look(picture, options.alpha)
    pixels = _copied(picture, look, order, flips, turned=turned)
    if look is None and picture.mode.startswith(("I", "F", "L")):
        pixels, note = _grey(pixels, picture, swapped=swapped)
    return picture_case(pixels, source, options, turn, (*notes, note) if note else notes)


def picture_case(stored: NDArray[Any], source: Source, options: ReadOptions, turn: int = 1, notes: tuple[str, ...] = ()) -> Case:
    """A Case without an affine around bare image pixels (y, x) or (y, x, 3) in file order; ``turn`` is their EXIF orientation."""
    if stored.size == 0:
        raise ImageReadError(f"'{source.name}' has no pixels", "at least one")
    order, flips = _TURNS.get(turn, _TURNS[1])
    sizes = (stored.shape[1], stored.shape[0])
    shape = (sizes[order[1]], sizes[order[0]])
    geometry = Geometry(shape, sizes, order, flips, None, None if options.spacing_mm is None else options.spacing_mm[:2])
    if turn in _TURNS and turn != 1:
        notes = (*notes, f"shown turned by EXIF orientation {turn}; box_voxel counts stored pixels")
    pixels = np.ascontiguousarray(to_canonical(stored, geometry))
    return Case(pixels, "image", geometry, options.modality or "", source, None, notes)


def check_pixels(picture: Image, name: str, options: ReadOptions) -> None:
    """Refuse a picture that is too large, or whose values Pillow would read wrongly, before it is decoded."""
    options.limits.check("max_pixels", picture.width * picture.height, f"'{name}' ({picture.width} x {picture.height})")
    tags = getattr(picture, "tag_v2", {})
    if _TILE_WIDTH in tags and _TILE_LENGTH in tags:  # a decoder takes memory for a whole tile, however small the picture
        width, height = int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH])
        options.limits.check("max_pixels", width * height, f"a tile of '{name}' ({width} x {height})")
    if tags.get(_PLANES) == 2 and max(np.ravel(tags.get(_BITS, 1))) > 8:
        raise ImageReadError(f"'{name}' holds each colour of 16 bits as a plane", "colours pixel by pixel", "save it as such")


def _tiles(picture: Image) -> str:
    """How the pixels of a picture that is not loaded are stored, in Pillow's words."""
    return str(getattr(picture, "tile", ""))


def _look(picture: Image, alpha: str) -> tuple[Callable[[Image], Image] | None, str]:
    """What makes grey or RGB out of a piece of the picture, None if it is that already, and a note on what is lost."""
    mode = picture.mode
    if mode == "1":
        return lambda band: band.convert("L"), ""
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or ("transparency" in picture.info and not mode.startswith(("I", "F"))):
        if alpha == "drop":
            return lambda band: band.convert("RGB"), "transparency was dropped"

        def on_black(band: Image) -> Image:
            from PIL import Image

            layer = band.convert("RGBA")
            flat = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
            return flat.convert("L" if band.mode in ("LA", "La", "L") else "RGB")

        return on_black, "transparency was laid on black"
    if mode.startswith(("I", "F")) or mode in ("L", "RGB"):
        return None, ""
    return lambda band: band.convert("RGB"), ""


def _copied(
    picture: Image, look: Callable[[Image], Image] | None, order: tuple[int, int], flips: tuple[bool, bool], *, turned: bool
) -> NDArray[Any]:
    """The pixels after ``look`` in file order, laid into memory as they are shown."""
    width, height = picture.size
    rows = max(1, _BAND // max(1, width))
    stored: NDArray[Any] = np.empty((0, 0), np.uint8)
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(height, top + rows)))
        part = np.asarray(look(band) if look else band)
        if top == 0:
            sizes = (height, width) if turned or order == (0, 1) else (width, height)
            shown = np.empty((*sizes, *part.shape[2:]), part.dtype.newbyteorder("="))
            stored = to_source(shown, Geometry(sizes, sizes[::-1], order, flips))
        (shown if turned else stored)[top : top + len(part)] = part
    return stored


def _grey(values: NDArray[Any], picture: Image, *, swapped: bool) -> tuple[NDArray[Any], str]:
    """Grey values with the sign, byte order and direction that a TIFF tells and Pillow leaves out; a note."""
    tags = getattr(picture, "tag_v2", {})
    bits, kind = (int(np.ravel(tags.get(tag, default))[0]) for tag, default in ((_BITS, 0), (_SAMPLE_FORMAT, 1)))
    if picture.mode.startswith("I;16"):
        values = values.astype(np.uint16, copy=False)
    elif (picture.mode, bits, kind) == ("L", 8, 2):
        values = values.view(np.int8)
    elif (picture.mode, bits, kind) == ("I", 32, 1):
        values = values.view(np.uint32)
    elif (picture.mode, bits, kind) == ("I", 16, 2):
        values = values.astype(np.int16)
    if swapped:
        values = values.byteswap()
    if values.dtype in (np.int32, np.uint32) and values.size and 0 <= values.min() <= values.max() < 2**16:
        values = values.astype(np.uint16)
    if tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO or picture.mode == "L":  # 8 bits and fewer are turned by Pillow
        return values, ""
    if values.dtype.kind == "f":
        return -values, "white is zero: values were negated so that high is bright"
    return np.iinfo(np.uint16).max - values, ""


# --- Bare numpy arrays: npy, and npz holding one array. Pickled objects are never loaded.


_VOLUME, _PLANE, _COLOUR = "zyx", "yx", "cyx"
_CHUNK = 2**20


def content(*arrays: NDArray[Any]) -> str:
    """SHA-256 of what arrays hold, with their shapes and types: what was made of pictures is found again by this.

    Where an array lies says nothing: its owner may fill it again, and memory that was given back holds the next one.
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def read_array(path: Path, options: ReadOptions) -> Case:
    """Read an array as an image or a volume; see `array_case` for what its axes mean. The hash is that of the file."""
    content = file_bytes(path, options.limits)
    with decoding(path, "a numpy array"):
        packed = content.startswith(b"PK")
        stored = _from_zip(content, path.name, options) if packed else _from_bytes(content, path.name, options)
    return array_case(stored, Source(path.name, "npz" if packed else "npy", sha256(content)), options)


def array_case(stored: NDArray[Any], source: Source, options: ReadOptions) -> Case:
    """A Case around a bare array."""
    _check(stored.dtype, stored.shape, source.name, options)
    if stored.dtype.kind == "b" or stored.dtype == np.float16:
        stored = stored.astype(np.uint8 if stored.dtype.kind == "b" else np.float32)
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    options.pick(1, f"'{source.name}'")
    channel = stored.ndim == 4 and stored.shape[0] == 1
    stored = stored[0] if channel else stored
    axes = _axes(stored, options.axes)
    if "z" not in axes:
        if options.affine_lps is not None:
            raise FormatError("affine_lps was given for an image", "a volume", "leave the option out")
        upright = stored.transpose([axes.index(letter) for letter in ("yxc" if "c" in axes else "yx")])
        if axes.replace("c", "") == "xy":
            # Swapping x and y is the same turn as EXIF orientation 5, so the file's own order survives in the geometry.
            return picture_case(upright.swapaxes(0, 1), source, options, 5, ())
        return picture_case(upright, source, options)
    order = tuple(2 - axes.index(letter) for letter in "xyz")
    sizes = tuple(reversed(stored.shape))
    spacing = options.spacing_mm
    if spacing is not None and len(spacing) != 3:
        raise FormatError(f"spacing_mm has {len(spacing)} numbers", "three for a volume: x, y, z")
    if options.affine_lps is None:
        geometry = Geometry(tuple(sizes[axis] for axis in reversed(order)), sizes, order, (False, False, False), None, spacing)
        notes = () if options.axes else ("axes taken as Z, Y, X",)
    else:
        affine = np.eye(4)
        affine[:, [*order, 3]] = options.affine_lps
        geometry, notes = volume_geometry(sizes, affine), ()
    notes = (*notes, "a channel axis of one dropped") if channel else notes
    return Case(to_canonical(stored, geometry), "volume", geometry, options.modality or "", source, None, notes)


def _axes(stored: NDArray[Any], asked: str | None) -> str:
    axes = (asked or {2: "yx", 3: "zyx"}.get(stored.ndim, "")).lower()
    if sorted(axes) not in (sorted(_VOLUME), sorted(_PLANE), sorted(_COLOUR)) or len(axes) != stored.ndim:
        raise FormatError(
            f"the array has shape {stored.shape} and axes {asked!r}",
            "a permutation of 'zyx', 'yx' or 'yxc' with one letter for each axis",
            "say what the axes are, e.g. axes='xyz'",
        )
    if asked is None and stored.ndim == 3 and stored.shape[2] in (3, 4):
        raise FormatError(
            f"the array has shape {stored.shape}", "an unmistakable volume", "say axes='yxc' for colour or axes='zyx' for slices"
        )
    if "c" in axes and (stored.shape[axes.index("c")] != 3 or stored.dtype != np.uint8):
        raise FormatError(f"colour of shape {stored.shape} and type {stored.dtype}", "three channels of uint8")
    return axes


def _from_zip(content: bytes, name: str, options: ReadOptions) -> NDArray[Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) != 1 or not members[0].filename.endswith(".npy"):
            raise ImageReadError(
                f"'{name}' holds {len(members)} entries ({', '.join(m.filename for m in members[:5])})",
                "exactly one array",
                "save the one to read as .npy",
            )
        options.limits.check("max_unpacked_bytes", members[0].file_size, f"'{members[0].filename}' in '{name}'")
        with archive.open(members[0]) as stream:
            shape, fortran, dtype, count = _header(stream, name, options)
            came = members[0].file_size - stream.tell()
            if came != count * dtype.itemsize:
                raise _cut(name, came, count * dtype.itemsize)
            # Into memory taken once: a reader that grows with what it unpacks takes twice as much.
            array = np.empty(count, dtype)
            into, done = array.view(np.uint8), 0
            while piece := stream.read(min(_CHUNK, into.size - done)):
                into[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
                done += len(piece)
            if done < into.size or stream.read(1):  # reading past the end checks the sum
                raise _cut(name, done, into.size)
            return array.reshape(shape, order="F" if fortran else "C")


def _from_bytes(content: bytes, name: str, options: ReadOptions) -> NDArray[Any]:
    stream = io.BytesIO(content)
    shape, fortran, dtype, count = _header(stream, name, options)
    if len(content) - stream.tell() < count * dtype.itemsize:
        raise _cut(name, len(content) - stream.tell(), count * dtype.itemsize)
    return np.frombuffer(content, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")


def _cut(name: str, came: int, expected: int) -> ImageReadError:
    return ImageReadError(f"'{name}' has {came:,} bytes of data", f"{expected:,}", "copy it again")


def _header(stream: IO[bytes], name: str, options: ReadOptions) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and count of an npy stream, judged before memory is taken for its values."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ImageReadError(f"'{name}' has npy version {version}", "1.0 or 2.0", "save it with numpy.save")
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    return shape, fortran, dtype, _check(dtype, shape, name, options)


def _check(dtype: np.dtype[Any], shape: tuple[int, ...], name: str, options: ReadOptions) -> int:
    """How many values there are, once it is clear that they can be used."""
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise ImageReadError(
            f"'{name}' holds values of type {dtype}", "real numbers of at most 64 bits", "convert it and save again"
        )
    count = int(np.prod([int(n) for n in shape], dtype=object)) if shape else 1
    if count < 1 or min(shape, default=1) < 0:
        raise ImageReadError(f"'{name}' has shape {shape}", "no empty axis")
    options.limits.check("max_voxels", count, f"'{name}' {shape}")
    return count


# --- Images in memory become Cases: what their saved file would give, without a file.


_NAME = Path("image")


def kind_of(image: Any) -> str:
    """ "array", "picture", "nifti" (any spatial image of nibabel) or "itk"."""
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
    """Read an image in memory; the hash is that of its canonical pixels, their shape and type."""
    kind = kind_of(image)
    with decoding(_NAME, "an image in memory"):
        if kind == "array":  # a copy, as a file would be: the owner may fill the array anew
            case = array_case(np.array(image, order="K"), Source(_NAME.name, "array", ""), options)
        elif kind == "picture":
            check_pixels(image, _NAME.name, options)
            options.pick(1, "the picture")
            case = pillow_case(image, Source(_NAME.name, "pillow", "", made_by(image)), options)
        elif kind == "nifti":
            case = _nibabel(image, options)
        else:
            from .itk import itk_case

            notes = "ITK_FileNotes"  # what it reads from, and writes to, the description of a NIfTI file
            marked = image.HasMetaDataKey(notes) and image.GetMetaData(notes) == PHANTOM
            case = itk_case(image, Source(_NAME.name, "simpleitk", "", PHANTOM if marked else ""), options)
        return replace(case, source=replace(case.source, sha256=content(case.pixels)))


def _nibabel(image: Any, options: ReadOptions) -> Case:
    import nibabel

    from .itk import nifti_case
    from .nifti import fields_of, parsed, rescaled

    if not isinstance(image, nibabel.Nifti1Pair):  # Analyze, MGH and others in the words of NIfTI
        image = nibabel.Nifti1Image.from_image(image)
    fields = fields_of(image.header.binaryblock)
    if fields is None:
        raise ImageReadError("the image has no NIfTI header", "an image of nibabel that can be saved as NIfTI")
    values = image.dataobj
    on_disk = isinstance(values, nibabel.arrayproxy.ArrayProxy)  # stored values, rescaled as in reading the file
    header = parsed({**fields, "scl": (values.slope, values.inter) if on_disk else (1.0, 0.0)}, _NAME.name, options.limits)
    stored = np.asanyarray(values.get_unscaled()) if on_disk else np.array(np.asanyarray(values), order="K")
    frame = options.pick(header.frames, "the image (4-D)")
    volume = stored.reshape((*header.sizes, header.frames), order="F")[..., frame].transpose(2, 1, 0)
    real = rescaled(np.ascontiguousarray(volume).ravel(), header.scale).reshape(volume.shape)
    return nifti_case(header, real, Source(_NAME.name, "nibabel", "", header.made_by), options, frame)
