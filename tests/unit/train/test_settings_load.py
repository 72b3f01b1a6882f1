from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.config import build, resolved, to_toml
from unireason.core.config import settings as settings_class
from unireason.core.errors import FormatError
from unireason.train.config import Grpo, Sft, read

LEAST = 'kind = "sft"\n[model]\nstart = "phantom"\n[data]\nfolders = ["runs/a"]\n'
LEAST_GRPO = LEAST.replace("sft", "grpo")


@pytest.fixture
def write(tmp_path):
    def put(text, name="run.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


def refusal(path, kind=Sft, overrides=()):
    with pytest.raises(FormatError) as caught:
        read(path, kind, overrides)
    return str(caught.value)


def test_a_file_of_required_keys_gives_the_defaults(write):
    settings = read(write(LEAST), Sft)
    assert settings == Sft(model=dataclasses.replace(settings.model), data=settings.data)
    assert (settings.model.init_from, settings.data.folders, settings.batch_size, settings.optim.lr) == (
        "phantom",
        ("runs/a",),
        64,
        1e-5,
    )


def test_every_kind_of_value_is_read(write):
    more = "batch_size = 3\n" + LEAST + '[optim]\nlr = 1\nbetas = [0, 0.5]\noptimizer = "muon"\n[model.lora]\nrank = 4\n'
    settings = read(write(more), Sft)
    assert (settings.batch_size, settings.model.lora.rank) == (3, 4)
    assert settings.optim.betas == (0.0, 0.5)
    assert type(settings.optim.lr) is float
    assert settings.optim.optimizer == "muon"


def test_a_table_given_in_part_keeps_the_defaults_of_its_trainer(write):
    """GRPO's rate and schedule are not those of SFT, also when another value of the table is set."""
    optim = read(write(LEAST_GRPO + "[optim]\nmax_grad_norm = 2.0\n"), Grpo).optim
    assert (optim.max_grad_norm, optim.lr, optim.schedule, optim.warmup) == (2.0, 1e-6, "constant", 0.0)


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("model.init_from=runs/x/best", "model.init_from", "runs/x/best"),
        ('model.init_from="quoted # text"', "model.init_from", "quoted # text"),
        ("model.lora.rank=8", "model.lora.rank", 8),
        ("optim.lr=2e-4", "optim.lr", 2e-4),
        ("optim.max_grad_norm = 3", "optim.max_grad_norm", 3.0),
        ('data.folders=["a", "b"]', "data.folders", ("a", "b")),
        ("model.gradient_checkpointing=true", "model.gradient_checkpointing", True),
        ("run.device=", "run.device", ""),
        ("batch_size=5", "batch_size", 5),
        ("model.init_from=a\nb = 1", "model.init_from", "a\nb = 1"),
    ],
)
def test_overrides_come_in_place_of_the_file(write, override, place, value):
    found = read(write(LEAST), Sft, [override])
    for name in place.split("."):
        found = getattr(found, name)
    assert (found, type(found)) == (value, type(value))


def test_the_last_override_wins_and_required_keys_may_come_from_them(write):
    path = write('kind = "sft"\n')
    settings = read(path, Sft, ["model.init_from=a", 'data.folders=["b"]', "model.init_from=c"])
    assert (settings.model.init_from, settings.data.folders) == ("c", ("b",))


@pytest.mark.parametrize(
    ("override", "said"),
    [("rate", "run.steps=20"), ("=3", "="), ("a..b=3", "a name"), ("model.init_from.x=1", "model.init_from")],
)
def test_malformed_overrides(write, override, said):
    assert said in refusal(write(LEAST), overrides=[override])


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("optim.rat=1", "optim.lr"),
        ("rate=1", "optim.lr"),
        ("learning_rate=1", "optim.lr"),
        ("model.rank=1", "model.lora.rank"),
        ("optimiser.rate=1", "optim"),
        ("rollout.batch_sise=1", "batch_size"),
        ("model.lora.xyz=1", "model.lora.alpha"),
        ("optim.lr.x=1", "optim.lr"),
        ("data.split.x=1", "data.split"),
    ],
)
def test_unknown_keys_name_the_near_ones(write, line, near):
    said = refusal(write(LEAST), overrides=[line])
    assert near in said


