"""Whole fine-tuning runs of a tiny model: they learn, they can be stopped, and what they write can be asked."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import training
from training import LORA, log_of
from unireason.core.errors import FormatError, UniReasonError
from unireason.engine import reasoner
from unireason.model import adapters
from unireason.model.checkpoint import load
from unireason.train import config, optim, run_state, sft
from unireason.train.cases import Cases
from unireason.train.log import TrainWatcher
from unireason.train.sft import train


class Told(TrainWatcher):
    """Remembers what it was told, and may stop the run behind a step."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.steps, self.skips = stop, list[int](), list[tuple[str, str]]()

    def step(self, stage, step, total, values):
        self.steps.append(step)
        if step == self.stop:
            raise KeyboardInterrupt

    def skipped(self, case, reason):
        self.skips.append((case, reason))


def weights(run: Path, name: str = "checkpoint") -> dict[str, torch.Tensor]:
    return load_file(run / name / "model.safetensors")


def raw(run: Path, name: str = "checkpoint") -> bytes:
    return (run / name / "model.safetensors").read_bytes()


def changed_parts(start: Path, run: Path) -> set[str]:
    """Which parts of the network differ from the start."""
    before, after = load_file(start / "model.safetensors"), weights(run)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name].to(after[name].dtype), after[name])}
    parts = {"visual.merger.": "projector", "visual.": "tower"}
    return {next((part for head, part in parts.items() if name.startswith(head)), "language") for name in moved}


@pytest.fixture(scope="module")
def lessons(phantoms, tmp_path_factory):
    return training.make_lessons(tmp_path_factory.mktemp("lessons") / "data", phantoms)


def test_twenty_samples_are_learned_by_heart(start, lessons, phantoms, tmp_path):
    """Mean loss a token below 0.05 nats, and the served checkpoint answers what it has learned."""
    settings = training.sft(
        start,
        lessons,
        optim={"lr": 1.5e-2, "optimizer": "muon"},
        run={"steps": 40, "eval_every": 20, "save_every": 100},
        batch_size=20,
    )
    told = Told()
    assert train(settings, tmp_path, told) == tmp_path / "checkpoint"
    lines = log_of(tmp_path)
    assert told.steps == [line["step"] for line in lines] == list(range(1, 41))
    assert lines[0]["loss"] > 5
    assert lines[-1]["loss"] < 0.05
    assert lines[-1]["tokens_right"] == 1.0
    assert all(line["samples"] == 20 and line["padding"] < 0.1 and line["skipped"] == 0 for line in lines)
    evaluated = [line["step"] for line in lines if "eval_loss" in line]
    assert evaluated == [20, 40]
    assert {
        "eval_tokens_right",
        "eval_accuracy_2d",
        "eval_accuracy_3d",
        "eval_reward",
        "eval_crop_rate",
        "eval_box_iou",
    } <= lines[-1].keys()
    lowest = min((line for line in lines if "eval_loss" in line), key=lambda line: line["eval_loss"])
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": lowest["step"], "score": -lowest["eval_loss"]}
    right, asked = answers(tmp_path / "checkpoint", lessons, phantoms)
    assert asked == 10
    assert right >= 9
    assert answers(tmp_path / "best", lessons, phantoms)[1] == 10


def answers(folder: Path, lessons, phantoms) -> tuple[int, int]:
    """Right answers to the training questions on volumes, asked from the source's files by the package's front door."""
    asked = [s for s in lessons.samples("train") if s.kind == "volume"]
    places = {c.scene.case: c.item for c in lessons.cases()}
    source, model = phantoms.source(), reasoner.load(folder, device="cpu", dtype="fp32")
    items = {item.id: item for item in source.items()}
    right = 0
    for case in sorted({s.case for s in asked}):
        mine = [s for s in asked if s.case == case]
        questions = [reasoner.Question(s.question.text, s.question.options) for s in mine]
        traces = model.ask_many(source.load(items[places[case]]).case, questions)
        right += sum(t[0].answer.choice == s.question.letter and len(t[0].looks) == 1 for t, s in zip(traces, mine, strict=True))
    return right, len(asked)


