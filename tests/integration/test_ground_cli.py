"""``unireason ground`` and ``ask --mask`` on real files, with a scripted model and the expert that needs no weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK

import tiny
from unireason.cli import main
from unireason.core.types import Frame
from unireason.engine import reasoner as reasoners
from unireason.engine.local import LocalEngine
from unireason.imaging import read
from unireason.imaging.geometry import model_to_voxel, to_source, voxel_to_canonical, voxel_to_world_bounds

SIDE = 112  # model pixels of a phantom slice
KEYS = {
    *("question", "reasoning", "box", "points", "slice", "mask", "expert", "score", "gaps", "statistics", "scope"),
    *("finish", "problems", "notes", "seconds"),
}


@pytest.fixture(scope="module")
def liver(tmp_path_factory):
    """One phantom in three formats, and where its liver is by its own label map: canonical mask, slice and box."""
    root = tmp_path_factory.mktemp("patients")
    for form in ("nifti", "dicom", "png"):
        assert main(["phantom", str(root / form), "--patients", "1", "--seed", "4", "--format", form, "--json"]) == 0
    files = {
        "nifti": root / "nifti" / "phantom-4-00000" / "image.nii.gz",
        "dicom": root / "dicom" / "phantom-4-00000" / "dicom",
        "png": root / "png" / "phantom-4-00000" / "image.png",
    }
    found = {}
    for form in ("nifti", "png"):
        record = json.loads((root / form / "phantom-4-00000" / "structures.json").read_text())
        (one,) = (s for s in record["structures"] if s["name"] == "liver")
        labels = "labels.nii.gz" if form == "nifti" else "labels.png"
        found[form] = read(files[form].parent / labels).pixels == one["label"]
    return files, found


@pytest.fixture
def says(monkeypatch):
    """Makes the model answer a text, whatever it is asked."""

    def script(text):
        made = tiny.checkpoint(max_pixels=300 * 300)
        engine = LocalEngine(made, picker=lambda row, *rest: tiny.Scripted(tiny.spell(text + "<|im_end|>")))
        monkeypatch.setattr(reasoners, "load", lambda ref, **how: reasoners.Reasoner(made, engine=engine))

    return script


def answer(mask):
    """The answer that points at a (Y, X) mask, in a frame of ``SIDE`` pixels a side."""
    rows, columns = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
    scale = SIDE / mask.shape[0]
    box = [round(v * scale) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    text = f'<think>It is large.</think><answer>{{"bbox": {box}, "points_1": [{x - 3},{y}], "points_2": [{x + 3},{y}]}}</answer>'
    return text, box


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_a_picture(liver, says, capsys, tmp_path):
    files, truth = liver
    text, box = answer(truth["png"])
    says(text)
    command = ["ground", str(files["png"]), "-q", "Which is large?", "--out", str(tmp_path / "out"), "--json"]
    capsys.readouterr()
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == KEYS
    assert found["question"] == "Which is large?"
    assert found["reasoning"] == "It is large."
    assert found["box"]["model"] == box
    assert found["box"]["voxel"] == pytest.approx([v * 124 / SIDE for v in box])
    assert found["box"]["world"] is None
    assert found["expert"] == "classical"
    assert found["mask"] == str(tmp_path / "out" / "mask.png")
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(found["mask"])) > 0
    assert np.count_nonzero(mask) == found["statistics"]["voxels"]
    assert dice(mask, truth["png"]) > 0.9
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("mask.png", "overlay.png", "page.html", "trace.json", "statistics.json"),
    }


def test_a_slice_of_a_volume_in_two_formats(liver, says, capsys, tmp_path):
    files, truth = liver
    k = int(truth["nifti"].sum(axis=(1, 2)).argmax())
    says(answer(truth["nifti"][k])[0])
    capsys.readouterr()
    boxes = []
    for form in ("nifti", "dicom"):
        case = read(files[form])
        voxel = case.geometry.source_shape[2] - 1 - k if case.geometry.flips[2] else k
        out = tmp_path / form
        assert main(["ground", str(files[form]), "-q", "q", "--slice", str(voxel), "--out", str(out), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["slice"] == {"axis": "k", "voxel": voxel, "canonical": k}
        boxes.append(found["box"]["world"])
        mask = SimpleITK.ReadImage(found["mask"])
        stored = SimpleITK.GetArrayFromImage(mask) > 0
        assert stored.shape == case.geometry.source_shape[::-1]
        assert np.flatnonzero(stored.any(axis=(1, 2))).tolist() == [voxel]
        assert dice(stored, to_source(truth["nifti"], case.geometry) & stored.any(axis=(1, 2))[:, None, None]) > 0.9
    source = SimpleITK.ReadImage(str(files["nifti"]))
    mask = SimpleITK.ReadImage(str(tmp_path / "nifti" / "mask.nii.gz"))
    assert (mask.GetSpacing(), mask.GetOrigin(), mask.GetDirection()) == (
        *(source.GetSpacing(), source.GetOrigin(), source.GetDirection()),
    )
    assert boxes[0] == pytest.approx(boxes[1], abs=0.01)


def test_propagation_fills_the_liver(liver, says, capsys, tmp_path):
    files, truth = liver
    k = int(truth["nifti"].sum(axis=(1, 2)).argmax())
    says(answer(truth["nifti"][k])[0])
    command = ["ground", str(files["nifti"]), "-q", "q", "--slice", str(k), "--propagate", "--out", str(tmp_path)]
    assert main(command) == 0
    mask = read(tmp_path / "mask.nii.gz").pixels > 0
    assert dice(mask, truth["nifti"]) > 0.85
    out = capsys.readouterr()
    assert f"{np.count_nonzero(mask):,} voxels" in out.out
    assert f"asked about slice k = {k} of 0 to 36" in out.err
    assert (tmp_path / "page.html").read_text().count('<g class="mask ') == np.count_nonzero(mask.any(axis=(1, 2)))


@pytest.mark.parametrize("turned", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("against", [False, True])
def test_turned_oblique_files_get_their_mask_back(liver, says, capsys, tmp_path, turned, against):
    """The same patient, stored along other axes: slice, box and mask follow."""
    files, truth = liver
    k = int(truth["nifti"].sum(axis=(1, 2)).argmax()) - 2
    assert k != 36 - k
    image = SimpleITK.PermuteAxes(SimpleITK.ReadImage(str(files["nifti"])), turned)
    image = SimpleITK.Flip(image, [against] * 3, False) if against else image
    path = tmp_path / "turned.nii.gz"
    SimpleITK.WriteImage(image, str(path))
    case = read(path)
    axis = case.geometry.order[2]
    assert axis == turned.index(2)
    voxel = case.geometry.source_shape[axis] - 1 - k if case.geometry.flips[2] else k
    text, box = answer(truth["nifti"][k])
    says(text)
    capsys.readouterr()
    assert main(["ground", str(path), "-q", "q", "--slice", str(voxel), "--out", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    depth = case.geometry.shape[0]
    expected = model_to_voxel((*box[:2], k, *box[2:], k + 1), Frame(SIDE, SIDE, depth, "volume"), case.geometry)
    assert found["box"]["voxel"] == pytest.approx(expected)
    assert found["box"]["world"] == pytest.approx(voxel_to_world_bounds(expected, case.geometry))
    assert voxel_to_canonical(found["points"]["voxel"][0], case.geometry)[2] == pytest.approx(k + 0.5)
    mask = SimpleITK.ReadImage(found["mask"])
    assert mask.GetSize() == image.GetSize()
    assert mask.GetDirection() == pytest.approx(image.GetDirection(), abs=1e-5)
    stored = SimpleITK.GetArrayFromImage(mask) > 0
    filled = np.flatnonzero(stored.any(axis=tuple(a for a in range(3) if a != 2 - axis)))
    assert filled.tolist() == [voxel]
    other = to_source(truth["nifti"] & (np.arange(depth) == k)[:, None, None], case.geometry)
    assert dice(stored, other) > 0.9


def test_the_middle_slice_is_the_default(liver, says, capsys):
    files, _ = liver
    says('<think>x</think><answer>{"bbox": [40,40,60,60], "points_1": [50,45], "points_2": [50,55]}</answer>')
    capsys.readouterr()
    assert main(["ground", str(files["nifti"]), "-q", "q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["slice"]["voxel"] == 18
    assert any("the middle one" in note for note in found["notes"])
    assert found["mask"] is None


@pytest.mark.parametrize(
    "text", ["I do not know.", '<think>x</think><answer>{"bbox": [9,9,3,3], "points_1": [1,1], "points_2": [2,2]}</answer>']
)
def test_no_usable_box_ends_with_1(liver, says, capsys, tmp_path, text):
    files, _ = liver
    says(text)
    command = ["ground", str(files["png"]), "-q", "q", "--out", str(tmp_path)]
    assert main(command) == 1
    assert "box: none that can be used" in capsys.readouterr().out
    assert not list(tmp_path.glob("mask*"))
    assert main([*command, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["box"] is None


@pytest.mark.parametrize(
    "more",
    [
        ["{nifti}", "--slice", "37"],
        ["{nifti}", "--slice", "-1"],
        ["{png}", "--slice", "0"],
        ["{png}", "--propagate"],
        ["{png}", "--expert", "oracle"],
        ["{png}", "--weights", "somewhere"],
        ["{png}", "--dicom"],
        ["{png}", "--prompts", "missing.toml"],
        ["{png}", "--window", "purple"],
        ["missing.png"],
    ],
)
def test_bad_input_ends_with_2(liver, says, capsys, more):
    says("x")
    capsys.readouterr()
    assert main(["ground", *[m.format(**liver[0]) for m in more], "-q", "q"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_dicom_objects_of_a_dicom_source(liver, says, capsys, tmp_path):
    pytest.importorskip("highdicom")
    import pydicom

    files, truth = liver
    k = int(truth["nifti"].sum(axis=(1, 2)).argmax())
    case = read(files["dicom"])
    says(answer(truth["nifti"][k])[0])
    voxel = case.geometry.source_shape[2] - 1 - k if case.geometry.flips[2] else k
    command = ["ground", str(files["dicom"]), "-q", "q", "--slice", str(voxel), "--out", str(tmp_path), "--dicom", "--json"]
    capsys.readouterr()
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    segmentation = pydicom.dcmread(tmp_path / "segmentation.dcm")
    assert segmentation.SegmentSequence[0].SegmentLabel == "answer"
    assert int(np.count_nonzero(segmentation.pixel_array)) == found["statistics"]["voxels"]
    assert pydicom.dcmread(tmp_path / "measurements.dcm").Modality == "SR"
    assert main(["ground", str(files["nifti"]), "-q", "q", "--out", str(tmp_path), "--dicom"]) == 2


def test_ask_outlines_its_looks(liver, capsys, tmp_path):
    """With the built-in checkpoint: the mask of the look at the liver is the liver, on the grid of the file."""
    files, truth = liver
    options = [v for o in ("left anterior", "right anterior", "left posterior", "right posterior") for v in ("-o", o)]
    command = ["ask", str(files["nifti"]), "-q", "Where does the liver lie?", *options, "--mask"]
    report = tmp_path / "page.html"
    capsys.readouterr()
    assert main([*command, "--save", str(tmp_path), "--report", str(report), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"masks", "scope", "trace"}
    (first, *_) = found["masks"]
    assert (first["look"], first["label"], first["mask"]) == (1, "liver", "trace-1-mask-look-1.nii.gz")
    mask = read(tmp_path / first["mask"]).pixels > 0
    assert np.count_nonzero(mask) == first["statistics"]["voxels"]
    assert dice(mask, truth["nifti"]) > 0.8
    assert "<h2>Masks</h2>" in report.read_text()
    assert main(command) == 0
    assert "region of look 1 (liver):" in capsys.readouterr().out
    assert main([*command, "--expert", "oracle"]) == 2
