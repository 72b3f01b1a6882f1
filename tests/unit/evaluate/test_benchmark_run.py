"""Runs over a suite: hand-computed scores of a scripted model, votes, going on after a kill, cases that cannot be read."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tiny
from unireason.core.errors import FormatError, ImageReadError, UniReasonError
from unireason.core.types import Box2D, Case, Geometry, Look, Source
from unireason.engine.case import prepare_case, start_session
from unireason.engine.reasoner import Reasoner
from unireason.evaluate import runner
from unireason.evaluate.benchmark import RunSettings, rows_of, run, summary
from unireason.evaluate.suites.base import Entry
from unireason.metrics.statistics import wilson

OPTIONS = ("dark", "grey", "bright")
TRUE = Look("spot", Box2D(0, 0, 28, 28))


class Quiz:
    """Three questions a case; the right letter of all is B. The last of a case has a true place."""

    name, rule = "quiz", "the letter"

    def __init__(self, cases=4, broken=(), tags=None):
        self.cases, self.broken, self.tags, self.reads = cases, set(broken), tags or {}, []
        self.left_out = {"no answer": 2}

    def entries(self):
        for n in range(self.cases):
            for part in "abc":
                tags = {"family": "first" if part == "a" else "other", **self.tags}
                looks = (TRUE,) if part == "c" else ()
                yield Entry(f"{n}{part}", f"c{n}", f"p{n // 2}", f"Which, {n}{part}?", OPTIONS, ("grey",), "B", tags, looks)

    def read(self, case):
        self.reads.append(case)
        if case in self.broken:
            raise ImageReadError(f"{case} is broken")
        pixels = np.full((56, 56), int(case[1:]), np.uint8)
        return Case(pixels, "image", Geometry((56, 56), (56, 56), (0, 1), (False, False)), "", Source(case, "npy", case))


class HaltError(Exception):
    pass


class Engine:
    """Real sessions that are fed what a policy says of a question and a seed; remembers what was asked."""

    def __init__(self, policy, stop=None):
        self.checkpoint, self.policy, self.stop = tiny.checkpoint(), policy, stop
        self.asked, self.calls = [], []

    def encode(self, stack):
        return prepare_case(self.checkpoint, stack)

    def generate(self, requests, sampling=None, *, on_token=None):
        if len(self.calls) == self.stop:
            raise HaltError
        self.calls.append(len(requests))
        sessions = [start_session(self.checkpoint, request) for request in requests]
        return [self.one(session, request) for session, request in zip(sessions, requests, strict=True)]

    def one(self, session, request):
        prompt = self.checkpoint.tokenizer.decode(session.prompt)
        name = prompt.split("Which, ")[1].split("?")[0]
        self.asked.append((name, request.seed))
        for token in tiny.spell(self.policy(name, request.seed)):
            if session.finish is None:
                session.feed(token, -0.5)
        return session


def right_on_even(name, seed):
    """Right for even cases; looks at the true place for the questions c of even cases, beside it for odd ones."""
    even = int(name[0]) % 2 == 0
    box = "" if name[1] != "c" else "<|box_start|>[0,0,28,28]<|box_end|>" if even else "<|box_start|>[28,28,56,56]<|box_end|>"
    return f"<think>see {box}so</think>{'B' if even else 'A'}.<|im_end|>"


def by_seed(name, seed):
    """Each of the seeds that follow one another has its own answer."""
    return f"<think>so</think>{'AABC'[(seed + len(name)) % 4]}.<|im_end|>"


def start(policy, folder, suite=None, *, stop=None, **how):
    engine = Engine(policy, stop)
    results = run(Reasoner(engine.checkpoint, engine=engine), suite or Quiz(), folder, settings=RunSettings.filled(**how))
    return results.to_json(), engine


def plain(folder):
    """Rows by question without what clocks say."""
    rows = [json.loads(json.dumps(row.to_json())) for row in rows_of(folder)]
    for row in rows:
        row.pop("seconds")
        for sample in row["samples"]:
            sample["trace"]["provenance"].pop("seconds")
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def test_scores_by_hand(tmp_path):
    results, engine = start(right_on_even, tmp_path)
    every = results["scores"]["all"]
    assert every["accuracy"] == 0.5
    assert every["accuracy_ci95"] == list(wilson(6, 12))
    assert every["n"] == results["n"] == 12
    assert results["patients"] == 2
    low, high = every["accuracy_ci95_patients"]
    assert low < 0.02 < 0.98 < high  # two patients, each with one right and one wrong case, tell next to nothing
    assert results["too_few_patients"] is True
    assert results["scores"]["by"]["family"]["first"]["n"] == 4
    assert results["scores"]["by"]["kind"] == {"image": every}
    same = ("n", "accuracy", "accuracy_ci95", "accuracy_ci95_patients")
    assert every["published"]["m3d"] == {key: every[key] for key in same}
    grounding = results["grounding"]
    assert (grounding["looks"], grounding["mean_box_iou"], grounding["iou_at_50"]) == (4, 0.5, 0.5)
    assert grounding["looked"] == pytest.approx(4 / 12)
    assert grounding["ci95_patients"] == pytest.approx([0, 1], abs=0.02)  # so too: one found and one missed a patient
    assert results["calibration"]["overlap"]["n"] == 4
    assert results["calibration"]["overlap"]["auroc"] == 1
    assert results["calibration"]["probability"]["n"] == 12
    assert "agreement" not in results["calibration"]
    assert results["sampling"] is None
    assert results["left_out"] == {"no answer": 2}
    assert results["unreadable"] == 0
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert json.loads((tmp_path / "manifest.json").read_text()) == results["manifest"]
    assert results["manifest"]["sampling"] == {"temperature": 0.0, "top_p": 1.0, "top_k": 0}
    assert len(engine.calls) == 1  # all cases together


def test_a_row(tmp_path):
    start(right_on_even, tmp_path, Quiz(1))
    row = plain(tmp_path)["0c"]
    trace = row["samples"][0].pop("trace")
    assert trace["answer"] == {"choice": "B", "text": "B."}
    assert trace["tokens"] is None
    published = row["published"]
    # B, the full stop and the end of the turn were sampled behind </think>, each with log-probability -0.5.
    shared = {"said": "B", "right": True, "published": published, "overlap": 1.0, "probability": pytest.approx(np.exp(-1.5))}
    assert published["m3d"] is True
    assert row == {
        **{"id": "0c", "case": "c0", "patient": "p0", "kind": "image", "tags": {"family": "other"}, "question": "Which, 0c?"},
        **{"options": list(OPTIONS), "letter": "B", "answers": ["grey"], **shared, "agreement": None, "tied": False},
        **{"ious": [1.0], "sample": 0, "problem": "", "samples": [{**shared, "looks": 1}], "picture": ""},
        **{"own_boxes": "", "true_boxes": ""},  # the suite does not say what kind of question it is
    }


def test_samples_and_votes(tmp_path):
    results, engine = start(by_seed, tmp_path, Quiz(2), samples=4, vote=4, seed=5)
    seeds = dict.fromkeys(name for name, _ in engine.asked)
    seeds = {name: [s for other, s in engine.asked if other == name] for name in seeds}
    assert all(own == list(range(own[0], own[0] + 4)) for own in seeds.values())
    assert len({own[0] for own in seeds.values()}) == 6
    for row in plain(tmp_path).values():
        # Two of four say A, whichever comes first; so A wins with half of the votes, and is wrong.
        assert (row["said"], row["agreement"], row["tied"], row["right"]) == ("A", 0.5, False, False)
        assert row["samples"][row["sample"]]["said"] == "A"
    assert results["scores"]["all"]["accuracy"] == 0
    sampling = results["sampling"]
    assert (sampling["mean_accuracy"], sampling["any_right"], sampling["all_right"]) == (0.25, 1, 0)
    assert (sampling["samples"], sampling["temperature"]) == (4, 0.7)
    assert results["calibration"]["agreement"]["n"] == 6


def test_samples_of_a_patient_are_drawn_together(tmp_path):
    """Each patient has one case with all samples right and one with none: over patients the mean does not move."""
    results, _ = start(right_on_even, tmp_path, samples=2)
    sampling = results["sampling"]
    assert (sampling["mean_accuracy"], sampling["any_right"], sampling["all_right"]) == (0.5, 0.5, 0.5)
    low, high = sampling["mean_accuracy_ci95_patients"]
    assert low < 0.02 < 0.98 < high
    lost, _ = start(right_on_even, tmp_path / "lost", Quiz(4, broken=["c2"]), samples=2, skip=0.25)
    assert lost["sampling"]["mean_accuracy"] == 0.25  # case 0 alone of four


def test_without_a_vote_the_first_sample_stands(tmp_path):
    start(by_seed, tmp_path, Quiz(2), samples=4)
    for row in plain(tmp_path).values():
        first = row["samples"][0]
        assert (row["said"], row["sample"]) == (first["said"], 0)
        assert row["agreement"] == (0.5 if first["said"] == "A" else 0.25)


def test_a_vote_alone_means_as_many_samples():
    assert RunSettings.filled(vote=5).samples == 5
    assert RunSettings.filled(vote=5).sampling.temperature == 0.7
    assert RunSettings.filled().sampling.temperature == 0
    assert RunSettings.filled(samples=3, vote=2).vote == 2


@pytest.mark.parametrize(
    "how",
    [{"samples": 2, "vote": 3}, {"samples": 2, "temperature": 0.0}, {"samples": 0}, {"seed": -1}, {"skip": 2.0}, {"count": 0}],
)
def test_settings_out_of_range(how):
    with pytest.raises(FormatError):
        RunSettings.filled(**how)


def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "TOGETHER", 12)  # two questions' samples: a case at a time
    how = {"samples": 4, "vote": 3, "seed": 2}
    whole, _ = start(by_seed, tmp_path / "whole", **how)
    with pytest.raises(HaltError):
        start(by_seed, tmp_path / "part", stop=2, **how)
    file = tmp_path / "part" / "rows.jsonl"
    kept = file.read_bytes().splitlines(keepends=True)
    assert len(kept) == 6
    # The kill came in the middle of the second line of the second case.
    file.write_bytes(b"".join(kept[:4]) + kept[4][: len(kept[4]) // 2])
    suite = Quiz()
    again, engine = start(by_seed, tmp_path / "part", suite, **how)
    assert suite.reads == ["c1", "c2", "c3"]
    assert sorted({name for name, _ in engine.asked}) == ["1b", "1c", *(f"{n}{p}" for n in (2, 3) for p in "abc")]
    assert plain(tmp_path / "part") == plain(tmp_path / "whole")
    assert file.read_bytes().startswith(b"".join(kept[:4]))
    clocks = ("seconds", "questions_a_second")
    assert {k: v for k, v in again.items() if k not in clocks} == {k: v for k, v in whole.items() if k not in clocks}
    before, reads = file.read_bytes(), len(suite.reads)
    third, engine = start(by_seed, tmp_path / "part", suite, **how)
    assert third == again
    assert (file.read_bytes(), len(suite.reads), engine.asked) == (before, reads, [])


@pytest.mark.parametrize("other", [{"seed": 1}, {"samples": 2}, {"max_looks": 1}, {"temperature": 0.5}, {"crop_source": "none"}])
def test_another_run_in_the_folder_is_refused(tmp_path, other):
    start(right_on_even, tmp_path, Quiz(1))
    with pytest.raises(FormatError, match="with another"):
        start(right_on_even, tmp_path, Quiz(1), **other)


def test_a_question_twice_in_the_folder_is_refused(tmp_path):
    start(right_on_even, tmp_path, Quiz(1))
    file = tmp_path / "rows.jsonl"
    file.write_bytes(file.read_bytes() + file.read_bytes())
    with pytest.raises(UniReasonError, match="two rows"):
        start(right_on_even, tmp_path, Quiz(1))


def test_cases_that_cannot_be_read_count_as_wrong(tmp_path):
    results, _ = start(right_on_even, tmp_path, Quiz(4, broken=["c2"]), skip=0.25)
    assert results["scores"]["all"]["accuracy"] == 3 / 12  # case 0 alone: case 2 would be right
    assert results["unreadable"] == 3
    row = plain(tmp_path)["2c"]
    assert (row["said"], row["right"], row["samples"], row["problem"]) == ("", False, [], "c2 is broken.")
    assert list(plain(tmp_path))[-3:] == ["2a", "2b", "2c"]
    assert results["grounding"]["mean_box_iou"] == 1 / 4  # the look of case 2 is missed
    assert results["calibration"]["overlap"]["n"] == 3


def test_what_could_not_be_read_is_asked_again(tmp_path):
    start(right_on_even, tmp_path / "run", Quiz(4, broken=["c2"]), skip=0.25)
    results, engine = start(right_on_even, tmp_path / "run")
    assert (results["unreadable"], engine.asked) == (3, [])  # not by itself
    results, engine = start(right_on_even, tmp_path / "run", again=True)
    assert sorted(name for name, _ in engine.asked) == ["2a", "2b", "2c"]
    whole, _ = start(right_on_even, tmp_path / "whole")
    assert plain(tmp_path / "run") == plain(tmp_path / "whole")
    assert (results["unreadable"], results["scores"]) == (0, whole["scores"])
    before = (tmp_path / "run" / "rows.jsonl").read_bytes()
    start(right_on_even, tmp_path / "run", again=True)
    assert (tmp_path / "run" / "rows.jsonl").read_bytes() == before


def test_what_still_cannot_be_read_is_asked_again_the_next_time(tmp_path):
    start(right_on_even, tmp_path, Quiz(4, broken=["c0", "c2"]), skip=0.5)
    results, _ = start(right_on_even, tmp_path, Quiz(4, broken=["c2"]), skip=0.5, again=True)
    assert (results["unreadable"], len(plain(tmp_path))) == (3, 12)
    with pytest.raises(UniReasonError, match=r"3 of 12 questions.*--skip"):
        start(right_on_even, tmp_path, Quiz(4, broken=["c2"]), again=True)
    results, _ = start(right_on_even, tmp_path, Quiz(4))
    assert (results["unreadable"], len(plain(tmp_path))) == (0, 12)


def test_too_many_unreadable_cases_stop_the_run_and_nothing_is_lost(tmp_path):
    with pytest.raises(UniReasonError, match="3 of 12 questions cannot be asked; of 'c2'"):
        start(right_on_even, tmp_path, Quiz(4, broken=["c2"]))
    results, engine = start(right_on_even, tmp_path, Quiz(4))
    assert results["scores"]["all"]["accuracy"] == 0.5
    assert {name[0] for name, _ in engine.asked} <= set("0123")


class Long(Quiz):
    """A quiz with one question that is longer than the model's context."""

    def entries(self):
        for entry in super().entries():
            question = entry.question + " please" * 2000 if entry.id == "1b" else entry.question
            yield Entry(*(question if n == "question" else getattr(entry, n) for n in Entry.__slots__))


