"""Writing at once, hashing, and keeping others out of a folder."""

import errno
import hashlib
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from unireason.core import store
from unireason.core.errors import UniReasonError
from unireason.core.store import LOCK, json_text, lock_folder


def test_write_bytes_makes_folders_replaces_and_leaves_no_scrap(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    store.write_bytes(path, b"one")
    assert store.write_bytes(path, b"two") == path
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, mode: int) -> None:
    """In a process of its own, because a umask is that of all threads: pages, weights, patients, traces, masks, a data set."""
    code = f"""
import os
os.umask({umask})
import torch
from pathlib import Path
from unireason.cli import main
from unireason.core.store import write_bytes
from unireason.model.files import write
out = Path("out")
write_bytes(out / "page.html", b"new")
write_bytes(out / "page.html", b"again")
write(out / "w.safetensors", {{"a": torch.zeros(2)}}, {{}})
main(["phantom", "out/patients", "--patients", "1", "--seed", "7"])
image = "out/patients/phantom-7-00000/image.nii.gz"
if {umask} == 0o077:
    assert main(["ask", image, "-q", "Is the spleen present?", "-o", "yes", "-o", "no", "--save", "out/saved", "--json"]) == 0
    for name in ("m.nii.gz", "m.nrrd"):
        assert main(["segment", image, "--box", "10,10,4,40,40,9", "--out", f"out/{{name}}"]) == 0
    assert main(["data", "build", "phantom", "--out", "out/data", "--patients", "2", "--quiet"]) == 0
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)
    written = list((tmp_path / "out").rglob("*"))
    assert len([p for p in written if p.is_file()]) > (20 if umask == 0o077 else 3)
    for path in written:
        assert path.stat().st_mode & 0o777 == (mode if path.is_file() else 0o777 & ~umask), path


def test_write_bytes_says_why_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        store.write_bytes(tmp_path / "file" / "page.html", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UniReasonError, match="cannot be written"):
        store.write_bytes(tmp_path / "folder", b"")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def folder_of(path: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in path.iterdir()}


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder"
    for text in ("one", "two"):
        with store.replaced_folder(target) as partial:
            (partial / text).write_text(text)
            assert text not in ([p.name for p in target.iterdir()] if target.exists() else [])
        assert folder_of(target) == {text: text}
    assert [p.name for p in target.parent.iterdir()] == ["folder"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("other"), KeyboardInterrupt()])
def test_a_folder_that_was_not_finished_leaves_the_old_one(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    expected = UniReasonError if isinstance(error, OSError) else type(error)

    def interrupted() -> None:
        with store.replaced_folder(target) as partial:
            (partial / "new").write_text("")
            raise error

    with pytest.raises(expected) as caught:
        interrupted()
    assert folder_of(target) == {"old": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    assert not isinstance(error, OSError) or f"'{target}' cannot be written (No space left" in str(caught.value)


def test_a_folder_that_was_cut_off_between_two_renames_comes_back(tmp_path: Path) -> None:
    (tmp_path / ".folder.old").mkdir()
    (tmp_path / ".folder.old" / "old").write_text("old")
    with pytest.raises(ValueError), store.replaced_folder(tmp_path / "folder"):
        raise ValueError
    assert folder_of(tmp_path / "folder") == {"old": "old"}


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").write_text("old")
    rename = Path.rename

    def refuse(path: Path, goal: Path) -> Path:
        if path.name.endswith(".partial"):
            raise PermissionError(13, "Permission denied")
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UniReasonError, match="Permission denied"), store.replaced_folder(target):
        pass
    assert folder_of(target) == {"old": "old"}
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_left_overs_of_an_interrupted_attempt_are_cleaned(tmp_path: Path) -> None:
    for name in ("folder", ".folder.partial", ".folder.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left-over").write_text("")
    with store.replaced_folder(tmp_path / "folder") as partial:
        (partial / "new").write_text("new")
    assert folder_of(tmp_path / "folder") == {"new": "new"}
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with store.replaced_folder(tmp_path / "link") as partial:
        (partial / "a").write_text("a")
    assert (tmp_path / "link").is_symlink()
    assert folder_of(tmp_path / "real") == {"a": "a"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


def test_sha256_is_that_of_the_bytes_and_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    content = b"abc" * 700_000
    (tmp_path / "a").write_bytes(content)
    assert store.sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    with pytest.raises(UniReasonError, match="'b' cannot be read"):
        store.sha256(tmp_path / "b")


HOLDING = "import fcntl, sys; f = open(sys.argv[1], 'wb'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"


def test_a_folder_is_one_process_at_a_time(tmp_path):
    folder = tmp_path / "new" / "folder"
    lock_folder(folder, "taken").close()
    command = [sys.executable, "-c", HOLDING, str(folder / LOCK)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UniReasonError, match="taken by a test"):
            lock_folder(folder, "taken by a test")
        lock_folder(folder, "taken", name="other").close()
        other.kill()
        with lock_folder(folder, "taken", patience=30):
            pass


def test_waiting_for_a_folder_ends(tmp_path):
    with lock_folder(tmp_path, "taken"):
        begun = time.monotonic()
        with pytest.raises(UniReasonError, match="taken"):
            lock_folder(tmp_path, "taken", patience=0.3)
    assert 0.3 <= time.monotonic() - begun < 10


def test_where_there_are_no_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def fails(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", fails)
    with lock_folder(tmp_path, "taken"), lock_folder(tmp_path, "taken"):
        pass


def test_a_place_that_is_no_folder_cannot_be_locked(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match=r"cannot be written .*Expected a folder that may be written"):
        lock_folder(tmp_path / "file", "taken")


def test_json_holds_no_number_that_readers_refuse() -> None:
    plain = {"a": [1, 2.5, None, "NaN"], "b": {"c": True}}
    assert json_text(plain, indent=1, sort_keys=True) == json.dumps(plain, indent=1, sort_keys=True)
    value = {
        "a": [math.nan, (math.inf, 1.5)],
        "b": {"c": -math.inf, "d": np.float64("nan")},
        "e": MappingProxyType({"f": math.nan}),
    }
    expected = {"a": [None, [None, 1.5]], "b": {"c": None, "d": None}, "e": {"f": None}}
    assert json.loads(json_text(value, default=dict), parse_constant=pytest.fail) == expected
