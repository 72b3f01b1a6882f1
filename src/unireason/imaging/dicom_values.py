"""One road from the bytes of a DICOM file to real values, for a file alone, a file of a series and a frame of an enhanced object.

Source: DICOM PS3.3 C.7.6.3 (Image Pixel), C.7.6.16 (functional groups), C.7.9 (palettes), C.11.1 (Modality LUT), C.11.2 (VOI LUT);
PS3.5 annex A (transfer syntaxes), annex G (run-length coding).
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from unireason.core.errors import ImageReadError, SizeLimitError
from unireason.core.types import PHANTOM

from .reader import Limits

REMEDY = "check the file with another program, or decompress it (e.g. with dcmdjpeg or gdcmconv --raw)"
_STORE = "check the file with another program, or store it again without compression"

_HEADER_BYTES = 2**26  # a deflated header may unpack to this much before its own sizes are known
_SURPLUS = 2**20  # bytes that may stand behind the pixel data

# Which functional group holds an element of a frame; where none does, the data set itself may.
_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "WindowCenter": "FrameVOILUTSequence",
    "WindowWidth": "FrameVOILUTSequence",
}

# The decoders log what they also raise; without a handler Python would print that to the user's terminal.
for _name in ("pydicom", "libjpeg", "openjpeg"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class FrameHeader:
    """What a data set says of one frame: the frame's own functional groups, then the shared ones, then the data set itself."""

    __slots__ = ("_groups", "dataset")

    def __init__(self, dataset: Any, index: int = 0) -> None:
        own = dataset.get("PerFrameFunctionalGroupsSequence") or []
        shared = dataset.get("SharedFunctionalGroupsSequence") or []
        self.dataset, self._groups = dataset, (*own[index : index + 1], *shared[:1])

    def group(self, sequence: str) -> Any:
        """The item of a functional group, or None."""
        return next((group.get(sequence)[0] for group in self._groups if group.get(sequence)), None)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of an element, by keyword."""
        item = self.group(_GROUPS[key]) if key in _GROUPS else None
        value = None if item is None else item.get(key)
        return self.dataset.get(key, default) if value is None else value

    @property
    def is_placed(self) -> bool:
        """True if position, orientation and pixel spacing are there."""
        return all(self.get(key) for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A look-up table: values below ``first`` get its first entry, those behind its end the last."""

    entries: NDArray[Any]
    first: int

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The entries of stored values."""
        last = self.first + len(self.entries) - 1
        return self.entries[np.clip(stored.astype(np.int64), self.first, last) - self.first]


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How stored values become real ones."""

    slope: float = 1.0
    intercept: float = 0.0
    mirror: float | None = None
    table: LookupTable | None = None

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Real values, as stored if nothing is to be done, else in the narrowest type that holds them; see `linear`."""
        slope, intercept = self.slope, self.intercept
        if self.table is not None:
            stored, slope, intercept = self.table.apply(stored), 1.0, 0.0
        if self.mirror is not None:
            slope, intercept = -slope, self.mirror - intercept
        return linear(stored, slope, intercept)

    def window(self, level: float, width: float) -> tuple[float, float]:
        """A stored window in the same (possibly mirrored) values."""
        return (level if self.mirror is None else self.mirror - level), width


def linear(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """``stored * slope + intercept``, computed without wrapping, in a type chosen by the range that really occurs."""
    if (slope, intercept) == (1.0, 0.0):
        return stored
    ends = [int(stored.min()), int(stored.max())] if stored.dtype.kind in "iu" else []
    if ends and float(slope).is_integer() and float(intercept).is_integer():
        products = [end * int(slope) for end in ends]
        sums = [product + int(intercept) for product in products]
        wide = _narrowest([*ends, *products, *sums, int(slope), int(intercept)], (np.int16, np.int32, np.int64))
        real: NDArray[Any] = stored.astype(wide) * wide(slope)
        real += wide(intercept)
        return real.astype(_narrowest(sums, (np.int16, np.int32)), copy=False)
    far = max(abs(float(end) * slope + intercept) for end in (stored.min(), stored.max()))
    apart = float(np.spacing(np.float32(min(far, 1e38)))) * 16 < abs(slope)
    real = np.empty(stored.shape, np.float32 if apart else np.float64)
    for row, out in zip(stored, real, strict=True):  # in double precision, without a second array of that size
        out[...] = row * float(slope) + float(intercept)
    return real


def _narrowest(values: list[int], kinds: tuple[Any, ...]) -> Any:
    """The first of integer types that holds all values, else float64."""
    return next((k for k in kinds if np.iinfo(k).min <= min(values) and max(values) <= np.iinfo(k).max), np.float64)


class Slices:
    """An array of slices, filled one by one, that becomes wider when a slice needs it."""

    def __init__(self, count: int) -> None:
        self._count, self._array = count, np.empty((0, 0, 0), np.uint8)

    def put(self, k: int, values: NDArray[Any], name: str) -> None:
        """Slice ``k``."""
        if not self._array.size and values.ndim == 2:
            self._array = np.empty((self._count, *values.shape), values.dtype)
        if values.shape != self._array.shape[1:]:
            shape = f" of shape {self._array.shape[1:]}" if self._array.size else ""
            raise ImageReadError(f"{name} decodes to shape {values.shape}", f"grey pixels{shape}", "read such a file alone")
        needed = np.result_type(self._array, values)
        needed = np.dtype(np.float64) if needed == np.int64 else needed
        self._array = self._array.astype(needed, copy=False)
        self._array[k] = values

    def array(self) -> NDArray[Any]:
        """All of them, (k, j, i)."""
        return self._array


def load(file: BinaryIO, name: str, limits: Limits, **options: Any) -> Any:
    """A pydicom data set; the one place where a file is given to pydicom."""
    import pydicom
    from pydicom.filereader import read_dataset

    marked = file.read(132)[128:] == b"DICM"
    file.seek(132 if marked else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, *_: tag.group != 2)
    if meta.get("TransferSyntaxUID") != pydicom.uid.DeflatedExplicitVRLittleEndian:
        file.seek(0)
        return pydicom.dcmread(file, force=not marked, **options)
    dataset = pydicom.dcmread(io.BytesIO(_inflated(file.read(), name, limits)), force=True, **options)
    dataset.file_meta = pydicom.dataset.FileMetaDataset(meta)
    return dataset


def _inflated(packed: bytes, name: str, limits: Limits) -> bytes:
    import pydicom

    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = stream.decompress(packed, _HEADER_BYTES)
    if not stream.eof and stream.unconsumed_tail:
        head = io.BytesIO(content)
        header = pydicom.dcmread(head, force=True, stop_before_pixels=True)
        if head.tell() >= len(content) - 12:
            raise SizeLimitError(f"the header of '{name}' unpacks to more than {_HEADER_BYTES:,} bytes", "", _STORE)
        rows, columns, samples, bits, frames = _sizes(header, name, limits)
        declared = head.tell() + rows * columns * samples * frames * bits // 8
        limits.check("max_file_bytes", declared, f"'{name}' unpacked")
        content += stream.decompress(stream.unconsumed_tail, max(1, declared + _SURPLUS - len(content)))
        if not stream.eof and stream.unconsumed_tail:
            raise SizeLimitError(
                f"'{name}' unpacks to more than {len(content):,} bytes", f"about {declared:,}, as its header declares", _STORE
            )
    if not stream.eof:
        raise ImageReadError(f"'{name}' breaks off without an end of its compressed data", "", "copy or download it again")
    limits.check("max_file_bytes", len(content), f"'{name}' unpacked")
    return content


def parse(content: bytes, name: str, limits: Limits) -> Any:
    """A pydicom data set from the bytes of an image file."""
    import pydicom

    dataset = load(io.BytesIO(content), name, limits)
    if "Rows" not in dataset or "Columns" not in dataset or "PixelData" not in dataset:
        raise ImageReadError(f"'{name}' holds no pixel data", "a DICOM image", "choose an image file, not a report or an index")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        meta = getattr(dataset, "file_meta", None) or pydicom.dataset.FileMetaDataset()
        implicit, little = dataset.original_encoding
        explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
        meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
        dataset.file_meta = meta
    return dataset


def frame_count(dataset: Any, name: str, limits: Limits) -> int:
    """Frames of a file, after checking sizes against the limits and against the length of the pixel data."""
    frames = _sizes(dataset, name, limits)[-1]
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if groups is not None and frames > 1 and len(groups) != frames:
        raise ImageReadError(f"'{name}' has {len(groups)} functional groups", f"{frames}, one a frame")
    _check_streams(dataset, name, frames)
    return frames


def _sizes(dataset: Any, name: str, limits: Limits) -> tuple[int, int, int, int, int]:
    """Rows, columns, samples, bits and frames, within the limits."""
    rows, columns, samples, bits, frames = (
        int(dataset.get(key) or default)
        for key, default in (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("BitsAllocated", 0), ("NumberOfFrames", 1))
    )
    if min(rows, columns, frames) < 1 or samples not in (1, 3) or bits not in (1, 8, 16, 32):
        raise ImageReadError(
            f"'{name}' declares {columns} x {rows} pixels, {frames} frames, {samples} samples of {bits} bits",
            "positive sizes, 1 or 3 samples of 8, 16 or 32 bits",
        )
    limits.check("max_pixels", rows * columns, f"'{name}' ({columns} x {rows})")
    limits.check("max_voxels", rows * columns * frames, f"'{name}' ({frames} frames)")
    return rows, columns, samples, bits, frames


def _check_streams(dataset: Any, name: str, frames: int) -> None:
    """Compressed frames must declare or unpack to the size that the header declares: decoders allocate what the stream says."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed or syntax.is_deflated:
        return
    from pydicom.encaps import generate_frames
    from pydicom.pixels import get_decoder

    get_decoder(syntax)  # raises for what cannot be decoded
    offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths) if "ExtendedOffsetTable" in dataset else None
    expected = (int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1))
    found = 0
    for stream in generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=offsets):
        found += 1
        if syntax == "1.2.840.10008.1.2.5":
            _check_runs(stream, expected[0] * expected[1], name)
            continue
        size = _declared_size(stream)
        if size != expected:
            told = "no readable size" if size is None else f"{size[1]} x {size[0]} pixels of {size[2]} samples"
            raise ImageReadError(
                f"'{name}' has a compressed frame of {told}", f"{expected[1]} x {expected[0]} of {expected[2]} as in its header"
            )
    if found < frames:
        raise ImageReadError(f"'{name}' holds {found} compressed frames", f"{frames}", "copy it again")


