"""Experts by name, and what is said when there is none."""

from __future__ import annotations

import pytest

from unireason.cli.ask import EXPERTS as SHOWN
from unireason.core.errors import ModelError
from unireason.segment.expert import DEFAULT, EXPERTS, WHERE, make_expert


def test_the_default_needs_nothing():
    assert make_expert(DEFAULT).name == DEFAULT == "classical"


def test_names_are_the_same_everywhere():
    assert SHOWN == EXPERTS
    assert set(EXPERTS) == {DEFAULT, *WHERE}


def test_an_unknown_name_tells_the_known_ones():
    with pytest.raises(ModelError, match=r"no expert .sam9.\. Expected one of classical, medsam, sam, sam2, medsam2, sam-med2d"):
        make_expert("sam9")


@pytest.mark.parametrize("name", EXPERTS[1:])
def test_a_network_without_weights_says_where_to_get_them(name):
    with pytest.raises(ModelError, match="no weights"):
        make_expert(name)


def test_weights_for_the_expert_that_has_none_are_an_error():
    with pytest.raises(ModelError, match="learned nothing"):
        make_expert("classical", weights="somewhere")
