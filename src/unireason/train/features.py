"""What a frozen vision tower sees in pictures: computed once, many pictures at a time, then kept in memory and on disk.

The features of a picture depend on the picture alone, not on what happened to be computed along with it: a run that continues, with
half of its cache written, gets the same bits as one that was never stopped. (On a CPU a test holds this; other devices come close.)
"""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from unireason.core.errors import ModelError, UniReasonError
from unireason.core.store import json_text, write_bytes
from unireason.imaging.raster import content
from unireason.model import vision
from unireason.model import vision as patches
from unireason.model.checkpoint import Checkpoint
from unireason.model.vision import Prepared

# --- Tensors on disk, by key: bounded, shared by processes, and never a reason for a run to stop.


_ENDING = ".safetensors"
_CHECKSUM = "~crc32"
_DOWN_TO = 0.9
_LOOK_EVERY = 0.05  # of the bound: so much is written before the folder is measured again, as others write to it too
_STALE_SECONDS = 3600.0


class DiskCache:
    """A folder of tensors."""

    def __init__(self, folder: Path | None, limit_bytes: int) -> None:
        """Open a cache; nothing is read or written yet."""
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
        """Keep tensors under a key, in place of what was there."""
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


# --- What was used last, in memory, bounded in bytes. Several threads may share it.


