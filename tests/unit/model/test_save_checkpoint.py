"""Checkpoint folders in the published layout, written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from itertools import pairwise

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import tiny
from unireason.core.errors import ModelError, UniReasonError
from unireason.model import adapters, checkpoint
from unireason.model import files as weights
from unireason.model.save import save

IDS = torch.tensor([[65, 66, 67, 68]])


def fresh(*, tie=False):
    """A checkpoint that a test may change."""
    tokenizer, shared = tiny.make_tokenizer(), tiny.checkpoint()
    return checkpoint.assemble(
        tiny.make_network(tokenizer, tie=tie), tokenizer, shared.image_processor, profile=tiny.PROFILE, name="tiny"
    )


def read_json(path):
    return json.loads(path.read_text())


def names_in(folder):
    return sorted(p.name for p in folder.iterdir())


@torch.no_grad()
def logits(network):
    return network(IDS).logits


def test_written_and_loaded_it_is_the_same(tmp_path):
    made = tiny.checkpoint()
    folder = save(tmp_path / "ck", made, dtype="fp32")
    assert names_in(folder) == [
        *("chat_template.jinja", "config.json", "generation_config.json", "grounding.toml", "model.safetensors"),
        *("preprocessor_config.json", "profile.toml", "tokenizer.json", "tokenizer_config.json"),
    ]
    loaded = checkpoint.load(folder, device="cpu")
    state = loaded.network.state_dict()
    assert all(torch.equal(state[k], v) for k, v in made.network.state_dict().items())
    assert torch.equal(logits(loaded.network), logits(made.network))
    assert (loaded.profile, loaded.grounding) == (made.profile, made.grounding)
    assert (loaded.ids, loaded.pixel_limits) == (made.ids, made.pixel_limits)
    assert loaded.tokenizer.chat_template == made.tokenizer.chat_template
    text = "<|im_start|>ünï <think>x</think>\n"
    assert loaded.tokenizer(text)["input_ids"] == made.tokenizer(text)["input_ids"]


def test_names_are_those_of_the_published_checkpoints(tmp_path):
    folder = save(tmp_path / "ck", tiny.checkpoint(), dtype="fp32")
    found = load_file(folder / "model.safetensors")
    assert {n.split(".")[0] for n in found} == {"lm_head", "model", "visual"}
    assert {
        "model.embed_tokens.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.norm.weight",
        "lm_head.weight",
    } <= found.keys()
    assert {"visual.patch_embed.proj.weight", "visual.blocks.0.attn.qkv.bias", "visual.merger.mlp.2.weight"} <= found.keys()
    assert len(found) == len(tiny.checkpoint().network.state_dict())
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_plain_transformers_reads_it(tmp_path):
    from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

    made = tiny.checkpoint()
    folder = save(tmp_path / "ck", made, dtype="fp32", shard="60KB")
    network, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values())
    assert network.dtype == torch.float32
    assert torch.equal(logits(network), logits(made.network))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("a<think><|box_end|>")["input_ids"] == made.tokenizer("a<think><|box_end|>")["input_ids"]


def test_what_plain_transformers_writes_has_the_same_names(tmp_path):
    tiny.save(tmp_path / "theirs", shard_size="1GB")
    ours = save(tmp_path / "ours", tiny.checkpoint(), dtype="fp32")
    assert load_file(tmp_path / "theirs" / "model.safetensors").keys() == load_file(ours / "model.safetensors").keys()


def test_config_is_flat_and_says_the_type(tmp_path):
    config = read_json(save(tmp_path / "ck", tiny.checkpoint()) / "config.json")
    assert "text_config" not in config
    assert config["hidden_size"] == 64
    assert config["rope_theta"] == 1e4
    assert config["rope_scaling"] == {"type": "mrope", "mrope_section": [2, 3, 3]}
    assert config["architectures"] == ["Qwen2_5_VLForConditionalGeneration"]
    assert config["model_type"] == "qwen2_5_vl"
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"


def test_a_start_of_another_rotary_kind_keeps_it(tmp_path):
    made = fresh()
    rope = made.network.config.text_config.rope_parameters
    rope |= {"rope_type": "linear", "factor": 2.0}
    config = read_json(save(tmp_path / "ck", made) / "config.json")
    assert config["rope_scaling"] == {"type": "linear", "factor": 2.0, "mrope_section": [2, 3, 3]}


def test_bf16_is_half_of_fp32_and_rounded(tmp_path):
    made = tiny.checkpoint()
    found = load_file(save(tmp_path / "ck", made) / "model.safetensors")
    assert {t.dtype for t in found.values()} == {torch.bfloat16}
    head = made.network.lm_head.weight
    assert torch.equal(found["lm_head.weight"], head.to(torch.bfloat16))
    assert made.dtype == torch.float32
    assert checkpoint.load(tmp_path / "ck", device="cpu", dtype="bf16").dtype == torch.bfloat16


def test_shards_hold_everything_once_and_keep_the_limit(tmp_path):
    folder = save(tmp_path / "ck", tiny.checkpoint(), dtype="fp32", shard="160KB")
    files = sorted(folder.glob("model-*.safetensors"))
    index = read_json(folder / "model.safetensors.index.json")
    assert not (folder / "model.safetensors").exists()
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    where = {name: path.name for path in files for name in load_file(path)}
    assert where == index["weight_map"]
    total = sum(t.numel() * 4 for t in tiny.checkpoint().network.state_dict().values())
    assert index["metadata"]["total_size"] == total
    sizes = [sum(t.numel() * 4 for t in load_file(path).values()) for path in files]
    assert all(size <= 160_000 for size in sizes)
    assert all(a + b > 160_000 for a, b in pairwise(sizes))  # no file more than needed


def test_a_weight_above_the_limit_gets_a_file_of_its_own(tmp_path):
    folder = save(tmp_path / "ck", tiny.checkpoint(), dtype="fp32", shard="0.1KB")
    assert all(len(load_file(path)) == 1 for path in folder.glob("model-*") if path.stat().st_size > 2000)
    assert torch.equal(checkpoint.load(folder, device="cpu").network.lm_head.weight, tiny.checkpoint().network.lm_head.weight)


@pytest.mark.parametrize("shard", ["5", "GB", "0GB", "-1GB", "5TB", ""])
def test_odd_shard_sizes(tmp_path, shard):
    with pytest.raises(ModelError, match="such as '5GB'"):
        save(tmp_path / "ck", tiny.checkpoint(), shard=shard)
    assert names_in(tmp_path) == []


def test_unknown_type(tmp_path):
    with pytest.raises(ModelError, match="'int8'"):
        save(tmp_path / "ck", tiny.checkpoint(), dtype="int8")


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_tied_embeddings_are_written_once(tmp_path, dtype):
    made = fresh(tie=True)
    folder = save(tmp_path / "ck", made, dtype=dtype, state=made.network.state_dict())
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    network = checkpoint.load(folder, device="cpu").network
    assert network.lm_head.weight is network.get_input_embeddings().weight
    if dtype == "fp32":
        assert torch.equal(logits(network), logits(made.network))


def test_adapters_are_merged(tmp_path):
    made = fresh()
    adapters.attach(made.network, rank=2, alpha=4.0, dropout=0.0, targets=["q_proj"], seed=0)
    with torch.no_grad():
        for name, parameter in made.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    loaded = checkpoint.load(save(tmp_path / "ck", made, dtype="fp32"), device="cpu").network
    torch.testing.assert_close(logits(loaded), logits(made.network), atol=1e-5, rtol=1e-5)
    assert (logits(loaded) - logits(tiny.checkpoint().network)).abs().max() > 0.01


def test_a_given_state_takes_the_place_of_the_weights_under_either_name(tmp_path):
    made = fresh()
    state = {k: v + 1 for k, v in made.network.state_dict().items()}
    for number, renamed in enumerate((state, {weights.published(k): v for k, v in state.items()})):
        loaded = checkpoint.load(
            save(tmp_path / str(number), made, state=renamed, dtype="fp32"), device="cpu"
        ).network.state_dict()
        assert all(torch.equal(loaded[k], v) for k, v in state.items())


def test_a_state_that_does_not_fit_is_refused(tmp_path):
    made = tiny.checkpoint()
    state = made.network.state_dict()
    short = {k: v for k, v in state.items() if k != "lm_head.weight"}
    for wrong in (short, {**state, "other": torch.zeros(1)}, {**state, "lm_head.weight": torch.zeros(2, 2)}):
        with pytest.raises(ModelError, match=r"1 weights do not fit the network, such as (lm_head.weight|other)"):
            save(tmp_path / "ck", made, state=wrong)
    assert names_in(tmp_path) == []


def test_preprocessor_keeps_the_limits_of_the_start(tmp_path):
    start = tmp_path / "start"
    tiny.save(start)
    table = read_json(start / "preprocessor_config.json")
    table |= {"image_mean": [0.1, 0.2, 0.3], "resample": 2, "max_pixels": 5000}
    (start / "preprocessor_config.json").write_text(json.dumps(table))
    written = read_json(save(tmp_path / "ck", checkpoint.load(start, device="cpu")) / "preprocessor_config.json")
    assert {k: written[k] for k in table} == table


def test_tokenizer_settings_read_as_published(tmp_path):
    """The class that servers choose by survives, and extra tokens have the name that transformers 4 knows."""
    start = tmp_path / "start"
    tiny.save(start)
    table = read_json(start / "tokenizer_config.json") | {
        "tokenizer_class": "Qwen2Tokenizer",
        "additional_special_tokens": ["<|box_start|>", "<|box_end|>"],
    }
    (start / "tokenizer_config.json").write_text(json.dumps(table))
    loaded = checkpoint.load(start, device="cpu")
    written = read_json(save(tmp_path / "ck", loaded) / "tokenizer_config.json")
    assert written["tokenizer_class"] == "Qwen2Tokenizer"
    assert written["additional_special_tokens"] == ["<|box_start|>", "<|box_end|>"]
    assert written["chat_template"] == tiny.TEMPLATE
    assert not written.keys() & {"extra_special_tokens", "backend", "local_files_only", "is_local", "name_or_path"}
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "ck").glob("*.json"))  # no place of this machine
    again = checkpoint.load(tmp_path / "ck", device="cpu")
    assert again.tokenizer("<|box_start|>a")["input_ids"] == loaded.tokenizer("<|box_start|>a")["input_ids"]
    in_memory = read_json(save(tmp_path / "other", tiny.checkpoint()) / "tokenizer_config.json")
    assert in_memory["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_card_is_written_when_given(tmp_path):
    assert (save(tmp_path / "ck", tiny.checkpoint(), card="# Läuft\n") / "README.md").read_text(encoding="utf-8") == "# Läuft\n"
    assert "README.md" not in names_in(save(tmp_path / "ck", tiny.checkpoint()))  # replaced as a whole


def test_an_interrupted_export_is_cleaned(tmp_path):
    save(tmp_path / "ck", tiny.checkpoint())
    for name in (".ck.partial", ".ck.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left-over").write_text("")
    folder = save(tmp_path / "ck", tiny.checkpoint())
    assert names_in(tmp_path) == ["ck"]
    assert "left-over" not in names_in(folder)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    folder = save(tmp_path / "ck", tiny.checkpoint(), card="old")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def full(tensors, path, metadata):
        raise weights.SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UniReasonError, match=rf"{folder}' cannot be written \({os.strerror(errno.ENOSPC)}\)"):
        save(folder, tiny.checkpoint(), card="new")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert names_in(tmp_path) == ["ck"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        save(tmp_path / "file" / "ck", tiny.checkpoint())
    with pytest.raises(UniReasonError, match="cannot be written"):
        save(tmp_path / "file", tiny.checkpoint())
    assert (tmp_path / "file").read_text() == ""
    assert names_in(tmp_path) == ["file"]


def test_files_can_be_read_by_others(tmp_path):
    folder = save(tmp_path / "ck", tiny.checkpoint(), shard="100KB")
    assert {p.stat().st_mode & 0o444 for p in folder.iterdir()} == {0o444}