def test_answers_in_front_of_one_question_too_many_are_kept(tmp_path):
    with pytest.raises(UniReasonError, match="1 of 6 questions cannot be asked"):
        start(right_on_even, tmp_path, Long(2), skip=0.0)
    assert sorted(plain(tmp_path)) == ["0a", "0b", "0c", "1a"]


def test_a_question_that_does_not_fit_is_given_up_alone(tmp_path):
    results, engine = start(right_on_even, tmp_path, Long(2), skip=0.2)
    assert results["unreadable"] == 1
    assert "context" in plain(tmp_path)["1b"]["problem"]
    assert sorted(name for name, _ in engine.asked) == ["0a", "0b", "0c", "1a", "1c"]


def test_true_places_of_another_frame_are_refused(tmp_path):
    with pytest.raises(FormatError, match="28x28x1"):
        start(right_on_even, tmp_path, Quiz(1, tags={"frame": "28x28x1"}), skip=1.0)
    results, _ = start(right_on_even, tmp_path / "same", Quiz(1, tags={"frame": "56x56x1"}))
    assert results["unreadable"] == 0


def test_a_question_without_truth_is_refused_before_any_is_asked(tmp_path):
    class Wrong(Quiz):
        def entries(self):
            yield from super().entries()
            yield Entry("9a", "c9", "p9", "Which, 9a?", OPTIONS, ("grey",), "F")

    with pytest.raises(FormatError, match="9a"):
        start(right_on_even, tmp_path, Wrong(1))
    assert not list(tmp_path.iterdir())


