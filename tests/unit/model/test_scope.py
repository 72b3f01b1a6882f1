"""What a checkpoint was made for, which files bear the phantoms' mark, and who is told."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image

from unireason import imaging
from unireason.cli import main
from unireason.core.errors import FormatError
from unireason.core.types import PHANTOM, Frame, ScopeCheck, Source, Trace
from unireason.data.regions import picture
from unireason.data.sources.phantom import generate, write_patients
from unireason.grounding.trace import from_json, to_json
from unireason.model.files import PHANTOM_SCOPE, Scope, scope_of, told
from unireason.model.files import from_json as scope_from_json
from unireason.report.html import of_results, of_traces, sheet

MADE, REAL = Source("a", "nifti", "", PHANTOM), Source("a", "nifti", "")


def test_every_format_bears_the_mark_and_labels_do_not(tmp_path):
    files = {"nifti": "image.nii.gz", "dicom": "dicom", "png": "image.png"}
    for form, name in files.items():
        folder = write_patients(tmp_path / form, count=1, seed=3, form=form)[0]
        assert imaging.read(folder / name).source.made_by == PHANTOM, form
    path = tmp_path / "nifti" / folder.name / "image.nii.gz"
    for held in (nibabel.load(path), SimpleITK.ReadImage(path), Image.open(folder / "image.png")):
        assert imaging.read(held).source.made_by == PHANTOM, type(held)
    assert imaging.read(next((tmp_path / "dicom").glob("*/dicom/*.dcm"))).source.made_by == PHANTOM
    for other in ("labels.png", "radiograph.png"):
        assert imaging.read(next((tmp_path / "png").glob(f"*/{other}"))).source.made_by == ""
    case = generate(3, 0).case()
    assert case.source.made_by == picture(case, 5).source.made_by == PHANTOM


def test_a_mark_that_was_lost_or_is_another_is_none(tmp_path):
    folder = write_patients(tmp_path / "n", count=1, seed=3, form="nifti")[0]
    image = nibabel.load(folder / "image.nii.gz")
    for words in (b"", b"unireason phantoms", b"unireason", b"FSL5.0"):
        image.header["descrip"] = words
        nibabel.save(image, tmp_path / "other.nii.gz")
        assert imaging.read(tmp_path / "other.nii.gz").source.made_by == "", words
    png = write_patients(tmp_path / "p", count=1, seed=3, form="png")[0] / "image.png"
    Image.open(png).save(tmp_path / "copy.jpg")
    assert imaging.read(tmp_path / "copy.jpg").source.made_by == ""
    series = write_patients(tmp_path / "d", count=1, seed=3, form="dicom")[0] / "dicom"
    first = sorted(series.iterdir())[0]
    data = pydicom.dcmread(first)
    data.ManufacturerModelName = "A scanner"
    data.save_as(first)
    assert imaging.read(series).source.made_by == ""  # one slice of another origin


@pytest.mark.parametrize(
    ("source", "options", "implicit", "outside"),
    [
        (MADE, ("yes", "no"), False, 0),
        (REAL, ("yes", "no"), False, 1),
        (None, ("yes", "no"), False, 1),
        (MADE, (), False, 1),
        (REAL, (), False, 2),
        (MADE, (), True, 0),
        (REAL, (), True, 1),
    ],
)
def test_what_lies_outside(source, options, implicit, outside):
    found = PHANTOM_SCOPE.check(source, options, implicit=implicit)
    assert len(found.remarks) == outside
    assert found.inside == (outside == 0)
    assert Scope("anything").check(source, options).inside is True


def test_a_statement_is_read_back_and_a_broken_one_refused(tmp_path):
    assert scope_from_json(PHANTOM_SCOPE.to_json()) == PHANTOM_SCOPE
    assert scope_of(tmp_path) is None
    (tmp_path / "card.json").write_text('{"scores": {}}')
    assert scope_of(tmp_path) is None
    for broken in ("phantoms", {}, {"stated": ""}, {"stated": "a", "open_questions": "no"}, {"stated": "a", "for": "b"}):
        (tmp_path / "card.json").write_text(json.dumps({"scope": broken}))
        with pytest.raises(FormatError, match="scope"):
            scope_of(tmp_path)


def test_traces_keep_it_and_pages_and_results_tell_it():
    check = PHANTOM_SCOPE.check(REAL, ())
    trace = Trace("Is it <b>?", (), (), Frame(28, 28, 1, "image"), "end_of_turn", scope=check)
    assert from_json(json.loads(json.dumps(to_json(trace)))).scope == check
    old = to_json(trace)
    del old["scope"]
    assert from_json(old).scope == ScopeCheck()
    assert of_traces([replace(trace, scope=ScopeCheck()), replace(trace, scope=PHANTOM_SCOPE.check(MADE, "AB"))]) == []
    said = of_traces([trace, trace])
    assert said == [*check.remarks, f"What the model was made for: {check.stated}"]
    assert sheet("report", "t", "", [], cautions=said).count(b"<p>") == 3
    assert b"<aside" not in sheet("report", "t", "", [])
    results = {"scope": told(PHANTOM_SCOPE, [check.remarks, (), check.remarks]), "patients": 3, "too_few_patients": True}
    assert results["scope"]["outside"] == 2
    assert "2 questions of 3" in of_results(results)[0]
    assert "Too few patients: 3 patients" in of_results(results)[-1]
    assert told(None, [()])["outside"] is None
    assert of_results({"scope": told(None, [()]), "patients": 20, "too_few_patients": False}) == []


def test_the_built_in_model_says_what_it_does_not_know(tmp_path, capsys):
    noise = np.random.default_rng(0).integers(0, 256, size=(80, 90), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    asked = ["ask", str(tmp_path / "noise.png"), "-q", "Is there a lesion?", "-o", "yes", "-o", "no"]
    main([*asked, "--json", "--report", str(tmp_path / "page.html")])
    out, err = capsys.readouterr()
    found = json.loads(out)["scope"]
    assert found["inside"] is False
    assert "caution: " + found["remarks"][0] in err
    assert 'class="caution"' in (tmp_path / "page.html").read_text()
    main(["ground", str(tmp_path / "noise.png"), "-q", "Which organ makes bile?", "--json"])
    out, err = capsys.readouterr()
    assert len(json.loads(out)["scope"]["remarks"]) == 1
    made = write_patients(tmp_path, count=1, seed=3, form="png")[0] / "image.png"
    main(["ask", str(made), *asked[2:], "--json"])
    out, err = capsys.readouterr()
    assert json.loads(out)["scope"]["inside"] is True
    assert "caution" not in err
