import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from imaging_samples import bundled_dicom, patch, ramp, write_nifti
from mutate_files import FORMATS
from PIL import Image

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError, UniReasonError
from unireason.core.types import Case
from unireason.imaging.geometry import voxel_to_world


def test_content_counts_not_the_name(tmp_path: Path) -> None:
    Image.fromarray(ramp((4, 5), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.dcm")
    assert imaging.read(tmp_path / "a.dcm").source.format == "png"
    write_nifti(tmp_path / "b.nii", ramp()).rename(tmp_path / "b.dat")
    assert np.array_equal(imaging.read(tmp_path / "b.dat").pixels[:, ::-1, ::-1], ramp())


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
    with pytest.raises(ImageReadError, match="type NoneType"):
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


def arrays(tmp_path: Path, values: np.ndarray) -> list[Path]:
    """One float volume in every format and spelling that can hold it, in the same canonical order."""
    affine = np.diag([-1, -1, 1, 1.0])
    doubled = nibabel.Nifti1Image(values.T / 2, affine)
    nibabel.save(nibabel.Nifti1Image(values.T, affine), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(values.T, affine), tmp_path / "b.nii.gz")
    nibabel.save(nibabel.Nifti1Pair(values.T, affine), tmp_path / "c.img")
    for name in ("d.nii", "e.nii.gz"):
        nibabel.save(doubled, tmp_path / "d.nii")
        raw = patch(tmp_path / "d.nii", 112, "<2f", 2, 0).read_bytes()
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    (tmp_path / "e.nii").write_bytes(write_nifti(tmp_path / "twin.nii", ramp()).read_bytes())  # must not matter
    for name in ("f.nrrd", "g.nrrd", "h.mha", "i.mhd"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / name), name[0] in "gh")
    np.save(tmp_path / "j.npy", values)
    np.savez_compressed(tmp_path / "k.npz", values)
    names = ["a.nii", "b.nii.gz", "c.img", "c.hdr", "d.nii", "e.nii.gz", "f.nrrd", "g.nrrd", "h.mha", "i.mhd", "j.npy", "k.npz"]
    return [tmp_path / name for name in names]


def test_values_that_are_not_finite_are_kept_by_every_format_and_told(tmp_path: Path) -> None:
    values = ramp(dtype=np.float32) + 100
    values[:3] = np.nan
    values[3, 0, :2] = np.inf, -np.inf
    windows = set()
    for path in arrays(tmp_path, values):
        case = imaging.read(path)
        assert np.array_equal(case.pixels, values, equal_nan=True), path.name
        assert any("242 values are not finite" in note for note in case.notes), path.name
        stack = imaging.serialize(case, depth=6, size=(8, 10))
        windows.add(stack.window)
        assert not stack.slices[:3].any()
        assert stack.slices[5].any()
    assert len(windows) == 1
    flat = values[3]
    Image.fromarray(flat).save(tmp_path / "a.tif")
    np.save(tmp_path / "b.npy", flat)
    for name in ("a.tif", "b.npy"):
        case = imaging.read(tmp_path / name)
        assert np.array_equal(case.pixels, flat)
        assert any("2 values are not finite" in note for note in case.notes)
    assert imaging.read(write_nifti(tmp_path / "whole.nii", ramp())).notes == ()


def test_an_option_without_effect_is_an_error(tmp_path: Path) -> None:
    volume = write_nifti(tmp_path / "a.nii", ramp())
    Image.fromarray(ramp((4, 5), np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", ramp())
    for path, option in (
        (volume, {"axes": "zyx"}),
        (volume, {"affine_lps": np.eye(4)}),
        (volume, {"series": 1}),
        (volume, {"frame": 1}),
        (tmp_path / "a.png", {"frame": 1}),
        (tmp_path / "a.png", {"series": "1.2"}),
        (tmp_path / "a.npy", {"frame": 1}),
        (tmp_path / "a.npy", {"affine_lps": np.eye(4), "spacing_mm": (1, 1, 1)}),
        (tmp_path / "a.npy", {"affine_lps": np.zeros((4, 4))}),
        (tmp_path / "a.npy", {"affine_lps": np.eye(3)}),
        (bundled_dicom("CT_small.dcm"), {"axes": "zyx"}),
    ):
        with pytest.raises(FormatError):
            imaging.read(path, **option)


def same(one: Case, other: Case) -> None:
    """Two cases of one image, but for where it came from."""
    assert np.array_equal(one.pixels, other.pixels, equal_nan=one.pixels.dtype.kind == "f")
    assert one.pixels.dtype == other.pixels.dtype
    for field in ("shape", "source_shape", "order", "flips", "spacing_mm", "header"):
        assert getattr(one.geometry, field) == getattr(other.geometry, field), field
    a, b = one.geometry.affine_lps, other.geometry.affine_lps
    assert (a is None) == (b is None)
    assert a is None or np.array_equal(a, b)
    assert (one.kind, one.notes, one.modality) == (other.kind, other.notes, other.modality)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint8])
def test_images_in_memory_are_their_saved_files(dtype: type, tmp_path: Path) -> None:
    affine = np.array([[0, 2, 0.5, 3], [-1, 0, 0, 4], [0, 0.1, 3, 5], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(ramp(dtype=dtype).T, affine)
    nibabel.save(image, tmp_path / "a.nii.gz")
    same(imaging.read(image, modality="mr"), imaging.read(tmp_path / "a.nii.gz", modality="mr"))
    patch(write_nifti(tmp_path / "b.nii", ramp(dtype=np.int16), affine), 112, "<2f", 0.3, -7)
    same(imaging.read(nibabel.load(tmp_path / "b.nii")), imaging.read(tmp_path / "b.nii"))
    frames = nibabel.Nifti1Image(np.stack([ramp(dtype=dtype).T, ramp(dtype=dtype).T // 2], -1), affine)
    nibabel.save(frames, tmp_path / "c.nii")
    same(imaging.read(frames, frame=1), imaging.read(tmp_path / "c.nii", frame=1))
    with pytest.raises(FormatError, match="frame=0 to frame=1"):
        imaging.read(frames)

    itk = SimpleITK.GetImageFromArray(ramp(dtype=dtype))
    itk.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, -1))
    itk.SetSpacing((0.5, 2, 3))
    for name, held in (("d.nrrd", itk), ("e.mha", itk[:, :, 0]), ("f.nii.gz", itk)):
        SimpleITK.WriteImage(held, str(tmp_path / name))
        if name != "f.nii.gz":
            same(imaging.read(held), imaging.read(tmp_path / name))
    assert np.array_equal(imaging.read(itk).pixels, imaging.read(tmp_path / "f.nii.gz").pixels)

    array = ramp(dtype=dtype)
    np.save(tmp_path / "g.npy", array)
    for options in ({"spacing_mm": (1, 2, 3)}, {"axes": "xyz"}, {"axes": "xyz", "affine_lps": affine}):
        same(imaging.read(array, **options), imaging.read(tmp_path / "g.npy", **options))
    case = imaging.read(array)
    array[:] = 0
    assert case.pixels.any()  # the owner may fill the array anew

    picture = Image.fromarray(ramp((6, 8), np.uint8))
    picture.getexif()[0x0112] = 6
    picture.save(tmp_path / "h.png", exif=picture.getexif())
    for kind in ("h.png", "i.tif", "j.bmp"):
        if kind != "h.png":
            Image.fromarray(np.stack([ramp((6, 8), np.uint8)] * 3, -1)).save(tmp_path / kind)
        with Image.open(tmp_path / kind) as opened:
            same(imaging.read(opened), imaging.read(tmp_path / kind))


def test_an_array_of_nibabel_with_its_affine_is_the_file(tmp_path: Path) -> None:
    affine = np.array([[0, -2, 0, 3], [1, 0, 0, 4], [0, 0, 3, 5], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(ramp().T, affine)
    nibabel.save(image, tmp_path / "a.nii")
    case = imaging.read(np.asarray(image.dataobj), axes="xyz", affine_lps=np.diag([-1, -1, 1, 1]) @ affine)
    saved = imaging.read(tmp_path / "a.nii")
    assert np.array_equal(case.pixels, saved.pixels)
    for voxel in ((0.5, 0.5, 0.5), (3.5, 2.5, 1.5)):
        # The array's own index runs last axis first.
        assert voxel_to_world(voxel[::-1], case.geometry) == pytest.approx(voxel_to_world(voxel, saved.geometry))
    assert case.geometry.spacing_mm == saved.geometry.spacing_mm


def test_what_is_no_image_in_memory_is_told() -> None:
    wrong = [SimpleITK.Image([4, 4], kind) for kind in (SimpleITK.sitkVectorUInt8, SimpleITK.sitkComplexFloat32)]
    for thing in ([1, 2], object(), np.array(["a"]), np.zeros((0, 3)), *wrong):
        with pytest.raises(ImageReadError):
            imaging.read(thing)
    with pytest.raises(SizeLimitError):
        imaging.read(Image.new("L", (100, 100)), limits=imaging.Limits(max_pixels=9999))


def test_too_little_memory_and_a_missing_decoder_are_not_blamed_on_the_file(tmp_path: Path, monkeypatch) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", ramp())
    for error, kind, word in (
        (MemoryError(), SizeLimitError, "too little memory"),
        (OSError(12, "Cannot allocate memory"), SizeLimitError, "too little memory"),
        (RuntimeError("ITK ERROR: Failed to allocate memory for image."), SizeLimitError, "too little memory"),
        (ImportError("x.so: failed to map segment from shared object"), SizeLimitError, "too little memory"),
        (ImportError("No module named 'x'"), UniReasonError, "decoder cannot be loaded"),
        (ValueError("damaged"), ImageReadError, "cannot be read as NIfTI"),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("unireason.imaging.itk.read_values", fail)
        with pytest.raises(UniReasonError, match=word) as told:
            imaging.read(path)
        assert type(told.value) is kind
