"""The options of an expert, told without loading one."""

from __future__ import annotations

import argparse

import pytest

from unireason.cli import main
from unireason.cli.ask import EXPERTS, add_expert, expert_of
from unireason.core.errors import ModelError
from unireason.segment import expert as catalogue


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_expert(parser)
    return argparse.Namespace(**vars(parser.parse_args(arguments)), device=None)


def test_the_command_line_names_what_the_catalogue_offers():
    assert catalogue.EXPERTS == EXPERTS
    assert parsed().expert == catalogue.DEFAULT


def test_experts_of_arguments():
    assert expert_of(parsed()).name == "classical"
    with pytest.raises(ModelError, match="oracle"):
        expert_of(parsed("--expert", "oracle"))
    with pytest.raises(ModelError, match="medsam"):
        expert_of(parsed("--expert", "medsam"))
    with pytest.raises(ModelError, match="somewhere"):
        expert_of(parsed("--weights", "somewhere"))


def test_an_expert_without_masks_is_refused(capsys, tmp_path):
    assert main(["ask", str(tmp_path / "none.png"), "-q", "Where?", "--expert", "sam"]) == 2
    assert "without --mask" in capsys.readouterr().err
