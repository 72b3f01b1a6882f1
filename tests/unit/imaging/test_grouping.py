"""Several volumes in one series, told apart by what differs, in folders and in enhanced files alike."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from imaging_samples import dicom_dataset, ramp, write_dicom, write_enhanced
from pydicom.dataset import Dataset

import unireason.imaging as imaging
from unireason.core.errors import FormatError, GeometryError, ImageReadError
from unireason.core.types import Case

SIZE = (3, 4, 5)
VOLUMES = [ramp(SIZE, np.uint16) + 100 * n for n in range(3)]
Elements = Callable[[int, int], dict[str, Any]]  # volume and slice to elements


def folder_of(folder: Path, elements: Elements, count: int = 2) -> Path:
    """``count`` volumes at the same places in one series, files in no order."""
    folder.mkdir()
    for n in range(count):
        for k in range(SIZE[0]):
            told = {"Modality": "MR", "AcquisitionNumber": 1, "ImagePositionPatient": [0, 0, 2.0 * k], **elements(n, k)}
            write_dicom(folder / f"{(5 * n + 7 * k) % 11:02d}-{n}{k}", VOLUMES[n][k], **told)
    return folder


def enhanced_of(path: Path, groups: Callable[[int, int], dict[str, dict[str, Any]]], *, by_slice: bool = False) -> Path:
    """Two volumes in one enhanced file, stored volume by volume or slice by slice."""
    pairs = [(n, k) for n in range(2) for k in range(SIZE[0])]
    pairs = sorted(pairs, key=lambda pair: pair[1]) if by_slice else pairs
    write_enhanced(path, np.stack([VOLUMES[n][k] for n, k in pairs]), [[0.0, 0.0, 2.0 * k] for _, k in pairs])
    dataset = pydicom.dcmread(path)
    for (n, k), group in zip(pairs, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        for sequence, elements in groups(n, k).items():
            item = group[sequence][0] if sequence in group else Dataset()
            for key, value in elements.items():
                setattr(item, key, value)
            setattr(group, sequence, [item])
    dataset.save_as(path)
    return path


def chosen_by_the_error(place: Path) -> list[Case]:
    """Each choice that the error of an unmade choice names, carried out."""
    with pytest.raises(GeometryError, match="holds 2 volumes") as told:
        imaging.read(place)
    found = re.findall(r"series=(\d+|'[^']*')", told.value.remedy)
    assert len(found) == 2
    return [imaging.read(place, series=int(one) if one.isdigit() else one.strip("'")) for one in found]


KINDS: dict[str, Elements] = {
    "echo 2": lambda n, k: {"EchoNumbers": n + 1, "EchoTime": 4.6 * (n + 1)},
    "echo time 9.2 ms": lambda n, k: {"EchoTime": f"{4.6 * (n + 1) + 1e-5 * k:.6f}"},
    "time point 2": lambda n, k: {"TemporalPositionIdentifier": n + 1, "AcquisitionTime": f"1010{n:02d}.{k}"},
    "b-value 1000": lambda n, k: {"DiffusionBValue": 1000.0 * n},
    "gradient 1/0/0": lambda n, k: {"DiffusionGradientOrientation": [float(n), 1.0 - n, 0.0]},
    "trigger time #2": lambda n, k: {"TriggerTime": 50 * n + 3 * k},
    "image type P": lambda n, k: {"ImageType": ["ORIGINAL", "PRIMARY", "MP"[n], "ND"]},
    "acquisition #2": lambda n, k: {"AcquisitionNumber": 3 * n + k + 1},
    "acquisition time #2": lambda n, k: {"AcquisitionTime": f"10{10 + n}0{k}"},
    "instance #2": lambda n, k: {"InstanceNumber": 20000 + 2 * k + n},
    "flip angle 20 degrees": lambda n, k: {"FlipAngle": 10 * (n + 1)},
    "kernel Br60": lambda n, k: {"ConvolutionKernel": ("Br40", "Br60")[n]},
    "cardiac phase 50 %": lambda n, k: {"NominalPercentageOfCardiacPhase": 50.0 * n},
    "time 60000 ms": lambda n, k: {"FrameReferenceTime": 60000 * n},
    "inversion time 500 ms": lambda n, k: {"InversionTime": 250 * (n + 1)},
}


@pytest.mark.parametrize("words", KINDS)
def test_volumes_at_the_same_places_are_told_apart_and_chosen(words: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", KINDS[words])
    assert [case.pixels.tolist() for case in chosen_by_the_error(folder)] == [one.tolist() for one in VOLUMES[:2]]
    assert np.array_equal(imaging.read(folder, series=words).pixels, VOLUMES[1])
    assert np.array_equal(imaging.read(folder, series="1").pixels, VOLUMES[1])


ENHANCED: dict[str, Callable[[int, int], dict[str, dict[str, Any]]]] = {
    "echo time 9 ms": lambda n, k: {"MREchoSequence": {"EffectiveEchoTime": 4.5 * (n + 1)}},
    "time point 2": lambda n, k: {"FrameContentSequence": {"TemporalPositionIndex": n + 1, "FrameAcquisitionNumber": 3 * n + k}},
    "b-value 800": lambda n, k: {"MRDiffusionSequence": {"DiffusionBValue": 800.0 * n}},
    "trigger time 40 ms": lambda n, k: {"CardiacSynchronizationSequence": {"NominalCardiacTriggerDelayTime": 40.0 * n}},
    "component PHASE": lambda n, k: {"MRImageFrameTypeSequence": {"ComplexImageComponent": ("MAGNITUDE", "PHASE")[n]}},
    "image type P": lambda n, k: {"MRImageFrameTypeSequence": {"FrameType": ["ORIGINAL", "PRIMARY", "X", "MP"[n]]}},
    "dimension #2": lambda n, k: {"FrameContentSequence": {"DimensionIndexValues": [k + 1, n + 1]}},
    "instance #2": lambda n, k: {},
}


@pytest.mark.parametrize("by_slice", [False, True])
@pytest.mark.parametrize("words", ENHANCED)
def test_volumes_in_an_enhanced_file(words: str, by_slice: bool, tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    path = enhanced_of(tmp_path / "f" / "a.dcm", ENHANCED[words], by_slice=by_slice)
    real = [(one.astype(int) * 2 - 5).tolist() for one in VOLUMES[:2]]
    for place in (path, path.parent):
        assert [case.pixels.tolist() for case in chosen_by_the_error(place)] == real
        assert imaging.read(place, series=words).pixels.tolist() == real[1]


def test_three_by_two_volumes_and_how_they_are_named(tmp_path: Path) -> None:
    def told(n: int, k: int) -> dict[str, Any]:
        return {"DiffusionBValue": 0.0 if n == 0 else 1000.0, "DiffusionGradientOrientation": [0.0, n - 1.0, 2.0 - n]}

    folder = folder_of(tmp_path / "s", told, count=3)
    with pytest.raises(GeometryError, match=r"0: MR, .*b-value 0.*3 slices of 5 x 4.*1: .*b-value 1000, gradient.*2: ") as error:
        imaging.read(folder)
    assert "3 volumes" in str(error.value)
    assert np.array_equal(imaging.read(folder, series="b-value 0").pixels, VOLUMES[0])
    with pytest.raises(GeometryError, match="2 volumes"):  # words of two of them
        imaging.read(folder, series="b-value 1000")
    assert {int(imaging.read(folder, series=n).pixels[0, 0, 0]) for n in (1, 2)} == {100, 200}
    listed = re.findall(r"\d: ([^;)]+)", str(error.value))
    for n, line in enumerate(listed):  # each line of the list, and the words that differ, may be copied
        words = [word for word in line.split(", ") if word.startswith(("b-value", "gradient"))]
        for typed in (line, ", ".join(words), ", ".join(words[::-1])):
            assert np.array_equal(imaging.read(folder, series=typed).pixels, imaging.read(folder, series=n).pixels)


def test_what_differs_from_slice_to_slice_of_one_volume_is_no_choice(tmp_path: Path) -> None:
    def told(n: int, k: int) -> dict[str, Any]:
        drift = {"AcquisitionNumber": k, "AcquisitionTime": f"10100{k}", "TriggerTime": 10 * k, "InstanceNumber": k}
        return {**drift, "TemporalPositionIdentifier": k + 1, "ImageType": ["ORIGINAL", "PRIMARY", "AB"[k % 2]]}

    assert np.array_equal(imaging.read(folder_of(tmp_path / "s", told, count=1)).pixels, VOLUMES[0])


def test_slices_of_two_echoes_are_no_volume_even_side_by_side(tmp_path: Path) -> None:
    def told(n: int, k: int) -> dict[str, Any]:
        return {"EchoNumbers": n + 1, "ImagePositionPatient": [0, 0, 4.0 * k + 2 * n]}

    assert [case.pixels.tolist() for case in chosen_by_the_error(folder_of(tmp_path / "s", told))] == [
        one.tolist() for one in VOLUMES[:2]
    ]


def test_an_incomplete_last_time_point(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", lambda n, k: {"TemporalPositionIdentifier": n + 1})
    next(folder.glob("*-12")).unlink()
    assert np.array_equal(imaging.read(folder, series=0).pixels, VOLUMES[0])
    assert np.array_equal(imaging.read(folder, series=1).pixels, VOLUMES[1][:2])


def test_copies_stay_an_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", lambda n, k: {"EchoNumbers": n + 1})
    shutil.copy(next(folder.glob("*-11")), folder / "copy")
    assert np.array_equal(imaging.read(folder, series=0).pixels, VOLUMES[0])
    with pytest.raises(GeometryError, match=r"1 slices lie where another one lies.*copy"):
        imaging.read(folder, series=1)
    twice = folder_of(tmp_path / "t", lambda n, k: {}, count=1)
    shutil.copytree(twice, twice / "again")
    with pytest.raises(GeometryError, match="3 slices lie where another one lies") as told:
        imaging.read(twice)
    assert "keep one" in told.value.remedy
    shutil.rmtree(twice / "again")  # as the remedy says
    assert np.array_equal(imaging.read(twice).pixels, VOLUMES[0])


@pytest.mark.parametrize("jitter", [1e-6, 1e-5, 1e-4, 1e-3])
@pytest.mark.parametrize("angle", [0.0, 0.005, 0.3])
def test_directions_that_jitter_are_one_stack(jitter: float, angle: float, tmp_path: Path) -> None:
    """An angle of 0.005 puts a cosine where rounding to hundredths would part its neighbours."""
    rng = np.random.default_rng(int(angle * 1000))
    c, s = np.cos(angle), np.sin(angle)
    folder = tmp_path / "s"
    folder.mkdir()
    volume = ramp((12, 4, 5), np.uint16)
    for k in range(12):
        axes = np.array([[1, 0, 0], [0, c, s]]) + rng.uniform(-jitter, jitter, (2, 3))
        axes[1] -= axes[0] * (axes[0] @ axes[1])
        turn = [f"{v:.7f}" for v in np.concatenate([axes[0] / np.linalg.norm(axes[0]), axes[1] / np.linalg.norm(axes[1])])]
        place = [f"{v:.5f}" for v in np.array([-120, 80, 40]) + 2 * k * np.array([0, -s, c])]
        spacing = [0.5 + jitter / 10 * (k % 2), 0.25]
        write_dicom(folder / f"{k}", volume[k], ImageOrientationPatient=turn, ImagePositionPatient=place, PixelSpacing=spacing)
    case = imaging.read(folder)
    assert case.pixels.shape[0] == 12
    assert case.geometry.spacing_mm == pytest.approx((0.25, 0.5, 2.0), abs=0.01)


def test_directions_that_drift_away_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    for k in range(12):
        c, s = np.cos(0.008 * k), np.sin(0.008 * k)
        write_dicom(
            folder / f"{k}", VOLUMES[0][0], ImageOrientationPatient=[1, 0, 0, 0, c, s], ImagePositionPatient=[0, 0, 2 * k]
        )
    with pytest.raises(GeometryError, match=r"turned against each other by .* degrees"):
        imaging.read(folder)
    assert imaging.read(folder / "3").kind == "image"  # as the remedy says


def test_pixel_spacings_of_one_series_are_told_apart(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", lambda n, k: {"PixelSpacing": [0.5 + 0.1 * n, 0.5]})
    cases = chosen_by_the_error(folder)
    assert [case.geometry.spacing_mm for case in cases] == [(0.5, 0.5, 2.0), (0.5, 0.6, 2.0)]


def test_a_frame_of_an_enhanced_file(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    path = enhanced_of(tmp_path / "f" / "a.dcm", ENHANCED["time point 2"])
    for place in (path, path.parent):
        case = imaging.read(place, frame=4)
        assert case.kind == "image"
        assert np.array_equal(case.pixels, VOLUMES[1][1].astype(int) * 2 - 5)
        with pytest.raises(FormatError, match="0 to 5"):
            imaging.read(place, frame=6)
        with pytest.raises(FormatError, match="frame"):
            imaging.read(place, frame=1, series=1)
        with pytest.raises(FormatError, match=r"series 2 is not in.*series=0"):
            imaging.read(place, series=2)


def test_a_loop_beside_a_series(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", lambda n, k: {}, count=1)
    loop = dicom_dataset(ramp((4, 4, 5), np.uint16), ImagePositionPatient=None, NumberOfFrames=4, SeriesInstanceUID="1.2.9")
    loop.save_as(folder / "loop", enforce_file_format=True)
    assert np.array_equal(imaging.read(folder, series="1.2.3").pixels, VOLUMES[0])
    with pytest.raises(FormatError, match="frame=0 to frame=3"):
        imaging.read(folder, series="1.2.9")
    assert np.array_equal(imaging.read(folder, series="1.2.9", frame=3).pixels, ramp((4, 4, 5))[3])


def test_volumes_in_several_enhanced_files(tmp_path: Path) -> None:
    """One file a time point; and one volume in two files, a lower and an upper slab."""
    for name, height, times in (("times", 0, (1, 2)), ("slabs", 6, (1, 1))):
        (tmp_path / name).mkdir()
        for n in range(2):
            places = [[0.0, 0.0, 2.0 * k + height * n] for k in range(3)]
            write_enhanced(tmp_path / name / f"{n}.dcm", VOLUMES[n], places, [times[n]] * 3)
    real = [one.astype(int) * 2 - 5 for one in VOLUMES[:2]]
    assert [case.pixels.tolist() for case in chosen_by_the_error(tmp_path / "times")] == [one.tolist() for one in real]
    assert np.array_equal(imaging.read(tmp_path / "times", series=1, frame=2).pixels, real[1][2])
    assert np.array_equal(imaging.read(tmp_path / "slabs").pixels, np.concatenate(real))
    with pytest.raises(FormatError, match="frame"):
        imaging.read(tmp_path / "slabs", frame=1)
    shutil.copy(tmp_path / "slabs" / "0.dcm", tmp_path / "slabs" / "copy.dcm")
    with pytest.raises(GeometryError, match="3 slices lie where another one lies"):
        imaging.read(tmp_path / "slabs")


def test_options_without_effect_are_errors(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", lambda n, k: {}, count=1)
    with pytest.raises(FormatError, match="frame"):
        imaging.read(folder, frame=0)
    one = write_dicom(tmp_path / "one.dcm", VOLUMES[0][0])
    for options in ({"series": 1}, {"series": "echo 2"}, {"frame": 1}):
        with pytest.raises(FormatError):
            imaging.read(one, **options)
    assert imaging.read(one, series=0, frame=0).kind == "image"


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("name", ["IM{}", "1.2.840.113619.{}", "MR.1.2.{}", "{}.img", "{}.001", "{}.bin", "a.nii.{}"])
def test_names_and_preambles_do_not_matter(name: str, little: bool, explicit: bool, tmp_path: Path) -> None:
    if not explicit and not little:
        return  # there is no such encoding
    for k, pixels in enumerate(VOLUMES[0]):
        dataset = dicom_dataset(pixels, ImagePositionPatient=[0, 0, 2.0 * k])
        path = tmp_path / name.format(k)
        if k == 1 and little and explicit:  # with its preamble, between others without
            dataset.save_as(path, enforce_file_format=True)
            continue
        del dataset.file_meta
        dataset.PixelData = pixels.astype("<u2" if little else ">u2").tobytes()
        pydicom.dcmwrite(path, dataset, implicit_vr=not explicit, little_endian=little)
    assert np.array_equal(imaging.read(tmp_path / name.format(0)).pixels, VOLUMES[0][0])
    case = imaging.read(tmp_path)
    assert np.array_equal(case.pixels, VOLUMES[0])
    assert case.notes == ()


def test_a_broken_file_among_slices_is_told(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "s", lambda n, k: {}, count=1)
    (folder / "9.dcm").write_bytes(bytes(4000))
    with pytest.raises(ImageReadError, match=r"9\.dcm.*remove it"):
        imaging.read(folder)
    (folder / "9.dcm").unlink()
    assert imaging.read(folder).pixels.shape == SIZE


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_damaged_values_of_what_tells_volumes_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
    odd = {"ImageType": ["ORIGINAL", "", ""], "AcquisitionTime": "noon", "SequenceName": ["a", ""], "KVP": ""}
    folder = folder_of(tmp_path / "s", lambda n, k: {"EchoNumbers": n + 1, **(odd if k else {})})
    for path in folder.iterdir():  # a trigger time that is no number
        dataset = pydicom.dcmread(path)
        dataset.add(pydicom.DataElement("TriggerTime", "LO", "soon"))
        dataset.save_as(path)
        path.write_bytes(path.read_bytes().replace(b"\x18\x00\x60\x10LO", b"\x18\x00\x60\x10DS"))
    assert [case.pixels.tolist() for case in chosen_by_the_error(folder)] == [one.tolist() for one in VOLUMES[:2]]
