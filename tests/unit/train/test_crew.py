"""What a process finds out about itself and its device before anything is loaded."""

from __future__ import annotations

import pytest
import torch

from unireason.core.errors import ModelError
from unireason.train.config import Run
from unireason.train.context import Crew


def refusal(**settings):
    with pytest.raises(ModelError) as caught:
        Crew(Run(**settings))
    return str(caught.value)


def test_a_process_alone_is_the_main_one():
    crew = Crew(Run(device="cpu"))
    assert (crew.world, crew.rank, crew.main, crew.device) == (1, 0, True, torch.device("cpu"))


def test_sharding_needs_a_launcher():
    said = refusal(sharding="fsdp", device="cpu")
    assert "in a process of its own" in said
    assert "torchrun" in said


def test_devices_that_do_not_exist():
    assert "there is no device 'cpux'" in refusal(device="cpux")
    if not torch.cuda.is_available():
        assert "torch sees no GPU" in refusal(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_whose_number_is_too_high():
    assert "there is no device 'cuda:99'. Expected a number below" in refusal(device="cuda:99")
