import gzip
import hashlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from imaging_samples import patch, ramp, write_nifti

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError, SizeLimitError
from unireason.imaging.geometry import canonical_to_voxel, voxel_to_world

SHEAR = np.array([[2, 0.8, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1.0]])


def turned_image() -> SimpleITK.Image:
    image = SimpleITK.GetImageFromArray(ramp())
    image.SetSpacing((0.5, 2, 3))
    image.SetOrigin((10, 20, 30))
    c, s = np.cos(2.8), np.sin(2.8)  # more than a right angle: two axes must be flipped
    image.SetDirection((c, -s, 0, s, c, 0, 0, 0, 1))
    return image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
@pytest.mark.parametrize("packed", [False, True])
def test_oblique_anisotropic_volume(name: str, packed: bool, tmp_path: Path) -> None:
    image = turned_image()
    SimpleITK.WriteImage(image, str(tmp_path / name), packed)
    case = imaging.read(tmp_path / name)
    assert (case.kind, case.geometry.order, case.geometry.flips) == ("volume", (0, 1, 2), (True, True, False))
    assert case.geometry.spacing_mm == pytest.approx((0.5, 2, 3), rel=1e-5)
    assert np.array_equal(case.pixels, ramp()[:, ::-1, ::-1])
    # The middle of canonical voxel (2, 3, 4), in the file's own index and in millimetres as SimpleITK has it.
    voxel = canonical_to_voxel((2.5, 3.5, 4.5), case.geometry)
    i, j, k = (int(v) for v in voxel)
    assert image.GetPixel(i, j, k) == case.pixels[4, 3, 2]
    assert voxel_to_world(voxel, case.geometry) == pytest.approx(image.TransformIndexToPhysicalPoint((i, j, k)), abs=1e-3)


def test_pixels_outlive_everything_else(tmp_path: Path) -> None:
    pixels = imaging.read(write_nifti(tmp_path / "a.nii", ramp())).pixels
    rubbish = [bytes(100_000) for _ in range(50)]
    assert len(rubbish) == 50
    assert np.array_equal(pixels[:, ::-1, ::-1], ramp())
    assert not pixels.flags.writeable


def test_hash_is_of_the_file_on_disk(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", ramp())
    assert imaging.read(path).source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    SimpleITK.WriteImage(turned_image(), str(tmp_path / "b.mhd"))
    digests = sorted(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("b.mhd", "b.raw"))
    assert imaging.read(tmp_path / "b.mhd").source.sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()


def test_slope_and_intercept(tmp_path: Path) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", ramp()), 112, "<2f", 0.5, -3)
    assert np.array_equal(imaging.read(path).pixels[:, ::-1, ::-1], ramp() * 0.5 - 3)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_sheared_nifti_keeps_its_affine(name: str, tmp_path: Path) -> None:
    case = imaging.read(write_nifti(tmp_path / name, ramp(), SHEAR, codes=(0, 2)))
    assert np.allclose(case.geometry.affine_lps, np.diag([-1, -1, 1, 1]) @ SHEAR)
    assert any("shear" in note for note in case.notes)
    assert np.array_equal(case.pixels[:, ::-1, ::-1], ramp())
    assert voxel_to_world((1.5, 1.5, 0.5), case.geometry) == pytest.approx((-7.8, -8, 7))


def test_no_form_codes_are_lps_and_said(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(), np.diag([2, 3, 4, 1.0]), codes=(0, 0))
    case = imaging.read(path)
    assert case.notes == ("no form codes: axes taken as LPS (x left, y back, z head)",)
    assert np.array_equal(case.geometry.affine_lps, np.diag([2, 3, 4, 1.0]))
    assert np.array_equal(case.pixels, ramp())


def test_sform_wins_over_qform(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", ramp(), np.diag([2, 3, 4, 1.0]), codes=(1, 1))
    patch(path, 280, "<12f", -2, 0, 0, 1, 0, 3, 0, 0, 0, 0, 4, 0)
    affine = imaging.read(path).geometry.affine_lps
    assert affine[0, 0] == 2
    patch(path, 254, "<h", 0)
    assert imaging.read(path).geometry.affine_lps[0, 0] == -2


@pytest.mark.parametrize("seed", range(8))
def test_qform_agrees_with_nibabel(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # proper and improper rotations
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * rng.uniform(0.5, 3, 3), rng.normal(size=3) * 50
    path = write_nifti(tmp_path / "a.nii", ramp(), affine, codes=(1, 0))
    expected = np.diag([-1, -1, 1, 1]) @ nibabel.load(path).affine
    assert np.allclose(imaging.read(path).geometry.affine_lps, expected, atol=1e-4)


def test_units_become_millimetres(tmp_path: Path) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", ramp(), np.diag([2, 3, 4, 1.0])), 123, "B", 3)
    assert imaging.read(path).geometry.spacing_mm == pytest.approx((0.002, 0.003, 0.004))


def test_four_dimensions_need_a_frame(tmp_path: Path) -> None:
    values = np.stack([ramp(), ramp() + 1000, ramp() + 2000], -1).transpose(2, 1, 0, 3)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, -1, 1, 1.0])), tmp_path / "a.nii.gz")
    with pytest.raises(FormatError, match=r"3 frames.*frame=0 to frame=2"):
        imaging.read(tmp_path / "a.nii.gz")
    case = imaging.read(tmp_path / "a.nii.gz", frame=2)
    assert np.array_equal(case.pixels, ramp() + 2000)
    assert case.notes == ("frame 2 of 3",)
    with pytest.raises(FormatError, match="frame 3"):
        imaging.read(tmp_path / "a.nii.gz", frame=3)


