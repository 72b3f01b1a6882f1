"""Small real files of every format, written by other programs' writers wherever there is one."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

Array = NDArray[Any]


def ramp(shape: tuple[int, ...] = (6, 8, 10), dtype: Any = np.int16) -> Array:
    """Values that are all different: 0, 1, 2, ... in C order."""
    return np.arange(int(np.prod(shape)), dtype=dtype).reshape(shape)


def write_nifti(path: Path, array_zyx: Array, affine_ras: Array | None = None, codes: tuple[int, int] = (0, 1)) -> Path:
    """``array_zyx`` in file order, i fastest; codes are (qform, sform)."""
    image = nibabel.Nifti1Image(array_zyx.T, np.eye(4) if affine_ras is None else affine_ras)
    image.set_sform(image.affine, codes[1])
    image.set_qform(image.affine, codes[0], strip_shears=True)
    nibabel.save(image, path)
    return path


def patch(path: Path, offset: int, code: str, *values: Any) -> Path:
    """Overwrite a few bytes of a file."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(code, raw, offset, *values)
    path.write_bytes(bytes(raw))
    return path


def write_tiff(
    path: Path,
    pixels: Array,
    *,
    white_is_zero: bool = False,
    order: str = "<",
    big: bool = False,
    packed: bool = False,
    **tags: int,
) -> Path:
    """Grey pixels as one strip, written by hand: no writer at hand writes every sign, byte order and direction."""
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if packed else data
    height, width = pixels.shape
    kinds = {"u": 1, "i": 2, "f": 3}
    start = 16 if big else 8
    fields = {256: width, 257: height, 258: 8 * pixels.dtype.itemsize, 259: 8 if packed else 1, 262: int(not white_is_zero)}
    fields |= {273: start, 277: 1, 278: height, 279: len(data), 339: kinds[pixels.dtype.kind]}
    fields |= {int(tag[1:]): value for tag, value in tags.items()}
    count, each, at = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    wide = {256, 257, 273, 278, 279, 322, 323, 324, 325}
    table = struct.pack(order + count, len(fields))
    for tag, value in sorted(fields.items()):
        kind = "I" if tag in wide else "H"
        table += struct.pack(order + each, tag, 4 if kind == "I" else 3, 1)
        table += struct.pack(order + kind, value).ljust(struct.calcsize(at), b"\0")
    head = b"II" if order == "<" else b"MM"
    head += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0) if big else (42,)), start + len(data))
    path.write_bytes(head + data + table + bytes(struct.calcsize(at)))
    return path


def dicom_dataset(pixels: Array, **elements: Any) -> Dataset:
    """A CT-like data set around (rows, columns) pixels; keywords replace or (with None) remove elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(elements), str(pixels.sum())])
    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = "CT", "1.2.3", 1
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 8 * pixels.dtype.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelSpacing, dataset.SliceThickness = [0.5, 0.25], 2.0
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    for key, value in elements.items():
        if value is None:
            delattr(dataset, key)
        else:
            setattr(dataset, key, value)
    dataset.PixelData = pixels.tobytes()
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset


def write_dicom(path: Path, pixels: Array, **elements: Any) -> Path:
    """One DICOM file."""
    dicom_dataset(pixels, **elements).save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, volume: Array, step_mm: tuple[float, float, float] = (0, 0, 2), **elements: Any) -> Path:
    """One file a slice, named in an order that has nothing to do with position."""
    folder.mkdir(exist_ok=True)
    for k, pixels in enumerate(volume):
        position = [float(s * k) for s in step_mm]
        write_dicom(
            folder / f"{(k * 7 + 3) % 101:03d}.dcm",
            pixels,
            **{"ImagePositionPatient": position, "InstanceNumber": k + 1, **elements},
        )
    return folder


def write_enhanced(path: Path, volume: Array, positions: list[list[float]], temporal: list[int] | None = None) -> Path:
    """An enhanced multi-frame file with slope 2, intercept -5 and a window in its functional groups."""
    scaled = {"RescaleSlope": 2, "RescaleIntercept": -5, "WindowCenter": 100, "WindowWidth": 50}
    dataset = enhanced_dataset(volume, positions, temporal, **scaled)
    dataset.Modality = "MR"
    dataset.save_as(path, enforce_file_format=True)
    return path


def enhanced_dataset(volume: Array, positions: list[list[float]], temporal: list[int] | None = None, **elements: Any) -> Dataset:
    """An enhanced object of one frame a position; rescale and window are moved to its shared functional groups."""
    dataset = dicom_dataset(
        volume, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None, SliceThickness=None, **elements
    )
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedMRImageStorage, len(volume)
    shared = Dataset()
    shared.PlaneOrientationSequence = [dicom_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
    shared.PixelMeasuresSequence = [dicom_item(PixelSpacing=[0.5, 0.25], SliceThickness=2.0)]
    for sequence, keys in (
        ("PixelValueTransformationSequence", ("RescaleSlope", "RescaleIntercept")),
        ("FrameVOILUTSequence", ("WindowCenter", "WindowWidth")),
    ):
        if keys[0] in elements:
            setattr(shared, sequence, [dicom_item(**{key: elements[key] for key in keys})])
            for key in keys:
                delattr(dataset, key)
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for n, position in enumerate(positions):
        group = dicom_item(PlanePositionSequence=[dicom_item(ImagePositionPatient=position)])
        group.FrameContentSequence = [dicom_item(TemporalPositionIndex=1 if temporal is None else temporal[n])]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


def bundled_dicom(name: str) -> Path:
    """A file that pydicom ships for its own tests."""
    return Path(pydicom.__file__).parent / "data" / "test_files" / name


def dicom_item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    item = Dataset()
    for key, value in elements.items():
        setattr(item, key, value)
    return item
