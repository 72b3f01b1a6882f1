"""What an implicit question leaves behind: JSON with golden fields, a folder of files, a page that says what is where."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import report_samples as samples
from unireason.core.types import AnswerStep, Box2D, Case, Frame, Geometry, Source, TextStep, Trace
from unireason.data.regions import picture
from unireason.engine.masks import masks_of, target
from unireason.imaging import read
from unireason.imaging.geometry import volume_geometry
from unireason.imaging.present import serialize
from unireason.report import trace as page
from unireason.report.folder import MAX_SLICES, save_masks, save_report, save_traces, shown_stack
from unireason.report.grounded import GroundedPage, grounded_json, save
from unireason.report.text import region_lines, target_lines
from unireason.report.trace import PageFindings, measured, region_json, shown, words
from unireason.segment.expert import finished

ANSWER = '<answer>{"bbox": [2,4,10,12], "points_1": [4,6], "points_2": [8,10]}</answer>'
QUESTION = "Which thing is bright?"


class Filler:
    """Fills the box, on every slice where it is to be followed."""

    name = "filler"

    def segment(self, case, prompts):
        return [finished(self._fill(case, p), 0.75, ["a remark"]) for p in prompts]

    def _fill(self, case, prompt):
        mask = np.zeros(case.geometry.shape, bool)
        if isinstance(prompt.box, Box2D):
            x1, y1, x2, y2 = (round(v) for v in prompt.box.coords)
            where = slice(None) if prompt.propagate else slice(prompt.slice, (prompt.slice or 0) + 1)
            mask[(..., slice(y1, y2), slice(x1, x2)) if case.kind == "image" else (where, slice(y1, y2), slice(x1, x2))] = True
            return mask
        x1, y1, z1, x2, y2, z2 = (round(v) for v in prompt.box.coords)
        mask[z1:z2, y1:y2, x1:x2] = True
        return mask


def asked(text=ANSWER, *, frame=None, source="x.png"):
    steps = (TextStep("It shines."), AnswerStep(text))
    raw = f"<think>It shines.</think>{text}<|im_end|>"
    frame = frame or Frame(28, 28, 1, "image")
    return Trace(QUESTION, (), steps, frame, "end_of_turn", source=Source(source, "png", "ab"), raw_text=raw)


def flat():
    """56 x 56 pixels of half a millimetre without a place in the patient; the box is 16 x 16 of them, at 200."""
    pixels = np.full((56, 56), 20, np.uint8)
    pixels[8:24, 4:20] = 200
    geometry = Geometry((56, 56), (56, 56), (0, 1), (False, False), None, (0.5, 0.5))
    return Case(pixels, "image", geometry, "", Source("x.png", "png", "ab"))


def deep():
    """A volume of 8 x 56 x 56 with k against z and i against x; the box is at 200 on slices 2 to 4."""
    affine = np.diag([-0.5, 0.5, -2.0, 1.0])
    affine[:3, 3] = (10, 20, 30)
    geometry = volume_geometry((56, 56, 8), affine)
    pixels = np.full(geometry.shape, 20, np.float32)
    pixels[2:5, 8:24, 4:20] = 200
    return Case(pixels, "volume", geometry, "CT", Source("v.nii.gz", "nifti", "cd"))


def grounded(case, text=ANSWER, *, slice=None, propagate=False):
    trace = asked(text, source=case.source.name)
    marked = masks_of(trace, case, Filler(), slice=slice, propagate=propagate)
    found = target(trace, case, slice=slice)
    return GroundedPage(trace, case, found, measured(marked, case), "filler", {"answer": 0.5, "mask": 0.25})


def test_json_of_a_picture_word_for_word():
    assert grounded_json(grounded(flat()), notes=["a note"]) == {
        "question": QUESTION,
        "reasoning": "It shines.",
        "box": {"model": [2, 4, 10, 12], "voxel": [4, 8, 20, 24], "world": None},
        "points": {"model": [[4, 6], [8, 10]], "voxel": [[9, 13], [17, 21]], "world": None},
        "slice": None,
        "mask": None,
        "expert": "filler",
        "score": 0.75,
        "gaps": [],
        "statistics": {
            "voxels": 256,
            "volume_ml": None,
            "area_mm2": 64,
            "diameter_mm": pytest.approx(0.5 * np.hypot(16, 15)),
            "diameter_voxels": pytest.approx(np.hypot(16, 15)),
            "diameter_slice": None,
            "extent_mm": [8, 8],
            "extent_voxels": [16, 16],
            "centroid": [12, 16],
            "mean": 200,
            "sd": 0,
            "min": 200,
            "max": 200,
        },
        "finish": "end_of_turn",
        "problems": [],
        "notes": ["a note", "a remark"],
        "seconds": {"answer": 0.5, "mask": 0.25},
        "scope": {"stated": "", "inside": None, "remarks": []},
    }


def test_json_of_a_slice_names_it_in_the_file():
    found = grounded_json(grounded(deep(), slice=3))
    assert found["slice"] == {"axis": "k", "voxel": 4, "canonical": 3}
    assert found["box"]["voxel"] == [36, 8, 4, 52, 24, 5]
    # x = 10 - 0.5 (i - 0.5), y = 20 + 0.5 (j - 0.5), z = 30 - 2 (k - 0.5)
    assert found["box"]["world"] == pytest.approx([10 - 25.75, 23.75, 21, 10 - 17.75, 31.75, 23])
    assert found["points"]["world"][0] == pytest.approx([10 - 0.5 * 46.5, 20 + 0.5 * 12.5, 22])
    assert found["statistics"]["voxels"] == 256


def test_json_without_a_usable_box():
    found = grounded_json(grounded(flat(), "<answer>[]</answer>"))
    assert (found["box"], found["mask"], found["score"], found["statistics"]) == (None, None, None, None)
    assert found["points"] == {"model": [], "voxel": [], "world": None}
    json.dumps(found, allow_nan=False)


def test_a_folder_of_a_picture(tmp_path):
    saved = save(grounded(flat()), tmp_path / "deep" / "er")
    names = {p.name for p in (tmp_path / "deep" / "er").iterdir()}
    assert names == {"mask.png", "overlay.png", "page.html", "trace.json", "statistics.json"}
    assert saved.region.file == "mask.png"
    mask = np.asarray(Image.open(tmp_path / "deep" / "er" / "mask.png"))
    assert np.array_equal(mask == 255, flat().pixels == 200)
    assert json.loads((tmp_path / "deep" / "er" / "statistics.json").read_text())["mask"] == "mask.png"
    assert grounded_json(saved, folder=tmp_path)["mask"] == str(tmp_path / "mask.png")
    assert json.loads((tmp_path / "deep" / "er" / "trace.json").read_text())["raw_text"].endswith("</answer><|im_end|>")


@pytest.mark.parametrize("propagate", [False, True])
def test_a_folder_of_a_volume_has_its_grid(tmp_path, propagate):
    save(grounded(deep(), slice=3, propagate=propagate), tmp_path)
    mask = read(tmp_path / "mask.nii.gz")
    assert mask.geometry.source_shape == (56, 56, 8)
    assert mask.geometry.affine_lps == pytest.approx(deep().geometry.affine_lps)
    filled = np.flatnonzero(mask.pixels.any(axis=(1, 2))).tolist()
    assert filled == (list(range(8)) if propagate else [3])
    assert np.array_equal(mask.pixels[3] > 0, deep().pixels[3] == 200)


def test_a_folder_without_a_box_has_no_mask(tmp_path):
    save(grounded(flat(), "none"), tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"page.html", "trace.json", "statistics.json"}
    assert 'class="mask' not in (tmp_path / "page.html").read_text()


def planes(html, kind):
    return sorted(int(z) for z in re.findall(rf'<g class="{kind} [^"]*" data-plane="(\d+)"', html))


def test_the_page_of_a_slice_is_the_page_of_its_volume():
    case = deep()
    found = grounded(case, slice=3, propagate=True)
    html = page.build(found.trace, case, shown_stack(case, "auto"), findings=PageFindings(found.target, found.regions))
    assert html.count("<img src=") == 8
    assert planes(html, "mask") == list(range(8))
    assert planes(html, "point") == [3]
    assert 'class="tick tone-0" data-look="0" x="3"' in html
    assert "3D volume" in html
    assert "canonical slice 3" in html
    assert "28 × 28 px</dd>" in html  # the frame of the picture that was asked about, not of what is shown
    assert "<i>x</i>2<em>to</em>10" in html
    assert "<i>k</i>4<em>to</em>5" in html
    assert ">&lt;answer&gt;" not in html.split("<details")[0]


def test_the_page_of_a_picture():
    found = grounded(flat())
    stack = shown_stack(flat(), "auto")
    html = page.build(found.trace, flat(), stack, findings=PageFindings(found.target, found.regions))
    assert planes(html, "mask") == planes(html, "point") == [0]
    assert "M2,4 10,4 10,12 2,12Z" in html  # 16 pixels of the file are 8 of the model
    assert "M4 6h0M8 10h0" in html
    assert 'id="masks"' in html
    assert "256 pixels" in html
    plain = page.build(found.trace, flat(), stack)
    assert 'id="masks"' not in plain
    assert "<h2>Masks</h2>" not in plain
    empty = page.build(found.trace, flat(), stack, findings=PageFindings())
    assert empty == plain


def test_a_thick_stack_shows_the_slice_where_it_lies():
    case = deep()
    trace = asked()
    stack = serialize(case, depth=4, size=(28, 28))
    look = shown(trace, PageFindings(target(trace, case, slice=5)), stack).looks[-1]
    assert look.slices == (2,)
    assert look.box_model == (2, 4, 2, 10, 12, 3)


def test_looks_with_masks_are_saved_with_their_numbers(tmp_path):
    sample = samples.volume()
    regions = measured(masks_of(sample.trace, sample.case, Filler()), sample.case)
    assert [r.marked.look for r in regions] == [1, 2]
    regions = save_masks(tmp_path, "trace-1-mask", regions, sample.case)
    findings = [PageFindings(regions=regions)]
    save_traces(tmp_path, [sample.trace], sample.case, sample.stack, findings=findings)
    saved = json.loads((tmp_path / "trace-1-masks.json").read_text())
    assert [m["mask"] for m in saved] == ["trace-1-mask-look-1.nii.gz", "trace-1-mask-look-2.nii.gz"]
    assert [m["label"] for m in saved] == ["left condyle", "meniscus"]
    assert saved == json.loads(json.dumps([region_json(r) for r in regions]))
    assert (tmp_path / "trace-1-mask-look-2.nii.gz").is_file()
    html = (tmp_path / "trace-1.html").read_text()
    assert set(planes(html, "mask")) == {2, 3, 4, 5, 6, 7, 8}
    assert html.count('class="span tone-') == 2
    save_report(tmp_path / "all.html", [sample.trace] * 2, sample.case, sample.stack, findings=findings * 2)
    assert "<h2>Masks</h2>" in (tmp_path / "all-2.html").read_text()


def test_the_answer_is_numbered_behind_the_looks():
    sample, found = samples.image(), grounded(flat())
    size = (sample.case.geometry.shape[1], sample.case.geometry.shape[0])
    answer = replace(found.regions[0].marked.segmentation, mask=np.ones(size[::-1], bool))
    (look,) = measured(masks_of(sample.trace, sample.case, Filler()), sample.case)
    regions = [look, replace(found.regions[0], marked=replace(found.regions[0].marked, segmentation=answer))]
    html = page.build(sample.trace, sample.case, sample.stack, findings=PageFindings(found.target, regions))
    assert re.findall(r'<g class="mask tone-(\d)[^"]*" data-plane="0" data-look="(\d)"', html) == [("0", "0"), ("1", "1")]
    assert '<b class="badge tone-1">2</b><span class="label">answer</span>' in html


def test_hostile_words_stay_words():
    sample = samples.volume()
    (first, *_) = masks_of(sample.trace, sample.case, Filler())
    found = replace(first.segmentation, notes=(samples.HOSTILE,))
    regions = measured([replace(first, label=samples.HOSTILE, segmentation=found)], sample.case)
    html = page.build(sample.trace, sample.case, sample.stack, findings=PageFindings(regions=regions))
    assert samples.HOSTILE not in html
    assert "<svg onload" not in html


def test_words_of_a_region():
    (region,) = grounded(deep(), slice=3).regions
    assert words(region, deep()) == ["256 voxels", "0.128 ml", "11.0 mm across", "mean 200.0 HU"]
    (region,) = grounded(flat()).regions
    assert words(region, flat()) == ["256 pixels", "64 mm²", "11.0 mm across", "mean 200.0"]
    nowhere = replace(flat(), geometry=replace(flat().geometry, spacing_mm=None))
    (region,) = grounded(nowhere).regions
    assert words(region, nowhere) == ["256 pixels", "21.9 pixels across", "mean 200.0"]
    empty = measured([replace(region.marked, segmentation=finished(np.zeros((56, 56), bool), 0.0))], nowhere)
    assert words(empty[0], nowhere) == ["nothing was found"]


def test_lines_for_a_terminal():
    found = grounded(deep(), slice=3)
    assert target_lines(found.target) == [
        "  model [2, 4, 10, 12], points [4, 6] and [8, 10] px",
        "  voxel [36, 8, 4, 52, 24, 5], points [47, 13, 4.5] and [39, 21, 4.5]",
        "  world [-15.8, 23.8, 21, -7.8, 31.8, 23], points [-13.2, 26.2, 22] and [-9.2, 30.2, 22] mm LPS",
    ]
    assert region_lines(found.regions[0], found.case) == [
        "mask of answer: 256 voxels, 0.128 ml, 11.0 mm across, mean 200.0 HU; the expert's own score 0.75",
        "  note: a remark",
    ]
    assert target_lines(grounded(flat(), "x").target) == ["box: none that can be used"]


def test_shown_stacks_are_bounded():
    assert len(shown_stack(deep(), "auto").slices) == 8
    geometry = volume_geometry((8, 8, 300), np.eye(4))
    long = Case(np.zeros(geometry.shape, np.float32), "volume", geometry, "", Source("v", "nifti", ""))
    assert len(shown_stack(long, "auto").slices) == MAX_SLICES
    assert shown_stack(picture(deep(), 2), "auto").kind == "image"
