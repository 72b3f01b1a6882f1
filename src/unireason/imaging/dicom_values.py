"""The values of a DICOM data set: parsing, frame counts, pixel decoding, scaling and stored windows.

Source: DICOM PS3.3 C.7.6.3 (Image Pixel), C.11.1 (Modality LUT), C.11.2 (VOI LUT).
"""

from __future__ import annotations

import io
import logging
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unireason.errors import ImageReadError
from unireason.types import PHANTOM

from .limits import Limits

REMEDY = "check the file with another program, or decompress it (e.g. with dcmdjpeg or gdcmconv --raw)"


# The decoders log what they also raise; without a handler Python would print that to the user's terminal.
for _name in ("pydicom", "libjpeg", "openjpeg"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True)
class Scale:
    """How stored values become real ones.

    Attributes:
        slope: Factor.
        intercept: Added after it.
        mirror: None, or the sum of the smallest and largest possible real value, from which values are subtracted because they
            were meant to be shown inverted (MONOCHROME1).
    """

    slope: float = 1.0
    intercept: float = 0.0
    mirror: float | None = None

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Real values, in the narrowest of the input's type, int16, int32 and float32 that holds them exactly enough."""
        if (self.slope, self.intercept, self.mirror) == (1.0, 0.0, None):
            return stored
        whole = stored.dtype.kind in "iu" and all(float(v).is_integer() for v in (self.slope, self.intercept, self.mirror or 0.0))
        if not whole:
            real = stored.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)
            return real if self.mirror is None else np.float32(self.mirror) - real
        ends = np.array([int(stored.min()), int(stored.max())], dtype=object) * int(self.slope) + int(self.intercept)
        ends = ends if self.mirror is None else int(self.mirror) - ends
        small = min(ends) >= -(2**15) and max(ends) < 2**15
        wide = stored.astype(np.int32) * np.int32(self.slope) + np.int32(self.intercept)
        wide = wide if self.mirror is None else np.int32(self.mirror) - wide
        return wide.astype(np.int16) if small else wide

    def window(self, level: float, width: float) -> tuple[float, float]:
        """A stored window in the same (possibly mirrored) values."""
        return (level if self.mirror is None else self.mirror - level), width


def parse(content: bytes, name: str) -> Any:
    """A pydicom data set from the bytes of a file.

    Args:
        content: The whole file, with or without its preamble.
        name: For messages.

    Returns:
        The data set; it has Rows, Columns and pixel data.

    Raises:
        ImageReadError: If it is no DICOM image.
    """
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(content), force=content[128:132] != b"DICM")
    if "Rows" not in dataset or "Columns" not in dataset or "PixelData" not in dataset:
        raise ImageReadError(f"'{name}' holds no pixel data", "a DICOM image", "choose an image file, not a report or an index")
    if "TransferSyntaxUID" not in getattr(dataset, "file_meta", {}):
        meta = getattr(dataset, "file_meta", None) or pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if dataset.original_encoding[0] else pydicom.uid.ExplicitVRLittleEndian
        )
        dataset.file_meta = meta
    return dataset


def frame_count(dataset: Any, name: str, limits: Limits) -> int:
    """Frames of a file, after checking sizes against the limits and against the length of the pixel data.

    Raises:
        ImageReadError: If sizes are not positive or the data cannot hold them.
        SizeLimitError: If there are too many pixels or voxels.
    """
    rows, columns, samples, bits = (
        int(dataset.get(key) or default)
        for key, default in (("Rows", 0), ("Columns", 0), ("SamplesPerPixel", 1), ("BitsAllocated", 0))
    )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if min(rows, columns, frames) < 1 or samples not in (1, 3) or bits not in (1, 8, 16, 32):
        raise ImageReadError(
            f"'{name}' declares {columns} x {rows} pixels, {frames} frames, {samples} samples of {bits} bits",
            "positive sizes, 1 or 3 samples of 8, 16 or 32 bits",
        )
    limits.check("max_pixels", rows * columns, f"'{name}' ({columns} x {rows})")
    limits.check("max_voxels", rows * columns * frames, f"'{name}' ({frames} frames)")
    _check_streams(dataset, name, frames)
    return frames


