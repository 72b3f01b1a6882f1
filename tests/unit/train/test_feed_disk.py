"""The cache on disk: what goes in comes out, the oldest goes first, and nothing that happens to the folder stops a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from unireason.train import features
from unireason.train.features import DiskCache, Recent

BIG = 1 << 30


def values(seed: int = 0, size: int = 1000) -> dict[str, torch.Tensor]:
    return {"a": torch.full((size,), seed, dtype=torch.uint8)}


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.safetensors"))


def age(folder: Path, cache: DiskCache, keys: list[str]) -> None:
    """Make entries look used in this order, long ago."""
    for second, key in enumerate(keys):
        os.utime(cache._path(key), (1000 + second, 1000 + second))


def test_what_goes_in_comes_out(tmp_path):
    cache = DiskCache(tmp_path / "new" / "cache", BIG)
    given = {
        "features": torch.randn(3, 5).bfloat16(),
        "empty": torch.zeros(0, 4),
        "scalar": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "turned": torch.arange(6).reshape(2, 3).T,
    }
    assert cache.get("k") is None
    cache.put("k", given)
    found = DiskCache(tmp_path / "new" / "cache", BIG).get("k")
    assert found is not None
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert cache.get("K") is None
    assert (cache.hits, cache.misses) == (0, 2)
    (file,) = files(tmp_path / "new" / "cache")
    assert len(file.parent.name) == 2


def test_a_key_holds_its_last_value(tmp_path):
    cache = DiskCache(tmp_path, BIG)
    cache.put("k", values(1))
    cache.put("k", values(2))
    assert cache.get("k")["a"][0] == 2
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("cache", [DiskCache(None, BIG), DiskCache(Path("nowhere"), 0)])
def test_off(cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache.put("k", values())
    assert cache.get("k") is None
    assert (cache.hits, cache.misses) == (0, 0)
    assert not list(tmp_path.iterdir())


def test_the_least_recently_used_go_until_a_tenth_is_free(tmp_path):
    size = len(features._packed(values()))
    cache = DiskCache(tmp_path, 10 * size)
    keys = [f"k{i}" for i in range(10)]
    for key in keys:
        cache.put(key, values())
    assert len(files(tmp_path)) == 10  # as much as the bound: nothing goes
    age(tmp_path, cache, keys)
    assert cache.get("k0") is not None  # used just now
    cache.put("new", values())
    left = {key for key in [*keys, "new"] if cache._path(key).exists()}
    assert left == {*keys, "new"} - {"k1", "k2"}
    assert sum(f.stat().st_size for f in files(tmp_path)) <= 0.9 * 10 * size


def test_what_others_write_counts(tmp_path):
    size = len(features._packed(values()))
    one, two = (DiskCache(tmp_path, 40 * size) for _ in range(2))
    for i in range(60):
        one.put(f"one{i}", values())
        two.put(f"two{i}", values())
    assert sum(f.stat().st_size for f in files(tmp_path)) <= 40 * size * 1.1


def test_the_folder_is_measured_anew_only_now_and_then(tmp_path, monkeypatch):
    counted = []
    measure = DiskCache._cleared
    monkeypatch.setattr(DiskCache, "_cleared", lambda self: counted.append(1) or measure(self))
    size = len(features._packed(values()))
    cache = DiskCache(tmp_path, 1000 * size)
    for i in range(102):
        cache.put(f"k{i}", values())
    assert len(counted) == 2  # at the start, and after a twentieth of the bound (51 entries)


def test_an_entry_larger_than_the_bound_is_not_kept(tmp_path):
    cache = DiskCache(tmp_path, 5000)
    cache.put("small", values())
    cache.put("large", values(size=6000))
    assert cache.get("large") is None
    assert cache.get("small") is not None


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "other"])
def test_a_damaged_entry_goes_and_counts_as_a_miss(tmp_path, damage):
    cache = DiskCache(tmp_path, BIG)
    cache.put("k", values())
    (file,) = files(tmp_path)
    data = bytearray(file.read_bytes())
    if damage == "byte":
        data[-5] ^= 1
    file.write_bytes({"cut": data[:-1], "byte": data, "empty": b"", "other": b"\xff" * 100}[damage])
    assert cache.get("k") is None
    assert not file.exists()
    assert cache.problems == {"a damaged entry was dropped": 1}
    cache.put("k", values(3))
    assert cache.get("k")["a"][0] == 3


def test_files_that_vanish_are_no_error(tmp_path, monkeypatch):
    size = len(features._packed(values()))
    cache = DiskCache(tmp_path, 3 * size)
    entries = DiskCache._entries

    def robbed(self: DiskCache) -> list[tuple[int, int, str]]:
        found = entries(self)
        for _, _, path in found[:-1]:
            Path(path).unlink(missing_ok=True)  # another process clears at the same moment
        return found

    monkeypatch.setattr(DiskCache, "_entries", robbed)
    for i in range(5):
        cache.put(f"k{i}", values())
    assert not cache.problems


@pytest.mark.parametrize("where", ["pathlib.Path.open", "os.replace"])
def test_a_full_disk_stops_writing_and_nothing_else(tmp_path, monkeypatch, where):
    cache = DiskCache(tmp_path, BIG)
    cache.put("k", values(1))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        cache.put("l", values(2))
        cache.put("m", values(2))
    ((problem, times),) = cache.problems.items()
    assert times == 1
    assert "No space left" in problem
    cache.put("n", values(2))  # space again, but the run has been told
    assert cache.get("n") is None
    assert cache.get("k")["a"][0] == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == files(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    cache = DiskCache(tmp_path / "file" / "cache", BIG)
    cache.put("k", values())
    cache.put("k", values())
    assert sum(cache.problems.values()) == 1


def test_what_killed_writers_left_goes_after_an_hour(tmp_path):
    cache = DiskCache(tmp_path, BIG)
    cache.put("k", values())
    (file,) = files(tmp_path)
    old, new = (file.with_name(f".{file.name}.{end}") for end in ("old", "new"))
    other = file.with_name("readme.txt")
    for path in (old, new, other):
        path.write_bytes(b"part")
    for path in (old, other):
        os.utime(path, (1000, 1000))
    DiskCache(tmp_path, BIG).put("l", values())
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_recent_keeps_what_was_used_last_within_its_bound():
    recent: Recent[str] = Recent(10)
    for key in "abc":
        recent.put(key, key.upper(), 3)
    assert recent.get("a") == "A"
    recent.put("d", "D", 4)  # b goes: it was not used for the longest time
    assert [recent.get(k) for k in "abcd"] == ["A", None, "C", "D"]
    recent.put("e", "E", 11)
    assert recent.get("e") is None
    recent.put("a", "AA", 1)
    recent.put("f", "F", 2)
    assert [recent.get(k) for k in "acdf"] == ["AA", "C", "D", "F"]