@pytest.mark.parametrize(
    ("text", "needs"),
    [('kind = "sft"\n', ("model.init_from", "data.folders")), ('kind = "sft"\n[model]\nstart = "a"\n', ("data.folders",))],
)
def test_missing_keys_are_all_named(write, text, needs):
    said = refusal(write(text))
    assert all(name in said for name in needs)
    assert ("model.init_from" in said) == ("model.init_from" in needs)


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=2.0", "batch_size=true", "batch_size=two", "batch_size=99999999999999999999",
        "optim.lr=nan", "optim.lr=inf", "optim.lr=true",
        'optim.lr="1e-5"', "model.train_vision=1", "model.init_from=3", "optim.optimizer=adam", "optim.optimizer=1", "data.folders=runs/a",
        "data.folders=[1]", "optim.betas=[0.9]", "optim.betas=[0.9, 0.9, 0.9]", "model=3", "model.lora=[]", "model.init_from=1979-05-27",
        "run.epochs=1" + "0" * 400, "optim=[1]",
    ],
)  # fmt: skip
def test_values_of_another_type_fail_with_their_name(write, override):
    said = refusal(write(LEAST), overrides=[override])
    assert override.split("=")[0] in said
    assert "xpected" in said


def test_a_list_whose_quotes_the_shell_took_says_how_to_write_it(write):
    said = refusal(write(LEAST), overrides=["data.tasks=[umrg]"])
    assert "data.tasks is '[umrg]'. Expected list of" in said
    assert """--set 'data.tasks=["..."]'""" in said
    assert "list of 2 numbers" in refusal(write(LEAST), overrides=["optim.betas=0.9"])


SFT_RANGES = [
    "model.lora.rank=-1", "model.lora.alpha=0", "model.lora.dropout=1", "model.lora.dropout=-0.1", 'model.init_from=""',
    "model.train_llm=false", "data.folders=[]", 'data.folders=[""]', 'data.roots=["a", "b"]', 'data.tasks=["mcq"]',
    "data.tasks=[]", 'data.tasks=["open", "open"]', "data.images=-0.5", "data.images=1.1", "data.cases=-1", "data.max_unreadable=2",
    'data.split=""', "optim.lr=0", "optim.lr=-1", "optim.betas=[0.9, 1]", "optim.weight_decay=-1", "optim.max_grad_norm=-1",
    "optim.warmup=1.5", "optim.min_lr_ratio=-0.1", "cache.gigabytes=0", "run.steps=-1", "run.save_every=0",
    "run.max_tokens_per_microbatch=0",
    "run.epochs=0", "run.seed=-1", "batch_size=0", "max_questions_per_case=0", "sigma=-1",
]  # fmt: skip
GRPO_RANGES = [
    "rollout.prompts_per_step=0", "rollout.num_generations=1", "rollout.temperature=0", "rollout.top_p=0", "rollout.top_p=1.1",
    "rollout.max_new_tokens=-1", "rollout.rollout_batch_size=0", "reward.answer=-1", "reward.length=-1", "policy.clip_low=0",
    "policy.clip_low=1", "policy.clip_high=1.0", "policy.beta=-0.1", "policy.num_minibatches=0", "policy.num_minibatches=200",
    "policy.num_iterations=0", "traces_every=-1",
]  # fmt: skip


@pytest.mark.parametrize("override", SFT_RANGES)
def test_ranges_of_sft(write, override):
    assert override.split("=")[0].rpartition(".")[2] in refusal(write(LEAST), overrides=[override])


@pytest.mark.parametrize("override", GRPO_RANGES)
def test_ranges_of_grpo(write, override):
    assert override.split("=")[0].rpartition(".")[2] in refusal(write(LEAST_GRPO), Grpo, [override])


def test_values_at_the_edges_are_good(write):
    read(
        write(LEAST),
        Sft,
        [
            "data.images=-1",
            "optim.max_grad_norm=0",
            "batch_size=1",
            "run.steps=0",
            "data.max_unreadable=0",
            "optim.warmup=1",
            "model.lora.dropout=0",
        ],
    )
    read(
        write(LEAST_GRPO),
        Grpo,
        ["policy.num_minibatches=128", "rollout.num_generations=2", "policy.beta=0", "rollout.top_p=1", "reward.format=0"],
    )
    read(write(LEAST), Sft, ["model.train_projector=true", "model.train_llm=false"])


def test_adapters_need_the_language_model_and_some_reward_must_count(write):
    assert "model.lora.rank" in refusal(
        write(LEAST), overrides=["model.lora.rank=4", "model.train_llm=false", "model.train_vision=true"]
    )
    assert "run.sharding" in refusal(write(LEAST), overrides=["model.lora.rank=4", "run.sharding=fsdp"])
    assert "reward.answer" in refusal(write(LEAST_GRPO), Grpo, ["reward.answer=0", "reward.format=0"])


def test_a_file_is_read_by_the_command_of_its_kind_only(write):
    assert 'kind = "sft"' in refusal(write(LEAST_GRPO))
    assert "has no kind" in refusal(write(LEAST.replace('kind = "sft"\n', "")))
    assert 'kind = "grpo"' in refusal(write(LEAST), Grpo)


