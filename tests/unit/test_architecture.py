"""The house rules, read off the syntax trees: imports run one way, heavy packages stay where they belong, sizes stay small."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "unireason"
LEVELS = {
    "errors": 0, "types": 1, "files": 1,
    "imaging": 2, "grounding": 2, "metrics": 2,
    "rewards": 3, "data": 3, "model": 3, "segment": 3,
    "engine": 4,
    "train": 5, "evaluate": 5, "report": 5, "conformance": 5, "cluster": 5,
    "bridges": 6,
    "cli": 7, "__main__": 8,
}  # fmt: skip
HEAVY = {"torch", "transformers", "fastapi", "ray"}
LIGHT_ROOMS = {"types", "errors", "files", "imaging", "grounding", "metrics", "rewards", "data", "report", "bridges", "cli"}
TRANSFORMERS_ROOMS = {"model", "segment"}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Absolute dotted names of everything a file imports; with ``top_level`` only what happens at import time."""
    tree = ast.parse(path.read_text())
    here = ("unireason", *path.relative_to(ROOT).with_suffix("").parts)
    lazy: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lazy |= {id(n) for n in ast.walk(node)}
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            lazy |= {id(n) for n in ast.walk(node)}
    for node in ast.walk(tree):
        if top_level and id(node) in lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            yield ".".join((*base, *((node.module,) if node.module else ())))


def test_every_room_has_a_level():
    assert {room(p) for p in FILES} - {"__init__"} <= set(LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_towards_smaller_levels(path):
    mine = room(path)
    if mine == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "unireason" and len(parts) > 1 and parts[1] != mine:
            theirs = parts[1]
            allowed = LEVELS.get(theirs, 0) < LEVELS[mine]
            assert allowed, f"{path.relative_to(ROOT)} (level {LEVELS[mine]}) imports {name} (level {LEVELS.get(theirs)})"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in LIGHT_ROOMS], ids=lambda p: str(p.relative_to(ROOT)))
def test_light_rooms_import_nothing_heavy(path):
    assert not {n.split(".")[0] for n in imports(path, top_level=True)} & HEAVY


def test_session_knows_no_torch():
    assert not {n.split(".")[0] for n in imports(ROOT / "engine" / "session.py")} & HEAVY


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_transformers_only_in_the_model_room(path):
    # Attention functions are registered with transformers by the two back ends that need their own.
    exceptions = {
        "engine/attention.py",
        "train/network/attention.py",
        "engine/cache.py",
        "engine/packed.py",
        "engine/reference.py",
    }
    if room(path) in TRANSFORMERS_ROOMS or path.relative_to(ROOT).as_posix() in exceptions:
        return
    assert "transformers" not in {n.split(".")[0] for n in imports(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_json_is_written_without_nan(path):
    """By ``files.json_text``, or by a call that refuses what is not finite."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dump", "json.dumps", "json.JSONEncoder"):
            assert "allow_nan=False" in ast.unparse(node), f"line {node.lineno} of {path.name}"
        assert not (isinstance(node, ast.ImportFrom) and node.module == "json"), path.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 700
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} in {path.name}"


def test_no_vague_room_names():
    names = {part for p in FILES for part in p.relative_to(ROOT).with_suffix("").parts}
    assert not names & {"utils", "helpers", "manager", "misc", "common", "util"}


def _best_seconds(*command: str) -> float:
    """Processor seconds of a new interpreter, the best of four: other work on the machine does not count."""
    best = float("inf")
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return best


def test_import_and_help_are_quick():
    """Import under 0.15 s on top of a bare interpreter, help under 0.3 s."""
    bare = _best_seconds("-c", "pass")
    assert _best_seconds("-c", "import unireason") - bare < 0.15
    assert _best_seconds("-m", "unireason", "--help") < 0.3


def test_import_loads_nothing_heavy():
    code = (
        "import sys, unireason, unireason.cli; unireason.cli.build_parser(); "
        "print([m for m in ('torch', 'numpy', 'SimpleITK') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_typing_names_are_those_of_python_3_10():
    newer = {"Self", "Never", "LiteralString", "assert_never", "assert_type", "reveal_type", "Required", "NotRequired", "Unpack"}
    newer |= {"TypeVarTuple", "override", "dataclass_transform", "TypeAliasType", "ReadOnly", "TypeIs"}
    for path in FILES:
        for node in ast.parse(path.read_text()).body:  # not what stands below "if TYPE_CHECKING"
            if isinstance(node, ast.ImportFrom) and node.module == "typing":
                assert not newer & {name.name for name in node.names}, path
