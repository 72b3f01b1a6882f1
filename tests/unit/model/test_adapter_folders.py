"""A folder of adapters is a checkpoint: the one it names, with the adapters on top, as peft itself computes it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from unireason.core.errors import ModelError
from unireason.model import files
from unireason.model.adapters import adapter_parameters, attach, save_adapter
from unireason.model.checkpoint import load


@pytest.fixture
def adapter(start, tmp_path):
    """Adapters with weights of their own on the tiny checkpoint."""
    made = load(start, dtype="fp32")
    attach(made.network, rank=2, alpha=4.0, dropout=0.0, targets=("q_proj", "down_proj"), seed=0)
    with torch.no_grad():
        for number, (_, weight) in enumerate(adapter_parameters(made.network)):
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)) * 0.2)
    return save_adapter(made.network, tmp_path / "adapter", start=str(start))


def logits(network):
    with torch.inference_mode():
        return network(input_ids=torch.arange(5, 25)[None]).logits


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, about a name that peft uses
def test_it_computes_what_peft_does(adapter, start):
    from peft import PeftModel

    theirs = PeftModel.from_pretrained(load(start, dtype="fp32").network, str(adapter))
    ours = load(adapter, dtype="fp32")
    assert torch.allclose(logits(ours.network), logits(theirs), atol=1e-5)
    assert not torch.allclose(logits(ours.network), logits(load(start, dtype="fp32").network), atol=1e-2)
    assert ours.name == "adapter"
    assert ours.sha256 not in ("", load(start, weights=False).sha256)
    assert ours.profile == load(start, weights=False).profile
    assert load(adapter, weights=False).sha256 == ours.sha256


def test_profiles_beside_the_adapter_win(adapter, start):
    text = (start / "profile.toml").read_text()
    (adapter / "profile.toml").write_text(text.replace('name = "', 'name = "my-', 1))
    assert load(adapter, weights=False).profile.name.startswith("my-")


def test_a_base_that_is_not_here_is_told(adapter):
    table = json.loads((adapter / files.ADAPTER).read_text())
    (adapter / files.ADAPTER).write_text(json.dumps({**table, "base_model_name_or_path": "./somewhere/else/entirely"}))
    with pytest.raises(ModelError, match="base_model_name_or_path"):
        load(adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load(adapter)


def test_a_whole_checkpoint_beside_it_stays_one(adapter, start, tmp_path):
    both = shutil.copytree(start, tmp_path / "both")
    shutil.copy(adapter / files.ADAPTER, both)
    assert load(both, weights=False).sha256 == load(both, weights=False).sha256
    assert not files.is_adapter(both)


def test_the_frame_is_that_of_the_checkpoint_underneath(adapter, start):
    assert files.underneath(adapter) == start
    assert files.underneath(start) == start