def test_a_file_of_another_kind_names_its_command(write):
    grpo = LEAST.replace('"sft"', '"grpo"')
    assert refusal(write(grpo)).endswith('Expected kind = "sft". Use: unireason train grpo.')
    assert refusal(write(LEAST.replace('"sft"', "[1]"))).endswith('Expected kind = "sft".')


def test_the_plan_table_is_checked_and_left_out(write):
    assert read(write(LEAST + "[plan]\nsamples = 5\n"), Sft) == read(write(LEAST), Sft)
    assert "plan.response" in refusal(write(LEAST + "[plan]\nrespons = 5\n"))
    assert "plan.samples" in refusal(write(LEAST + "[plan]\nsamples = 0\n"))
    assert "plan" in refusal(write("plan = 3\n" + LEAST))


@pytest.mark.parametrize(
    "data",
    [b"\xff\xfe", b"kind = ", b"[model]\n[model]\n", b"a = " + b"[" * 5000, b"#" * ((1 << 20) + 1)],
    ids=["utf8", "cut", "twice", "deep", "large"],
)
def test_files_that_cannot_be_read(write, data):
    assert "run.toml" in refusal(write(data))


def test_a_missing_file_and_a_folder(tmp_path):
    assert "nothing.toml" in refusal(tmp_path / "nothing.toml")
    assert tmp_path.name in refusal(tmp_path)


@pytest.mark.parametrize(("kind", "text"), [(Sft, LEAST), (Grpo, LEAST_GRPO)])
def test_settings_survive_toml_and_json(write, kind, text):
    odd = [
        "model.lora.rank=3",
        "optim.lr=1.25e-7",
        'model.init_from="a \\"b\\" \\\\ \\u007f é"',
        'data.folders=["x", "y"]',
        "run.epochs=2.5",
    ]
    settings = read(write(text), kind, odd)
    again = to_toml(settings)
    assert read(write(again, "again.toml"), kind) == settings
    values = resolved(settings)
    assert next(iter(values)) == "kind"
    assert values.pop("kind") == kind.__name__.lower()
    assert values["data"]["folders"] == ["x", "y"]
    assert build(kind, values) == settings


@given(start=st.text(min_size=1).filter(lambda t: not any(0xD800 <= ord(c) <= 0xDFFF for c in t)), rate=st.floats(1e-12, 1e3))
def test_any_text_and_number_survive(tmp_path_factory, start, rate):
    settings = build(Sft, {"model": {"init_from": start}, "data": {"folders": [start]}, "optim": {"lr": rate}})
    path = tmp_path_factory.mktemp("toml") / "run.toml"
    path.write_bytes(to_toml(settings).encode())
    assert read(path, Sft) == settings


OLD = """kind = "grpo"
[model]
start = "phantom"
tower = true
[data]
folders = ["a"]
looks = false
[optim]
rate = 2e-4
clip = 0.5
[outline]
expert = "box"
[policy]
kl = 0.5
average = "response"
truncated = "mask"
"""


def test_old_names_are_read_and_told_once(write, capsys):
    path = write(OLD)
    found = read(path, Grpo, ["rollout.samples=4", "optim.rate=3e-4"])
    assert (found.model.init_from, found.model.train_vision, found.data.grounded) == ("phantom", True, False)
    assert (found.optim.lr, found.optim.max_grad_norm, found.mask_expert.expert) == (3e-4, 0.5, "box")
    assert (found.policy.beta, found.policy.loss_type, found.policy.mask_truncated_completions) == (0.5, "grpo", True)
    assert found.rollout.num_generations == 4
    told = capsys.readouterr().err
    assert "optim.rate is optim.lr now" in told
    assert read(path, Grpo, ["rollout.samples=4", "optim.rate=3e-4"]) == found
    assert not capsys.readouterr().err


def test_a_name_and_its_old_name_cannot_both_be_given(write):
    said = refusal(write(OLD + "beta = 0.1\n"), Grpo)
    assert "policy.beta" in said
    assert "policy.kl" in said
    assert "optim.lr" in refusal(write(LEAST.replace("[model]", "[optim]\nlr = 1\nrate = 1\n[model]")))
    assert read(write(OLD), Grpo, ["policy.beta=0.1"]).policy.beta == 0.1  # an override stands above the file, whatever its name


def test_any_class_of_settings_may_be_read():
    @settings_class
    class Small:
        mode: Literal["a", "b"]
        size: tuple[int, ...] = (1,)

    assert build(Small, {"mode": "b", "size": []}) == Small("b", ())
    with pytest.raises(FormatError, match="mode"):
        build(Small, {})


def test_reading_needs_no_torch():
    code = "import sys, unireason.train.config; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
