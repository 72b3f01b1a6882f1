from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.train.config import Grpo, Sft
from unireason.train.config_file import build, read, resolved, to_toml

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
    assert (settings.model.start, settings.data.folders, settings.samples, settings.optim.rate) == (
        "phantom",
        ("runs/a",),
        64,
        1e-5,
    )


def test_every_kind_of_value_is_read(write):
    more = "samples = 3\n" + LEAST + '[optim]\nrate = 1\nbetas = [0, 0.5]\nmatrices = "muon"\n[model.lora]\nrank = 4\n'
    settings = read(write(more), Sft)
    assert (settings.samples, settings.model.lora.rank) == (3, 4)
    assert settings.optim.betas == (0.0, 0.5)
    assert type(settings.optim.rate) is float
    assert settings.optim.matrices == "muon"


def test_a_table_given_in_part_keeps_the_defaults_of_its_trainer(write):
    """GRPO's rate and schedule are not those of SFT, also when another value of the table is set."""
    optim = read(write(LEAST_GRPO + "[optim]\nclip = 2.0\n"), Grpo).optim
    assert (optim.clip, optim.rate, optim.schedule, optim.warmup) == (2.0, 1e-6, "constant", 0.0)


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("model.start=runs/x/best", "model.start", "runs/x/best"),
        ('model.start="quoted # text"', "model.start", "quoted # text"),
        ("model.lora.rank=8", "model.lora.rank", 8),
        ("optim.rate=2e-4", "optim.rate", 2e-4),
        ("optim.clip = 3", "optim.clip", 3.0),
        ('data.folders=["a", "b"]', "data.folders", ("a", "b")),
        ("model.checkpointing=true", "model.checkpointing", True),
        ("run.device=", "run.device", ""),
        ("samples=5", "samples", 5),
        ("model.start=a\nb = 1", "model.start", "a\nb = 1"),
    ],
)
def test_overrides_come_in_place_of_the_file(write, override, place, value):
    found = read(write(LEAST), Sft, [override])
    for name in place.split("."):
        found = getattr(found, name)
    assert (found, type(found)) == (value, type(value))


def test_the_last_override_wins_and_required_keys_may_come_from_them(write):
    path = write('kind = "sft"\n')
    settings = read(path, Sft, ["model.start=a", 'data.folders=["b"]', "model.start=c"])
    assert (settings.model.start, settings.data.folders) == ("c", ("b",))


@pytest.mark.parametrize(
    ("override", "said"), [("rate", "optim.rate=1e-5"), ("=3", "="), ("a..b=3", "a name"), ("model.start.x=1", "model.start")]
)
def test_malformed_overrides(write, override, said):
    assert said in refusal(write(LEAST), overrides=[override])


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ("optim.rat=1", "optim.rate"),
        ("rate=1", "optim.rate"),
        ("model.rank=1", "model.lora.rank"),
        ("optimiser.rate=1", "optim"),
        ("rollout.samples=1", "samples"),
        ("model.lora.xyz=1", "model.lora.alpha"),
        ("optim.rate.x=1", "optim.rate"),
        ("data.split.x=1", "data.split"),
    ],
)
def test_unknown_keys_name_the_near_ones(write, line, near):
    said = refusal(write(LEAST), overrides=[line])
    assert near in said


@pytest.mark.parametrize(
    ("text", "needs"),
    [('kind = "sft"\n', ("model.start", "data.folders")), ('kind = "sft"\n[model]\nstart = "a"\n', ("data.folders",))],
)
def test_missing_keys_are_all_named(write, text, needs):
    said = refusal(write(text))
    assert all(name in said for name in needs)
    assert ("model.start" in said) == ("model.start" in needs)