def test_a_stopped_run_goes_on_to_the_same_weights(start, lessons, tmp_path):
    settings = training.sft(start, lessons, run={"steps": 5, "save_every": 2, "eval_every": 2})
    train(settings, tmp_path / "whole")
    for stop in (1, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "stopped", Told(stop))
        assert not (tmp_path / "stopped" / "checkpoint").exists()
    told = Told()
    train(settings, tmp_path / "stopped", told)
    # The watcher stopped the run behind step 4 before its state was written, so it went on from step 2.
    assert told.steps == [3, 4, 5]
    assert raw(tmp_path / "whole") == raw(tmp_path / "stopped")
    assert raw(tmp_path / "whole", "best") == raw(tmp_path / "stopped", "best")
    assert log_of(tmp_path / "whole") == log_of(tmp_path / "stopped")
    again = Told()
    train(settings, tmp_path / "stopped", again)
    assert again.steps == []
    assert raw(tmp_path / "whole") == raw(tmp_path / "stopped")


@pytest.mark.parametrize(("schedule", "jumps"), [("cosine", True), ("constant", False)])
def test_a_run_made_longer_says_where_it_goes_on_and_how_the_rate_jumps(start, lessons, tmp_path, schedule, jumps):
    class Resumed(TrainWatcher):
        told = ()

        def resumed(self, stage, step, total, remark):
            self.told = (stage, step, total, remark)

    def run(steps: int) -> tuple[str, int, int, str]:
        watch = Resumed()
        settings = training.sft(
            start, lessons, optim={"schedule": schedule}, run={"steps": steps, "save_every": 9, "eval_samples": 0}, batch_size=2
        )
        train(settings, tmp_path, watch)
        return watch.told

    assert run(2) == ()
    assert run(2) == ("sft", 2, 2, "")
    stage, step, total, remark = run(4)
    assert (stage, step, total) == ("sft", 2, 4)
    rates = [line["lr"] for line in log_of(tmp_path)]
    assert bool(remark) == jumps == (rates[2] > rates[1])
    if jumps:
        assert f"from {rates[1]:.3g} at step 2 to {rates[2]:.3g} at step 3" in remark


def test_changed_settings_are_named(start, lessons, tmp_path):
    settings = training.sft(start, lessons, run={"steps": 1, "save_every": 1})
    train(settings, tmp_path)
    for tables, name in (
        ({"optim": {"lr": 1e-3}}, "optim.lr"),
        ({"run": {"seed": 7}}, "run.seed"),
        ({"batch_size": 3}, "batch_size"),
    ):
        with pytest.raises(FormatError, match=f"other settings \\({name}\\)"):
            train(training.changed(settings, tables), tmp_path)
    before = raw(tmp_path)
    train(training.changed(settings, {"run": {"save_every": 5, "threads": 0}, "cache": {"folder": "off"}}), tmp_path)
    assert raw(tmp_path) == before


def test_a_folder_with_old_names_of_settings_goes_on(start, lessons, tmp_path):
    settings = training.sft(start, lessons, run={"steps": 2, "save_every": 1, "eval_samples": 0})
    train(settings, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "cut", Told(1))
    path = tmp_path / "cut" / "run.json"
    text = path.read_text()
    for new, old in (("lr", "rate"), ("init_from", "start"), ("batch_size", "samples"), ("max_tokens_per_microbatch", "tokens")):
        assert f'"{new}":' in text
        text = text.replace(f'"{new}":', f'"{old}":')
    path.write_text(text)
    train(settings, tmp_path / "cut")
    assert raw(tmp_path / "cut") == raw(tmp_path / "whole")
    with pytest.raises(FormatError, match=r"optim\.lr"):
        train(training.changed(settings, {"optim": {"lr": 1e-4}}), tmp_path / "cut")


def test_the_folder_holds_all_settings_as_a_run_file(start, lessons, tmp_path):
    settings = training.sft(start, lessons, run={"steps": 1, "save_every": 1, "eval_samples": 0})
    train(settings, tmp_path)
    assert config.read(tmp_path / "config.toml", type(settings)) == settings


def test_a_folder_keeps_the_name_that_its_run_was_born_with(start, lessons, tmp_path):
    """Another version may sum up the same settings otherwise; then the run still finds its states."""
    settings = training.sft(start, lessons, run={"steps": 2, "save_every": 1, "eval_samples": 0})
    train(settings, tmp_path)
    for name, key in (("run.json", "sha256"), ("state/step-0000002/meta.json", "settings")):
        table = json.loads((tmp_path / name).read_text())
        (tmp_path / name).write_text(json.dumps({**table, key: "of old"}))
    told = Told()
    train(training.changed(settings, {"run": {"steps": 3}}), tmp_path, told)
    assert told.steps == [3]


def test_another_start_in_the_same_folder_is_refused(start, lessons, tmp_path):
    settings = training.sft(start, lessons, run={"steps": 1})
    train(settings, tmp_path / "run")
    with pytest.raises(FormatError, match=r"model\.init_from, start"):
        train(training.changed(settings, {"model": {"init_from": str(tmp_path / "run" / "checkpoint")}}), tmp_path / "run")


