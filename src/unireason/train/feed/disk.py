"""Tensors on disk, by key: bounded, shared by processes, and never a reason for a run to stop.

An entry is one safetensors file, written whole or not at all. What was not used for the longest time goes first; the time of use is the
time of modification of the file, set anew at every reading. Several processes may read, write and clear one folder at once.
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from unireason.errors import UniReasonError
from unireason.files import write_bytes

_ENDING = ".safetensors"
_CHECKSUM = "~crc32"
_DOWN_TO = 0.9
_LOOK_EVERY = 0.05  # of the bound: so much is written before the folder is measured again, as others write to it too
_STALE_SECONDS = 3600.0


class DiskCache:
    """A folder of tensors.

    Attributes:
        folder: Where; None keeps nothing.
        limit_bytes: Bound on the size of all files. It may be passed for a short time by a twentieth for every process that writes.
        hits: Entries found.
        misses: Entries asked for in vain.
        problems: What went wrong, by kind, and how often: damaged entries, and why writing was given up.
    """

    def __init__(self, folder: Path | None, limit_bytes: int) -> None:
        """Open a cache; nothing is read or written yet.

        Args:
            folder: Where; it is made with the first entry. None for no cache.
            limit_bytes: Bound; 0 keeps nothing either.
        """
        self.folder = folder if limit_bytes > 0 else None
        self.limit_bytes = limit_bytes
        self.hits = self.misses = 0
        self.problems: Counter[str] = Counter()
        self._writing = True
        self._size: int | None = None  # of all files when last measured, and what was written since
        self._since = 0

    def get(self, key: str) -> dict[str, torch.Tensor] | None:
        """The tensors of a key on the CPU; None if there are none, or they are damaged, in which case the entry goes."""
        if self.folder is None:
            return None
        path = self._path(key)
        found = self._read(path)
        self.hits += found is not None
        self.misses += found is None
        return found

    def put(self, key: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Keep tensors under a key, in place of what was there.

        When the bound is passed, entries go until a tenth of it is free. An entry that alone is larger is not kept. If the disk is full
        or may not be written, that is counted in ``problems`` and nothing is written any more.

        Args:
            key: Any text.
            tensors: By name, on any device.
        """
        if self.folder is None or not self._writing:
            return
        data = _packed(tensors)
        if len(data) > self.limit_bytes:
            return
        try:
            write_bytes(self._path(key), data)
            self._account(len(data))
        except (UniReasonError, OSError) as error:
            self._writing = False
            self.problems[f"the cache stopped writing: {error}"] += 1

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name[2:]}{_ENDING}"

    def _read(self, path: Path) -> dict[str, torch.Tensor] | None:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.problems[f"an entry cannot be read ({error.strerror})"] += 1
            return None
        with suppress(OSError):  # gone meanwhile, or a folder that may only be read
            os.utime(path)
        found = _unpacked(data)
        if found is None:
            self.problems["a damaged entry was dropped"] += 1
            with suppress(OSError):
                path.unlink()
        return found

    def _account(self, written: int) -> None:
        """Measure the folder now and then, and clear it when it is too large."""
        self._since += written
        if self._size is None or self._size + self._since > self.limit_bytes or self._since > _LOOK_EVERY * self.limit_bytes:
            self._size, self._since = self._cleared(), 0

    def _cleared(self) -> int:
        """Size of all files after those that were not used for the longest time have gone, if they had to."""
        entries = self._entries()
        size = sum(length for _, length, _ in entries)
        if size > self.limit_bytes:
            for _, length, path in sorted(entries):
                if size <= _DOWN_TO * self.limit_bytes:
                    break
                Path(path).unlink(missing_ok=True)
                size -= length
        return size

    def _entries(self) -> list[tuple[int, int, str]]:
        """Time of use, size and path of every entry. What a killed writer left behind goes."""
        assert self.folder is not None
        found = []
        for prefix in _listed(str(self.folder)):
            for file in _listed(prefix.path) if prefix.is_dir() else ():
                try:
                    state = file.stat()
                except FileNotFoundError:
                    continue
                if file.name.endswith(_ENDING):
                    found.append((state.st_mtime_ns, state.st_size, file.path))
                elif _ENDING in file.name and time.time() - state.st_mtime > _STALE_SECONDS:
                    Path(file.path).unlink(missing_ok=True)
        return found


def _listed(folder: str) -> list[os.DirEntry[str]]:
    """Entries of a folder that another process may just have removed."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _packed(tensors: Mapping[str, torch.Tensor]) -> bytes:
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return bytes(save(plain | {_CHECKSUM: torch.tensor(_checksum(plain))}))


def _unpacked(data: bytes) -> dict[str, torch.Tensor] | None:
    """The inverse of ``_packed``; None if the data are damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found: dict[str, torch.Tensor] = load(data)
        checksum = int(found.pop(_CHECKSUM))
    except (SafetensorError, KeyError, ValueError, RuntimeError):
        return None
    return found if _checksum(found) == checksum else None


def _checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    """CRC-32 of names, shapes and values: safetensors notices a file cut short, but not a changed byte."""
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        value = zlib.crc32(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return value