def _check_streams(dataset: Any, name: str, frames: int) -> None:
    """Compressed frames must declare the size that the header declares: decoders allocate what the stream says."""
    if not dataset.file_meta.TransferSyntaxUID.is_compressed or dataset.file_meta.TransferSyntaxUID.is_deflated:
        return
    from pydicom.encaps import generate_frames

    found = 0
    for stream in generate_frames(dataset.PixelData, number_of_frames=frames):
        found += 1
        size = _declared_size(stream)
        if size is not None and size != (dataset.Rows, dataset.Columns):
            raise ImageReadError(
                f"'{name}' has a compressed frame of {size[1]} x {size[0]} pixels",
                f"{dataset.Columns} x {dataset.Rows} as in its header",
            )
    if found < frames:
        raise ImageReadError(f"'{name}' holds {found} compressed frames", f"{frames}", "copy it again")


def _declared_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) in the header of a JPEG, JPEG-LS or JPEG 2000 stream; None for others (run-length)."""
    if stream[:4] == b"\xff\x4f\xff\x51" and len(stream) >= 24:
        right, bottom, left, top = struct.unpack_from(">4I", stream, 8)
        return bottom - top, right - left
    if stream[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = struct.unpack_from(">2H", stream, at + 5)
            return rows, columns
        at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])
    return None


def stored_values(dataset: Any, index: int | None = None) -> NDArray[Any]:
    """Stored values of one frame, or of all frames.

    Args:
        dataset: A parsed image.
        index: Frame from 0; None for all (or the only one).

    Returns:
        (rows, columns), (rows, columns, 3) as uint8 RGB, or the same with frames in front.
    """
    from pydicom.pixels import apply_color_lut, pixel_array

    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        values = pixel_array(dataset, index=index)
        coloured: NDArray[Any] = apply_color_lut(values, dataset)
        return _eight_bits(coloured, 8 * coloured.dtype.itemsize)
    values = pixel_array(dataset, index=index)
    if int(dataset.get("SamplesPerPixel") or 1) == 3:
        return _eight_bits(values, int(dataset.get("BitsStored") or 8))
    shared: NDArray[Any] = values
    return shared


def _eight_bits(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    return values.astype(np.uint8) if bits <= 8 else (values.astype(np.uint32) >> (bits - 8)).astype(np.uint8)


def scale_of(dataset: Any, values: Any = None) -> Scale:
    """The rescaling of a file.

    Args:
        dataset: For bit depth and photometric interpretation.
        values: Where RescaleSlope and RescaleIntercept stand, if not in ``dataset`` itself.

    Returns:
        The scale; slope 1 and intercept 0 where nothing is stored.
    """
    holder = dataset if values is None else values
    slope, intercept = float(holder.get("RescaleSlope") or 1.0), float(holder.get("RescaleIntercept") or 0.0)
    if not np.isfinite([slope, intercept]).all():
        raise ImageReadError(f"the rescale slope is {slope} and the intercept {intercept}", "finite numbers")
    if str(dataset.get("PhotometricInterpretation", "")) != "MONOCHROME1":
        return Scale(slope, intercept)
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    low = -(2 ** (bits - 1)) if int(dataset.get("PixelRepresentation") or 0) else 0
    return Scale(slope, intercept, slope * (2 * low + 2**bits - 1) + 2 * intercept)


def stored_window(values: Any, scale: Scale) -> tuple[float, float] | None:
    """The first (level, width) of a data set, or None if there is none that can be used."""
    pair = []
    for key in ("WindowCenter", "WindowWidth"):
        found = np.atleast_1d(np.array(values.get(key) if values.get(key) not in (None, "") else [], float))
        if not found.size or not np.isfinite(found[0]):
            return None
        pair.append(float(found[0]))
    return scale.window(pair[0], pair[1]) if pair[1] > 0 else None


def display_notes(scale: Scale) -> tuple[str, ...]:
    """Remarks on what was done to the values."""
    return ("MONOCHROME1: values turned round so that high means bright",) if scale.mirror is not None else ()


def made_by(dataset: Any) -> str:
    """``Source.made_by`` of a file."""
    return PHANTOM if str(dataset.get("ManufacturerModelName") or "") == PHANTOM else ""
