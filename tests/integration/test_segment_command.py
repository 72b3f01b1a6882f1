"""``unireason segment`` on real files: the same structure in every space, format and way of asking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from segment_networks import sam_model
from unireason.cli import main
from unireason.data.frames import rule
from unireason.data.sources.phantom import generate
from unireason.imaging import read
from unireason.imaging.geometry import voxel_to_model

LIVER = 4


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    root = tmp_path_factory.mktemp("patients")
    for form in ("nifti", "dicom", "png"):
        assert main(["phantom", str(root / form), "--patients", "1", "--seed", "4", "--format", form, "--json"]) == 0
    return {form: root / form / "phantom-4-00000" for form in ("nifti", "dicom", "png")}


@pytest.fixture
def volume(patients) -> Path:
    return patients["nifti"] / "image.nii.gz"


def structure(folder: Path, name: str) -> list[float]:
    record = json.loads((folder / "structures.json").read_text())
    return next(s["box_voxel"] for s in record["structures"] if s["name"] == name)


def typed(values) -> str:
    return ",".join(f"{v:g}" if float(v).is_integer() else repr(float(v)) for v in values)


def segment(capsys, *arguments) -> tuple[int, dict]:
    capsys.readouterr()
    code = main(["segment", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def overlap(path: Path) -> float:
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0
    true = generate(4, 0).labels == LIVER
    return 2 * np.count_nonzero(found & true) / (np.count_nonzero(found) + np.count_nonzero(true))


def test_a_cuboid_in_voxels_gives_a_mask_on_the_grid_of_the_file(patients, volume, capsys, tmp_path):
    box, out = structure(patients["nifti"], "liver"), tmp_path / "deep" / "liver.nii.gz"
    code, found = segment(capsys, volume, "--box", typed(box), "--out", out)
    assert code == 0
    assert (found["box_voxel"], found["mask"], found["expert"]) == (box, str(out), "classical")
    assert found["file"] == "image.nii.gz"
    assert overlap(out) > 0.97
    source, mask = sitk.ReadImage(str(volume)), sitk.ReadImage(str(out))
    assert (mask.GetSize(), mask.GetDirection(), mask.GetOrigin()) == (
        source.GetSize(), source.GetDirection(), source.GetOrigin()
    )  # fmt: skip
    values = sitk.GetArrayFromImage(mask)
    voxel_ml = float(np.prod(source.GetSpacing())) / 1000
    assert found["statistics"]["volume_ml"] == pytest.approx(values.sum() * voxel_ml)
    k, j, i = np.nonzero(values)
    assert found["mask_box_voxel"] == [i.min(), j.min(), k.min(), i.max() + 1, j.max() + 1, k.max() + 1]
    assert 0.9 < found["score"] <= 1
    assert found["gaps"] == []


def test_all_spaces_mean_the_same(patients, volume, capsys):
    box, case = structure(patients["nifti"], "liver"), read(volume)
    _, expected = segment(capsys, volume, "--box", typed(box))
    model = voxel_to_model(box, rule("phantom").frame(case.geometry.shape), case.geometry)
    _, found = segment(capsys, volume, f"--box={typed(model)}", "--space", "model")
    assert found["box_voxel"] == pytest.approx(box)
    assert found["statistics"]["voxels"] == pytest.approx(expected["statistics"]["voxels"], rel=0.01)
    # An axis-aligned box of the patient around an oblique one is a little larger.
    _, found = segment(capsys, volume, f"--box={typed(expected['box_world_mm'])}", "--space", "world")
    assert all(a <= b + 1e-6 for a, b in zip(found["box_voxel"][:3], box[:3], strict=True))
    assert all(a >= b - 1e-6 for a, b in zip(found["box_voxel"][3:], box[3:], strict=True))


def test_dicom_and_nifti_give_the_same_mask(patients, volume, capsys):
    sizes = []
    for path in (volume, patients["dicom"] / "dicom"):
        box = structure(path.parent, "liver")
        sizes.append(segment(capsys, path, "--box", typed(box))[1]["statistics"]["volume_ml"])
    assert sizes[0] == pytest.approx(sizes[1], rel=1e-3)


def test_a_rectangle_on_a_slice_is_followed_through_the_volume(patients, volume, capsys, tmp_path):
    box = structure(patients["nifti"], "liver")
    flat, key = typed([*box[:2], *box[3:5]]), int(box[2] + box[5]) // 2
    one = tmp_path / "one.nii.gz"
    code, found = segment(capsys, volume, "--box", flat, "--slice", key, "--out", one)
    assert (code, found["slice"], found["propagated"]) == (0, key, False)
    held = sitk.GetArrayFromImage(sitk.ReadImage(str(one))).any(axis=(1, 2))
    assert np.flatnonzero(held).tolist() == [key]
    assert found["box_voxel"] == [*box[:2], key, *box[3:5], key + 1]
    whole = tmp_path / "whole.nii.gz"
    assert segment(capsys, volume, "--box", flat, "--slice", key, "--propagate", "--out", whole)[0] == 0
    assert overlap(whole) > 0.9


def test_points_alone(patients, volume, capsys):
    x1, y1, z1, x2, y2, z2 = structure(patients["nifti"], "liver")
    middle = (y1 + y2) / 2, (z1 + z2) / 2
    ends = [(x1 + share * (x2 - x1), *middle) for share in (0.3, 0.7)]
    code, found = segment(capsys, volume, *(f"--point={typed(p)}" for p in ends))
    assert code == 0
    assert found["box_voxel"] is None
    assert found["points_voxel"] == [pytest.approx(p) for p in ends]


def test_a_picture_gives_a_png(patients, capsys, tmp_path):
    folder, out = patients["png"], tmp_path / "mask.png"
    name = json.loads((folder / "structures.json").read_text())["structures"][0]["name"]
    code, found = segment(capsys, folder / "image.png", "--box", typed(structure(folder, name)), "--out", out)
    mask = np.asarray(Image.open(out))
    assert code == 0
    assert mask.shape == np.asarray(Image.open(folder / "image.png")).shape[:2]
    assert np.count_nonzero(mask == 255) == found["statistics"]["voxels"] == np.count_nonzero(mask)
    assert found["box_world_mm"] is None


def test_a_file_without_numbers_gives_an_empty_mask_and_exit_1(capsys, tmp_path):
    path, out = tmp_path / "nothing.npy", tmp_path / "mask.nii.gz"
    np.save(path, np.full((4, 20, 20), np.nan, np.float32))
    code, found = segment(capsys, path, "--box", "2,2,1,9,9,3", "--out", out)
    assert code == 1
    assert (found["statistics"]["voxels"], found["mask_box_voxel"], found["score"]) == (0, None, 0.0)
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(out))).any()


def test_text_for_people(patients, volume, capsys, tmp_path):
    out = tmp_path / "m.nii.gz"
    assert main(["segment", str(volume), "--box", typed(structure(patients["nifti"], "liver")), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("classical: ")
    assert " ml, " in said
    assert str(out) in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "without box and points"),
        (["--box", "1,2,3"], "6"),
        (["--box", "1,2,3,4"], "give --slice"),
        (["--box", "1,2,a,4"], "commas"),
        (["--box", "900,2,3,950,5,6"], "outside"),
        (["--box", "1,2,3,5,6,7", "--expert", "nobody"], "no expert 'nobody'"),
        (["--box", "1,2,3,5,6,7", "--expert", "medsam"], "no weights"),
        (["--box", "1,2,3,5,6,7", "--out", "mask.jpeg"], "mask.jpeg"),
        (["--box", "1,2,5,6", "--slice", "999"], "slice 999"),
        (["--box", "1,2,3,5,6,7", "--spacing", "a"], "spacing"),
    ],
)
def test_bad_input_exits_2(volume, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["segment", str(volume), *arguments]) == 2
    said = capsys.readouterr().err.lower()
    assert "error:" in said
    assert message.lower() in said
    assert not list(tmp_path.iterdir())


def test_a_damaged_expert_is_an_error_and_no_empty_mask(volume, capsys, tmp_path):
    network = sam_model()
    with torch.no_grad():
        next(network.mask_decoder.iou_prediction_head.parameters()).fill_(float("nan"))
    network.save_pretrained(tmp_path / "medsam")
    box = ["--box", "10,10,2,20,20,5"]
    assert main(["segment", str(volume), *box, "--expert", "medsam", "--weights", str(tmp_path / "medsam"), "--json"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "finite" in told.err
