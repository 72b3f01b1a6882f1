"""The object of an ablation, from runs with a known pattern of right answers."""

import json
import sys
from functools import partial

import ablation_program
import pytest
from ablation_program import CONFIG, answer, train, write_config
from test_ablation_plan import planned

from unireason.cli import build_parser, main
from unireason.cli.compare import AblationTerminal
from unireason.core.config import read_table
from unireason.core.errors import FormatError, UniReasonError
from unireason.evaluate import ablation
from unireason.evaluate.ablation import parse, summary, verdict
from unireason.metrics.statistics import crossed_difference, crossed_mean

PATIENTS = ["p0", "p0", "p1", "p1", "p2", "p2"]


def made(tmp_path, text=CONFIG):
    """Config and jobs of a finished ablation, written by hand."""
    jobs = planned(tmp_path, text, out=tmp_path / "o")
    for job in jobs:
        if job.what == "train":
            train(job.folder, job.command[1])
        else:
            answer(job.folder, ablation_program.RIGHT[job.arm, job.seed])
    path = tmp_path / "configs" / "ablation.toml"
    return parse(read_table(path), path.parent), jobs


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return summary(*made(tmp_path_factory.mktemp("ablation"))).to_json()


def by(rows, **wanted):
    [found] = [row for row in rows if all(row[k] == v for k, v in wanted.items())]
    return found


def test_accuracy_by_kind(results):
    plain, better = (by(results["arms"], name=name) for name in ("plain", "better"))
    assert (plain["volume"]["n"], plain["image"]["n"], plain["all"]["n"]) == (4, 2, 6)
    assert (plain["volume"]["patients"], plain["image"]["patients"]) == (2, 1)
    assert plain["volume"]["seeds"] == [0.5, 0.5]
    assert better["volume"]["accuracy"] == 1.0
    assert better["image"]["seeds"] == [0.5, 1.0]
    assert better["all"]["accuracy"] == pytest.approx(11 / 12)
    found = crossed_mean([ablation_program.RIGHT["better", s] for s in (0, 1)], clusters=PATIENTS)
    assert better["all"]["ci95"] == pytest.approx([max(0, found.interval[0]), min(1, found.interval[1])])
    assert plain["all"]["chance"] == 0.25


def test_box_overlap_counts_true_looks_only(results):
    assert by(results["arms"], name="plain")["all"]["mean_box_iou"] == 0.25
    assert by(results["arms"], name="better")["all"]["mean_box_iou"] == 0.5
    assert by(results["arms"], name="better")["image"]["mean_box_iou"] is None
    assert by(results["arms"], name="plain")["all"]["looked"] == pytest.approx(2 / 6)


def test_differences_are_paired_with_the_reference(results):
    assert len(results["differences"]) == 6
    assert {row["than"] for row in results["differences"]} == {"plain"}
    found = by(results["differences"], arm="better", on="all")
    # 11 of 12 answers against 4 of 12; seed by seed 5 against 2 and 6 against 2 of 6.
    assert found["difference"] == pytest.approx(7 / 12)
    assert found["seeds"] == pytest.approx([1 / 2, 2 / 3])
    tables = [[ablation_program.RIGHT[arm, s] for s in (0, 1)] for arm in ("better", "plain")]
    low, high = crossed_difference(*tables, clusters=PATIENTS).interval
    assert found["ci95"] == pytest.approx([max(-1, low), min(1, high)])
    same = by(results["differences"], arm="last", on="volume")
    assert same["difference"] == 0.0
    assert same["ci95"][0] == -same["ci95"][1] < -0.3  # few patients that are all alike


def test_claims(results):
    first, second = results["claims"]
    assert (first["on"], first["difference"], first["verdict"]) == ("volume", 0.5, "undecided")  # two patients, however equal
    assert (second["on"], second["difference"], second["verdict"]) == ("all", 0.0, "undecided")


@pytest.mark.parametrize(
    ("interval", "said"),
    [((0.01, 0.2), "holds"), ((-0.2, -0.01), "does not hold"), ((-0.1, 0.1), "undecided"), ((0.0, 0.2), "undecided")],
)
def test_verdicts(interval, said):
    assert verdict(interval) == said


