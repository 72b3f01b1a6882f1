"""``unireason weights convert``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import original_networks
from unireason.cli import main, tools
from unireason.segment.convert import KINDS


def test_the_command_knows_every_kind():
    assert tools.KINDS == KINDS


def test_a_checkpoint_is_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shapes = original_networks.sam(width=64, depth=3, grid=16, channels=32)
    torch.save({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "o.pth")
    arguments = ["weights", "convert", str(tmp_path / "o.pth"), "--kind", "medsam", "--out", str(tmp_path / "new")]
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kind"], said["read"], said["written"]) == ("medsam", len(shapes), len(shapes) + 1)
    assert (tmp_path / "new" / "model.safetensors").is_file()
    assert main(arguments) == 0
    assert "tensors read" in capsys.readouterr().out


def test_a_bad_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "o.pt").write_bytes(b"no")
    assert main(["weights", "convert", str(tmp_path / "o.pt"), "--kind", "medsam2", "--out", str(tmp_path / "new")]) == 2
    assert "cannot be read as plain weights" in capsys.readouterr().err
