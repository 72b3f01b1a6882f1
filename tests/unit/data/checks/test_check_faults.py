"""A sound data set passes; each planted fault is found by the check that is there for it, and by its words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from unireason.cli import main
from unireason.core.types import Box2D, Box3D, Look
from unireason.data.checks.run import Report, check, spread
from unireason.data.dataset import MANIFEST, Dataset
from unireason.data.item import CaseSource, Item, Layer, Loaded, Skipped
from unireason.data.records import CaseRecord, SampleRecord
from unireason.data.scene import IMPLICIT

Sample = SampleRecord


def problems(report: Report, name: str) -> list[str]:
    return [p.detail for p in report.problems if p.check == name]


def once(edit: Callable[[Sample], Sample | None]) -> Callable[[Sample], Sample]:
    """Edits the first sample for which the edit gives one."""
    done = False

    def apply(sample: Sample) -> Sample:
        nonlocal done
        changed = None if done else edit(sample)
        done = done or changed is not None
        return changed or sample

    return apply


def faults(dataset: Dataset, **options: object) -> Report:
    return check(dataset, dataset.source(), **options)  # type: ignore[arg-type]


def only(report: Report, *names: str) -> bool:
    """True if these checks found something and no other did (the audit of so few questions is left out)."""
    return {n for n, count in report.counts.items() if count and n != "shortcut"} == set(names)


def test_a_sound_set_passes(sound: Dataset) -> None:
    calls: list[tuple[int, int]] = []
    report = check(sound, sound.source(), progress=lambda done, total: calls.append((done, total)))
    assert [p.to_json() for p in report.problems if p.check != "shortcut"] == []
    total = sound.manifest["counts"]["cases"]
    assert report.checked["masks"]["cases"] == total
    assert calls[-1] == (total, total)
    assert report.checked["answers"]["answers"] == sound.manifest["counts"]["samples"]


def test_the_report_is_the_same_twice_and_is_json(sound: Dataset) -> None:
    first, second = (check(sound, None).to_json() for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert {"ok", "problems", "shortcut", "counts", "checked"} <= set(first)


def test_without_masks_answers_follow_from_the_records(sound: Dataset) -> None:
    report = check(sound, None)
    assert "masks" not in report.counts
    assert report.counts["answers"] == 0
    assert report.checked["answers"]["answers"] == sound.manifest["counts"]["samples"]


def test_some_cases_only(sound: Dataset) -> None:
    assert faults(sound, samples=5).checked["masks"]["cases"] == 5


@pytest.mark.parametrize(("total", "wanted"), [(600, 40), (7, 3), (5, 5), (3, 9), (100, 1)])
def test_spread_takes_one_out_of_every_stretch(total: int, wanted: int) -> None:
    chosen = sorted(spread(total, wanted))
    assert len(chosen) == min(total, wanted)
    assert chosen[0] >= 0
    assert chosen[-1] < total
    assert [n * min(total, wanted) // total for n in chosen] == list(range(min(total, wanted)))


def test_spread_meets_every_kind_of_a_repeating_order() -> None:
    assert {n % 3 for n in spread(600, 40)} == {0, 1, 2}


# Files


def test_a_changed_byte_is_found(sound: Dataset, place: Path) -> None:
    copy = datasets.edited(sound, place)
    path = next((place / "samples").glob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # the end of the magic word: the file cannot be read any more either
    path.write_bytes(bytes(data))
    report = faults(copy)
    assert any("SHA-256" in p for p in problems(report, "files"))
    assert any("cannot be read" in p for p in problems(report, "files"))
    assert not report.ok


def test_a_missing_and_an_unknown_file_are_found(sound: Dataset, place: Path) -> None:
    copy = datasets.edited(sound, place)
    (place / "skipped.jsonl").unlink()
    (place / "stray.txt").write_text("?")
    (place / "check.json").write_text("{}")  # its own, never a stray
    report = faults(copy)
    assert sorted(p.id for p in report.problems if p.check == "files") == ["skipped.jsonl", "stray.txt"]
    assert only(report, "files")


def test_wrong_counts_and_hashes_in_the_manifest_are_found(sound: Dataset, place: Path) -> None:
    datasets.edited(sound, place)
    manifest = json.loads((place / MANIFEST).read_text())
    manifest["counts"]["samples"] += 1
    manifest["content_sha256"] = "0" * 64
    del manifest["licence"]
    (place / MANIFEST).write_text(json.dumps(manifest))
    found = problems(faults(Dataset.open(place)), "files")
    assert len(found) == 3
    assert any("licence" in p for p in found)


def test_a_path_that_leaves_the_folder_is_not_followed(sound: Dataset, place: Path) -> None:
    datasets.edited(sound, place)
    manifest = json.loads((place / MANIFEST).read_text())
    manifest["files"]["../secret"] = "0" * 64
    (place / MANIFEST).write_text(json.dumps(manifest))
    assert any("inside" in p for p in problems(faults(Dataset.open(place)), "files"))


# Boxes and masks


def moved(box: Box2D | Box3D, by: int) -> Box2D | Box3D:
    return replace(box, x1=box.x1 + by, x2=box.x2 + by)


def with_look(edit: Callable[[Look], Look]) -> Callable[[Sample], Sample | None]:
    def apply(sample: Sample) -> Sample | None:
        place = next((n for n, p in enumerate(sample.reasoning) if isinstance(p, Look) and p.box.coords[0] >= 4), None)
        if place is None:
            return None
        look = sample.reasoning[place]
        assert isinstance(look, Look)
        return replace(sample, reasoning=(*sample.reasoning[:place], edit(look), *sample.reasoning[place + 1 :]))

    return apply


def test_a_box_moved_by_three_pixels_is_found_twice(sound: Dataset, place: Path) -> None:
    report = faults(datasets.edited(sound, place, sample=once(with_look(lambda k: replace(k, box=moved(k.box, -3))))))
    assert only(report, "boxes", "masks")
    assert "the case has" in problems(report, "boxes")[0]
    assert "IoU" in problems(report, "masks")[0]


def test_a_box_moved_in_case_and_look_alike_is_found_by_the_masks(sound: Dataset, place: Path) -> None:
    first = next(c for c in sound.cases() if c.scene.kind == "image" and any(not s.borders for s in c.scene.structures.values()))
    name, old = next((n, s) for n, s in first.scene.structures.items() if s.box_model.coords[0] >= 4)

    def case(record: CaseRecord) -> CaseRecord:
        if record.scene.case != first.scene.case:
            return record
        moved_one = replace(old, box_model=moved(old.box_model, -3))
        return replace(record, scene=replace(record.scene, structures={**record.scene.structures, name: moved_one}))

    report = faults(datasets.edited(sound, place, case=case))
    assert any(f"'{name}': its model box has an IoU" in p for p in problems(report, "masks"))


@pytest.mark.parametrize(
    ("box", "words"),
    [(Box2D(0, 0, 500, 9), "leaves the frame"), (Box2D(4, 4, 4, 9), "empty"), (Box3D(0, 0, 0, 4, 4, 4), "does not fit")],
)
def test_a_broken_box_is_found(sound: Dataset, place: Path, box: Box2D | Box3D, words: str) -> None:
    edit = once(lambda s: with_look(lambda k: replace(k, box=box))(s) if s.kind == "image" else None)
    assert any(words in p for p in problems(faults(datasets.edited(sound, place, sample=edit)), "boxes"))


@pytest.mark.parametrize("masks", [True, False])
def test_a_frame_that_the_rule_does_not_give_is_found(sound: Dataset, place: Path, masks: bool) -> None:
    first = next(c.scene.case for c in sound.cases() if c.scene.kind == "image")

    def case(record: CaseRecord) -> CaseRecord:
        wide = replace(record.scene.frame, height=record.scene.frame.height + 1)
        return replace(record, scene=replace(record.scene, frame=wide)) if record.scene.case == first else record

    changed = datasets.edited(sound, place, case=case)
    found = problems(check(changed, changed.source() if masks else None), "boxes")
    assert any("the configuration gives" in p for p in found)
    assert any("would be resized before they are fed" in p for p in found)


def test_a_look_at_nothing_is_found(sound: Dataset, place: Path) -> None:
    report = faults(datasets.edited(sound, place, sample=once(with_look(lambda k: replace(k, label="third kidney")))))
    assert any("no structure of the case" in p for p in problems(report, "boxes"))
    assert any("called seen" in p for p in problems(report, "masks"))


def test_a_response_without_a_look_is_found(sound: Dataset, place: Path) -> None:
    edit = once(lambda s: replace(s, reasoning=("It is so.",)) if s.task == "vqa" else None)
    assert problems(faults(datasets.edited(sound, place, sample=edit)), "boxes") == ["0 looks, expected 1 to 6"]


def test_a_box_tag_inside_a_text_is_found(sound: Dataset, place: Path) -> None:
    edit = once(lambda s: replace(s, reasoning=("<|box_start|>[1,2", *s.reasoning)))
    assert any("unclosed_box" in p for p in problems(faults(datasets.edited(sound, place, sample=edit)), "boxes"))


def test_points_outside_box_and_mask_are_found(sound: Dataset, place: Path) -> None:
    edit = once(lambda s: replace(s, points=((0, 0), (83, 83))) if s.task == "umrg" else None)
    report = faults(datasets.edited(sound, place, sample=edit))
    assert len([p for p in problems(report, "boxes") if "outside the box" in p]) == 2
    assert len([p for p in problems(report, "masks") if "outside the mask" in p]) == 2


class Painted:
    """A source whose masks are changed under the data set."""

    def __init__(self, source: CaseSource, change: Callable[[np.ndarray], None], item: str = "") -> None:
        self.source, self.change, self.item = source, change, item
        self.name, self.title, self.licence, self.root = source.name, source.title, source.licence, source.root

    def items(self) -> Iterator[Item | Skipped]:
        return self.source.items()

    def load(self, item: Item) -> Loaded:
        loaded = self.source.load(item)
        labels = loaded.layers[0].labels.copy()
        if self.item in ("", item.id):
            self.change(labels)
        return dataclasses.replace(loaded, layers=(Layer(labels, loaded.layers[0].names),))


def test_masks_changed_under_the_data_set_are_found(sound: Dataset) -> None:
    def shrink(labels: np.ndarray) -> None:
        labels[:, : labels.shape[1] // 2] = 0

    found = problems(check(sound, Painted(sound.source(), shrink)), "masks")
    assert any("IoU" in p for p in found)
    assert any("voxels" in p for p in found)


def test_a_structure_that_appears_is_found(sound: Dataset) -> None:
    absent = next(c for c in sound.cases() if "bladder" in c.scene.absent and c.scene.kind == "volume")

    def paint(labels: np.ndarray) -> None:
        labels[0, :8, :8] = 11  # the bladder's label

    found = check(sound, Painted(sound.source(), paint, absent.item))
    assert any("'bladder' is listed as absent" in p.detail and p.id == absent.scene.case for p in found.problems)


def test_an_absent_structure_claimed_is_found(sound: Dataset, place: Path) -> None:
    def case(record: CaseRecord) -> CaseRecord:
        name = next((n for n in record.scene.structures if n != "spine"), None)
        if name is None:
            return record
        rest = {n: s for n, s in record.scene.structures.items() if n != name}
        return replace(record, scene=replace(record.scene, structures=rest, absent=tuple(sorted((*record.scene.absent, name)))))

    found = problems(faults(datasets.edited(sound, place, case=case)), "masks")
    assert any("listed as absent, but its mask has" in p for p in found)
    assert any("has a mask, but is not in the record" in p for p in found)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("measure", lambda v: v * 1.01),
        ("voxels", lambda v: v + 1),
        ("side", lambda v: "left" if v == "right" else "right"),
        ("slices", lambda v: (v[0], v[1] + 1)),
        ("part_count", lambda v: v + 1),
        ("centre", lambda v: tuple(-c for c in v)),
        ("contrast", lambda v: -v),
        ("borders", lambda v: ("left", "right", "anterior", "superior")),
        ("points", lambda v: ((0,) * len(v[0]), v[1])),
        ("box_canonical", lambda v: (v[0] + 1, *v[1:])),
    ],
)
def test_every_measured_field_is_held_against_the_masks(
    sound: Dataset, place: Path, field: str, change: Callable[[object], object]
) -> None:
    wanted = next(c for c in sound.cases() if c.scene.kind == "volume" and "lesion" in c.scene.structures)

    def case(record: CaseRecord) -> CaseRecord:
        if record.scene.case != wanted.scene.case:
            return record
        old = record.scene.structures["lesion"]
        new = replace(old, **{field: change(getattr(old, field))})
        return replace(record, scene=replace(record.scene, structures={**record.scene.structures, "lesion": new}))

    report = faults(datasets.edited(sound, place, case=case))
    assert any(p.detail.startswith("'lesion'") and p.id == wanted.scene.case for p in report.problems if p.check == "masks")


def test_a_source_with_other_items_is_told_apart(sound: Dataset) -> None:
    from unireason.data.sources.phantom import PhantomSource

    few = check(sound, PhantomSource(patients=4, seed=3))
    assert any("no usable item" in p for p in problems(few, "masks"))
    other = check(sound, PhantomSource(patients=12, seed=4))
    assert not other.ok


# Answers


def test_a_wrong_letter_is_found(sound: Dataset, place: Path) -> None:
    def edit(sample: Sample) -> Sample | None:
        q = sample.question
        return replace(sample, question=replace(q, answer=(q.answer + 1) % len(q.options))) if sample.task == "vqa" else None

    report = faults(datasets.edited(sound, place, sample=once(edit)))
    assert only(report, "answers")
    assert len(problems(report, "answers")) == 2  # one option is called right, another wrong


def test_an_option_that_is_right_as_well_is_found(sound: Dataset, place: Path) -> None:
    def edit(sample: Sample) -> Sample | None:
        q = sample.question
        if q.ask != "how_large":
            return None
        wrong = (q.answer + 1) % len(q.options)
        unit = q.right.split()[-1]
        return replace(sample, question=replace(q, options=(*q.options[:wrong], f"0 to 999999 {unit}", *q.options[wrong + 1 :])))

    report = faults(datasets.edited(sound, place, sample=once(edit)))
    assert only(report, "answers", "claims")
    assert "is called wrong, the recomputed facts say right" in problems(report, "answers")[0]


def test_an_unknown_ask_is_found(sound: Dataset, place: Path) -> None:
    edit = once(lambda s: replace(s, question=replace(s.question, ask="colour")))
    assert "no such kind of question" in problems(faults(datasets.edited(sound, place, sample=edit)), "answers")[0]


def test_a_question_about_something_else_than_it_says_is_found(sound: Dataset, place: Path) -> None:
    edit = once(lambda s: replace(s, question=replace(s.question, text="Where is it?")) if s.question.ask == "quadrant" else None)
    assert "does not name it" in problems(faults(datasets.edited(sound, place, sample=edit)), "answers")[0]


def test_an_implicit_question_that_names_its_target_is_found(sound: Dataset, place: Path) -> None:
    def edit(sample: Sample) -> Sample | None:
        if sample.question.family != IMPLICIT:
            return None
        return replace(sample, question=replace(sample.question, text=f"Mark the {sample.category}."))

    assert "names its target" in problems(faults(datasets.edited(sound, place, sample=once(edit))), "answers")[0]


# Leakage and order


def test_a_patient_in_two_splits_is_found(sound: Dataset, place: Path) -> None:
    volume = next(c for c in sound.cases("train") if c.scene.kind == "volume")
    move = volume.scene.case
    report = faults(
        datasets.edited(
            sound,
            place,
            case=lambda c: replace(c, split="test") if c.scene.case == move else c,
            sample=lambda s: replace(s, split="test") if s.case == move else s,
        )
    )
    assert any(f"the patient {volume.scene.patient} is in" in p for p in problems(report, "leakage"))


def test_a_near_duplicate_across_splits_is_found(sound: Dataset, place: Path) -> None:
    hashes = [c.phash for c in sound.cases("train")]
    near = f"{int(hashes[0], 16) ^ 0b1011 << 77:064x}"  # three bits further
    first = next(sound.cases("test")).scene.case
    report = faults(datasets.edited(sound, place, case=lambda c: replace(c, phash=near) if c.scene.case == first else c))
    assert any("3 bits apart" in p for p in problems(report, "leakage"))
    assert only(report, "leakage")


def test_samples_without_their_case_or_out_of_order_are_found(sound: Dataset, place: Path) -> None:
    datasets.edited(sound, place)
    cases, samples = list(sound.cases()), list(sound.samples())
    lost = replace(samples[0], case="nowhere")
    report = faults(datasets.rewritten(Dataset.open(place), cases, [lost, *samples[1:]]))
    assert any("there is no case nowhere" in p for p in problems(report, "files"))
    copy = datasets.rewritten(Dataset.open(place), cases, samples[::-1])
    checked = faults(copy)
    assert checked.counts["answers"] == 0
    assert checked.counts["masks"] == 0


def test_a_question_asked_twice_is_found(sound: Dataset, place: Path) -> None:
    datasets.edited(sound, place)
    samples = list(sound.samples())
    report = faults(
        datasets.rewritten(Dataset.open(place), sound.cases(), [samples[0], replace(samples[0], id="0" * 16), *samples[1:]])
    )
    assert problems(report, "leakage") == ["1 questions are asked again of the same case"]


# Embedded pictures


def test_embedded_pictures_pass(embedded: Dataset) -> None:
    report = faults(embedded)
    assert report.counts["pictures"] == 0
    assert report.checked["pictures"]["pictures"] == 3 * 16 + 3


@pytest.mark.parametrize("shape", [(3, 90), (14, 200), (27, 40), (90, 7)])
def test_thin_pictures_are_held_against_their_source(shape: tuple[int, int], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask = np.ones(shape, np.uint8)
    mask[:, shape[1] // 2 :] = 2
    for n in range(2):
        Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(tmp_path / "images" / f"{n}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{n}.png")
    (tmp_path / "labels.json").write_text('{"liver": 1, "spleen": 2}')
    out = tmp_path / "out"
    assert main(["data", "build", "pair", str(tmp_path), "--out", str(out), "--embed", "--quiet"]) == 0
    assert main(["data", "check", str(out), "--quiet"]) == 0


def test_a_picture_of_another_case_is_found(embedded: Dataset) -> None:
    from unireason.data.checks.facts import CheckFindings, MaskFacts
    from unireason.data.checks.pictures import check_picture_files

    cases = {c.scene.case: c for c in embedded.cases() if c.scene.kind == "image"}
    images = {i.case: i for i in embedded.images() if i.case in cases}
    first, second = list(cases)[:2]
    source = embedded.source()
    item = next(i for i in source.items() if isinstance(i, Item) and i.id == cases[first].item)
    facts = MaskFacts(source.load(item), cases[first].slice, cases[first].scene)
    found = CheckFindings()
    check_picture_files(cases[first], [images[first]], (), facts, found)
    assert found.kept == []
    swapped = replace(images[second], case=first, masks=images[first].masks, mask_names=images[first].mask_names)
    check_picture_files(cases[first], [swapped], (), facts, found)
    assert any("grey levels" in p.detail for p in found.kept)
    check_picture_files(cases[first], [replace(images[first], masks=images[first].masks[::-1])], (), facts, found)
    assert any("the mask of" in p.detail for p in found.kept)
    check_picture_files(cases[first], [replace(images[first], png=b"no png")], (), facts, found)
    assert any("cannot be read" in p.detail for p in found.kept)
    check_picture_files(cases[first], [], (), facts, found)
    assert "0 pictures" in found.kept[-1].detail