def _declared_size(stream: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) in the header of a JPEG, JPEG-LS or JPEG 2000 stream."""
    start = stream.find(b"\xff\x4f\xff\x51", 0, 2**16)  # JPEG 2000, which may lie in a file format of its own
    if stream[:2] != b"\xff\xd8":
        if start < 0 or len(stream) < start + 42:
            return None
        right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
        return bottom - top, right - left, int(struct.unpack_from(">H", stream, start + 40)[0])
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns, samples = struct.unpack_from(">2HB", stream, at + 5)
            return rows, columns, samples
        at += 1 if marker == 0xFF else 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return None


def _check_runs(stream: bytes, pixels: int, name: str) -> None:
    """Run-length segments must not unpack to more than the pixels of a frame: a run is up to 64 times as long as its code."""
    count = int.from_bytes(stream[:4], "little")
    starts = struct.unpack_from(f"<{min(count, 15)}I", stream, 4)
    for at, end in zip(starts, (*starts[1:], len(stream)), strict=True):
        unpacked = 0
        while at < end and unpacked <= 2 * pixels + 64:
            code = stream[at]
            at += code + 2 if code < 128 else 2 if code > 128 else 1
            unpacked += code + 1 if code < 128 else 257 - code if code > 128 else 0
        if unpacked > 2 * pixels + 64:
            raise ImageReadError(f"'{name}' has a run-length segment of more than {unpacked:,} values", f"{pixels:,}")


def frame_values(dataset: Any, index: int) -> tuple[NDArray[Any], Scale]:
    """Real values of one frame."""
    stored = _stored_values(dataset, index)
    scale = scale_of(FrameHeader(dataset, index)) if stored.ndim == 2 else Scale()
    return scale.apply(stored), scale


def _stored_values(dataset: Any, index: int) -> NDArray[Any]:
    """Stored values of one frame, freed of other bits in their words; palettes and colour as RGB."""
    from pydicom.pixels import pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    allocated = int(dataset.BitsAllocated)
    bits = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") or 0)
    as_words = not syntax.is_compressed or syntax.is_deflated or syntax == "1.2.840.10008.1.2.5"
    aside = as_words and bits <= high < allocated  # values do not end at bit 0; pydicom takes it that they do
    values: NDArray[Any] = pixel_array(dataset, index=index, correct_unused_bits=not aside, allow_excess_frames=False)
    if aside:
        values = np.right_shift(np.left_shift(values, allocated - 1 - high), allocated - bits)
    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        return _coloured(values, dataset)
    if int(dataset.get("SamplesPerPixel") or 1) == 3:
        return values.astype(np.uint8) if bits <= 8 else (values.astype(np.uint32) >> (bits - 8)).astype(np.uint8)
    return values


def plain_values(header: Any, content: bytes, data_at: int) -> NDArray[Any] | None:
    """Grey values that lie in a file as they are, with no bits beside them; None for everything else, which needs `parse`."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    allocated, bits, high = (header.get(key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    signed, rows, columns = (header.get(key) for key in ("PixelRepresentation", "Rows", "Columns"))
    syntax = getattr(header.file_meta, "TransferSyntaxUID", None)
    plain = syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian) and allocated in (8, 16) and signed in (0, 1)
    grey = header.get("SamplesPerPixel") == 1 and str(header.get("PhotometricInterpretation")).startswith("MONOCHROME")
    if (
        not (plain and grey and bits and 0 < bits <= allocated and high == bits - 1)
        or int(header.get("NumberOfFrames") or 1) != 1
    ):
        return None
    start = data_at + (8 if syntax == ImplicitVRLittleEndian else 12)
    head, length = content[data_at:start], rows * columns * allocated // 8
    declared = int.from_bytes(head[-4:], "little")
    if head[:4] != b"\xe0\x7f\x10\x00" or declared not in (length, length + length % 2) or len(content) < start + length:
        return None
    values = np.frombuffer(content, f"<{'ui'[signed]}{allocated // 8}", rows * columns, start).reshape(rows, columns)
    lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if bits < allocated and not (lowest <= int(values.min()) and int(values.max()) <= highest):
        return None
    return values