@pytest.mark.parametrize(
    "override",
    [
        "samples=2.0", "samples=true", "samples=two", "samples=99999999999999999999", "optim.rate=nan", "optim.rate=inf", "optim.rate=true",
        'optim.rate="1e-5"', "model.tower=1", "model.start=3", "optim.matrices=adam", "optim.matrices=1", "data.folders=runs/a",
        "data.folders=[1]", "optim.betas=[0.9]", "optim.betas=[0.9, 0.9, 0.9]", "model=3", "model.lora=[]", "model.start=1979-05-27",
        "run.epochs=1" + "0" * 400, "optim=[1]",
    ],
)  # fmt: skip
def test_values_of_another_type_fail_with_their_name(write, override):
    said = refusal(write(LEAST), overrides=[override])
    assert override.split("=")[0] in said
    assert "xpected" in said


def test_a_list_whose_quotes_the_shell_took_says_how_to_write_it(write):
    said = refusal(write(LEAST), overrides=["data.tasks=[umrg]"])
    assert """data.tasks is '[umrg]'. Expected a list of texts in quotes""" in said
    assert """--set 'data.tasks=["..."]'""" in said
    assert "a list of 2 in square brackets." in refusal(write(LEAST), overrides=["optim.betas=0.9"])


SFT_RANGES = [
    "model.lora.rank=-1", "model.lora.alpha=0", "model.lora.dropout=1", "model.lora.dropout=-0.1", 'model.start=""',
    "model.language=false", "data.folders=[]", 'data.folders=[""]', 'data.roots=["a", "b"]', 'data.tasks=["mcq"]',
    "data.tasks=[]", 'data.tasks=["open", "open"]', "data.images=-0.5", "data.images=1.1", "data.cases=-1", "data.skip=2",
    'data.split=""', "optim.rate=0", "optim.rate=-1", "optim.betas=[0.9, 1]", "optim.decay=-1", "optim.clip=-1",
    "optim.warmup=1.5", "optim.floor=-0.1", "cache.gigabytes=0", "run.steps=-1", "run.save_every=0", "run.tokens=0",
    "run.epochs=0", "run.seed=-1", "samples=0", "together=0", "sigma=-1",
]  # fmt: skip
GRPO_RANGES = [
    "rollout.prompts=0", "rollout.samples=1", "rollout.temperature=0", "rollout.top_p=0", "rollout.top_p=1.1",
    "rollout.max_new_tokens=-1", "rollout.rows=0", "reward.answer=-1", "reward.length=-1", "policy.clip_low=0",
    "policy.clip_low=1", "policy.clip_high=1.0", "policy.kl=-0.1", "policy.updates=0", "policy.updates=200",
    "policy.passes=0", "traces_every=-1",
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
        ["data.images=-1", "optim.clip=0", "samples=1", "run.steps=0", "data.skip=0", "optim.warmup=1", "model.lora.dropout=0"],
    )
    read(write(LEAST_GRPO), Grpo, ["policy.updates=128", "rollout.samples=2", "policy.kl=0", "rollout.top_p=1", "reward.form=0"])
    read(write(LEAST), Sft, ["model.projector=true", "model.language=false"])


def test_adapters_need_the_language_model_and_some_reward_must_count(write):
    assert "model.lora.rank" in refusal(write(LEAST), overrides=["model.lora.rank=4", "model.language=false", "model.tower=true"])
    assert "run.sharding" in refusal(write(LEAST), overrides=["model.lora.rank=4", "run.sharding=fsdp"])
    assert "reward.answer" in refusal(write(LEAST_GRPO), Grpo, ["reward.answer=0", "reward.form=0"])


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
        "optim.rate=1.25e-7",
        'model.start="a \\"b\\" \\\\ \\u007f é"',
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
    settings = build(Sft, {"model": {"start": start}, "data": {"folders": [start]}, "optim": {"rate": rate}})
    path = tmp_path_factory.mktemp("toml") / "run.toml"
    path.write_bytes(to_toml(settings).encode())
    assert read(path, Sft) == settings


def test_any_dataclass_may_be_read(write):
    @dataclasses.dataclass(frozen=True)
    class Small:
        mode: Literal["a", "b"]
        size: tuple[int, ...] = (1,)

    assert build(Small, {"mode": "b", "size": []}) == Small("b", ())
    with pytest.raises(FormatError, match="mode"):
        build(Small, {})


def test_reading_needs_no_torch():
    code = "import sys, unireason.train.config_file, unireason.train.config; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
