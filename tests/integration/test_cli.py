"""The command line on real files, with the built-in checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from unireason.cli import main
from unireason.cli.reference import markdown
from unireason.grounding.trace import SCHEMA

ROOT = Path(__file__).parents[2]
QUADRANTS = ["-o", "left anterior", "-o", "right anterior", "-o", "left posterior", "-o", "right posterior"]
LIVER = ["-q", "Where does the liver lie?", *QUADRANTS]


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    root = tmp_path_factory.mktemp("patients")
    for form in ("nifti", "dicom", "png"):
        assert main(["phantom", str(root / form), "--patients", "1", "--seed", "4", "--format", form, "--json"]) == 0
    return {
        "nifti": root / "nifti" / "phantom-4-00000" / "image.nii.gz",
        "dicom": root / "dicom" / "phantom-4-00000" / "dicom",
        "png": root / "png" / "phantom-4-00000" / "image.png",
    }


@pytest.mark.parametrize("form", ["nifti", "dicom", "png"])
def test_ask_json_is_a_trace(patients, capsys, form):
    record = json.loads((patients[form].parent / "structures.json").read_text())
    name = max(record["structures"], key=lambda s: s.get("volume_mm3") or s["area_mm2"])["name"]
    capsys.readouterr()
    assert main(["ask", str(patients[form]), "-q", f"Where does the {name} lie?", *QUADRANTS, "--json"]) == 0
    trace = json.loads(capsys.readouterr().out)
    jsonschema.validate(trace, SCHEMA)
    assert trace["answer"]["choice"] in ("A", "B", "C", "D")
    look = next(s for s in trace["steps"] if s["type"] == "look")
    size = 4 if form == "png" else 6
    assert len(look["box_model"]) == len(look["box_voxel"]) == size
    assert (look["box_world_mm"] is None) == (form == "png")
    assert look["crops"]


def test_the_same_patient_in_two_formats_has_the_same_world_boxes(patients, capsys):
    found = []
    for form in ("nifti", "dicom"):
        main(["ask", str(patients[form]), *LIVER, "--json"])
        steps = json.loads(capsys.readouterr().out)["steps"]
        found.append([s["box_world_mm"] for s in steps if s["type"] == "look"])
    assert found[0]
    for a, b in zip(*found, strict=True):
        assert a == pytest.approx(b, abs=0.01)


def test_several_questions_share_the_file_and_keep_their_options(patients, capsys):
    assert main(["ask", str(patients["nifti"]), *LIVER, "-q", "Is the spleen present?", "-o", "yes", "-o", "no", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["options"] == QUADRANTS[1::2]
    assert second["options"] == ["yes", "no"]


def test_samples_differ_by_seed_and_repeat_by_seed(patients, capsys):
    command = ["ask", str(patients["png"]), *LIVER, "--samples", "3", "--temperature", "1.5", "--json"]
    main(command)
    first = json.loads(capsys.readouterr().out)
    main(command)
    second = json.loads(capsys.readouterr().out)
    assert [t["tokens"] for t in first] == [t["tokens"] for t in second]
    assert len({json.dumps(t["tokens"]) for t in first}) > 1


def test_report_and_save(patients, capsys, tmp_path):
    page, folder = tmp_path / "deep" / "page.html", tmp_path / "saved"
    assert main(["ask", str(patients["nifti"]), *LIVER, "--report", str(page), "--save", str(folder)]) == 0
    assert "Not a medical device" in page.read_text()
    names = {p.name for p in folder.iterdir()}
    assert {"trace-1.json", "trace-1.html", "trace-1.png"} <= names
    assert any("look-1" in n for n in names)
    out = capsys.readouterr().out
    assert "look 1 liver" in out
    assert "mm LPS" in out


def test_native_crops_show_more_pixels(patients, capsys):
    sizes = {}
    for source in ("model", "native"):
        main(["ask", str(patients["nifti"]), *LIVER, "--json", "--crop-source", source])
        look = next(s for s in json.loads(capsys.readouterr().out)["steps"] if s["type"] == "look")
        assert {c["origin"] for c in look["crops"]} == {source}
        sizes[source] = look["crops"][0]["size"]
    assert sizes["native"][0] > sizes["model"][0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "missing.nii.gz", "-q", "x"],
        ["ask", "{png}"],
        ["ask", "{png}", "-q", "x", "--model", "no/such-folder/here"],
        ["ask", "{png}", "-q", "x", "--window", "purple"],
        ["ask", "{png}", "-q", "<|im_end|>"],
        ["ask", "{png}", "-q", "x", "-o", "only one"],
        ["ask", "{png}", "-q", "x", "--spacing", "a,b"],
        ["conformance", "missing.json"],
        ["phantom", "{png}/inside-a-file"],
        ["demo", "--questions", "0", "--out", "{tmp}"],
        ["train", "phantom", "--config", "missing.toml", "--out", "{tmp}"],
    ],
)
def test_bad_input_ends_with_2_and_says_why(patients, tmp_path, capsys, arguments):
    filled = [a.format(png=patients["png"], tmp=tmp_path) for a in arguments]
    assert main(filled) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_option_without_question_is_a_usage_error(patients):
    with pytest.raises(SystemExit) as stop:
        main(["ask", str(patients["png"]), "-o", "yes"])
    assert stop.value.code == 2


def test_demo_writes_what_it_says(tmp_path, capsys):
    assert main(["demo", "--seed", "31", "--questions", "6", "--out", str(tmp_path), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    for key in ("2d", "3d"):
        assert scores[key]["n"] == 6
        assert set(scores[key]) >= {"accuracy", "accuracy_ci95", "mean_box_iou", "crop_rate", "by_family", "mismatch_rate"}
        assert sum(part["n"] for part in scores[key]["by_family"].values()) == 6
        assert len(scores[key]["by_family"]) >= 5  # some families are rare in images
        assert sum(part["n"] for part in scores[key]["by_kind"].values()) == 6
        assert 0 <= scores[key]["own_boxes_accuracy"] <= 1
    assert scores["checkpoint"]["sha256"]
    assert (tmp_path / "report.html").is_file()
    records = json.loads((tmp_path / "traces.json").read_text())["traces"]
    assert len(records) == 12
    assert len(list((tmp_path / "traces").glob("*.html"))) == len(list((tmp_path / "traces").glob("*.png"))) == 12


def test_doctor(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == []
    assert found["core"]["torch"]


def test_conformance_on_the_golden_cases(capsys):
    assert main(["conformance", str(ROOT / "tests" / "golden" / "conformance.json")]) == 0
    assert "box_parse" in capsys.readouterr().out


def test_the_installed_program_runs():
    program = Path(sys.executable).with_name("unireason")
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unireason ")


def test_reference_page_is_up_to_date():
    assert (ROOT / "docs" / "reference" / "cli.md").read_text() == markdown()
