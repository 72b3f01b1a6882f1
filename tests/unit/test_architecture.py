"""The house rules, read off the syntax trees: imports run one way, heavy packages stay where they belong, sizes stay small."""

from __future__ import annotations

import ast
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "unireason"
FLOORS = {
    "core": 1,
    "imaging": 2, "grounding": 2, "metrics": 2,
    "model": 3, "rewards": 3, "segment": 3,
    "data": 4, "engine": 4,
    "train": 5, "evaluate": 5, "conformance": 5,
    "report": 6, "bridges": 6, "parity": 6, "cluster": 6,
    "cli": 7, "__main__": 8, "moved": 0,
}  # fmt: skip
KERNEL = ("core", "imaging", "grounding", "metrics", "rewards", "model", "engine", "segment", "train")
MOST = {"lines of the kernel": 21_000, "lines of the package": 59_700, "files": 211, "lines of a file": 700}
"""What may not grow. The goal is 15,000, 32,000 and 160: whoever makes the house smaller lowers the bound."""
HEAVY = {"torch", "transformers", "fastapi", "ray"}
LIGHT_ROOMS = {"core", "imaging", "grounding", "metrics", "rewards", "data", "report", "bridges", "cli"}
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
    assert {room(p) for p in FILES} - {"__init__"} <= set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_towards_smaller_levels(path):
    mine = room(path)
    if mine == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "unireason" and len(parts) > 1 and parts[1] != mine:
            theirs = parts[1]
            allowed = FLOORS[theirs] < FLOORS[mine]
            assert allowed, f"{path.relative_to(ROOT)} (floor {FLOORS[mine]}) imports {name} (floor {FLOORS[theirs]})"


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in LIGHT_ROOMS], ids=lambda p: str(p.relative_to(ROOT)))
def test_light_rooms_import_nothing_heavy(path):
    assert not {n.split(".")[0] for n in imports(path, top_level=True)} & HEAVY


def test_session_knows_no_torch():
    assert not {n.split(".")[0] for n in imports(ROOT / "engine" / "session.py")} & HEAVY


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_transformers_only_in_the_model_room(path):
    # Attention functions are registered with transformers by the two back ends that need their own.
    exceptions = {"engine/cache.py", "engine/reference.py", "train/packing.py"}
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


def test_the_house_does_not_grow(capsys):
    sizes = {path: path.read_text().count("\n") for path in FILES}
    found = {
        "lines of the kernel": sum(n for path, n in sizes.items() if room(path) in KERNEL),
        "lines of the package": sum(sizes.values()),
        "files": len(FILES),
        "lines of a file": max(sizes.values()),
    }
    with capsys.disabled():
        print("\n" + ", ".join(f"{name}: {n:,} of {MOST[name]:,}" for name, n in found.items()))
    assert all(n <= MOST[name] for name, n in found.items())


def test_a_class_name_exists_once():
    names: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    twice = {
        name: places for name, places in names.items() if len(places) > 1 and name != "UniReason"
    }  # the kits ask for that name
    assert not twice


def test_no_import_goes_round():
    """Files at import time; what a function imports late does not count."""
    known = {".".join(("unireason", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text())
        reached = set()
        for base in imports(path, top_level=True):
            reached |= {base} & set(known)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                parts = ("unireason", *path.relative_to(ROOT).parts)[: -node.level] if node.level else ()
                base = ".".join((*parts, *((node.module,) if node.module else ())))
                modules = {f"{base}.{alias.name}" for alias in node.names} & set(known)
                reached = (reached - {base} if modules else reached) | modules
        graph[name] = reached - {name}
    while leaves := [name for name, needs in graph.items() if not needs & set(graph)]:
        for name in leaves:
            del graph[name]
    assert not graph


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


def test_old_names_are_found_where_they_went():
    """Whoever imported a module by its name before the files were joined still can, for one release."""
    table = json.loads((ROOT / "assets" / "moved.json").read_text())
    homes = set(table["modules"].values()) | {home.partition(":")[0] for home in table["names"].values()}
    files = {p.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__") for p in FILES}
    assert homes <= files
    with pytest.warns(DeprecationWarning, match="has moved to unireason"):
        from unireason.train.feed.plan import Plan
    from unireason.train.sampler import BatchPlan

    assert Plan is BatchPlan
    with pytest.raises(ImportError):
        from unireason.train.feed.plan import Nothing  # noqa: F401
    with pytest.raises(ModuleNotFoundError):
        import unireason.train.nowhere  # noqa: F401