SWITCHES = {"tower": "train_vision", "projector": "train_projector", "language": "train_llm"}


@pytest.mark.parametrize("parts", [("tower",), ("projector",), ("language",), ("tower", "projector", "language")])
def test_switches_train_their_part_alone(start, lessons, tmp_path, parts):
    switches = {switch: name in parts for name, switch in SWITCHES.items()}
    settings = training.sft(start, lessons, model=switches, run={"steps": 2, "save_every": 1, "eval_samples": 2})
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path, Told(2))
    train(settings, tmp_path)
    assert changed_parts(start, tmp_path) == set(parts)
    assert all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in log_of(tmp_path))


def test_adapters_are_written_merged_and_alone(start, lessons, tmp_path):
    settings = training.sft(start, lessons, model={"lora": LORA}, optim={"lr": 1e-2}, run={"steps": 3})
    train(settings, tmp_path)
    assert changed_parts(start, tmp_path) == {"language"}
    found = load(str(start), device="cpu", dtype="fp32").network
    adapters.load_adapter(found, tmp_path / "checkpoint-adapter")
    merged = adapters.merged_state(found)
    served = load(str(tmp_path / "checkpoint"), device="cpu", dtype="fp32").network.state_dict()
    assert merged.keys() == served.keys()
    for name, value in merged.items():
        assert torch.equal(value.bfloat16().float(), served[name]), name
    before = load_file(start / "model.safetensors")
    after = weights(tmp_path)
    moved = {name for name in before if not torch.equal(before[name].bfloat16(), after[name])}
    assert {name.split(".")[-2] for name in moved} == set(LORA.targets)
    assert (tmp_path / "best-adapter" / "adapter_model.safetensors").is_file()


def test_phrases_become_tokens(lessons, tmp_path):
    start, run = training.make_start(tmp_path / "bare", lessons, phrases=0), tmp_path / "run"
    settings = training.sft(start, lessons, model={"extra_tokens": 30}, run={"steps": 2, "save_every": 1})
    with pytest.raises(KeyboardInterrupt):
        train(settings, run, Told(2))
    train(settings, run)
    before = load(str(start), device="cpu", dtype="fp32").tokenizer
    after = reasoner.load(run / "checkpoint", device="cpu", dtype="fp32").checkpoint.tokenizer
    added = after.get_vocab().keys() - before.get_vocab().keys()
    assert 5 < len(added) <= 30
    assert " left" in added
    assert [len(t(" left")["input_ids"]) for t in (before, after)] == [5, 1]


@pytest.mark.parametrize(
    ("tables", "nearly"),
    [
        ({"model": {"gradient_checkpointing": True}}, 1e-5),
        ({"model": {"precision": "bf16"}}, 0.05),
        ({"run": {"max_tokens_per_microbatch": 400}}, 1e-5),
    ],
)
def test_how_it_is_computed_does_not_change_the_curve(start, lessons, tmp_path, tables, nearly):
    """Recomputation, bfloat16 and the size of rows."""
    settings = training.sft(start, lessons, run={"steps": 3, "eval_samples": 2}, batch_size=8)
    train(settings, tmp_path / "plain")
    train(training.changed(settings, tables), tmp_path / "other")
    plain, other = ([line["loss"] for line in log_of(tmp_path / name)] for name in ("plain", "other"))
    assert other == pytest.approx(plain, abs=nearly)


def test_numbers_can_be_smoothed(start, lessons, tmp_path):
    settings = training.sft(start, lessons, run={"steps": 1, "eval_samples": 0})
    train(settings, tmp_path / "plain")
    train(replace(settings, sigma=2.0), tmp_path / "smooth")
    [plain], [smooth] = log_of(tmp_path / "plain"), log_of(tmp_path / "smooth")
    assert math.isfinite(smooth["loss"])
    assert smooth["loss"] != plain["loss"]
    assert "eval_loss" not in plain


def broken(monkeypatch, *names: str) -> None:
    """Some cases cannot be read."""
    read = Cases._read

    def pictures(self, case):
        if case.id in names:
            raise FormatError("the file is torn", "a whole one")
        return read(self, case)

    monkeypatch.setattr(Cases, "_read", pictures)


def test_an_unreadable_case_is_left_out_and_counted(start, lessons, tmp_path, monkeypatch):
    names = sorted({s.case for s in lessons.samples("train")})
    broken(monkeypatch, names[0])
    told = Told()
    settings = training.sft(start, lessons, data={"max_unreadable": 0.5}, run={"steps": 3}, batch_size=20)
    train(settings, tmp_path, told)
    assert [(case, "torn" in reason) for case, reason in told.skips] == [(names[0], True)]
    lost = sum(s.case == names[0] for s in lessons.samples("train"))
    assert [(line["skipped"], line["samples"]) for line in log_of(tmp_path)] == [(1, 20 - lost)] * 3


