"""What is installed is held against the package's own metadata."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

import tiny
from unireason.cli import main


def doctor(capsys):
    code = main(["doctor", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_dependency_of_the_metadata_is_looked_at(capsys):
    code, found = doctor(capsys)
    plain = {line.split(">")[0] for line in metadata.requires("unireason") if ";" not in line}
    assert plain <= set(found["core"])
    assert set(found["core"]) - plain <= {"tomli"}
    assert set(found["extras"]) == set(metadata.metadata("unireason").get_all("Provides-Extra"))
    assert "highdicom" in found["extras"]["dev"]  # by way of the extra that it holds
    assert code == 0


@pytest.mark.parametrize("gone", ["pyarrow", "httpx2", "pylibjpeg-openjpeg"])
def test_any_missing_dependency_is_a_problem(capsys, monkeypatch, gone):
    real = metadata.version

    def version(name):
        if name == gone:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    code, found = doctor(capsys)
    assert code == 1
    assert [p.split(" is missing")[0] for p in found["problems"]] == [gone]
    assert "pip install" in found["problems"][0]


def test_an_old_version_is_a_problem_and_a_missing_extra_a_command(capsys, monkeypatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: {"pyarrow": "1.0", "playwright": "1.0"}.get(name) or real(name))
    code, found = doctor(capsys)
    assert code == 1
    assert "pyarrow is 1.0, and >=17 is needed" in found["problems"][0]
    assert all(command.startswith("pip install ") for command in found["missing_extras"])
    assert sum("[browser]" in command for command in found["missing_extras"]) == 1


def test_needs_follow_the_markers(capsys, monkeypatch):
    needs = [
        "numpy>=1.26",
        "a-backport; python_version < '3'",
        "other-system; sys_platform == 'nowhere'",
        "one-more; extra == 'more' and python_version >= '3'",
        "unireason[more]; extra == 'all'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: needs)
    _, found = doctor(capsys)
    assert list(found["core"]) == ["numpy"]


def test_a_package_that_is_not_installed_says_so(capsys, monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", absent)
    code, found = doctor(capsys)
    assert code == 1
    assert "not installed" in found["problems"][0]


def test_a_checkpoint_is_described_without_its_weights(tmp_path, capsys, monkeypatch):
    made = tiny.save(tmp_path / "model")
    assert main(["doctor", str(tmp_path / "model"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    count = sum(p.numel() for p in made.network.parameters())
    assert (found["architecture"], found["layers"], found["parameters"]) == ("qwen2_5_vl", 2, count)
    assert found["profiles"]["questions"] == {"name": "tiny", "from": "profile.toml", "sha256": tiny.PROFILE.sha256}
    assert found["profiles"]["implicit questions"]["from"] == "built in"
    assert found["asked"]["system_3d"] == "look well"
    # 4 slices of 2 x 2 tokens between two delimiters, 200 of words, 400 to be said, 4 looks at a slice; 2 layers, 2 heads of 16, 2 bytes
    tokens = 4 * 6 + 200 + 400 + 4 * 6
    assert found["memory_bytes"] == {"weights": 2 * count, "cache": 2 * 2 * 2 * 2 * 16 * tokens, "cache_tokens": tokens}
    fetched = []
    for path in (tmp_path / "model").glob("*.safetensors*"):
        path.unlink()
    monkeypatch.setattr("unireason.core.store.hub_folder", lambda ref, wanted: fetched.extend(wanted) or tmp_path / "model")
    assert main(["doctor", "owner/name"]) == 0
    out = capsys.readouterr().out
    assert "the profile tiny (profile.toml)" in out
    assert fetched
    assert not any("safetensors" in pattern for pattern in fetched)


def test_a_checkpoint_of_another_kind_is_a_problem(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "other"}')
    assert main(["doctor", str(tmp_path)]) == 1
    assert "problem: the checkpoint's architecture is 'other'" in capsys.readouterr().out