def test_pictures_are_named_by_the_place_of_the_question(tmp_path):
    engine = Engine(right_on_even)
    reasoner = Reasoner(engine.checkpoint, engine=engine)
    seen = []

    def draw(trace, case, stack):
        seen.append((trace.question, case.source.name, stack.slices.shape))
        return b"png"

    run(reasoner, Quiz(2), tmp_path, draw=draw)
    assert plain(tmp_path)["1b"]["picture"] == "pictures/0004.png"
    assert (tmp_path / "pictures" / "0004.png").read_bytes() == b"png"
    assert seen[4] == ("Which, 1b?", "c1", (1, 56, 56))


def test_progress_ends_at_the_number_of_questions(tmp_path):
    told = []
    engine = Engine(right_on_even)
    reasoner = Reasoner(engine.checkpoint, engine=engine)
    run(reasoner, Quiz(3), tmp_path, settings=RunSettings(count=5), progress=lambda *done: told.append(done))
    assert (told[0], told[-1]) == ((0, 5), (5, 5))
    assert len(plain(tmp_path)) == 5


def test_figures_do_not_depend_on_where_a_run_was_broken_off(tmp_path, monkeypatch):
    """Case 0 cannot be read at first, so that its rows come late; the bootstrap draws patients in the order of the suite all the same."""
    monkeypatch.setattr(runner, "TOGETHER", 3)
    summed = []

    def spy(rows, settings):
        summed.append([row.scored.id for row in rows])
        return summary(rows, settings)

    monkeypatch.setattr("unireason.evaluate.benchmark.summary", spy)
    with pytest.raises(HaltError):
        start(right_on_even, tmp_path, Quiz(4, broken=["c0"]), skip=0.5, stop=2)
    start(right_on_even, tmp_path, Quiz(4), skip=0.5)
    assert list(plain(tmp_path))[:7] == ["1a", "1b", "1c", "2a", "2b", "2c", "0a"]
    assert summed == [[entry.id for entry in Quiz(4).entries()]]


