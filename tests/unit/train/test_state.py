from __future__ import annotations

import torch

from unireason.train.state import latest, restore, save


def make():
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 4)
    return module, [torch.optim.Muon([module.weight], lr=0.1), torch.optim.AdamW([module.bias], lr=0.1)]


def advance(module, optimizers, steps, start=0):
    for step in range(start, start + steps):
        module(torch.full((2, 4), float(step + 1))).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def test_resumed_equals_uninterrupted(tmp_path):
    straight, optimizers = make()
    advance(straight, optimizers, 6)
    first, first_optimizers = make()
    advance(first, first_optimizers, 3)
    save(tmp_path, "stage", 3, {"m": first}, first_optimizers)
    second, second_optimizers = make()
    assert restore(latest(tmp_path, "stage"), {"m": second}, second_optimizers) == 3
    advance(second, second_optimizers, 3, start=3)
    assert torch.equal(straight.weight, second.weight)
    assert torch.equal(straight.bias, second.bias)


def test_only_the_newest_state_is_kept(tmp_path):
    module, optimizers = make()
    advance(module, optimizers, 1)
    for step in (1, 2, 10):
        save(tmp_path, "stage", step, {"m": module}, optimizers)
    assert [p.name for p in tmp_path.iterdir()] == ["stage-0000010.safetensors"]


def test_nothing_saved_starts_from_the_beginning(tmp_path):
    module, optimizers = make()
    assert restore(latest(tmp_path, "stage"), {"m": module}, optimizers) == 0
