"""Where a checkpoint lies and whether its files are what they should be, before anything of it is read into a network.

Nothing here imports torch or transformers.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError

from unireason.core.errors import FormatError, ModelError
from unireason.core.store import hub_folder, is_hub_id, json_text, no_folder, read_json, share_as_usual
from unireason.core.types import PHANTOM, ScopeCheck, Source

if TYPE_CHECKING:
    import torch

BUILT_IN_CHECKPOINT = "phantom"
ARCHITECTURE = "qwen2_5_vl"
CARD = "card.json"
ADAPTER = "adapter_config.json"
_WANTED = ("*.safetensors", "*.json", "*.txt", "*.jinja", "*.toml")
_HASH_WHOLE_BYTES = 64 << 20


def locate(ref: str | Path) -> Path:
    """Find the folder of a checkpoint: "phantom" (the built-in one), a folder, or a hub id such as "owner/name".

    An existing folder wins, and where a folder "owner" is here, it is a path. Of a hub repository only safetensors, JSON, text,
    template and TOML files are fetched. What cannot be found or fetched, or holds no checkpoint, is a ModelError.
    """
    if str(ref) == BUILT_IN_CHECKPOINT:
        folder = Path(__file__).parents[1] / "assets" / BUILT_IN_CHECKPOINT
        if not folder.is_dir():
            raise ModelError("the built-in checkpoint 'phantom' is not installed", remedy="reinstall the package")
        return folder
    path = Path(ref).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file() and not is_adapter(path):
            inner = [name for name in ("checkpoint", "best") if (path / name / "config.json").is_file()]
            remedy = ""
            if inner:
                remedy = "a run keeps its weights inside: take " + " or ".join(f"'{path / name}'" for name in inner)
            elif (path / "run.json").is_file():
                remedy = "its run has not finished: start it again"
            raise ModelError(f"'{path}' holds no checkpoint", "a folder with config.json and weights", remedy)
        return path
    if path.exists():
        raise ModelError(f"'{path.name}' is a file", "the folder that holds config.json and the weights")
    if not is_hub_id(ref):
        raise no_folder(ref, "'phantom', an existing folder or a hub id such as owner/name")
    return hub_folder(str(ref), _WANTED)


def configuration(folder: Path) -> dict[str, Any]:
    """Read the configuration; ModelError for another architecture."""
    config = read_json(folder / "config.json")
    if config.get("model_type") != ARCHITECTURE:
        raise ModelError(
            f"the checkpoint's architecture is {config.get('model_type')!r}", f"{ARCHITECTURE!r}", "use a Qwen2.5-VL checkpoint"
        )
    return config


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters alone, as peft writes them."""
    return (folder / ADAPTER).is_file() and not (folder / "config.json").is_file()


def adapted(folder: Path) -> str:
    """The checkpoint on which the adapters of a folder were trained, a hub id or a folder that is here; ModelError if it is neither."""
    named = read_json(folder / ADAPTER).get("base_model_name_or_path")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"'{folder}' holds no adapter_model.safetensors", "adapters as safetensors", "save them with peft again")
    if not isinstance(named, str) or not (
        named == BUILT_IN_CHECKPOINT or is_hub_id(named) or (Path(named) / "config.json").is_file()
    ):
        raise ModelError(
            f"the adapter in '{folder}' is for {named!r}, which is no hub id and no folder here",
            "the checkpoint underneath",
            f"write its place into base_model_name_or_path of {ADAPTER}",
        )
    return named


def underneath(ref: str | Path) -> Path:
    """The folder of a checkpoint, or of the one on which an adapter was trained: where tokenizer and image processor lie."""
    folder = locate(ref)
    return locate(adapted(folder)) if is_adapter(folder) else folder


def check(folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Read the configuration and list the weight files."""
    config = configuration(folder)
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
    """Hash a checkpoint."""
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


# --- Tensors on disk: safetensors files, one or several, under the names of the published checkpoints.


SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Write one safetensors file of tensors by name, of which no two may share memory, with metadata in its header.

    An OSError if it cannot be written, such as on a full disk; the library itself raises an error of its own.
    """
    from safetensors.torch import save_file

    try:
        save_file({k: v.detach().contiguous() for k, v in tensors.items()}, str(path), metadata=dict(metadata))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number.group(1)) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else str(error)) from error
    share_as_usual(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())  # a rename must not reach the disk before the bytes


def write_shards(folder: Path, state: Mapping[str, torch.Tensor], *, dtype: torch.dtype, shard: str) -> None:
    """Write the weights of a network into a folder, in one file or, above a limit, in numbered files with an index."""
    number = re.fullmatch(r"(\d+(?:\.\d+)?) ?(KB|MB|GB)", shard)
    if number is None or not float(number[1]):
        raise ModelError(f"the largest weight file is {shard!r}", "a size such as '5GB'")
    limit = int(float(number[1]) * _UNITS[number[2]])
    groups: list[list[str]] = [[]]
    sizes = {name: tensor.numel() * dtype.itemsize for name, tensor in state.items()}
    filled = 0
    for name in sorted(state):
        if groups[-1] and filled + sizes[name] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += sizes[name]
    count = len(groups)
    files = [SINGLE] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    for file, names in zip(files, groups, strict=True):
        write(folder / file, {n: state[n].to("cpu", dtype) for n in names}, {"format": "pt"})
    if count > 1:
        where = {name: file for file, names in zip(files, groups, strict=True) for name in names}
        table = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": where}
        (folder / INDEX).write_text(json_text(table, indent=2, sort_keys=True) + "\n")


