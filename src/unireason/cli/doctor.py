"""``unireason doctor``: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from importlib import metadata, util
from typing import Any

from unireason.files import json_text

CORE = (
    "numpy",
    "scipy",
    "pillow",
    "SimpleITK",
    "nibabel",
    "pydicom",
    "torch",
    "transformers",
    "safetensors",
    "tokenizers",
    "rich",
)
EXTRAS = {"browser": ("playwright",), "dicom": ("highdicom",), "dev": ("pytest", "hypothesis", "ruff", "mypy", "jsonschema")}


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
    core = {p: _version(p) for p in CORE}
    extras = {name: {p: _version(p) for p in packages} for name, packages in EXTRAS.items()}
    problems = [
        f"{p} is missing; install it with: pip install -c constraints.txt unireason" for p, v in core.items() if v is None
    ]
    from unireason.errors import ModelError
    from unireason.model.files import BUILT_IN, locate

    try:
        present = (locate(BUILT_IN) / "config.json").is_file()
    except ModelError:
        present = False
    if not present:
        problems.append("the built-in checkpoint is missing; reinstall the package")
    if _version("torchvision") is not None and core["torch"] and "+cpu" in core["torch"]:
        problems.append("torchvision stands beside a CPU torch and may break it; remove it with: pip uninstall torchvision")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "core": core,
        "extras": extras,
        "missing_extras": [f"pip install 'unireason[{n}]'" for n, ps in extras.items() if any(v is None for v in ps.values())],
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
