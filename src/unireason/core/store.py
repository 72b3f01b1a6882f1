"""Files on disk: written whole or not at all, told apart by their hash; folders of weights, here or on the hub."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import math
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from .errors import FormatError, ModelError, UniReasonError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MAX_JSON_BYTES = 64 << 20
_POLL = 0.1  # seconds between two tries for a lock

LOCK = ".lock"
"""Name of the file by which a process keeps others out of a folder."""


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file at once: a reader sees the old content or the new, never a part. Who may read it is left to the umask.

    Args:
        path: Where to write; missing folders are made.
        data: Its content.

    Returns:
        The path written.

    Raises:
        UniReasonError: The place cannot be written.
    """
    target = Path(path)
    partial = _beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as stream:
            stream.write(data)
        os.replace(partial, target)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise _unwritable(target, error) from error
    return target


def share_as_usual(path: Path) -> None:
    """Give a file the mode that new files get here; some libraries write theirs for the owner alone."""
    probe = _beside(path)
    with probe.open("xb"):
        path.chmod(probe.stat().st_mode & 0o777)
    probe.unlink()


def _beside(path: Path) -> Path:
    """A name that no other process takes."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """The table of a TOML text; the name is for the error."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{name} is no TOML ({error})", "a TOML file") from error


def json_text(value: Any, **how: Any) -> str:
    """Plain values as JSON that every reader takes: the standard has no NaN and no infinity, so these become null.

    All JSON of this package is written by this function, or refuses such numbers (``allow_nan=False``).

    Args:
        value: Plain values.
        **how: Arguments of ``json.dumps``.
    """
    try:
        return json.dumps(value, allow_nan=False, **how)
    except ValueError:
        return json.dumps(_without_nan(value), allow_nan=False, **how)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(part) for key, part in value.items()}
    return [_without_nan(part) for part in value] if isinstance(value, list | tuple) else value


@contextmanager
def replaced_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a folder at once: it takes the place of the old one when the block ends without an error.

    What an interrupted earlier attempt left beside the folder is cleaned first; an old folder that was moved away in its last moment
    comes back.

    Args:
        path: The folder to write; missing parents are made.

    Yields:
        An empty folder beside it, to be filled.

    Raises:
        UniReasonError: The place cannot be written. The old folder is as it was.
    """
    target = Path(path).resolve()
    partial, old = (target.with_name(f".{target.name}.{end}") for end in ("partial", "old"))
    try:
        if old.exists() and not target.exists():
            old.rename(target)
        for rest in (partial, old):
            shutil.rmtree(rest, ignore_errors=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if old.exists() and not target.exists():
            old.rename(target)
        if isinstance(error, OSError):
            raise _unwritable(target, error) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


class Scratch:
    """A temporary folder that goes with this object, or with the block that it heads, at the latest with the process.

    What a process left that was killed goes when the next one makes such a folder: it holds its folder by a lock, which ends with it.

    Args:
        name: What its name begins with.

    Attributes:
        path: The folder.
    """

    def __init__(self, name: str) -> None:
        place = Path(tempfile.gettempdir())
        for left in place.glob(f"{name}-*"):
            if _is_left(left):
                shutil.rmtree(left, ignore_errors=True)
        try:
            # Another process that looks for left-overs must not see it before it is locked.
            hidden = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place))
            lock = lock_folder(hidden, f"another process uses '{hidden}'")
            self.path = hidden.rename(hidden.with_name(hidden.name[1:]))
        except OSError as error:
            raise _unwritable(place, error, expected="a folder for temporary files that may be written") from error
        self._end = weakref.finalize(self, _removed, self.path, lock)

    def remove(self) -> None:
        """Remove the folder; a second call does nothing."""
        self._end()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.remove()


def _removed(folder: Path, lock: BinaryIO) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


def _is_left(folder: Path) -> bool:
    """True if the process that held a folder is gone; False if it is there, is another user's, or nothing tells."""
    try:
        import fcntl

        with (folder / LOCK).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except (ImportError, OSError):
        return False