def test_too_many_unreadable_cases_end_the_run(start, lessons, tmp_path, monkeypatch):
    names = sorted({s.case for s in lessons.samples("train")})
    broken(monkeypatch, *names)
    with pytest.raises(UniReasonError, match=r"unreadable cases: 1; .*torn.*at most 0.*data\.max_unreadable"):
        train(training.sft(start, lessons), tmp_path / "strict")
    with pytest.raises(UniReasonError, match="no sample of step 1 could be read"):
        train(training.sft(start, lessons, data={"max_unreadable": 1.0}), tmp_path / "loose")


def test_a_step_without_a_readable_case_is_skipped_if_others_can_be_read(start, lessons, tmp_path, monkeypatch):
    names = sorted({s.case for s in lessons.samples("train")})
    broken(monkeypatch, *names[1:])
    settings = training.sft(
        start, lessons, data={"max_unreadable": 1.0}, run={"steps": 6, "save_every": 6, "eval_samples": 0}, batch_size=1
    )
    train(settings, tmp_path)
    lines = log_of(tmp_path)
    idle = [line for line in lines if not line["samples"]]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert idle
    assert all("loss" not in line and "lr" not in line for line in idle)


@pytest.mark.parametrize("where", ["weight", "gradient"])
def test_a_number_that_is_not_finite_ends_the_run_and_spares_the_last_state(start, lessons, tmp_path, monkeypatch, where):
    settings = training.sft(start, lessons, run={"steps": 4, "save_every": 2, "eval_every": 2})
    train(settings, tmp_path / "whole")
    train_step, advance = sft.train_step, optim.advance

    def poisoned(context, units, head, step, total):
        if step == 3:
            with torch.no_grad():
                context.checkpoint.network.lm_head.weight[5, 5] = math.nan
        return train_step(context, units, head, step, total)

    def torn(optimizers, **how):
        if any(state["step"] == 2 for o in optimizers for state in o.state.values()):
            next(p for o in optimizers for g in o.param_groups for p in g["params"] if p.grad is not None).grad.fill_(math.inf)
        return advance(optimizers, **how)

    with monkeypatch.context() as patch:
        if where == "weight":
            patch.setattr(sft, "train_step", poisoned)
        else:
            patch.setattr(optim, "advance", torn)
        with pytest.raises(
            UniReasonError, match="the loss of step 3 is nan" if where == "weight" else "the gradient has the norm"
        ):
            train(settings, tmp_path / "hurt")
    last = run_state.latest(tmp_path / "hurt" / "state")
    assert last is not None
    assert last.name == "step-0000002"
    assert raw(tmp_path / "hurt", "best")
    train(settings, tmp_path / "hurt")
    assert raw(tmp_path / "hurt") == raw(tmp_path / "whole")


def test_a_full_disk_spares_the_last_state(start, lessons, tmp_path, monkeypatch):
    settings = training.sft(start, lessons, run={"steps": 4, "save_every": 2, "eval_samples": 0})
    train(settings, tmp_path / "whole")
    write, count = run_state.write_contents, 0

    def full(*given, **how):
        nonlocal count
        count += 1
        write(*given, **how)
        if count == 2:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_state, "write_contents", full)
        with pytest.raises(UniReasonError, match="cannot be written"):
            train(settings, tmp_path / "full")
    assert [p.name for p in (tmp_path / "full" / "state").iterdir()] == ["step-0000002"]
    train(settings, tmp_path / "full")
    assert raw(tmp_path / "full") == raw(tmp_path / "whole")


@pytest.mark.parametrize("crops", ["none", "native"])
def test_what_looks_show_is_kept_with_the_checkpoint(start, lessons, tmp_path, crops):
    """It is trained and asked the same way, in the examination during the run and afterwards."""
    settings = training.sft(start, lessons, model={"crops": crops}, run={"steps": 2, "eval_every": 2, "eval_samples": 4})
    train(settings, tmp_path)
    assert load(tmp_path / "checkpoint", device="cpu", dtype="fp32").profile.crops == crops
    assert load(tmp_path / "checkpoint", device="cpu", dtype="fp32").grounding.crops == "model"
    assert "eval_accuracy_3d" in log_of(tmp_path)[-1]
    if crops == "none":
        assert log_of(tmp_path)[-1]["eval_crop_rate"] == 0
