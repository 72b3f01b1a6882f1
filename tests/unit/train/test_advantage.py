from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unireason.core.errors import FormatError
from unireason.train.loss import advantages


def test_group_by_hand():
    # mean 0.5, deviations 0.5, -0.5, 0.3, -0.3; sample variance (0.25 + 0.25 + 0.09 + 0.09) / 3
    rewards = torch.tensor([[1.0, 0.0, 0.8, 0.2]])
    std = math.sqrt(0.68 / 3)
    expected = [d / (std + 1e-4) for d in (0.5, -0.5, 0.3, -0.3)]
    torch.testing.assert_close(advantages(rewards, "group"), torch.tensor([expected]), rtol=1e-6, atol=0)
    torch.testing.assert_close(advantages(rewards, "none"), torch.tensor([[0.5, -0.5, 0.3, -0.3]]))


def test_two_responses_by_hand():
    # one solved, one not: std = sqrt(0.5), so 0.5 / (0.70711 + 0.0001)
    value = 0.5 / (math.sqrt(0.5) + 1e-4)
    torch.testing.assert_close(advantages([[1, 0]]), torch.tensor([value, -value]))


def test_groups_of_any_lengths_come_back_flat():
    result = advantages([[1.0, 0.0], [0.5], [0.0, 0.0, 3.0]], "none")
    torch.testing.assert_close(result, torch.tensor([0.5, -0.5, 0.0, -1.0, -1.0, 2.0]))


@pytest.mark.parametrize("scale", ["group", "none"])
@pytest.mark.parametrize("group", [[0.3, 0.1 + 0.2, 0.3], [0.0, 1e-8], [1e6, 1e6, 1e6], [0.7] * 7, [5.0]])
def test_equal_rewards_are_exactly_zero(group, scale):
    assert advantages([group], scale).tolist() == [0.0] * len(group)
    assert advantages(torch.tensor([group]), scale).tolist() == [[0.0] * len(group)]


def test_a_small_but_real_difference_is_kept():
    assert advantages([[0.8, 0.8001]], "none")[1] > 4e-5


def test_no_groups():
    assert advantages([]).shape == (0,)
    assert advantages([[], [1.0, 0.0]], "none").tolist() == [0.5, -0.5]
    assert advantages(torch.empty(0, 4)).shape == (0, 4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_rewards_that_are_no_numbers_are_refused(bad):
    with pytest.raises(FormatError, match=f"reward is {bad}"):
        advantages([[1.0, 0.0], [0.2, bad]])
    with pytest.raises(FormatError):
        advantages(torch.tensor([[1.0, bad]]))


def test_other_shapes_and_scales_are_refused():
    with pytest.raises(FormatError, match=r"\(prompts, samples\)"):
        advantages(torch.ones(4))
    with pytest.raises(FormatError, match="'batch'"):
        advantages([[1.0, 0.0]], "batch")  # type: ignore[arg-type]


GROUPS = st.lists(st.lists(st.integers(0, 100), min_size=1, max_size=9), min_size=1, max_size=5)


@given(GROUPS, st.sampled_from(["group", "none"]))
def test_every_group_has_mean_zero_and_keeps_its_order(groups, scale):
    parts = advantages([[r / 100 for r in g] for g in groups], scale).split([len(g) for g in groups])
    for group, part in zip(groups, parts, strict=True):
        assert abs(float(part.sum())) < 1e-4
        assert (part == 0).all() == (len(set(group)) == 1)
        for a, x in zip(group, part.tolist(), strict=True):
            for b, y in zip(group, part.tolist(), strict=True):
                assert (a < b) == (x < y)
        if scale == "group" and len(set(group)) > 1:
            assert 0.98 < float(part.std()) <= 1.0001


@given(GROUPS, st.floats(-3, 3), st.floats(0.5, 4))
def test_an_offset_changes_nothing_and_a_factor_nothing_but_the_epsilon(groups, offset, factor):
    rewards = [[r / 100 for r in g] for g in groups]
    moved = [[r + offset for r in g] for g in rewards]
    torch.testing.assert_close(advantages(moved), advantages(rewards), rtol=1e-4, atol=1e-5)
    scaled = [[r * factor for r in g] for g in rewards]
    torch.testing.assert_close(advantages(scaled), advantages(rewards), rtol=0.03, atol=1e-5)
    torch.testing.assert_close(advantages(scaled, "none"), advantages(rewards, "none") * factor, rtol=1e-4, atol=1e-5)


def test_neighbouring_groups_do_not_matter():
    assert advantages([[1.0, 0.0], [9.0, 4.0]])[:2].tolist() == advantages([[1.0, 0.0]]).tolist()
