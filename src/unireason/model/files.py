"""Where a checkpoint lies and whether its files are what they should be, before anything of it is read into a network.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from unireason.errors import ModelError
from unireason.files import hub_folder, is_hub_id, no_folder
from unireason.files import read_json as read_json

BUILT_IN = "phantom"
ARCHITECTURE = "qwen2_5_vl"
CARD = "card.json"
_WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.toml")
_HASH_WHOLE_BYTES = 64 << 20


def locate(ref: str | Path) -> Path:
    """Find the folder of a checkpoint.

    Args:
        ref: "phantom" (the built-in checkpoint), a folder, or a hub id such as "owner/name". An existing folder wins, and
            where a folder "owner" is here, it is a path. Of a
            hub repository only safetensors, JSON, text, template and TOML files are fetched.

    Returns:
        An existing folder.

    Raises:
        ModelError: If there is no such folder, it holds no checkpoint, the hub cannot be reached, or it has no such repository.
    """
    if str(ref) == BUILT_IN:
        folder = Path(__file__).parents[1] / "assets" / BUILT_IN
        if not folder.is_dir():
            raise ModelError("the built-in checkpoint 'phantom' is not installed", remedy="reinstall the package")
        return folder
    path = Path(ref).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise _empty(path)
        return path
    if path.exists():
        raise ModelError(f"'{path.name}' is a file", "the folder that holds config.json and the weights")
    if not is_hub_id(ref):
        raise no_folder(ref, "'phantom', an existing folder or a hub id such as owner/name")
    return hub_folder(str(ref), _WANTED)


def _empty(folder: Path) -> ModelError:
    """What to say of a folder without a checkpoint; the run folder of a trainer keeps its own one level down."""
    inner = [name for name in ("checkpoint", "best") if (folder / name / "config.json").is_file()]
    remedy = ""
    if inner:
        remedy = "a run keeps its weights inside: take " + " or ".join(f"'{folder / name}'" for name in inner)
    elif (folder / "run.json").is_file():
        remedy = "its run has not finished: start it again"
    return ModelError(f"'{folder}' holds no checkpoint", "a folder with config.json and weights", remedy)


def check(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Read the configuration and list the weight files.

    Args:
        folder: A checkpoint folder.

    Returns:
        (config.json as a dictionary, safetensors files in name order, at least one).

    Raises:
        ModelError: If the architecture is another, or the weights are missing, incomplete or not safetensors.
    """
    config = read_json(folder / "config.json")
    if config.get("model_type") != ARCHITECTURE:
        raise ModelError(
            f"the checkpoint's architecture is {config.get('model_type')!r}", f"{ARCHITECTURE!r}", "use a Qwen2.5-VL checkpoint"
        )
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return config, _shards(folder, read_json(index))
    single = folder / "model.safetensors"
    if single.exists():
        return config, [single]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt*")):
        raise ModelError(
            "the checkpoint's weights are pickled, and unpickling can run any code", "safetensors", "convert it to safetensors"
        )
    raise ModelError("the checkpoint holds no weights", "model.safetensors, or shards with model.safetensors.index.json")


def _shards(folder: Path, index: dict[str, Any]) -> list[Path]:
    table = index.get("weight_map")
    names = sorted(set(table.values()) if isinstance(table, dict) and all(isinstance(v, str) for v in table.values()) else ())
    if not names or any(Path(n).name != n or not n.endswith(".safetensors") for n in names):
        raise ModelError("the weight index does not name safetensors files of its own folder", "a weight_map of plain names")
    missing = [n for n in names if not (folder / n).is_file()]
    if missing:
        raise ModelError(f"{len(missing)} of {len(names)} weight files are missing, first {missing[0]}", remedy="download again")
    return [folder / n for n in names]


def fingerprint(folder: Path, weights: list[Path]) -> tuple[str, Literal["files", "headers"]]:
    """Hash a checkpoint.

    Args:
        folder: Its folder.
        weights: Its safetensors files.

    Returns:
        (sha256, what was hashed). Always the name and bytes of every JSON, text, template and TOML file, except a card, which
        tells about the checkpoint and is no part of it. Of the weights: all
        bytes when they are 64 MiB together or less ("files"); else name, size and safetensors header, which says tensor names,
        types and shapes but not their values ("headers").
    """
    digest = hashlib.sha256()
    for path in sorted(p for pattern in _WANTED[1:] for p in folder.glob(pattern) if p.name != CARD):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    whole = sum(p.stat().st_size for p in weights) <= _HASH_WHOLE_BYTES
    for path in weights:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes() if whole else _header(path))
    return digest.hexdigest(), "files" if whole else "headers"


def _header(path: Path) -> bytes:
    """The safetensors header: eight bytes of little-endian length, then as many of JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ModelError(f"{path.name} is not a safetensors file or is cut short", remedy="download it again")
        return file.read(length)