def test_four_dimensional_metaimage(tmp_path: Path) -> None:
    image = SimpleITK.JoinSeries([turned_image(), turned_image() + 500])
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(FormatError, match="2 frames"):
        imaging.read(tmp_path / "a.mha")
    assert np.array_equal(imaging.read(tmp_path / "a.mha", frame=1).pixels, (ramp() + 500)[:, ::-1, ::-1])


def test_flat_metaimage_is_an_image(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(ramp((4, 5)))
    image.SetSpacing((0.5, 0.7))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    case = imaging.read(tmp_path / "a.mha")
    assert (case.kind, case.geometry.spacing_mm) == ("image", (0.5, 0.7))
    assert np.array_equal(case.pixels, ramp((4, 5)))


def test_nrrd_in_ras_space_is_turned(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nspace: right-anterior-superior\nsizes: 10 8 6\n"
    header += "space directions: (2,0,0) (0,3,0) (0,0,4)\nendian: little\nencoding: raw\nspace origin: (1,2,3)\n\n"
    (tmp_path / "a.nrrd").write_bytes(header.encode() + ramp().tobytes())
    case = imaging.read(tmp_path / "a.nrrd")
    assert np.array_equal(case.geometry.affine_lps, [[-2, 0, 0, -1], [0, -3, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert np.array_equal(case.pixels, ramp()[:, ::-1, ::-1])
    bare = header.replace("space: right-anterior-superior\n", "").replace("space directions: (2,0,0) (0,3,0) (0,0,4)\n", "")
    (tmp_path / "b.nrrd").write_bytes(bare.replace("space origin: (1,2,3)\n", "").encode() + ramp().tobytes())
    assert imaging.read(tmp_path / "b.nrrd").notes == ("no orientation in the header: axes taken as LPS",)


@pytest.mark.parametrize(
    ("offset", "code", "values", "error"),
    [
        (42, "<h", (30000,), ImageReadError),  # longer than the file
        (40, "<8h", (3, 2000, 2000, 2000, 1, 1, 1, 1), SizeLimitError),
        (40, "<8h", (3, -1, 8, 6, 1, 1, 1, 1), ImageReadError),
        (40, "<h", (0,), ImageReadError),
        (70, "<2h", (128, 24), ImageReadError),  # RGB
        (70, "<2h", (32, 64), ImageReadError),  # complex
        (70, "<2h", (4, 8), ImageReadError),  # contradictory
        (108, "<f", (float("nan"),), ImageReadError),
        (108, "<f", (10.0,), ImageReadError),
        (280, "<f", (float("inf"),), GeometryError),
        (280, "<12f", (0,) * 12, GeometryError),
        (344, "4s", (b"ni1\0",), ImageReadError),
        (0, "<i", (7,), ImageReadError),
    ],
)
def test_bad_nifti_headers(offset: int, code: str, values: tuple, error: type, tmp_path: Path) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", ramp()), offset, code, *values)
    with pytest.raises(error):
        imaging.read(path)


def test_zero_spacing_in_a_qform(tmp_path: Path) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", ramp(), codes=(1, 0)), 80, "<f", 0.0)
    with pytest.raises(GeometryError, match="voxel sizes"):
        imaging.read(path)


def test_gzip_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", ramp()), 42, "<3h", 700, 700, 700)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(path.read_bytes() + bytes(30_000_000)))
    with pytest.raises(ImageReadError, match="too short"):
        imaging.read(tmp_path / "b.nii.gz")
    with pytest.raises(SizeLimitError, match="max_voxels=343000000"):
        imaging.read(tmp_path / "b.nii.gz", limits=imaging.Limits(max_voxels=10**6))


def test_truncated_gzip(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
    raw = write_nifti(tmp_path / "a.nii.gz", noise).read_bytes()
    for end in (len(raw) // 2, -20, -1):
        (tmp_path / "b.nii.gz").write_bytes(raw[:end])
        with pytest.raises(ImageReadError, match=r"'b.nii.gz' (breaks off|cannot)"):
            imaging.read(tmp_path / "b.nii.gz")


def test_chained_and_padded_gzip_is_sound(tmp_path: Path) -> None:
    raw = write_nifti(tmp_path / "a.nii", ramp()).read_bytes()
    for content in (gzip.compress(raw[:700]) + gzip.compress(raw[700:]), gzip.compress(raw + bytes(5000))):
        (tmp_path / "b.nii.gz").write_bytes(content)
        assert np.array_equal(imaging.read(tmp_path / "b.nii.gz").pixels[:, ::-1, ::-1], ramp())


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.nii.gz"])
def test_damaged_compressed_data_are_never_filled_up(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 30000, (20, 20, 20)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(tmp_path / name), True)
    raw = (tmp_path / name).read_bytes()
    broken = raw[:9000] + bytes(10) + raw[9010:]
    for content in (raw[: len(raw) // 2], raw[:-20], broken, raw.replace(b"CompressedDataSize", b"CompressedDataSiz_")):
        (tmp_path / name).write_bytes(content)
        if content != raw:
            with pytest.raises(ImageReadError):
                imaging.read(tmp_path / name)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.raw", "x%03d.raw", "LIST", "a b.raw", "missing.raw", ""])
def test_data_files_outside_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    SimpleITK.WriteImage(turned_image(), str(tmp_path / "a.mhd"))
    text = (tmp_path / "a.mhd").read_text().replace("a.raw", name)
    (tmp_path / "a.mhd").write_text(text)
    with pytest.raises(ImageReadError):
        imaging.read(tmp_path / "a.mhd")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("DimSize = 10 8 6", "DimSize = 10 8 600", ImageReadError),
        ("DimSize = 10 8 6", "DimSize = 100000 100000 6", SizeLimitError),
        ("MET_SHORT", "MET_STRING", ImageReadError),
        ("ElementSpacing = 0.5", "ElementSpacing = nan", GeometryError),
        ("BinaryData = True", "BinaryData = False", ImageReadError),
        ("NDims = 3", "NDims = 33", ImageReadError),
    ],
)
def test_bad_metaimage_headers(old: str, new: str, error: type, tmp_path: Path) -> None:
    SimpleITK.WriteImage(turned_image(), str(tmp_path / "a.mha"))
    raw = (tmp_path / "a.mha").read_bytes()
    assert old.encode() in raw
    (tmp_path / "a.mha").write_bytes(raw.replace(old.encode(), new.encode()))
    with pytest.raises(error):
        imaging.read(tmp_path / "a.mha")


def test_vectors_are_refused(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5, 2), np.int16), isVector=True)
    for name in ("a.mha", "a.nrrd", "a.nii"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
        with pytest.raises((ImageReadError, GeometryError, FormatError)):
            imaging.read(tmp_path / name)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "u2", "i4", "u4", "i8", "u8", "f4", ">f4", "f8"])
def test_value_types_and_byte_orders(dtype: str, tmp_path: Path) -> None:
    values = ramp(dtype=np.dtype(dtype).newbyteorder("=")) % 120
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype)
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(values.T, np.diag([-1, -1, 1, 1.0]), header), tmp_path / name)
        assert np.array_equal(imaging.read(tmp_path / name).pixels, values)


def test_nifti_2(tmp_path: Path) -> None:
    affine = np.array([[0, 2, 0, 3], [0, 0, 4, 5], [6, 0, 0, 7], [0, 0, 0, 1.0]])
    nibabel.save(nibabel.Nifti2Image(ramp().T, affine), tmp_path / "a.nii")
    case = imaging.read(tmp_path / "a.nii")
    assert np.array_equal(case.geometry.affine_lps, np.diag([-1, -1, 1, 1]) @ affine)
    assert np.array_equal(case.pixels, ramp().transpose(2, 0, 1)[:, ::-1, ::-1])


def test_packed_beside_unpacked_of_the_same_name(tmp_path):
    """ITK alone reads the header of name.nii.gz and the values of name.nii."""
    write_nifti(tmp_path / "scan.nii", ramp())
    path = write_nifti(tmp_path / "scan.nii.gz", ramp() + 1000)
    assert imaging.read(path).pixels.min() == 1000
    assert imaging.read(tmp_path / "scan.nii").pixels.min() == 0


def test_names_do_not_matter_to_nifti(tmp_path: Path) -> None:
    scaled = patch(write_nifti(tmp_path / "s.nii", ramp()), 112, "<2f", 2, -1024).read_bytes()
    raw = write_nifti(tmp_path / "r.nii", ramp()).read_bytes()
    chained = gzip.compress(raw[:100]) + gzip.compress(raw[100:])  # the first one is shorter than the header
    for content, values in ((raw, ramp()), (scaled, ramp() * 2.0 - 1024)):
        for name in ("a.nii", "a.nii.gz", "A.NII.GZ", "noending", "a.nii.gz.bak"):
            for stored in (content, gzip.compress(content)):
                (tmp_path / name).write_bytes(stored)
                assert np.array_equal(imaging.read(tmp_path / name).pixels[:, ::-1, ::-1], values), name
    (tmp_path / "c.nii.gz").write_bytes(chained)
    assert np.array_equal(imaging.read(tmp_path / "c.nii.gz").pixels[:, ::-1, ::-1], ramp())


@pytest.mark.parametrize(
    ("kind", "name"), [(nibabel.Nifti1Pair, "p.img"), (nibabel.Nifti1Pair, "p.img.gz"), (nibabel.Nifti2Pair, "p.img")]
)
def test_a_pair_is_read_by_either_name(kind: type, name: str, tmp_path: Path) -> None:
    affine = np.array([[0, 2, 0, 3], [0, 0, 4, 5], [6, 0, 0, 7], [0, 0, 0, 1.0]])
    nibabel.save(kind(ramp().T, affine), tmp_path / name)
    header = tmp_path / name.replace("img", "hdr")
    cases = [imaging.read(tmp_path / name), imaging.read(header)]
    for case in cases:
        assert np.array_equal(case.pixels, ramp().transpose(2, 0, 1)[:, ::-1, ::-1])
        assert np.array_equal(case.geometry.affine_lps, np.diag([-1, -1, 1, 1]) @ affine)
    digests = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / name, header))
    assert {case.source.sha256 for case in cases} == {hashlib.sha256("".join(digests).encode()).hexdigest()}