def lock_folder(folder: Path, busy: str, *, name: str = LOCK, patience: float = 0.0) -> BinaryIO:
    """Keep other processes out of a folder until the returned file is closed or this process, and all that inherit the file, have ended.

    Args:
        folder: The folder; made if it is missing.
        busy: What to say if another process has it, such as "another process trains in 'run'".
        name: Name of the file that carries the lock.
        patience: Seconds to wait for another process.

    Returns:
        The open file. Where the system, or the file system, has no such locks it keeps nobody out.

    Raises:
        UniReasonError: If another process has the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / name).open("wb")
    except OSError as error:
        raise _unwritable(folder, error, expected="a folder that may be written") from error
    limit = time.monotonic() + patience
    while not _is_locked(stream):
        if time.monotonic() >= limit:
            stream.close()
            raise UniReasonError(busy, "one process a folder", "wait for it, or choose another folder")
        time.sleep(_POLL)
    return stream


def _is_locked(stream: BinaryIO) -> bool:
    """Try to lock a file: False if another process has it, True if this one does or there are no such locks."""
    try:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return True
    return True


def _unwritable(target: Path, error: OSError, *, expected: str = "a file in a folder that may be written") -> UniReasonError:
    reason = error.strerror or type(error).__name__
    return UniReasonError(f"'{target}' cannot be written ({reason})", expected, "choose another place")


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file as hex digits; UniReasonError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UniReasonError(f"'{Path(path).name}' cannot be read ({error.strerror})", "", "check that it is there") from error
    return digest.hexdigest()


def is_hub_id(ref: str | os.PathLike[str]) -> bool:
    """True of text such as "owner/name", which may name a repository of the hub; where a folder "owner" is here, it is a path."""
    return isinstance(ref, str) and _HUB_ID.fullmatch(ref) is not None and not Path(ref).parent.is_dir()


def no_folder(ref: str | os.PathLike[str], expected: str) -> ModelError:
    """What to say of weights that are neither here nor named as on the hub, and what may be given: how far the path leads."""
    path = Path(ref).expanduser()
    there = next((str(parent) for parent in path.parents if parent.is_dir()), "")
    remedy = f"check the path: '{there}' is there" if there not in ("", ".", path.anchor) else "check the path"
    return ModelError(f"there is no folder '{ref}'", expected, remedy)


def hub_folder(ref: str, wanted: Sequence[str]) -> Path:
    """The local copy of a hub repository, fetched if it is not there yet.

    Args:
        ref: "owner/name".
        wanted: Patterns of the files to fetch, such as "*.json"; no other file is fetched.

    Returns:
        Its folder.

    Raises:
        ModelError: If the hub cannot be reached, refuses, or has no such repository.
    """
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(ref, allow_patterns=list(wanted)))
    except Exception as error:  # the hub client passes on the errors of several network libraries
        raise _no_copy(ref, error) from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def _no_copy(ref: str, error: Exception) -> ModelError:
    """What keeps a repository from being fetched, and what to do.

    The hub client says "not found" of what it could not look for, so its reasons are asked first.
    """
    from huggingface_hub import errors

    local = (
        f"or download it elsewhere with: hf download {ref} --local-dir FOLDER, and give the path of FOLDER in place of the name"
    )
    came = f"there is no folder '{ref}' here, and "
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return ModelError(
            f"{came}the repository of that name is gated",
            "",
            f"accept its terms on its page and log in with: hf auth login, {local}",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return ModelError(
            f"{came}the hub has no repository of that name that may be read",
            remedy=f"check the path or the name; a private one needs a login with: hf auth login, {local}",
        )
    if status in (401, 403):
        return ModelError(f"{came}the hub refuses access (status {status})", "", f"log in anew with: hf auth login, {local}")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return ModelError(f"{came}the repository of that name lacks what a checkpoint needs", "", "check the name")
    if isinstance(error, errors.HFValidationError):
        return ModelError(f"{came}that is no name of a repository", "owner/name, or the path of a folder", "check the path")
    if isinstance(error, OSError) and error.errno in _FULL:
        reason = os.strerror(error.errno)
        return ModelError(
            f"{came}what the hub sends cannot be kept ({reason})",
            "",
            f"set HF_HOME to a folder with room that may be written, {local}",
        )
    reason = type(error.__cause__ or error).__name__
    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        return ModelError(
            f"{came}no copy in the local hub cache either, and the hub cannot be reached, for HF_HUB_OFFLINE or "
            "TRANSFORMERS_OFFLINE is set",
            remedy=f"unset it and go online once, {local}",
        )
    return ModelError(
        f"{came}no copy in the local hub cache either, and the hub cannot be reached ({reason})",
        remedy=f"go online once, {local}",
    )


_QUANTISERS = {
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "compressed-tensors": "compressed-tensors",
    "hqq": "hqq",
    "quanto": "optimum-quanto",
    "torchao": "torchao",
}


def unloadable(what: str, error: Exception, config: Mapping[str, Any]) -> ModelError:
    """What to say of weights that a library cannot load: a package, memory or the machine may be what is missing, not the file.

    Args:
        what: The weights, in words.
        error: What the library raised.
        config: Their config.json.
    """
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    table = config.get("quantization_config")
    method = str(table.get("quant_method") or "an unnamed method") if isinstance(table, Mapping) else ""
    if method:
        package = _QUANTISERS.get(method, "")
        there = package and importlib.util.find_spec(package.replace("-", "_")) is not None
        needs = f"install it with: pip install {package}" if package and not there else "see what is missing in the words above"
        return ModelError(
            f"{what} is quantised ({method}) and cannot be loaded here: {said}",
            "",
            f"{needs}, or use the weights that are not quantised",
        )
    if isinstance(error, ImportError):
        return ModelError(f"{what} cannot be loaded, for a package is missing: {said}", "", "install the package named there")
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return ModelError(f"{what} does not fit into memory: {said}", "", "use another device or bf16")
    return ModelError(
        f"{what} cannot be loaded: {said}", "", "download it again, or check that config.json belongs to the weights"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a checkpoint.

    Raises:
        ModelError: If the file is missing, too large, or holds other than one JSON object.
    """
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise ModelError(f"{path.name} is larger than {_MAX_JSON_BYTES >> 20} MiB", "a configuration")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"the checkpoint has no {path.name}", "a complete checkpoint folder") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path.name} of the checkpoint cannot be read: {error}", "a JSON object") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path.name} of the checkpoint holds a {type(value).__name__}", "a JSON object")
    return value
