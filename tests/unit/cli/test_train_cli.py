"""``unireason train sft`` and ``grpo`` with trainers that only call their watcher."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import report_samples as samples
from unireason.cli import main
from unireason.cli import train as watcher
from unireason.core.errors import UniReasonError
from unireason.core.types import Scored
from unireason.train.log import MetricsLog

CONFIG = 'kind = "{kind}"\n[model]\nstart = "phantom"\n[data]\nfolders = ["data"]\n'


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a command with a fake trainer in place of the real one; ``calls`` keeps what it was given."""
    calls = []

    def start(kind, *more, train):
        config = tmp_path / f"{kind}.toml"
        config.write_text(CONFIG.format(kind=kind))

        def remembered(settings, out, watch):
            calls.append((settings, out))
            return train(settings, out, watch)

        monkeypatch.setitem(sys.modules, f"unireason.train.{kind}", types.SimpleNamespace(train=remembered))
        return main(["train", kind, "--config", str(config), "--out", str(tmp_path / "run"), *more])

    start.calls = calls
    return start


def steps(kind, values, *, first=1, last=4, total=4):
    """A trainer that logs and tells steps; ``values`` is a function of the step."""

    def train(settings, out, watch):
        with MetricsLog(out, first - 1, tensorboard=False) as journal:
            for step in range(first, last + 1):
                journal.write(kind, step, values(step))
                watch.step(kind, step, total, values(step))
        (out / "checkpoint").mkdir(exist_ok=True)
        watch.done(out / "checkpoint")
        return out / "checkpoint"

    return train


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_settings_reach_the_trainer_with_their_overrides(run, tmp_path, kind):
    assert run(kind, "--set", "run.steps=7", "--set", "model.lora.rank=8", train=steps(kind, lambda i: {"loss": 1 / i})) == 0
    ((settings, out),) = run.calls
    assert type(settings).__name__.lower() == kind
    assert (settings.model.init_from, settings.run.steps, settings.model.lora.rank) == ("phantom", 7, 8)
    assert out == tmp_path / "run"


def test_the_end_names_curves_checkpoint_and_the_command_to_ask_it(run, tmp_path, capsys):
    assert run("sft", train=steps("sft", lambda i: {"loss": 1 / i})) == 0
    shown = capsys.readouterr()
    checkpoint = tmp_path / "run" / "checkpoint"
    assert shown.out.splitlines() == [
        f"wrote {tmp_path / 'run' / 'curves.png'}",
        f"wrote {checkpoint}",
        f"ask it: unireason ask FILE -q QUESTION --model {checkpoint}",
    ]
    assert "sft 1/4  loss 1.000" in shown.err
    assert "sft 4/4  loss 0.250" in shown.err
    assert "sft 2/4" not in shown.err  # lines are seconds apart


def test_json_is_one_object_and_nothing_else(run, tmp_path, capsys):
    def train(settings, out, watch):
        watch.skipped("case-1", "truncated file")
        watch.step("sft", 1, 2, {"loss": 2.0, "eval_accuracy_2d": 0.5})
        return steps("sft", lambda i: {"loss": float("nan")}, first=2, last=2, total=2)(settings, out, watch)

    assert run("sft", "--json", train=train) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "checkpoint": str(tmp_path / "run" / "checkpoint"),
        "steps": 2,
        "skipped": 1,
        "last": {"loss": None, "eval_accuracy_2d": 0.5},
    }
    assert shown.err == ""


def test_a_run_that_was_finished_before_tells_its_logged_numbers(run, capsys):
    assert run("sft", "--quiet", train=steps("sft", lambda i: {"loss": 1 / i})) == 0
    capsys.readouterr()
    assert run("sft", "--json", train=lambda settings, out, watch: out / "checkpoint") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["steps"], found["last"]) == (4, {"loss": 0.25})


def test_quiet_shows_the_last_lines_alone(run, capsys):
    assert run("sft", "--quiet", train=steps("sft", lambda i: {"loss": 1.0})) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert len(shown.out.splitlines()) == 3


def test_skipped_cases_are_told_then_counted(run, capsys):
    def train(settings, out, watch):
        for n in range(7):
            watch.skipped(f"case-{n}", "unreadable")
        return steps("sft", lambda i: {"loss": 1.0})(settings, out, watch)

    assert run("sft", train=train) == 0
    shown = capsys.readouterr()
    assert [line for line in shown.err.splitlines() if line.startswith("skipped")] == [
        *(f"skipped case-{n}: unreadable" for n in range(4)),
        "skipped case-4: unreadable; further ones are only counted",
    ]
    assert "7 cases could not be read" in shown.out


def test_curves_are_drawn_after_every_evaluation(run, tmp_path, monkeypatch):
    drawn = []

    def train(settings, out, watch):
        for step in (1, 2):
            watch.step("sft", step, 2, {"loss": 1.0} | ({"eval_loss": 1.0} if step == 1 else {}))
            drawn.append((out / "curves.png").exists())
        return out / "checkpoint"

    (tmp_path / "run").mkdir()
    assert run("sft", train=train) == 0
    assert drawn == [True, True]


def test_rollouts_become_pages_and_are_named_at_the_end(run, tmp_path, capsys):
    sample = samples.volume()

    def train(settings, out, watch):
        watch.traces(3, [Scored(sample.trace, 1.0, {"answer": 0.8}, "B", "knee", sample.stack.slices)])
        return steps("grpo", lambda i: {"reward": 0.5, "crop_rate": 1.0})(settings, out, watch)

    assert run("grpo", train=train) == 0
    shown = capsys.readouterr()
    assert (tmp_path / "run" / "rollouts" / "step-000003.html").is_file()
    assert f"wrote {tmp_path / 'run' / 'rollouts' / 'index.html'}" in shown.out
    assert "grpo 4/4  reward 0.500  crop rate 1.000" in shown.err