def scale_of(header: FrameHeader) -> Scale:
    """How the stored values of a frame become real ones; slope 1 and intercept 0 where nothing is stored."""
    dataset = header.dataset
    slope, intercept = float(header.get("RescaleSlope") or 1.0), float(header.get("RescaleIntercept") or 0.0)
    if not np.isfinite([slope, intercept]).all():
        raise ImageReadError(f"the rescale slope is {slope} and the intercept {intercept}", "finite numbers")
    table = None
    if dataset.get("ModalityLUTSequence") and header.group("PixelValueTransformationSequence") is None:
        item = dataset.ModalityLUTSequence[0]
        table = _table(item.LUTDescriptor, item.LUTData, dataset)
    if str(dataset.get("PhotometricInterpretation", "")) != "MONOCHROME1":
        return Scale(slope, intercept, None, table)
    if table is not None:
        return Scale(1.0, 0.0, float(int(table.entries.min()) + int(table.entries.max())), table)
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    low = -(2 ** (bits - 1)) if int(dataset.get("PixelRepresentation") or 0) else 0
    return Scale(slope, intercept, slope * (2 * low + 2**bits - 1) + 2 * intercept)


def stored_window(header: FrameHeader, scale: Scale) -> tuple[float, float] | None:
    """The first (level, width) of a frame, or None if there is none that can be used."""
    pair = []
    for key in ("WindowCenter", "WindowWidth"):
        found = np.atleast_1d(np.array(header.get(key) if header.get(key) not in (None, "") else [], float))
        if not found.size or not np.isfinite(found[0]):
            return None
        pair.append(float(found[0]))
    return scale.window(pair[0], pair[1]) if pair[1] > 0 else None


