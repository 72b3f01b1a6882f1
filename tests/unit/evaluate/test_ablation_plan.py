"""The file of an ablation and the jobs that it becomes."""

from pathlib import Path

import pytest
from ablation_program import CONFIG, write_config

from unireason.cli import build_parser, main
from unireason.core.config import read_table, resolved
from unireason.core.errors import FormatError
from unireason.evaluate.ablation import parse, plan
from unireason.train.config import read_any


def planned(tmp_path, text=CONFIG, out="out"):
    path = write_config(tmp_path / "configs", text)
    config = parse(read_table(path), path.parent)
    return plan(config, Path(out), lambda file, settings: resolved(read_any(file, settings)[0]))


def test_the_jobs_of_a_seed_stand_behind_those_they_need(tmp_path):
    names = [job.name for job in planned(tmp_path)]
    assert names[:6] == [f"{arm}/seed-0/{what}" for arm in ("plain", "last", "better") for what in ("train", "eval")]
    assert [name.replace("seed-1", "seed-0") for name in names[6:]] == names[:6]


def test_the_commands(tmp_path):
    jobs = {job.name: job for job in planned(tmp_path)}
    configs = tmp_path / "configs"
    assert jobs["better/seed-1/train"].command == (
        "train", "sft", "--config", str(configs / "sft.toml"), "--set", "data.images=0.25", "--set", "batch_size=4",
        "--set", "optim.lr=2e-5", "--set", "run.seed=1", "--out", "out/better/seed-1/train",
    )  # fmt: skip
    assert jobs["better/seed-1/eval"].command == (
        "eval", "run", "--suite", "built", "--data", "exam", "--option", "kind=both", "--option", "questions=500", "--questions", "6",
        "--seed", "1", "--model", "out/better/seed-1/train/checkpoint", "--out", "out/better/seed-1/eval", "--json", "--vote", "3",
    )  # fmt: skip
    last = jobs["last/seed-0/train"]
    assert last.command[:4] == ("train", "grpo", "--config", str(configs / "grpo.toml"))
    assert 'model.init_from="out/plain/seed-0/train/best"' in last.command
    assert last.needs == ("plain/seed-0/train",)


def test_the_commands_are_those_of_this_package(tmp_path):
    parser = build_parser()
    for job in planned(tmp_path):
        if job.what == "train":
            parser.parse_args(job.command)


def test_what_a_job_depends_on(tmp_path):
    """The folder does not count, every setting does, also one of an arm before."""
    one, moved = planned(tmp_path), planned(tmp_path, out="elsewhere")
    assert [job.sha256 for job in one] == [job.sha256 for job in moved]
    changed = planned(tmp_path, CONFIG.replace('name = "plain"\n', 'name = "plain"\nset = ["optim.max_grad_norm=0.5"]\n'))
    differ = {a.name for a, b in zip(one, changed, strict=True) if a.sha256 != b.sha256}
    assert differ == {f"{arm}/seed-{s}/{what}" for arm in ("plain", "last") for s in (0, 1) for what in ("train", "eval")}
    asked = planned(tmp_path, CONFIG.replace("questions = 6", "questions = 7"))
    assert {a.what for a, b in zip(one, asked, strict=True) if a.sha256 != b.sha256} == {"eval"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "ablation"', 'kind = "sft"', "kind"),
        ("seeds = [0, 1]", "seeds = [0, 0]", "different whole numbers"),
        ("seeds = [0, 1]", "seeds = []", "different whole numbers"),
        ("seeds = [0, 1]", "sead = [0, 1]", "unknown key 'sead'"),
        ('reference = "plain"', 'reference = "none"', "reference names the arm 'none'"),
        ('file = "sft.toml"', "", "'plain' has no run file"),
        ('file = "sft.toml"', 'file = "missing.toml"', "arm 'plain': there is no file"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "seeds"),
        ('suite = "built"', "", "evaluate.suite"),
        ("questions = 6", 'questions = "6"', "evaluate.questions is '6'.*whole number"),
        ("questions = 6", "questions = -1", "evaluate.questions is -1"),
        ("questions = 500", "questions = [1]", "evaluate.options"),
        ('suite = "built"', 'suite = "built"\nsute = 1', "unknown key 'evaluate.sute'"),
        ('name = "plain"', 'name = "plain"\nafte = "x"', "unknown key .*arms.1..afte"),
        ('after = "plain"', 'after = "last"', "starts after itself"),
        ('after = "plain"', 'after = "first"', "names the arm 'first'"),
        ('start = "best"', 'start = "worst"', "worst"),
        ('name = "better"', 'name = "plain"', "its own name"),
        ('name = "plain"', 'name = "../plain"', "names the arm 'plain'"),
        ('set = ["batch_size=4"', 'set = ["batch_sise=4"', "arm 'better': unknown key 'batch_sise'"),
        ('title = "A | better one"', "title = 3", "arms.2..title is 3.*text"),
        ('on = "volume"', 'on = "3d"', "claims.0..on is '3d'"),
        ('than = "plain"\non', 'than = "better"\non', "two arms"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, old, new, message):
    assert old in CONFIG
    with pytest.raises(FormatError, match=message):
        planned(tmp_path, CONFIG.replace(old, new, 1))


def test_an_arm_behind_a_circle_is_refused_as_well(tmp_path):
    """The arm that is looked at first is not part of the circle."""
    text = CONFIG.replace('name = "plain"', 'name = "plain"\nafter = "better"').replace(
        'name = "better"', 'name = "better"\nafter = "plain"'
    )
    with pytest.raises(FormatError, match="starts after itself"):
        planned(tmp_path, text)


@pytest.mark.parametrize("name", ["../up", "", ".hidden", "a/b", "-x"])
def test_a_name_must_fit_a_folder(tmp_path, name):
    with pytest.raises(FormatError, match="arm"):
        planned(tmp_path, CONFIG.replace('"better"', f'"{name}"'))


def test_the_list_can_be_pasted(tmp_path, capsys):
    path = write_config(tmp_path)
    assert main(["ablate", str(path), "--out", str(tmp_path / "o"), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("unireason train sft --config ")
    assert f"--set 'model.init_from=\"{tmp_path}/o/plain/seed-0/train/best\"'" in lines[2]
    assert not (tmp_path / "o").exists()
