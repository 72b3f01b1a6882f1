"""``unireason doctor``: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
from importlib import metadata, util
from typing import Any
from urllib.parse import unquote, urlsplit

from unireason.files import json_text

NAME = "unireason"


def add_parser(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this installation",
        description="Versions, devices, threads, extras and the built-in checkpoint. Exit code 1 if the core cannot work.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _wanted(extra: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """What this package's metadata asks for on this machine, by name: of the core for "", else of an extra; extras may hold extras."""
    from packaging.requirements import Requirement

    found: dict[str, Any] = {}
    for line in metadata.requires(NAME) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        is_core = marker is None or marker.evaluate({"extra": ""})
        belongs = is_core if not extra else not is_core and marker is not None and marker.evaluate({"extra": extra})
        if not belongs:
            continue
        if requirement.name.lower() == NAME:
            for inner in sorted(requirement.extras - {extra, *seen}):
                found |= _wanted(inner, (*seen, extra))
        else:
            found[requirement.name] = requirement.specifier
    return found


def _install(extra: str) -> str:
    """The command that installs the core or an extra, from where this installation came from."""
    place, editable = NAME, ""
    told = metadata.distribution(NAME).read_text("direct_url.json")
    source = json.loads(told) if told else {}
    if source.get("url", "").startswith("file://") and "dir_info" in source:
        place = unquote(urlsplit(source["url"]).path)
        editable = "-e " if source["dir_info"].get("editable") else ""
    elif source:
        place = f"{NAME} @ {source['url']}" if not extra else f"{NAME}[{extra}] @ {source['url']}"
        return f"pip install '{place}'"
    return f"pip install {editable}'{place}{f'[{extra}]' if extra else ''}'"


def _requirements() -> tuple[dict[str, str | None], dict[str, dict[str, str | None]], list[str], list[str]]:
    """Versions of the core and of the extras, commands for extras that are incomplete, problems of the core."""
    try:
        wanted = _wanted("")
        extras = {extra: _wanted(extra) for extra in metadata.metadata(NAME).get_all("Provides-Extra") or []}
    except metadata.PackageNotFoundError:
        return {}, {}, [], [f"{NAME} runs from a folder and is not installed, so what it needs is not known; pip install it"]
    except ImportError:
        return {}, {}, [], ["packaging is missing, which reads what is needed; install it with: pip install packaging"]

    def wrong(package: str, specifier: Any) -> str:
        version = _version(package)
        if version is None:
            return f"{package} is missing"
        return "" if specifier.contains(version, prereleases=True) else f"{package} is {version}, and {specifier} is needed"

    problems = [f"{said}; install it with: {_install('')}" for p, s in wanted.items() if (said := wrong(p, s))]
    commands = [_install(extra) for extra, needs in extras.items() if any(wrong(p, s) for p, s in needs.items())]
    versions = {extra: {p: _version(p) for p in needs} for extra, needs in extras.items()}
    return {p: _version(p) for p in wanted}, versions, commands, problems


def _devices() -> list[str]:
    if util.find_spec("torch") is None:
        return []
    import torch

    return ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]


def _threads() -> int | None:
    if util.find_spec("torch") is None:
        return None
    import torch

    return torch.get_num_threads()


def examine() -> dict[str, Any]:
    """All findings as plain JSON values; ``problems`` lists what stops the core, each with a remedy."""
    core, extras, commands, problems = _requirements()
    from unireason.errors import ModelError
    from unireason.model.files import BUILT_IN, locate

    try:
        present = (locate(BUILT_IN) / "config.json").is_file()
    except ModelError:
        present = False
    if not present:
        problems.append("the built-in checkpoint is missing; reinstall the package")
    if _version("torchvision") is not None and "+cpu" in (_version("torch") or ""):
        problems.append("torchvision stands beside a CPU torch and may break it; remove it with: pip uninstall torchvision")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "core": core,
        "extras": extras,
        "missing_extras": commands,
        "devices": _devices(),
        "cpu_count": os.cpu_count(),
        "torch_threads": _threads(),
        "chromium": shutil.which("chromium") is not None,
        "built_in_checkpoint": present,
        "problems": problems,
    }


def run(args: argparse.Namespace) -> int:
    """Run the command; 0 if the core can work, else 1."""
    found = examine()
    if args.json:
        print(json_text(found))
        return 1 if found["problems"] else 0
    print(
        f"Python {found['python']} on {found['system']}, {found['cpu_count']} cores, torch uses {found['torch_threads']} threads"
    )
    print("core:    " + ", ".join(f"{p} {v or 'MISSING'}" for p, v in found["core"].items()))
    for name, packages in found["extras"].items():
        print(f"extra {name}: " + ", ".join(f"{p} {v or 'missing'}" for p, v in packages.items()))
    for command in found["missing_extras"]:
        print(f"  to add: {command}")
    print("devices: " + (", ".join(found["devices"]) or "none"))
    print(f"built-in checkpoint: {'present' if found['built_in_checkpoint'] else 'MISSING'}")
    for problem in found["problems"]:
        print(f"problem: {problem}")
    if not found["problems"]:
        print("everything the core needs is here")
    return 1 if found["problems"] else 0