def test_one_seed_and_one_patient_decide_nothing(tmp_path):
    """Every answer of one arm right and of the other wrong, and nobody knows how another patient or seed would have done."""
    config, jobs = made(tmp_path, CONFIG.replace("seeds = [0, 1]", "seeds = [0]"))
    for job in (j for j in jobs if j.what == "eval"):
        answer(job.folder, [int(job.arm == "better")] * 6)
        rows = job.folder / "rows.jsonl"
        rows.write_text(rows.read_text().replace('"p1"', '"p0"').replace('"p2"', '"p0"'))
    found = summary(config, jobs).to_json()
    assert by(found["claims"], better="better")["difference"] == 1.0
    assert by(found["claims"], better="better")["ci95"] == [-1.0, 1.0]
    assert by(found["claims"], better="better")["verdict"] == "undecided"
    assert by(found["arms"], name="better")["all"]["ci95"] == [0.0, 1.0]


def test_exposure_adds_up_over_arms_before(results):
    plain, better, last = (by(results["arms"], name=name) for name in ("plain", "better", "last"))
    assert (plain["steps"], plain["samples_a_step"]) == (5, 8)
    assert plain["exposure"] == {"samples": 40, "image": 10, "volume": 30}
    assert better["samples_a_step"] == 4
    # Three batches of two questions, behind the 40 samples of the arm before.
    assert (last["steps"], last["samples_a_step"]) == (8, 2)
    assert last["exposure"] == {"samples": 46, "image": 12, "volume": 34}


def test_an_examination_before_the_first_step_is_no_step(tmp_path):
    config, jobs = made(tmp_path)
    log = jobs[0].folder / "log.jsonl"
    log.write_text('{"stage": "sft", "step": 0, "time": 0.0, "eval_loss": 1.0}\n' + log.read_text())
    assert by(summary(config, jobs).to_json()["arms"], name="plain")["steps"] == 5


def test_a_share_of_nothing_is_known(tmp_path):
    found = summary(*made(tmp_path, CONFIG.replace("data.images=0.25", "data.images=0.0"))).to_json()
    assert by(found["arms"], name="plain")["exposure"] == {"samples": 40, "image": 0, "volume": 40}


def test_a_share_that_the_data_decide_is_not_known(tmp_path):
    found = summary(*made(tmp_path, CONFIG.replace("data.images=0.25", "data.images=-1.0"))).to_json()
    assert by(found["arms"], name="last")["exposure"] == {"samples": 46, "image": None, "volume": None}


def test_the_manifest(results):
    manifest = results["manifest"]
    assert manifest["questions"] == 6
    assert manifest["questions_sha256"] == "abc"
    assert len(manifest["commands"]) == 12
    assert manifest["checkpoints"]["better"] == ["f00", "f00"]
    assert set(manifest["versions"]) == {"unireason", "torch"}
    json.dumps(results, allow_nan=False)


def test_other_questions_are_refused(tmp_path):
    config, jobs = made(tmp_path)
    answer(jobs[-1].folder, [1, 0, 0, 0, 0])
    with pytest.raises(FormatError, match="better/seed-1/eval and plain/seed-0/eval were asked different questions"):
        summary(config, jobs)
    answer(jobs[-1].folder, [1, 0, 0, 0, 0, 1])
    path = jobs[-1].folder / "results.json"
    path.write_text(path.read_text().replace("abc", "abd"))
    with pytest.raises(FormatError, match="different questions"):
        summary(config, jobs)


@pytest.mark.parametrize("name", ["eval/rows.jsonl", "eval/results.json", "train/log.jsonl"])
def test_a_missing_or_broken_file_is_named(tmp_path, name):
    config, jobs = made(tmp_path)
    path = tmp_path / "o" / "plain" / "seed-0" / name
    path.write_text('{"id": 3')
    with pytest.raises(FormatError, match=path.name):
        summary(config, jobs)
    path.unlink()
    with pytest.raises(UniReasonError, match=path.name):
        summary(config, jobs)


