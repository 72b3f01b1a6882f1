"""What an error of reading advises a command to do is an option of that command, and works."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from PIL import Image

from unireason.cli import main

ADVICE = "read it with "


@pytest.mark.parametrize("limit", ["max_voxels=479", "max_file_bytes=500", "max_unpacked_bytes=959", "max_pixels=19"])
def test_a_limit_is_raised_as_the_error_says(limit: str, tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "a.npz", np.arange(480, dtype=np.int16).reshape(6, 8, 10))
    Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).save(tmp_path / "a.png")
    path = tmp_path / ("a.png" if limit.startswith("max_pixels") else "a.npz")
    command = ["segment", str(path), "--box", "0,0,0,1,1,1", "--expert", "none-such"]
    assert main([*command, "--limit", limit]) == 2
    told = capsys.readouterr().err
    assert ADVICE in told
    assert "Limits(" not in told
    advised = shlex.split(told.partition(ADVICE)[2].strip().rstrip("."))
    assert main([*command, *advised]) == 2
    assert ADVICE not in capsys.readouterr().err


@pytest.mark.parametrize("text", ["max_voxels", "max_voxels=x", "most=3", "max_voxels=0"])
def test_a_limit_that_is_none_is_told(text: str, tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    assert main(["segment", str(tmp_path / "a.npy"), "--box", "0,0,0,1,1,1", "--limit", text]) == 2
    assert "limit" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--axes", "zyx"), ("--series", "1"), ("--spacing", "2,2,2")])
def test_an_option_without_effect_is_named_as_it_was_given(option: tuple[str, str], tmp_path: Path, capsys) -> None:
    image = SimpleITK.GetImageFromArray(np.zeros((3, 4, 5), np.uint8))
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"))
    assert main(["segment", str(tmp_path / "a.mha"), "--box", "0,0,0,1,1,1", *option]) == 2
    assert option[0] in capsys.readouterr().err