def published(name: str) -> str:
    """The published name of a weight; a name that is published already stays."""
    for inside, outside in (("model.language_model.", "model."), ("model.visual.", "visual.")):
        if name.startswith(inside):
            return outside + name.removeprefix(inside)
    return name


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A sharded tensor gathered from all processes (all must call this together); any other as it is."""
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


# --- The image processor of a checkpoint, assembled from its configuration without torchvision.


_PLAIN = ("image_mean", "image_std", "rescale_factor", "patch_size", "temporal_patch_size", "merge_size")


def load_processor(folder: Path) -> Any:
    """Build the image processor of a checkpoint folder."""
    plain, joint = folder / "preprocessor_config.json", folder / "processor_config.json"
    if plain.exists():
        return make_processor(read_json(plain))
    table = read_json(joint).get("image_processor") if joint.exists() else None
    if not isinstance(table, dict):
        raise ModelError("the checkpoint has no image-processor configuration", "preprocessor_config.json")
    return make_processor(table)


def make_processor(table: dict[str, Any]) -> Any:
    """Build a ``Qwen2VLImageProcessorPil`` from a configuration in any of its published forms, the keys of ``preprocessor_config.json``.

    Those left out take the defaults of transformers. A limit or a size that is not a positive whole number is a ModelError.
    """
    from transformers import Qwen2VLImageProcessorPil

    options = {key: table[key] for key in _PLAIN if table.get(key) is not None}
    for key in ("patch_size", "temporal_patch_size", "merge_size"):
        if key in options:
            _positive(key, options[key])
    if table.get("resample") is not None:
        options["resample"] = table["resample"]
    default = Qwen2VLImageProcessorPil.size
    low, high = (_limit(table, *names) for names in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")))
    size = {"shortest_edge": low or default["shortest_edge"], "longest_edge": high or default["longest_edge"]}
    if size["shortest_edge"] > size["longest_edge"]:
        raise ModelError(
            f"the image processor's smallest area {size['shortest_edge']} exceeds its largest {size['longest_edge']}"
        )
    try:
        return Qwen2VLImageProcessorPil(size=size, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"the image-processor configuration cannot be used: {error}") from error


def limits(processor: Any) -> tuple[int, int]:
    """(smallest, largest) picture area in pixels; transformers 5 keeps them in ``size``, whose names speak of edges."""
    return int(processor.size["shortest_edge"]), int(processor.size["longest_edge"])


def _limit(table: dict[str, Any], pixels: str, edge: str) -> int | None:
    """An area limit: the key beside ``size`` wins over those inside it, as in transformers."""
    inside = table.get("size")
    inside = inside if isinstance(inside, dict) else {}
    found = next((v for v in (table.get(pixels), inside.get(pixels), inside.get(edge)) if v is not None), None)
    return None if found is None else _positive(pixels, found)


def _positive(key: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ModelError(f"the image processor's {key} is {value!r}", "a positive whole number")
    return value


# --- What a checkpoint says that it was made for, and whether a question lies inside of it.


@dataclass(frozen=True, slots=True)
class Scope:
    """What a checkpoint was made for."""

    stated: str
    made_by: str = ""
    open_questions: bool = True

    def check(self, source: Source | None, options: Sequence[str], *, implicit: bool = False) -> ScopeCheck:
        """Whether a question lies inside."""
        remarks = []
        if self.made_by and (source is None or source.made_by != self.made_by):
            remarks.append(
                f"The case is outside what the model was made for: it does not bear the mark of {self.made_by}. "
                "The answer says nothing about it."
            )
        if not (options or implicit or self.open_questions):
            remarks.append(
                "The question is outside what the model was made for: it has no answer options. "
                "The answer is an option that the model made up."
            )
        return ScopeCheck(self.stated, not remarks, tuple(remarks))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``from_json`` reads them back equal."""
        return asdict(self)


def from_json(table: Any) -> Scope:
    """Read a statement."""
    kinds = {"stated": str, "made_by": str, "open_questions": bool}
    good = isinstance(table, Mapping) and set(table) <= set(kinds) and bool(table.get("stated"))
    if not good or not all(isinstance(value, kinds[key]) for key, value in table.items()):
        raise FormatError(
            f"the scope in {CARD} is {table!r}", '{"stated": "...", "made_by": "...", "open_questions": true}', "repair the card"
        )
    return Scope(**table)


def scope_of(folder: Path) -> Scope | None:
    """The statement of a checkpoint folder; None where it states nothing."""
    card = read_json(folder / CARD) if (folder / CARD).is_file() else {}
    return from_json(card["scope"]) if isinstance(card, Mapping) and card.get("scope") is not None else None


def told(scope: Scope | None, remarks: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The ``scope`` of an evaluation's results: how many questions lay outside, and why, by the remarks of every answer."""
    counts = Counter(remark for own in remarks for remark in dict.fromkeys(own))
    return {
        "stated": scope.stated if scope else "",
        "questions": len(remarks),
        "outside": sum(map(bool, remarks)) if scope else None,
        "remarks": dict(counts),
    }


PHANTOM_SCOPE = Scope(
    stated=(
        "Axial slices and volumes of the synthetic patients that `unireason phantom` makes, asked with answer options. The model knows "
        "nothing of real patients."
    ),
    made_by=PHANTOM,
    open_questions=False,
)
"""Of the built-in checkpoint and of what is made like it."""