def test_a_page_that_cannot_be_written_does_not_stop_the_run(run, tmp_path, capsys):
    sample = samples.volume()

    def train(settings, out, watch):
        out.mkdir(exist_ok=True)
        (out / "rollouts").write_text("in the way")
        watch.traces(1, [Scored(sample.trace, 1.0, {}, "B", "knee", np.zeros((1, 2, 2), np.uint8))])
        watch.traces(1, [Scored(sample.trace, 1.0, {}, "B", "knee")])
        return steps("grpo", lambda i: {"reward": 0.5})(settings, out, watch)

    assert run("grpo", train=train) == 0
    assert capsys.readouterr().err.count("warning: ") == 2


def test_only_the_main_process_shows_and_writes(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    sample = samples.volume()

    def train(settings, out, watch):
        watch.step("grpo", 1, 1, {"reward": 1.0, "eval_accuracy_2d": 1.0})
        watch.skipped("case", "why")
        watch.traces(1, [Scored(sample.trace, 1.0, {}, "B", "knee")])
        watch.done(out)
        return out

    assert run("grpo", train=train) == 0
    assert run("grpo", "--json", train=train) == 0
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "run").exists()


def test_an_error_of_the_run_is_exit_code_2(run, capsys):
    def train(settings, out, watch):
        raise UniReasonError("the loss of step 5 is nan", "a finite number", "lower the learning rate")

    assert run("sft", train=train) == 2
    assert capsys.readouterr().err == "error: the loss of step 5 is nan. Expected a finite number. Lower the learning rate.\n"


def test_an_interrupted_run_says_how_to_go_on(run, capsys):
    def train(settings, out, watch):
        watch.step("sft", 1, 9, {"loss": 1.0})
        raise KeyboardInterrupt

    assert run("sft", "--quiet", train=train) == 130
    assert capsys.readouterr().err.splitlines() == ["the same command goes on from the last saved state", "interrupted"]


@pytest.mark.parametrize(("name", "what"), [("manifest.json", "a data set"), ("config.json", "a checkpoint")])
def test_a_folder_that_holds_something_else_is_left_alone(run, tmp_path, capsys, name, what):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("{}")
    assert run("sft", train=steps("sft", lambda step: {"loss": 1.0})) == 2
    assert not run.calls
    assert f"holds {what}. Expected a new folder" in capsys.readouterr().err


def test_dry_run_prints_toml_that_is_read_back(run, tmp_path, capsys):
    from unireason.train.config import Grpo, read

    assert run("grpo", "--dry-run", "--set", "rollout.num_generations=4", train=None) == 0
    again = tmp_path / "again.toml"
    again.write_text(capsys.readouterr().out)
    assert read(again, Grpo) == read(tmp_path / "grpo.toml", Grpo, ["rollout.num_generations=4"])
    assert run.calls == []
    assert not (tmp_path / "run").exists()


def test_a_wrong_setting_is_exit_code_2(run, capsys):
    assert run("sft", "--set", "run.stepz=4", train=None) == 2
    assert "run.steps" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_the_files_of_the_guide_are_valid(tmp_path, kind):
    from unireason.train.config import Grpo, Sft, read

    guide = (Path(__file__).parents[3] / "docs" / "how-to" / "train.md").read_text()
    (shown,) = [block for block in re.findall(r"^```toml\n(.*?)^```", guide, flags=re.M | re.S) if f'"{kind}"' in block]
    (tmp_path / "run.toml").write_text(shown)
    assert read(tmp_path / "run.toml", {"sft": Sft, "grpo": Grpo}[kind]).data.folders == ("reasoning",)


def test_dry_run_loads_no_torch(tmp_path):
    config = tmp_path / "sft.toml"
    config.write_text(CONFIG.format(kind="sft"))
    code = (
        "import sys; from unireason.cli import main; "
        f"code = main(['train', 'sft', '--config', {str(config)!r}, '--out', 'run', '--dry-run']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_time_left_counts_the_steps_of_this_process_alone(tmp_path, monkeypatch, capsys):
    clock = iter([1000.0, 1020.0])  # 20 s for two steps: 10 s each, 88 to go
    monkeypatch.setattr(watcher.time, "monotonic", lambda: next(clock))
    with watcher.TrainTerminal(tmp_path) as watch:
        watch.step("sft", 10, 100, {"loss": 1.0})
        watch.step("sft", 12, 100, {"loss": 1.0})
    first, second = capsys.readouterr().err.splitlines()
    assert first == "sft 10/100  loss 1.000"
    assert second == "sft 12/100  loss 1.000  0:14:40 left"


def test_a_terminal_shows_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with watcher.TrainTerminal(tmp_path) as watch:
        watch.step("sft", 50, 100, {"loss": 1.5})
        watch.skipped("case-[1]", "no [such] file")
        watch.step("sft", 51, 100, {"loss": 1.25})
    shown = capsys.readouterr().err
    assert "51/100" in shown
    assert "loss 1.250" in shown
    assert "skipped case-[1]: no [such] file" in shown


def test_prompts_are_the_profile_of_the_run(capsys):
    command = [
        "train",
        "sft",
        "--out",
        "nowhere",
        "--set",
        "model.init_from=phantom",
        "--set",
        'data.folders=["data"]',
        "--dry-run",
    ]
    assert main([*command, "--prompts", "my words.toml"]) == 0
    assert 'profile = "my words.toml"' in capsys.readouterr().out
