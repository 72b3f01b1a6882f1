"""``unireason plan``, and the run files that are shipped."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

import datasets
from unireason.cli import build_parser, main
from unireason.cli.reference import config_markdown
from unireason.cli.tools import MARK, with_header
from unireason.train.config import read_any

ROOT = Path(__file__).parents[3]
CONFIGS = sorted(p for p in (ROOT / "configs").glob("*.toml") if re.search(r'^kind = "(sft|grpo)"', p.read_text(), re.MULTILINE))
RUN = (
    '# A run.\nkind = "sft"\nbatch_size = 4\n[model]\ninit_from = "phantom"\n[data]\nfolders = ["nowhere"]\n'
    '[plan]\ngpu = "cpu-core"\ngpus = 1\n'
)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN)
    return path


def printed(capsys, *arguments):
    code = main(["plan", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_there_are_configs():
    names = {p.stem for p in CONFIGS}
    published = {
        f"{name}-{what}" for name in ("unimed-7b-sft", "unimed-7b-grpo", "umrg-7b-grpo") for what in ("8gpu", "lora-1gpu")
    }
    assert published | {"umrg-7b-sft-8gpu", "phantom-sft", "phantom-grpo", "phantom-lora"} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_headed_by_what_plan_says_today(path, capsys):
    """Remade by ``unireason plan FILE --write-header``."""
    code, told = printed(capsys, path, "--assumed")
    assert code == 0
    assert with_header(path.read_text(), told.splitlines(), path.name) == path.read_text()


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_the_commands_at_the_head_of_a_config_are_commands(path):
    settings, planned = read_any(path)
    head = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#   ")]
    commands = [line for line in head if line.startswith(("unireason ", "torchrun "))]
    assert commands
    for line in commands:
        words = shlex.split(line)
        if words[0] == "torchrun":
            assert words[1:5] == ["--nproc_per_node", str(planned.gpus), "-m", "unireason"]
            words = words[4:]
        build_parser().parse_args(words[1:])
    started = shlex.split(commands[-1])
    assert f"configs/{path.name}" in started
    assert type(settings).__name__.lower() in started
    assert planned.gpus == 1 or started[0] == "torchrun" or "--engine verl" in " ".join(started)


def test_published_numbers():
    sft, _ = read_any(ROOT / "configs" / "unimed-7b-sft-8gpu.toml")
    assert (sft.batch_size, sft.optim.lr, sft.optim.schedule, sft.optim.warmup, sft.run.epochs) == (64, 1e-5, "cosine", 0.03, 1.0)
    assert (sft.model.train_vision, sft.model.train_projector, sft.model.lora.rank, sft.model.precision) == (
        False,
        False,
        0,
        "bf16",
    )
    sft, _ = read_any(ROOT / "configs" / "umrg-7b-sft-8gpu.toml")
    assert (sft.batch_size, sft.optim.lr, sft.optim.schedule, sft.optim.warmup, sft.run.epochs) == (128, 5e-6, "cosine", 0.1, 5.0)
    assert (sft.model.train_vision, sft.model.train_projector, sft.model.lora.rank) == (True, True, 0)
    for name, epochs, longest in (("unimed", 3.0, 8192), ("umrg", 5.0, 2048)):
        grpo, _ = read_any(ROOT / "configs" / f"{name}-7b-grpo-8gpu.toml")
        assert (grpo.rollout.prompts_per_step, grpo.rollout.num_generations, grpo.policy.num_minibatches, grpo.policy.beta) == (
            128,
            16,
            2,
            0.01,
        )
        assert (grpo.optim.lr, grpo.run.epochs, grpo.reward.answer, grpo.reward.format) == (1e-6, epochs, 0.8, 0.2)
        assert (grpo.reward.evidence, grpo.reward.looks, grpo.reward.length) == (0, 0, 0)
        assert (grpo.rollout.max_new_tokens, grpo.optim.weight_decay) == (longest, 0.01)


def test_lines_and_json_tell_the_same(config, capsys):
    code, told = printed(capsys, config)
    assert code == 0
    assert told.startswith("SFT of phantom: ")
    assert "step: 4 samples" in told
    values = json.loads(printed(capsys, config, "--json")[1])
    assert (values["kind"], values["samples"], values["sizes"], values["settings"]["model"]["init_from"]) == (
        "sft",
        4,
        "assumed",
        "phantom",
    )
    assert f"{values['steps']:,} steps" in told
    assert values["hours"] > 0


def test_flags_come_before_the_file(config, capsys):
    def of(*flags):
        return json.loads(printed(capsys, config, "--json", *flags)[1])

    base = of()
    assert of("--set", "batch_size=8")["samples"] == 8
    assert of("--set", "plan.samples=40")["steps"] == 10
    assert of("--gpu", "H200", "--gpus", "2")["machine"]["name"] == "H200"
    twice = of("--flops", "0.1")
    assert twice["seconds"]["update"] == pytest.approx(base["seconds"]["update"] / 2)
    assert of("--gpu", "mine", "--flops", "1", "--memory", "16", "--bandwidth", "50")["machine"]["bandwidth"] == 50


def test_a_run_that_does_not_fit_is_a_negative_finding(config, capsys):
    code, told = printed(capsys, config, "--memory", "0.1")
    assert code == 1
    assert "DOES NOT FIT" in told


@pytest.mark.parametrize(
    "flags",
    [
        ["--gpu", "T4"], ["--gpus", "0"], ["--flops", "-1"], ["--set", "batch_size=0"], ["--set", "plan.sample=1"],
        ["--set", "model.init_from=nowhere/at/all"], ["--write-header", "--set", "batch_size=4"], ["--write-header", "--gpus", "1"],
    ],
)  # fmt: skip
def test_bad_input_exits_2_and_writes_nothing(config, capsys, flags):
    assert main(["plan", str(config), *flags]) == 2
    assert "error:" in capsys.readouterr().err
    assert config.read_text() == RUN


def test_a_file_without_a_kind_is_refused(tmp_path, capsys):
    path = tmp_path / "run.toml"
    path.write_text(RUN.replace('kind = "sft"\n', ""))
    assert main(["plan", str(path)]) == 2
    assert "has no kind" in capsys.readouterr().err


def test_the_header_is_written_and_replaced(config, capsys):
    assert main(["plan", str(config), "--write-header"]) == 0
    first = config.read_text()
    assert first.startswith(f"# A run.\n# {MARK} run.toml --assumed`:\n#   SFT of phantom")
    assert first.endswith(RUN.removeprefix("# A run.\n"))
    config.write_text(first.replace("batch_size = 4", "batch_size = 8"))
    assert main(["plan", str(config), "--write-header"]) == 0
    second = config.read_text()
    assert second.count(MARK) == 1
    assert "step: 8 samples" in second
    assert "step: 4 samples" not in second


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return datasets.built(tmp_path_factory.mktemp("plan") / "data", patients=6)


def test_sizes_come_from_a_data_set_that_is_at_hand(config, capsys, dataset):
    folder = f'data.folders=["{dataset.folder}"]'
    values = json.loads(printed(capsys, config, "--json", "--set", folder)[1])
    samples = list(dataset.samples("train"))
    images = sum(s.kind == "image" for s in samples)
    assert (values["sizes"], values["plan"]["samples"]) == ("measured", len(samples))
    assert values["plan"]["images"] == pytest.approx(images / len(samples))
    depths = {c.scene.frame.depth for c in dataset.cases("train") if c.scene.kind == "volume"}
    assert values["plan"]["slices"] in depths
    cases = {s.case for s in samples}
    groups = sum(-(-sum(s.case == case for s in samples) // 4) for case in cases)
    assert values["plan"]["shared"] == pytest.approx(len(samples) / groups)
    few = json.loads(printed(capsys, config, "--json", "--set", folder, "--set", 'data.tasks=["umrg"]')[1])
    assert few["plan"]["samples"] == sum(s.task == "umrg" for s in samples)
    assert few["plan"]["crops"] == 0
    assert values["plan"]["volume_crops"] > 0
    assumed = json.loads(printed(capsys, config, "--json", "--assumed", "--set", folder)[1])
    assert (assumed["sizes"], assumed["plan"]["samples"]) == ("assumed", 220_000)


def test_a_data_set_without_the_tasks_asked_for_is_refused(config, capsys, dataset):
    assert main(["plan", str(config), "--set", f'data.folders=["{dataset.folder}"]', "--set", 'data.tasks=["open"]']) == 2
    assert "open" in capsys.readouterr().err


def test_the_reference_page_of_run_files_is_what_the_settings_say():
    """Remade by ``python -m unireason.cli.reference config > docs/reference/config.md``."""
    assert (ROOT / "docs" / "reference" / "config.md").read_text() == config_markdown()