def test_what_a_pair_lacks_is_told_and_mended_as_told(tmp_path: Path) -> None:
    for folder in ("whole", "header", "image"):
        (tmp_path / folder).mkdir()
    nibabel.save(nibabel.Nifti1Pair(ramp().T, np.diag([-1, -1, 1, 1.0])), tmp_path / "whole" / "p.img")
    for name, folder, missing in (("p.hdr", "header", "p.img"), ("p.img", "image", "p.hdr")):
        path = tmp_path / folder / name
        path.write_bytes((tmp_path / "whole" / name).read_bytes())
        with pytest.raises(ImageReadError, match="beside it"):
            imaging.read(path)
        path.with_name(missing).write_bytes((tmp_path / "whole" / missing).read_bytes())
        assert np.array_equal(imaging.read(path).pixels, ramp())
    (tmp_path / "whole" / "p.img").write_bytes(ramp().tobytes()[:-1])
    with pytest.raises(ImageReadError, match=r"'p\.img' is too short"):
        imaging.read(tmp_path / "whole" / "p.hdr")


@pytest.mark.parametrize(
    ("kind", "name", "called"),
    [
        (nibabel.AnalyzeImage, "a.b.img", "a.b.img"),
        (nibabel.AnalyzeImage, "a.img", "a.hdr"),
        (nibabel.MGHImage, "a.mgz", "a.mgz"),
        (nibabel.MGHImage, "a.mgh", "a.mgh"),
        (nibabel.MGHImage, "a.mgz", "b.nii.gz"),
    ],
)
def test_other_formats_are_converted_by_the_command_of_the_error(kind: type, name: str, called: str, tmp_path: Path) -> None:
    nibabel.save(kind(ramp(dtype=np.float32).T, np.diag([-1, -1, 1, 1.0])), tmp_path / name)
    if not (tmp_path / called).exists():
        (tmp_path / name).rename(tmp_path / called)
    with pytest.raises(ImageReadError, match="onvert it") as told:
        imaging.read(tmp_path / called)
    renamed = re.search(r"ename it to (\S+),", told.value.remedy)
    if renamed:
        (tmp_path / called).rename(tmp_path / renamed[1])
    command = shlex.split(told.value.remedy.partition("onvert it: ")[2])
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, timeout=120)
    (made,) = tmp_path.glob("*.nii.gz")
    assert np.array_equal(imaging.read(made).pixels, ramp())


