"""Writing at once and hashing."""

import hashlib
from pathlib import Path

import pytest

from unireason import files
from unireason.errors import UniReasonError


def test_write_bytes_makes_folders_replaces_and_leaves_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    files.write_bytes(path, b"one")
    assert files.write_bytes(path, b"two") == path
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_write_bytes_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        files.write_bytes(tmp_path / "file" / "page.html", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UniReasonError, match="cannot be written"):
        files.write_bytes(tmp_path / "folder", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_sha256_is_that_of_the_bytes_and_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    content = b"abc" * 700_000
    (tmp_path / "a").write_bytes(content)
    assert files.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    with pytest.raises(UniReasonError, match="'b' cannot be read"):
        files.sha256(tmp_path / "b")