def display_notes(scale: Scale) -> tuple[str, ...]:
    """Remarks on what was done to the values."""
    return ("MONOCHROME1: values turned round so that high means bright",) if scale.mirror is not None else ()


def _table(descriptor: Any, data: Any, dataset: Any, segmented: bool = False) -> LookupTable:
    """A look-up table: its entries as stored, whatever their number of bits."""
    count, first, bits = (int(v) for v in descriptor)
    count = count % 2**16 or 2**16
    signed = int(dataset.get("PixelRepresentation") or 0)
    first = (first + 2**15) % 2**16 - 2**15 if signed else first % 2**16  # whatever representation it was read in
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    as_bytes = bits <= 8 if segmented else len(data) < 2 * count or (count == 1 and bits <= 8)
    entries: NDArray[Any]
    if not isinstance(data, bytes):
        entries = np.atleast_1d(np.array(data, np.int64)) % 2**16
    elif as_bytes and order == ">":  # bytes lie in 16-bit words, which are swapped in such a file
        entries = np.frombuffer(data[: len(data) // 2 * 2], np.uint8).reshape(-1, 2)[:, ::-1].ravel()
    else:
        entries = np.frombuffer(data, np.uint8 if as_bytes else f"{order}u2", len(data) // (1 if as_bytes else 2))
    if segmented:
        entries = np.array(_expanded(entries.tolist(), count, 1 if as_bytes else 2))
    if len(entries) < count:
        raise ImageReadError(f"a look-up table holds {len(entries)} entries", f"{count}, as its descriptor says")
    return LookupTable(entries[:count].astype(np.uint16), first)


def _expanded(codes: list[int], count: int, size: int) -> list[int]:
    """A segmented table in full; ``size`` is that of a code in bytes."""
    entries: list[int] = []
    at, back, left = 0, 0, 0  # an indirect segment copies ``left`` others, then reading goes on at ``back``
    while len(entries) < count and at + 2 < len(codes):
        code, length = codes[at : at + 2]
        if code == 0:
            entries += codes[at + 2 : at + 2 + length]
            at += 2 + length
        elif code == 1 and entries:
            entries += np.rint(np.linspace(entries[-1], codes[at + 2], length + 1)[1:]).astype(int).tolist()
            at += 3
        elif code == 2 and entries and not left:
            back, left = at + 2 + 4 // size, length
            at = sum(word << 8 * size * n for n, word in enumerate(codes[at + 2 : back])) // size if length else back
            continue
        else:
            raise ImageReadError(f"a segmented look-up table has a segment of type {code} after {len(entries)} entries", "0 to 2")
        left = max(0, left - 1)
        at = back if back and not left else at
        back = back if left else 0
    return entries


def _coloured(indices: NDArray[Any], dataset: Any) -> NDArray[np.uint8]:
    """RGB of a palette image. Entries of which none passes 255 hold 8 bits, also where 16 are declared."""
    tables = []
    for colour in ("Red", "Green", "Blue"):
        key = f"{colour}PaletteColorLookupTable"
        descriptor, data, segmented = (dataset.get(k) for k in (f"{key}Descriptor", f"{key}Data", f"Segmented{key}Data"))
        if not descriptor or not (data or segmented):
            raise ImageReadError(f"the palette of a PALETTE COLOR image has no {colour.lower()}", "three look-up tables", REMEDY)
        tables.append(_table(descriptor, data or segmented, dataset, segmented=not data))
        bits = int(descriptor[2])
    top = max(int(table.entries.max()) for table in tables)
    surplus = 0 if top < 2**8 else bits - 8 if 8 < bits < 16 and top < 2**bits else 8
    return np.stack([(table.apply(indices) >> surplus).astype(np.uint8) for table in tables], axis=-1)


def made_by(dataset: Any) -> str:
    """``Source.made_by`` of a file."""
    return PHANTOM if str(dataset.get("ManufacturerModelName") or "") == PHANTOM else ""