def test_gzip_of_another_format_is_read_once_unpacked_as_told(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(ramp()), str(tmp_path / "a.nrrd"))
    (tmp_path / "b.nrrd.gz").write_bytes(gzip.compress((tmp_path / "a.nrrd").read_bytes()))
    with pytest.raises(ImageReadError, match="Unpack it if it is gzip of another format"):
        imaging.read(tmp_path / "b.nrrd.gz")
    (tmp_path / "b.nrrd").write_bytes(gzip.decompress((tmp_path / "b.nrrd.gz").read_bytes()))
    assert np.array_equal(imaging.read(tmp_path / "b.nrrd").pixels, ramp())


def layered(path: Path, place: int, kinds: str | None, directions: bool = True) -> Path:
    """Three volumes in one NRRD, told apart along the axis ``place`` (0 is the fastest)."""
    layers = np.moveaxis(np.stack([ramp().T + 1000 * n for n in range(3)]), 0, place)
    vectors = ["(2,0,0)", "(0,3,0)", "(0,0,4)"]
    vectors.insert(place, "none")
    lines = ["NRRD0004", "type: short", "dimension: 4", "space: left-posterior-superior", "encoding: gzip", "endian: little"]
    lines.append(f"sizes: {' '.join(map(str, layers.shape))}")
    lines += [f"space directions: {' '.join(vectors)}", "space origin: (1,2,3)"] if directions else []
    lines += [f"kinds: {kinds}"] if kinds else []
    path.write_bytes("\n".join([*lines, "", ""]).encode() + gzip.compress(layers.tobytes(order="F")))
    return path


