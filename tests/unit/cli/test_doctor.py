"""What is installed is held against the package's own metadata."""

from __future__ import annotations

import json
from importlib import metadata

import pytest

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
    (command,) = found["missing_extras"]
    assert command.startswith("pip install ")
    assert "[browser]" in command


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