def test_the_command_writes_everything(tmp_path, monkeypatch, capsys):
    program = (sys.executable, "-S", ablation_program.__file__)
    monkeypatch.setattr(ablation, "run", partial(ablation.run, program=program))
    monkeypatch.setattr(ablation, "_POLL", 0.01)
    build_parser()  # every command is imported before the name is patched, so that none keeps the stand-in
    monkeypatch.setattr("unireason.cli.eval.suite_of", lambda args: None)  # the stand-in needs no data
    path, out = write_config(tmp_path / "configs"), tmp_path / "o"
    assert main(["ablate", str(path), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "plain/seed-0/train begins" in told.err
    assert "(12/12)" in told.err
    assert "A | better one" in told.out
    assert "Undecided, the interval includes no difference: Better is better. A | better one 100%, plain 50%" in told.out
    assert {p.name for p in out.iterdir() if p.is_file()} == {
        ".lock",
        "results.json",
        "ablation.html",
        "ablation.md",
        "ablation.png",
    }
    assert main(["ablate", str(path), "--out", str(out), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == json.loads((out / "results.json").read_text())
    assert told.err.startswith("caution: Too few patients")
    assert main(["ablate", str(path), "--out", str(out), "--list"]) == 0
    assert capsys.readouterr().out.count("  # done") == 12


def test_a_file_of_another_kind_is_refused(tmp_path, capsys):
    write_config(tmp_path)
    assert main(["ablate", str(tmp_path / "sft.toml"), "--out", str(tmp_path / "o")]) == 2
    assert "the kind of the file is 'sft'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('suite = "built"', 'suite = "bulit"', "the suite 'bulit' is not known"),
        ('data = "exam"', 'data = "nowhere"', "nowhere"),
        ('kind = "both"', 'knid = "both"', "no option 'knid'"),
        ('["--vote", "3"]', '["--vots", "3"]', "better/seed-0/eval has arguments that are not known"),
        ('["--vote", "3"]', '["--out", "x"]', "another --out or --model"),
        ('["--vote", "3"]', '["--model", "x"]', "another --out or --model"),
    ],
)
def test_what_the_evaluations_would_refuse_is_refused_before_training(tmp_path, monkeypatch, capsys, old, new, words):
    monkeypatch.setattr(ablation, "run", lambda *args, **how: pytest.fail("trained"))
    assert CONFIG.count(old) == 1
    path = write_config(tmp_path, CONFIG.replace(old, new))
    assert main(["ablate", str(path), "--out", str(tmp_path / "o")]) == 2
    assert words in capsys.readouterr().err


def test_a_bar_for_those_who_wait(tmp_path, monkeypatch, capsys):
    """On a terminal: one bar over all jobs, and under it each job that runs with its last printed line or its answers."""
    jobs = planned(tmp_path, out=tmp_path / "o")[:2]
    monkeypatch.setattr("unireason.cli.compare._EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = []
    with AblationTerminal(2, quiet=False) as watch:
        watch.begun(jobs[0])
        watch.running(jobs[:1], 0)
        shown.append([task.fields["said"] for task in watch._bar.tasks])
        jobs[0].log.parent.mkdir(parents=True)
        jobs[0].log.write_text("$ unireason train\nsft 3/5  loss 1.2\n\n")
        watch.running(jobs[:1], 0)
        shown.append([(task.description, task.fields["said"]) for task in watch._bar.tasks])
        watch.ended(jobs[0], 1)
        watch.begun(jobs[1])
        answer(jobs[1].folder, [1, 0, 1])
        watch.running(jobs[1:], 1)
        shown.append([(task.description, task.fields["said"]) for task in watch._bar.tasks])
    assert shown[0] == ["0/2", "preparing"]
    assert shown[1] == [("ablation", "0/2"), ("plain/seed-0/train", "sft 3/5  loss 1.2")]
    assert shown[2] == [("ablation", "1/2"), ("plain/seed-0/eval", "3 answers")]
