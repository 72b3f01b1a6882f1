import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from imaging_samples import ramp, write_nifti
from mutate_files import FORMATS
from PIL import Image

import unireason.imaging as imaging
from unireason.errors import FormatError, GeometryError, ImageReadError, SizeLimitError, UniReasonError


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(ramp((4, 5), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    assert imaging.read(tmp_path / "a.dcm").source.format == "png"
    write_nifti(tmp_path / "b.nii", ramp()).rename(tmp_path / "b.dat")
    with pytest.raises(ImageReadError, match=r"'b.dat' is NIfTI.*Rename it"):
        imaging.read(tmp_path / "b.dat")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"BM", bytes(1000), b"\x1f\x8b", b"NRRD", b"NDims", b"PK\x03\x04", b"\x93NUMPY"]
)
def test_nonsense(content: bytes, tmp_path: Path) -> None:
    for name in ("a.xyz", "a", "a.mha", "a.nii.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageReadError, match=f"'{name}'"):
            imaging.read(tmp_path / name)


def test_missing_and_special_files(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"'nothing.nii' is not a file"):
        imaging.read(tmp_path / "nothing.nii")
    with pytest.raises(ImageReadError, match="the path is None"):
        imaging.read(None)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ImageReadError, match="'pipe' is not a file"):
        imaging.read(tmp_path / "pipe")


def test_options(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp())
    assert imaging.read(path, modality="mr").modality == "MR"
    with pytest.raises(FormatError, match=r"'colour'.*modality, axes"):
        imaging.read(path, colour=True)
    with pytest.raises(GeometryError, match="stores its own"):
        imaging.read(path, spacing_mm=(9, 9, 9))
    for bad in (
        {"spacing_mm": (1, -1)},
        {"spacing_mm": (1,)},
        {"spacing_mm": "wide"},
        {"frame": -1},
        {"frame": "x"},
        {"axes": 3},
        {"limits": 3},
        {"modality": 1},
    ):
        with pytest.raises(FormatError):
            imaging.read(path, **bad)
    with pytest.raises(SizeLimitError, match="at least 1"):
        imaging.Limits(max_voxels=0)


def test_limits_name_the_setting(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp())
    with pytest.raises(SizeLimitError, match=r"limits=Limits\(max_voxels=480\)"):
        imaging.read(path, limits=imaging.Limits(max_voxels=479))
    with pytest.raises(SizeLimitError, match=r"Limits\(max_file_bytes=1312\)"):
        imaging.read(path, limits=imaging.Limits(max_file_bytes=1000))
    assert imaging.read(path, limits=imaging.Limits(max_voxels=480)).pixels.size == 480


def test_messages_do_not_name_folders(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(write_nifti(path, ramp()).read_bytes()[:-1] + b"x")
    with pytest.raises(ImageReadError) as caught:
        imaging.read(path)
    assert str(tmp_path) not in str(caught.value)


def damaged(name: str, count: int) -> dict:
    """Run the damaged-file reader in a process of its own; a crash, a hang or a blow-up shows there."""
    script = Path(__file__).parent / "mutate_files.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), name, str(count)], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files(name: str) -> None:
    check_damaged(damaged(name, 100), 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_thousand_damaged_files(name: str) -> None:
    check_damaged(damaged(name, 1000), 1000)


def check_damaged(result: dict, count: int) -> None:
    assert result["failures"] == []
    assert sum(result["outcome"].values()) == count
    assert result["slowest_s"] < 10
    assert result["grown_mb"] < 200


def test_every_refusal_is_ours() -> None:
    for error in (FormatError, GeometryError, ImageReadError, SizeLimitError):
        assert issubclass(error, UniReasonError)
