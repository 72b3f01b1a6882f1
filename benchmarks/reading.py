"""Reading a volume and making the network's 32 x 256 x 256 of it, against SimpleITK's own reader and resampler.

    python -m benchmarks.reading [--quick] --json

Each run is a process of its own with one thread for the decoders. Seconds count from the first import of a library to the
finished array, CPU seconds from the start of the process over all its threads; memory is the peak resident size. Ours and
SimpleITK's runs alternate; medians are compared, and best times too, because other work on the machine only ever adds.
SimpleITK only reads and interpolates; ours also hashes the file, checks headers and checksums, windows, averages, and keeps the
full-resolution grey levels.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIZES = {False: (200, 512, 512), True: (60, 256, 256)}  # (Z, Y, X), full and quick
RUNS = {False: 9, True: 3}
TARGET = (32, 256, 256)
SPACING_MM = (0.7, 0.7, 1.5)
INPUTS = ("volume.nii.gz", "volume.nii", "series")


def make(folder: Path, shape: tuple[int, int, int]) -> None:
    """Write one CT-like volume (smooth structures and noise, int16) as NIfTI, packed and not, and as a DICOM series."""
    import numpy as np
    import SimpleITK
    from scipy.ndimage import gaussian_filter, zoom

    rng = np.random.default_rng(0)
    coarse = gaussian_filter(rng.normal(size=[max(2, n // 8) for n in shape]), 2)
    smooth = zoom(coarse / coarse.std(), [n / m for n, m in zip(shape, coarse.shape, strict=True)], order=1) * 300
    volume = np.clip(smooth + rng.normal(size=shape) * 12, -1024, 3000).astype(np.int16)
    image = SimpleITK.GetImageFromArray(volume)
    image.SetSpacing(SPACING_MM)
    SimpleITK.WriteImage(image, str(folder / "volume.nii"))
    SimpleITK.WriteImage(image, str(folder / "volume.nii.gz"), True)
    write_series(folder / "series", volume)


def write_series(folder: Path, volume: Any) -> None:
    """One CT file a slice, stored unsigned with an intercept, as scanners do."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir()
    for k, pixels in enumerate(volume):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.{k + 1}"
        dataset.Modality, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "CT", "1.2", "1.2.3"
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelSpacing, dataset.SliceThickness = list(SPACING_MM[1::-1]), SPACING_MM[2]
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, SPACING_MM[2] * k], [1, 0, 0, 0, 1, 0]
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.InstanceNumber = 1, -1024, k + 1
        dataset.PixelData = (pixels.astype("i4") + 1024).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def ours(path: Path) -> tuple[int, ...]:
    """The package's own way."""
    import unireason.imaging as imaging

    return imaging.serialize(imaging.read(path), depth=TARGET[0], size=TARGET[1:]).slices.shape


def simpleitk(path: Path) -> tuple[int, ...]:
    """SimpleITK's reader, then its linear resampler over the same extent."""
    import SimpleITK

    if path.is_dir():
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
        image = reader.Execute()
    else:
        image = SimpleITK.ReadImage(str(path))
    size = TARGET[::-1]
    spacing = [s * n / m for s, n, m in zip(image.GetSpacing(), image.GetSize(), size, strict=True)]
    start = image.TransformContinuousIndexToPhysicalPoint([n / m / 2 - 0.5 for n, m in zip(image.GetSize(), size, strict=True)])
    small = SimpleITK.Resample(image, size, SimpleITK.Transform(), SimpleITK.sitkLinear, start, spacing, image.GetDirection())
    return SimpleITK.GetArrayFromImage(small).shape


def peak_mb() -> float:
    """Peak resident size of this process, not of the one that started it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark needs Linux (/proc/self/status)")


def child(who: str, path: Path) -> None:
    """One measured run; prints one JSON object."""
    began = time.perf_counter()
    shape = {"ours": ours, "simpleitk": simpleitk}[who](path)
    seconds = time.perf_counter() - began
    if shape != TARGET:
        raise SystemExit(f"{who} made {shape}")
    print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time(), "peak_mb": peak_mb()}))


def call(*arguments: str) -> str:
    """Run this module again with one thread for the numeric libraries; its standard output."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), "1")
    command = [sys.executable, "-m", "benchmarks.reading", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **threads}).stdout


def measure(folder: Path, runs: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Medians (and best times) of alternating runs for every input, and the ratios ours : SimpleITK."""
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    for name in INPUTS:
        found: dict[str, list[dict[str, float]]] = {"ours": [], "simpleitk": []}
        for _ in range(runs):
            for who, results in found.items():
                results.append(json.loads(call("--child", who, str(folder / name))))
        for label, what, choose in (
            ("seconds", "seconds", statistics.median),
            ("best seconds", "seconds", min),
            ("cpu_seconds", "cpu_seconds", statistics.median),
            ("peak_mb", "peak_mb", statistics.median),
        ):
            middle = {who: choose([r[what] for r in results]) for who, results in found.items()}
            figures[f"{name} {label}"] = {who: round(value, 3) for who, value in middle.items()}
            ratios[f"{name} {label}"] = round(middle["ours"] / middle["simpleitk"], 3)
    return figures, ratios


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller volume and fewer runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--child", nargs=2, metavar=("WHO", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--make", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]))
        return
    if options.make:
        make(Path(options.make), SIZES[options.quick])
        return
    from benchmarks.machine import describe

    with tempfile.TemporaryDirectory() as place:
        call("--make", place, *(["--quick"] if options.quick else []))
        figures, ratios = measure(Path(place), RUNS[options.quick])
    result = {
        "benchmark": "reading",
        "command": f"python -m benchmarks.reading{' --quick' if options.quick else ''} --json",
        "shape_zyx": SIZES[options.quick],
        "runs": RUNS[options.quick],
        "ratios": ratios,
        "figures": figures,
        "machine": describe("numpy", "SimpleITK", "pydicom"),
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for key, ratio in ratios.items():
        pair = figures[key]
        print(f"{key:26} ours {pair['ours']:8.3f}  SimpleITK {pair['simpleitk']:8.3f}  ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