T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key; those that were not used for the longest time go first."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._values: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self._size = 0
        self._lock = Lock()

    def get(self, key: str) -> T | None:
        """The value of a key; None if it is not kept."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: str, value: T, size: int) -> None:
        """Keep a value of so many bytes in place of what was there; one that alone is larger than the bound is not kept."""
        with self._lock:
            self._size -= self._values.pop(key, (None, 0))[1]
            if size > self.limit_bytes:
                return
            self._values[key] = value, size
            self._size += size
            while self._size > self.limit_bytes:
                self._size -= self._values.popitem(last=False)[1][1]


# --- What a frozen vision tower sees in pictures: computed once, many pictures at a time, then kept in memory and on disk.


Pictures = Sequence[NDArray[np.uint8]]
_MEMORY_BYTES = 512 << 20
_MOST_PATCHES = 16384  # prepared at once
# Products of very few rows take another way through the libraries and round differently, so a picture comes several times then.
_LEAST_PATCHES = 64
_PROCESSOR = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std", "rescale_factor", "resample")


class Features:
    """Visual tokens of a frozen tower."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        disk: DiskCache,
        *,
        memory_bytes: int = _MEMORY_BYTES,
        precision: Literal["bf16", "fp32"] = "fp32",
        kept: torch.dtype = torch.bfloat16,
    ) -> None:
        """Hash the tower; nothing is computed yet."""
        tower = checkpoint.network.model.visual
        trained = next((name for name, weight in tower.named_parameters() if weight.requires_grad), None)
        if trained:
            raise ModelError(
                f"the weight {trained} of the vision tower is trained", "a frozen tower", "compute its features each time"
            )
        self.kept = kept
        self.hits = self.misses = 0
        self._checkpoint, self._disk, self._precision = checkpoint, disk, precision
        self._recent: Recent[list[torch.Tensor]] = Recent(memory_bytes)
        self._fast = patches.fits(checkpoint.image_processor)
        self._width = int(checkpoint.network.config.get_text_config().hidden_size)
        self._prefix = f"features/1 {_identity(checkpoint)} {precision} {kept}"

    def of(self, pictures: Pictures) -> list[torch.Tensor]:
        """Features of the pictures of one case, or of the crops of one response; see :meth:`of_many`."""
        return self.of_many([pictures])[0]

    def of_many(self, lists: Sequence[Pictures]) -> list[list[torch.Tensor]]:
        """Features of several lists of pictures. Each list is kept as a whole, those that are missing are computed together."""
        keys = [self._key(pictures) for pictures in lists]
        found: dict[str, list[torch.Tensor]] = {}
        missing: dict[str, Pictures] = {}
        for key, pictures in zip(keys, lists, strict=True):
            if key in found or key in missing or not len(pictures):
                continue
            kept = self._kept(key, len(pictures))
            if kept is None:
                missing[key] = pictures
            else:
                found[key] = kept
        self.hits += len(found)
        self.misses += len(missing)
        found |= self._computed(missing)
        device = self._checkpoint.device
        return [[f.to(device) for f in found.get(key, ())] for key in keys]

    def _key(self, pictures: Pictures) -> str:
        return f"{self._prefix} {content(*pictures)}"

    def _kept(self, key: str, count: int) -> list[torch.Tensor] | None:
        """Features from memory or disk; None if they are not there, or are not what was put there."""
        found = self._recent.get(key)
        if found is not None:
            return found
        stored = self._disk.get(key)
        if stored is None or stored.keys() != {"features", "tokens"}:
            return None
        features, tokens = stored["features"], stored["tokens"].tolist()
        if features.shape != (sum(tokens), self._width) or len(tokens) != count or features.dtype != self.kept:
            return None
        self._remember(key, features, tokens)
        return list(features.split_with_sizes(tokens))

    def _remember(self, key: str, features: torch.Tensor, tokens: list[int]) -> None:
        self._recent.put(key, list(features.split_with_sizes(tokens)), features.nbytes)

    def _computed(self, missing: dict[str, Pictures]) -> dict[str, list[torch.Tensor]]:
        """Run the tower over all pictures of the missing lists, those of one size together, and keep what comes out."""
        flat = [vision.resized(self._checkpoint, picture) for pictures in missing.values() for picture in pictures]
        order = sorted(range(len(flat)), key=lambda i: (flat[i].shape, i))
        out: dict[int, torch.Tensor] = {}
        for some in self._portions(flat, order):
            out |= zip(some, self._encoded([flat[i] for i in some]), strict=True)
        done: dict[str, list[torch.Tensor]] = {}
        first = 0
        for key, pictures in missing.items():
            parts = [out[i] for i in range(first, first + len(pictures))]
            first += len(pictures)
            features, tokens = torch.cat(parts), [len(part) for part in parts]
            self._disk.put(key, {"features": features, "tokens": torch.tensor(tokens)})
            self._remember(key, features, tokens)
            done[key] = list(features.split_with_sizes(tokens))
        return done

    def _portions(self, flat: Pictures, order: Sequence[int]) -> Iterator[list[int]]:
        """Numbers of pictures that are prepared together."""
        some: list[int] = []
        size = 0
        for i in order:
            count = self._patches(flat[i])
            if some and size + count > _MOST_PATCHES:
                yield some
                some, size = [], 0
            some.append(i)
            size += count
        if some:
            yield some

    def _patches(self, picture: NDArray[np.uint8]) -> int:
        height, width = picture.shape[:2]
        return int(height * width) // self._checkpoint.patch**2

    def _encoded(self, pictures: Pictures) -> list[torch.Tensor]:
        """Features of pictures of the right sizes, those of one shape standing together: on the CPU, rounded."""
        first = self._patches(pictures[0])
        extra = max(0, -(-(_LEAST_PATCHES - sum(map(self._patches, pictures))) // first))
        device = self._checkpoint.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self._precision == "bf16"):
            done = vision.encode(self._checkpoint, self._prepared([pictures[0]] * extra + list(pictures)))
        return [feature.to("cpu", self.kept) for feature in done[extra:]]

    def _prepared(self, pictures: Pictures) -> Prepared:
        parts = []
        for shape, same in groupby(pictures, key=lambda p: p.shape):
            some = list(same)
            if self._fast and len(shape) == 2:
                grids = [(int(t), int(h), int(w)) for t, h, w in patches.grid(len(some), *shape)]
                parts.append(Prepared(patches.patchify(np.stack(some)), tuple(grids), tuple(some), self._checkpoint.patch))
            else:
                parts.append(vision.prepare(self._checkpoint, some))
        return Prepared(
            torch.cat([p.pixel_values for p in parts]),
            tuple(grid for p in parts for grid in p.grid_thw),
            tuple(picture for p in parts for picture in p.pictures),
            self._checkpoint.patch,
        )


def _identity(checkpoint: Checkpoint) -> str:
    """Hash of all that features depend on besides pictures: weights and configuration of the tower, and the image processor."""
    tower, processor = checkpoint.network.model.visual, checkpoint.image_processor
    settings: dict[str, Any] = {name: getattr(processor, name) for name in _PROCESSOR} | {"limits": checkpoint.pixel_limits}
    digest = hashlib.sha256(json_text(settings, sort_keys=True, default=str).encode())
    digest.update(checkpoint.network.config.vision_config.to_json_string(use_diff=False).encode())
    for name, weight in sorted(tower.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype} ".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
