"""Damage files at random and read them: ``python mutate_files.py FORMAT COUNT [SEED]``.

Runs in a process of its own, so that a crash, a hang or a blow-up of memory in a native decoder is seen as such by the caller.
Prints one JSON object: how many were read, how many refused, by which error, and the growth of memory.
"""

from __future__ import annotations

import collections
import gzip
import io
import json
import resource
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from imaging_samples import bundled_dicom, ramp, write_dicom, write_enhanced, write_nifti
from PIL import Image

import unireason.imaging as imaging
from unireason.core.errors import UniReasonError

FORMATS = ("nifti", "nii.gz", "nrrd", "mha", "png", "jpeg", "tiff", "bmp", "dicom", "dicom-compressed", "npy", "npz")
LIMITS = imaging.Limits(max_voxels=2**22, max_pixels=2**22)


def originals(name: str, folder: Path) -> list[Path]:
    """Several sound files of one format."""
    volume, picture = ramp(), (ramp((24, 20), np.uint16) * 100).astype(np.uint16)
    colour = np.stack([picture // 256, picture % 256, picture % 7], -1).astype(np.uint8)
    if name in ("nifti", "nii.gz"):
        end = ".nii" if name == "nifti" else ".nii.gz"
        oblique = np.array([[1, 0.2, 0, 3], [-0.2, 1, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1.0]])
        return [
            write_nifti(folder / f"a{end}", volume, oblique),
            write_nifti(folder / f"b{end}", volume.astype(np.float32), codes=(1, 0)),
        ]
    if name in ("nrrd", "mha"):
        image = SimpleITK.GetImageFromArray(volume)
        for number, packed in enumerate((False, True)):
            SimpleITK.WriteImage(image, str(folder / f"{number}.{name}"), packed)
        return sorted(folder.glob(f"*.{name}"))
    if name in ("png", "jpeg", "tiff", "bmp"):
        Image.fromarray(colour).save(folder / f"c.{name}")
        Image.fromarray(colour).convert("P").convert("L" if name == "jpeg" else "P").save(folder / f"p.{name}")
        if name in ("png", "tiff"):
            Image.fromarray(picture).save(folder / f"g.{name}")
        if name == "tiff":
            Image.fromarray(colour).save(folder / "l.tiff", compression="tiff_lzw")
            Image.fromarray(colour).save(folder / "d.tiff", compression="tiff_adobe_deflate")
        return sorted(folder.glob(f"*.{name}"))
    if name == "dicom":
        flat = ramp((6, 8, 10), np.uint16)
        return [
            write_dicom(folder / "a.dcm", picture, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400),
            write_dicom(folder / "b.dcm", (picture // 256).astype(np.uint8), PhotometricInterpretation="MONOCHROME1"),
            write_enhanced(folder / "c.dcm", flat, [[0, 0, 2.0 * k] for k in range(6)]),
        ]
    if name == "dicom-compressed":
        names = ("MR_small_RLE", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "SC_rgb_small_odd_jpeg", "JPGExtended")
        return [bundled_dicom(f"{each}.dcm") for each in names]
    if name == "npy":
        np.save(folder / "a.npy", volume)
        np.save(folder / "b.npy", picture)
        return sorted(folder.glob("*.npy"))
    np.savez(folder / "a.npz", volume)
    np.savez_compressed(folder / "b.npz", volume)
    return sorted(folder.glob("*.npz"))


def mutate(raw: bytes, rng: np.random.Generator) -> bytes:
    """One damaged copy: flipped bytes, numbers of another size, cuts, insertions, runs, or digits of a text header."""
    data = bytearray(raw)
    head = min(len(data), 600)
    for _ in range(int(rng.integers(1, 4))):
        kind = int(rng.integers(0, 8))
        at = int(rng.integers(0, head if rng.random() < 0.7 else len(data)))
        if kind == 0:
            data[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            data[at] = int(rng.integers(0, 256))
        elif kind == 2:
            value = int(rng.choice([0, 1, 127, 255, 32767, 65535, 2**31 - 1, 2**32 - 1]))
            data[at : at + 4] = value.to_bytes(4, "little" if rng.random() < 0.5 else "big")
        elif kind == 3:
            del data[max(1, int(rng.integers(1, len(data) + 1))) :]
        elif kind == 4:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
        elif kind == 5:
            data[at : at + int(rng.integers(1, 40))] = bytes([int(rng.choice([0, 255, 57]))]) * 8
        elif kind == 6:
            del data[at : at + int(rng.integers(1, 20))]
        else:
            digits = [n for n in range(head) if n < len(data) and 48 <= data[n] <= 57]
            if digits:
                spot = int(rng.choice(digits))
                data[spot : spot + 1] = bytes(rng.choice([b"0", b"9", b"-", b"99999999", b"nan", b"1e400", b"."]))
        head = min(head, len(data))
        if not data:
            return b"\0"
    return bytes(data)


def inside(name: str, raw: bytes, rng: np.random.Generator) -> bytes:
    """A copy damaged behind its checksums, so that the damage reaches the decoder."""
    if name == "nii.gz":
        return gzip.compress(mutate(gzip.decompress(raw), rng), 1)
    if name == "npz":
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            member = archive.namelist()[0]
            content = mutate(archive.read(member), rng)
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(member, content)
        return packed.getvalue()
    if name == "png":
        return with_checksums(mutate(raw, rng))
    return mutate(raw, rng)


def with_checksums(png: bytes) -> bytes:
    """The same chunks with the checksum of each put right."""
    data, at = bytearray(png), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            break
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(data)


def run(name: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Read ``count`` damaged files of one format; anything but a Case or our error is a failure and named."""
    rng = np.random.default_rng([seed, FORMATS.index(name)])
    tally: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = originals(name, folder)
        sound = [path.read_bytes() for path in files]
        for path in files:
            imaging.read(path, limits=LIMITS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(count):
            which = number % len(files)
            raw = sound[which]
            damaged = inside(name, raw, rng) if number % 2 else mutate(raw, rng)
            path = folder / f"mutated{''.join(files[which].suffixes)}"
            path.write_bytes(damaged)
            print(f"{name} {number}", file=sys.stderr, flush=True)
            began = time.perf_counter()
            try:
                case = imaging.read(path, limits=LIMITS)
                imaging.serialize(case, depth=2, size=(8, 8))
                tally["Case"] += 1
            except UniReasonError as error:
                tally[type(error).__name__] += 1
            except BaseException as error:
                failures.append(f"{number}: {type(error).__name__}: {error}"[:300])
            slowest = max(slowest, time.perf_counter() - began)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    return {"format": name, "count": count, "outcome": dict(tally), "failures": failures, "slowest_s": slowest, "grown_mb": grown}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]), *(int(a) for a in sys.argv[3:]))))