@pytest.mark.parametrize("kind", ["list", "vector", "3-vector"])
@pytest.mark.parametrize("place", range(4))
def test_layers_of_a_nrrd_are_chosen_along_their_own_axis(place: int, kind: str, tmp_path: Path) -> None:
    kinds = ["domain"] * 3
    kinds.insert(place, kind)
    path = layered(tmp_path / "a.seg.nrrd", place, " ".join(kinds))
    with pytest.raises(FormatError, match=r"3 frames.*frame=0 to frame=2"):
        imaging.read(path)
    for frame in range(3):
        case = imaging.read(path, frame=frame)
        assert np.array_equal(case.pixels, ramp() + 1000 * frame)
        assert (case.geometry.spacing_mm, case.notes) == ((2, 3, 4), (f"frame {frame} of 3",))
        assert tuple(case.geometry.affine_lps[:3, 3]) == (1, 2, 3)
    with pytest.raises(FormatError, match="frame 3"):
        imaging.read(path, frame=3)


@pytest.mark.parametrize("kinds", [None, "domain domain domain domain", "time domain domain domain"])
def test_an_axis_without_direction_is_called_a_list_as_told(kinds: str | None, tmp_path: Path) -> None:
    path = layered(tmp_path / "a.nrrd", 0, kinds)
    with pytest.raises(ImageReadError, match="without a direction") as told:
        imaging.read(path, frame=1)
    line = re.search(r"'kinds: ([^']*)'", told.value.remedy)
    assert line
    assert np.array_equal(imaging.read(layered(path, 0, line[1]), frame=1).pixels, ramp() + 1000)


