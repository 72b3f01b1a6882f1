"""The log of a run: what is written, what a kill leaves behind, and what a second start makes of it."""

from __future__ import annotations

import json
import math
import os
import resource
import signal

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from unireason.core.errors import FormatError, UniReasonError
from unireason.train.log import MetricsLog, read


def without_time(folder):
    return [{k: v for k, v in line.items() if k != "time"} for line in read(folder)]


def scalars(folder, stage, name):
    board = EventAccumulator(str(folder / "tensorboard" / stage)).Reload()
    return [(event.step, event.value) for event in board.Scalars(name)]


def fill(folder, steps, start=0, **options):
    with MetricsLog(folder, start, **options) as journal:
        for step in steps:
            journal.write("sft", step, {"loss": 1 / step})


def test_lines_and_scalars_hold_what_was_given(tmp_path):
    with MetricsLog(tmp_path / "run") as journal:
        journal.write("sft", 1, {"loss": 0.1 + 0.2, "samples": 3})
    (line,) = read(tmp_path / "run")
    assert list(line) == ["stage", "step", "time", "loss", "samples"]
    assert (line["stage"], line["step"], line["loss"], line["samples"]) == ("sft", 1, 0.1 + 0.2, 3)
    assert line["time"] > 1_700_000_000
    assert scalars(tmp_path / "run", "sft", "loss") == [(1, pytest.approx(0.3))]


def test_every_line_is_on_disk_before_write_returns(tmp_path):
    journal = MetricsLog(tmp_path)
    for step in (1, 2, 3):
        journal.write("sft", step, {"loss": 1.0})
        assert len(read(tmp_path)) == step
        assert scalars(tmp_path, "sft", "loss")[-1] == (step, 1.0)
    journal.close()
    journal.close()


def test_a_resumed_log_is_that_of_an_uninterrupted_run(tmp_path):
    fill(tmp_path / "whole", range(1, 9))
    fill(tmp_path / "cut", range(1, 7))
    fill(tmp_path / "cut", range(5, 9), start=4)
    assert without_time(tmp_path / "cut") == without_time(tmp_path / "whole")
    assert scalars(tmp_path / "cut", "sft", "loss") == scalars(tmp_path / "whole", "sft", "loss")


def test_a_run_from_the_beginning_begins_the_log_anew(tmp_path):
    with MetricsLog(tmp_path) as journal:
        journal.write("sft", 0, {"eval_loss": 3.0})
        journal.write("sft", 1, {"loss": 2.0})
    fill(tmp_path, [1])
    assert without_time(tmp_path) == [{"stage": "sft", "step": 1, "loss": 1.0}]
    assert scalars(tmp_path, "sft", "loss") == [(1, 1.0)]


def test_only_named_stages_lose_lines(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as journal:
        for step in (1, 2, 3):
            journal.write("tower", step, {"loss": 1.0})
            journal.write("language", step, {"loss": 1.0})
    MetricsLog(tmp_path, {"language": 1}, tensorboard=False).close()
    assert [(line["stage"], line["step"]) for line in read(tmp_path)] == [
        ("tower", 1), ("language", 1), ("tower", 2), ("tower", 3),
    ]  # fmt: skip


def test_a_line_cut_off_by_a_kill_is_left_out_and_mended(tmp_path):
    fill(tmp_path, [1, 2], tensorboard=False)
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"stage": "sft", "st')
    assert [line["step"] for line in read(tmp_path)] == [1, 2]
    fill(tmp_path, [3], start=2, tensorboard=False)
    assert log.read_bytes().startswith(whole)
    assert [line["step"] for line in read(tmp_path)] == [1, 2, 3]


def test_a_cut_at_any_byte_keeps_all_lines_before_it(tmp_path):
    fill(tmp_path, [1, 2], tensorboard=False)
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    for length in range(len(whole) + 1):
        log.write_bytes(whole[:length])
        assert len(read(tmp_path)) == whole[:length].count(b"\n")


@pytest.mark.parametrize("broken", ["{", "[]", '{"stage": "sft"}', '{"step": 1}', "\udcff"])
def test_a_broken_line_in_the_middle_is_told(tmp_path, broken):
    line = '{"stage": "sft", "step": 1}\n'
    (tmp_path / "log.jsonl").write_bytes((line + broken + "\n" + line).encode("utf-8", "surrogateescape"))
    with pytest.raises(FormatError, match=r"line 2 of .*log\.jsonl"):
        read(tmp_path)


def test_numbers_that_are_not_finite_become_null_and_are_named(tmp_path):
    with MetricsLog(tmp_path) as journal:
        journal.write("grpo", 1, {"loss": math.nan, "kl": -math.inf, "reward": 0.5})
    raw = (tmp_path / "log.jsonl").read_text()
    assert "NaN" not in raw
    line = json.loads(raw)
    assert (line["loss"], line["kl"], line["reward"], line["not_finite"]) == (None, None, 0.5, ["loss", "kl"])


def test_names_of_the_log_itself_are_refused(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as journal, pytest.raises(FormatError, match="step"):
        journal.write("sft", 1, {"step": 2.0})


def test_other_processes_write_nothing(tmp_path):
    with MetricsLog(tmp_path / "run", active=False) as journal:
        journal.write("sft", 1, {"loss": 1.0})
    assert not (tmp_path / "run").exists()
    assert read(tmp_path / "run") == []


def test_tensorboard_can_be_left_out(tmp_path):
    fill(tmp_path, [1], tensorboard=False)
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_full_disk_names_the_folder_and_the_way_on(tmp_path):
    """A limit on the size of files stands for the full disk: the write stops in the middle of a line."""
    journal = MetricsLog(tmp_path, tensorboard=False)
    journal.write("sft", 1, {"loss": 1.0})
    size = (tmp_path / "log.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
        with pytest.raises(UniReasonError, match="same command again") as raised:
            journal.write("sft", 2, {"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
        journal.close()
    assert str(tmp_path) in str(raised.value)
    assert [line["step"] for line in read(tmp_path)] == [1]
    fill(tmp_path, [2], start=1, tensorboard=False)
    assert [line["step"] for line in read(tmp_path)] == [1, 2]


@pytest.mark.skipif(os.geteuid() != 0 and not os.path.isdir("/proc"), reason="needs a place that cannot be written")
def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="file"):
        MetricsLog(tmp_path / "file" / "run")


def test_a_log_with_old_names_of_values_reads_as_a_new_one(tmp_path):
    with MetricsLog(tmp_path, tensorboard=False) as log:
        log.write("grpo", 1, {"lr": 1e-3, "grad_norm": 2.0, "clipped_ratio": 0.5})
    assert json.loads((tmp_path / "log.jsonl").read_text())["rate"] == 1e-3  # for other readers, this release
    old = {"stage": "grpo", "step": 2, "time": 1.0, "rate": 2e-3, "zero_advantage": 0.25}
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(json.dumps(old) + "\n")
    one, two = read(tmp_path)
    assert {k: v for k, v in one.items() if k != "time"} == {
        "stage": "grpo", "step": 1, "lr": 1e-3, "grad_norm": 2.0, "clipped_ratio": 0.5,
    }  # fmt: skip
    assert (two["lr"], two["frac_reward_zero_std"]) == (2e-3, 0.25)
    assert "rate" not in two
    with MetricsLog(tmp_path, start_step=1, tensorboard=False):
        pass
    assert json.loads((tmp_path / "log.jsonl").read_text())["rate"] == 1e-3  # rewritten without the second step
