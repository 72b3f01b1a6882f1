"""What an error of reading advises can be typed on the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset

from unireason.cli import main
from unireason.cli.ask import without_options


def two_echoes(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for n, k in np.ndindex(2, 4):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.SOPInstanceUID = pydicom.uid.MRImageStorage, f"1.2.{n + 1}.{k + 1}"
        dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesDescription = "MR", "1.2.3", "Doe Jane"
        dataset.Rows = dataset.Columns = 16
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelSpacing, dataset.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient, dataset.EchoNumbers = [0, 0, 2 * k], n + 1
        dataset.PixelData = (np.arange(256, dtype="<u2") * (n + 1)).tobytes()
        dataset.save_as(folder / f"{n}{k}", enforce_file_format=True)
    return folder


def test_advice_is_in_words_of_the_command_and_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = two_echoes(tmp_path / "s")
    base = ["segment", str(folder), "--point", "8,8,1", "--json", "--out", str(tmp_path / "mask.nii.gz")]
    assert main(base) == 2
    told = capsys.readouterr().err
    assert "series=" not in told
    assert "Doe" not in told
    advised = re.findall(r"--series (?:'[^']*'|\d+)", told)
    assert len(advised) == 2
    for one in advised:
        assert main([*base, *shlex.split(one)]) in (0, 1), capsys.readouterr().err
    assert main([*base, "--series", "1", "--frame", "2"]) == 2
    assert "frame" in capsys.readouterr().err


def test_every_option_of_reading_is_advised_in_words_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "odd.npy", np.zeros((4, 8, 3), np.uint8))
    np.save(tmp_path / "large.npy", np.zeros((4, 8, 9), np.uint8))
    for name, options, expected in (
        ("odd.npy", [], "--axes 'yxc'"),
        ("large.npy", ["--max-voxels", "200"], "--max-voxels 288"),
        ("large.npy", ["--limit", "max_pixels=0"], "--limit max_pixels is 0"),
    ):
        assert main(["segment", str(tmp_path / name), "--point", "1,1,1", *options]) == 2
        assert expected in capsys.readouterr().err


def test_a_command_without_options_of_reading_advises_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_echoes(tmp_path / "a" / "images" / "c")
    (tmp_path / "b" / "images").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)), tmp_path / "b" / "images" / "c.nii")
    for name in "ab":
        root = tmp_path / name
        (root / "masks").mkdir()
        nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), root / "masks" / "c.nii")
        (root / "labels.json").write_text('{"liver": 1}')
        assert main(["data", "inspect", "pair", str(root), "--quiet", "--sheet", str(tmp_path / "s.png")]) == 1
        assert main(["data", "build", "pair", str(root), "--out", str(tmp_path / "out"), "--quiet"]) == 2
        told = "".join(capsys.readouterr())
        assert not re.search(r"series=|frame=|--series|--frame", told)
        assert told.count("Save the one that is meant as a file of its own.") == 2
    limit = "'a' has 9 voxels. Expected at most 8. If that is intended, read it with limits=Limits(max_voxels=9)."
    assert without_options(limit) == "'a' has 9 voxels. Expected at most 8. Make it smaller or leave it out."