def test_one_layer_flat_layers_colour_and_time(tmp_path: Path) -> None:
    head = "NRRD0004\ntype: short\ndimension: {}\nsizes: {}\nkinds: {}\nencoding: raw\nendian: little\n\n"

    def nrrd(sizes: str, kinds: str, values: np.ndarray) -> Path:
        content = head.format(len(sizes.split()), sizes, kinds).encode() + values.tobytes()
        (tmp_path / "a.nrrd").write_bytes(content)
        return tmp_path / "a.nrrd"

    assert np.array_equal(imaging.read(nrrd("1 10 8 6", "list domain domain domain", ramp())).pixels, ramp())
    flat = imaging.read(nrrd("2 8 5", "list domain domain", ramp((5, 8, 2))), frame=1)
    assert (flat.kind, flat.pixels.tolist()) == ("image", ramp((5, 8, 2))[..., 1].tolist())
    films = imaging.read(nrrd("8 5 4 3", "domain domain domain time", ramp((3, 4, 5, 8))), frame=2)
    assert np.array_equal(films.pixels, ramp((3, 4, 5, 8))[2])
    for sizes, kinds in (
        ("3 8 5", "RGB-color domain domain"),
        ("2 8 5", "complex domain domain"),
        ("2 2 5 8", "list list domain domain"),
    ):
        with pytest.raises(ImageReadError):
            imaging.read(nrrd(sizes, kinds, np.zeros(400, np.int16)), frame=0)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nrrd", "a.mha"])
def test_what_a_compressed_volume_unpacks_to_is_bounded(name: str, tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(ramp())
    SimpleITK.WriteImage(image, str(tmp_path / name), True)
    with pytest.raises(SizeLimitError, match="max_unpacked_bytes=960"):
        imaging.read(tmp_path / name, limits=imaging.Limits(max_unpacked_bytes=959))
    assert imaging.read(tmp_path / name, limits=imaging.Limits(max_unpacked_bytes=960)).pixels.size == 480


def test_one_frame_of_a_packed_file_is_all_that_is_kept(tmp_path: Path) -> None:
    nibabel.save(
        nibabel.Nifti1Image(np.stack([ramp().T + n for n in range(9)], -1), np.diag([-1, -1, 1, 1.0])), tmp_path / "a.nii.gz"
    )
    case = imaging.read(tmp_path / "a.nii.gz", frame=8, limits=imaging.Limits(max_unpacked_bytes=960))
    assert np.array_equal(case.pixels, ramp() + 8)


@pytest.mark.parametrize(
    ("stored", "slope", "intercept", "kind"),
    [
        (np.uint8, 0.1, 0, np.float32),
        (np.int16, 1, -1024, np.float32),
        (np.uint16, 3e35, 0, np.float64),  # beyond what 32 bits hold
        (np.int32, 0.5, 3e9, np.float64),
        (np.uint32, 1, 1, np.float64),
        (np.float32, 10, 0, np.float64),
        (np.float64, -2, 1, np.float64),
    ],
)
def test_scaled_values_are_exact_and_alike_packed_or_not(
    stored: type, slope: float, intercept: float, kind: type, tmp_path: Path
) -> None:
    top = np.iinfo(stored).max if np.dtype(stored).kind in "iu" else np.finfo(np.float32).max
    values = np.array([0, 1, 2, top], stored).reshape(1, 1, 4)
    raw = patch(write_nifti(tmp_path / "a.nii", values, np.diag([-1, -1, 1, 1.0])), 112, "<2f", slope, intercept).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw))
    exact = values.astype(np.float64) * float(np.float32(slope)) + float(np.float32(intercept))
    for name in ("a.nii", "b.nii.gz"):
        case = imaging.read(tmp_path / name)
        assert case.pixels.dtype == kind
        assert np.array_equal(case.pixels, exact.astype(kind))
        assert np.isfinite(case.pixels).all()


def test_a_slope_without_an_intercept_is_told(tmp_path: Path) -> None:
    path = patch(write_nifti(tmp_path / "a.nii", ramp()), 112, "<2f", 2, float("nan"))
    with pytest.raises(ImageReadError, match="rescales"):
        imaging.read(path)
    for slope in (0, float("nan"), float("inf")):
        assert imaging.read(patch(path, 112, "<2f", slope, float("nan"))).pixels.dtype == np.int16


@pytest.mark.parametrize("first", [(8, 5, 2, 0), (2, 0, 4, 0), (8, 22, 16, 0)])
def test_values_of_a_pair_that_begin_like_dicom(first: tuple[int, ...], tmp_path: Path) -> None:
    values = np.zeros((12, 12, 12), np.int16)
    values[:4, 0, 0] = first
    nibabel.save(nibabel.Nifti1Pair(values, np.eye(4)), tmp_path / "a.hdr")
    assert imaging.read(tmp_path / "a.img").pixels.sum() == sum(first)