@pytest.mark.parametrize(("bound", "value"), [("PATCHES", 2 * 16), ("BYTES", 2 * 2 * 56 * 56)])
def test_large_cases_do_not_wait_for_many_questions(tmp_path, monkeypatch, bound, value):
    """A case of 56 x 56 pixels has 16 patches, and as many pixels in the file as at full resolution."""
    monkeypatch.setattr(runner, bound, value)
    _, engine = start(right_on_even, tmp_path)
    assert engine.calls == [6, 6]


def test_seeds_depend_on_run_and_question_alone(tmp_path, monkeypatch):
    def seeds(folder, **how):
        return dict(start(right_on_even, tmp_path / folder, **how)[1].asked)

    one = seeds("one")
    assert seeds("few", count=3).items() <= one.items()
    monkeypatch.setattr(runner, "TOGETHER", 1)
    assert seeds("alone") == one
    other = seeds("other", seed=1)
    assert not set(other.values()) & set(one.values())
    assert len(set(one.values())) == 12


def test_an_open_question_and_one_that_is_never_answered(tmp_path):
    class Open(Quiz):
        def entries(self):
            yield Entry("0a", "c0", "p0", "Which, 0a?", (), ("grey matter", "cortex"))
            yield Entry("0b", "c0", "p0", "Which, 0b?", (), ("grey",))

    said = {"0a": "<think>so</think>Cortex.<|im_end|>", "0b": "<think>so and so"}
    results, _ = start(lambda name, seed: said[name], tmp_path, Open())
    every = results["scores"]["all"]
    assert (every["accuracy"], every["chance"], every["unread"], every["accuracy_ci95_patients"]) == (0.5, 0, 1, None)
    assert (plain(tmp_path)["0a"]["said"], plain(tmp_path)["0b"]["said"]) == ("Cortex.", "")
    assert results["calibration"]["probability"]["n"] == 1


def test_a_tied_vote_takes_what_was_said_first(tmp_path):
    def tied(name, seed):
        return f"<think>so</think>{'BCCB'[(seed - base[name]) % 4]}.<|im_end|>"

    base = {f"0{part}": RunSettings(seed=3).seed_of(f"0{part}") for part in "abc"}
    start(tied, tmp_path, Quiz(1), samples=4, vote=4, seed=3)
    for row in plain(tmp_path).values():
        assert (row["said"], row["right"], row["tied"], row["agreement"], row["sample"]) == ("B", True, True, 0.5, 0)
    start(lambda name, seed: tied(name, seed + 1), tmp_path / "three", Quiz(1), samples=4, vote=3, seed=3)
    for row in plain(tmp_path / "three").values():
        # C, C, B and then B, which has no vote
        assert (row["said"], row["tied"], row["agreement"], row["sample"]) == ("C", False, pytest.approx(2 / 3), 0)
