"""``unireason demo``, ``doctor``, ``weights convert``, ``phantom``, ``conformance`` and ``plan``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import sys
import time
from dataclasses import asdict
from importlib import metadata, util
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from unireason.core.errors import FormatError
from unireason.core.store import Scratch, json_text, write_bytes

if TYPE_CHECKING:
    from unireason.engine.reasoner import Reasoner
    from unireason.evaluate.examination import Examined


# --- ``unireason demo``: the main job on phantom patients, with the built-in checkpoint.


SHOWN = 6  # traces of each kind that get a page
PARTS = ("right anterior", "left anterior", "right posterior", "left posterior")


def add_demo(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "demo",
        help="ask and score phantom patients with the built-in checkpoint",
        description="Read phantom patients from files, build an examination, ask 2D and 3D questions, score them, write pages.",
        epilog="Research only, not a medical device.",
    )
    parser.add_argument("--seed", type=int, default=0, help="which examination; nothing was trained on its patients (default 0)")
    parser.add_argument("--questions", metavar="N", type=int, default=60, help="questions of each kind, 2D and 3D (default 60)")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("demo"), help="where to write (default demo)")
    parser.add_argument("--model", metavar="REF", default="phantom", help="phantom (built in), a folder or a hub id")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the scores")
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    """Run the command; 0 when everything is written."""
    from unireason.data.frames import rule
    from unireason.engine.reasoner import load
    from unireason.evaluate.examination import examine
    from unireason.evaluate.heldout import EXAM, KINDS, make_exam
    from unireason.model.files import told, underneath
    from unireason.report.html import of_results, tell

    from .ask import bar, status

    if args.questions < 1 or args.seed < 0:
        raise FormatError(f"seed {args.seed} and {args.questions} questions", "a seed of at least 0 and at least 1 question")
    begun = time.perf_counter()
    with status("loading the model", quiet=args.json):
        reasoner = load(args.model)
    _files(reasoner, args)
    found: dict[str, Examined] = {}
    with Scratch(EXAM) as folder:
        with status("building the examination", quiet=args.json):
            exam = make_exam(args.seed, args.questions, folder / "exam", frame=rule(str(underneath(args.model))))
        for key, kind in KINDS:
            with bar(f"{key} questions", quiet=args.json) as progress:
                found[key] = examine(reasoner, exam, folder / key, kind=kind, count=args.questions, progress=progress)
    scores: dict[str, Any] = {key: own.scores for key, own in found.items()}
    scores["checkpoint"] = {"name": reasoner.checkpoint.name, "sha256": reasoner.checkpoint.sha256}
    scores["seconds"] = round(time.perf_counter() - begun, 1)
    scores["scope"] = told(reasoner.checkpoint.scope, [one.trace.scope.remarks for own in found.values() for one in own.answers])
    _pages(found, scores, args.out)
    tell(of_results({**scores["2d"], "scope": scores["scope"]}))
    if args.json:
        print(json_text(scores))
    else:
        _table(scores, args.out)
    return 0


def _files(reasoner: Reasoner, args: argparse.Namespace) -> None:
    """One patient of each format, read back from its files and asked as a user would; prints the traces."""
    from unireason.data.questions.wording import KINDS, PHRASES, TERMS
    from unireason.data.sources.phantom import FORMATS, write_patients
    from unireason.imaging import read
    from unireason.report.text import lines

    inside = {"nifti": "image.nii.gz", "dicom": "dicom", "png": "image.png"}
    for form in FORMATS:
        folder = write_patients(args.out / "patients" / form, count=1, seed=args.seed, form=form)[0]
        structures = json.loads((folder / "structures.json").read_text())["structures"]
        # The largest one whose name does not tell its side.
        unsided = [s for s in structures if not s["name"].startswith(("left", "right"))] or structures
        name = max(unsided, key=lambda s: s.get("volume_mm3") or s.get("area_mm2"))["name"]
        case = read(folder / inside[form])
        wording = {"kind": KINDS[case.kind][0], "x": f"the {name}", "terms": TERMS["patient"][0]}
        trace = reasoner.ask(case, PHRASES["quadrant"][0].format(**wording), options=PARTS)
        if not args.json:
            print(f"{folder / inside[form]}\n" + "\n".join(lines(trace)) + "\n")


def _pages(found: dict[str, Examined], scores: dict[str, Any], out: Path) -> None:
    from unireason.grounding.trace import to_json
    from unireason.report.folder import IndexEntry, write_folder
    from unireason.report.pictures import write_overlay

    entries, records = [], []
    for key, own in found.items():
        for number, item in enumerate(own.answers):
            row, trace, right = item.row, item.trace, item.row["right"]
            letter, family = row["letter"], row["tags"].get("family", "")
            expected = {"letter": letter, "family": family, "patient": row["patient"]}
            records.append({"kind": key, "right": right, "expected": expected, "trace": to_json(trace)})
            if number < SHOWN:
                name = f"traces/{key}-{number:02d}"
                write_overlay(trace, item.case, item.stack, out / f"{name}.png")
                of_question: dict[str, Any] = {"correct": right, "family": family, "expected": letter}
                entries.append(IndexEntry(trace, item.case, item.stack, f"{name}.html", **of_question))
    write_bytes(out / "traces.json", (json_text({"scores": scores, "traces": records}) + "\n").encode())
    write_folder(entries, out / "report.html", title="UniReason demo on phantom patients", summary=scores)


def _table(scores: dict[str, Any], out: Path) -> None:
    from unireason.report.html import interval_text

    for key in ("2d", "3d"):
        part = scores[key]
        ends = interval_text(part["accuracy_ci95_patients"], 1)
        iou = "-" if part["mean_box_iou"] is None else f"{part['mean_box_iou']:.2f}"
        print(
            f"{key}: {part['accuracy']:.1%} of {part['n']} right (95% {ends or 'unknown'}), "
            f"box IoU {iou}, answers with a look {part['crop_rate']:.1%}, "
            f"letter against text {part['mismatch_rate']:.1%}"
        )
        if own := part["own_boxes"]:
            print(
                f"    own boxes right in {own['accuracy']:.1%} of the {own['n']} questions that they decide, the model in "
                f"{own['model_accuracy']:.1%}; {own['follows']:.1%} of these answers follow the own boxes"
            )
        for family, row in part["by_family"].items():
            print(f"    {family:24s} {row['accuracy']:6.1%} of {row['n']:3d}   chance {row['chance']:.0%}")
    print(f"report: {out / 'report.html'}\ntraces: {out / 'traces.json'}\nseconds: {scores['seconds']}")
    image = next((out / "patients" / "nifti").glob("*/image.nii.gz"))  # the demo's own patient
    ask = ["unireason", "ask", str(image), "-q", "Is the spleen present?", "-o", "yes", "-o", "no"]
    print(f"look at one yourself: {shlex.join([*ask, '--report', str(out / 'spleen.html')])}")
    print("Research only, not a medical device.", file=sys.stderr)


# --- ``unireason doctor``: what is installed, what is missing, and the command that installs it.


NAME = "unireason"


def add_doctor(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "doctor",
        help="check this installation",
        description="Versions, devices, threads, extras and the built-in checkpoint; with MODEL, what that checkpoint is, how it would be "
        "asked and whether it fits. Exit code 1 if the core, or the model, cannot work.",
    )
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a checkpoint: phantom, a folder or a hub id; weights are not fetched"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_doctor)


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


def examine() -> dict[str, Any]:
    """All findings as plain JSON values; ``problems`` lists what stops the core, each with a remedy."""
    core, extras, commands, problems = _requirements()
    from unireason.core.errors import ModelError
    from unireason.model.files import BUILT_IN_CHECKPOINT, locate

    try:
        present = (locate(BUILT_IN_CHECKPOINT) / "config.json").is_file()
    except ModelError:
        present = False
    if not present:
        problems.append("the built-in checkpoint is missing; reinstall the package")
    if _version("torchvision") is not None and "+cpu" in (_version("torch") or ""):
        problems.append("torchvision stands beside a CPU torch and may break it; remove it with: pip uninstall torchvision")
    devices: list[str] = []
    threads = None
    if util.find_spec("torch") is not None:
        import torch

        devices = ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count()))]
        threads = torch.get_num_threads()
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "core": core,
        "extras": extras,
        "missing_extras": commands,
        "devices": devices,
        "cpu_count": os.cpu_count(),
        "torch_threads": threads,
        "chromium": shutil.which("chromium") is not None,
        "built_in_checkpoint": present,
        "problems": problems,
    }


def run_doctor(args: argparse.Namespace) -> int:
    """Run the command; 0 if the core, or the model, can work, else 1."""
    if args.model:
        return _tell_checkpoint(args)
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


_SMALL = ("*.json", "*.txt", "*.jinja", "*.toml")
_QUESTION_TOKENS = 200  # words of a prompt, about


def examine_checkpoint(ref: str) -> dict[str, Any]:
    """What a checkpoint is, how it would be asked, and what inference takes, as plain JSON values; no weights are read or fetched.

    Memory is that of the weights in bfloat16 and of keys and values of one question on a volume whose looks show a slice each; buffers of
    single layers come on top.
    """
    import torch

    from unireason.core.store import hub_folder, is_hub_id
    from unireason.grounding.profile import GROUNDING_FILE, PROFILE_FILE, load_profile
    from unireason.model.checkpoint import outline
    from unireason.model.files import locate, scope_of

    remote = is_hub_id(ref) and not Path(ref).expanduser().is_dir()
    folder = hub_folder(ref, _SMALL) if remote else locate(ref)
    network = outline(folder)
    text = network.config.get_text_config()
    weights = 2 * sum(p.numel() for p in network.parameters())
    profiles = {}
    for task, file, built_in in (("questions", PROFILE_FILE, "default"), ("implicit questions", GROUNDING_FILE, "umrg")):
        own = folder / file
        profile = load_profile(own if own.exists() else built_in)
        profiles[task] = {"name": profile.name, "from": file if own.exists() else "built in", "sha256": profile.sha256}
        if task == "questions":
            depth, height, width = profile.volume_shape
            cell = network.config.vision_config.patch_size * network.config.vision_config.spatial_merge_size
            shown = depth * (round(height / cell) * round(width / cell) + 2)
            longest = (
                shown
                + _QUESTION_TOKENS
                + profile.max_new_tokens
                + profile.max_looks * (round(height / cell) * round(width / cell) + 2)
            )
            asked = {
                "system_2d": profile.system_2d,
                "system_3d": profile.system_3d,
                "looks": profile.max_looks,
                "crops": profile.crops,
            }
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    cache = 2 * 2 * text.num_hidden_layers * text.num_key_value_heads * head * longest
    scope = scope_of(folder)
    rooms = {f"cuda:{n} {torch.cuda.get_device_name(n)}": torch.cuda.mem_get_info(n)[0] for n in range(torch.cuda.device_count())}
    rooms |= {"cpu": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")} if hasattr(os, "sysconf") else {}
    return {
        "model": ref,
        "architecture": network.config.model_type,
        "layers": text.num_hidden_layers,
        "parameters": weights // 2,
        "profiles": profiles,
        "asked": asked,
        "scope": scope.stated if scope else "",
        "memory_bytes": {"weights": weights, "cache": cache, "cache_tokens": longest},
        "devices": {name: {"free_bytes": free, "fits": free > 1.1 * (weights + cache)} for name, free in rooms.items()},
    }


def _tell_checkpoint(args: argparse.Namespace) -> int:
    from unireason.core.errors import UniReasonError

    try:
        found = examine_checkpoint(args.model)
    except UniReasonError as error:
        print(json_text({"model": args.model, "problems": [str(error)]}) if args.json else f"problem: {error}")
        return 1
    if args.json:
        print(json_text({**found, "problems": []}))
        return 0
    memory = found["memory_bytes"]
    print(f"{found['model']}: {found['architecture']}, {found['layers']} layers, {found['parameters'] / 1e6:,.1f}M weights")
    for task, profile in found["profiles"].items():
        print(f"{task}: asked by the profile {profile['name']} ({profile['from']})")
    print(f"  an image begins with: {found['asked']['system_2d'][:90]!r}")
    if found["profiles"]["questions"]["from"] == "built in":
        print("  a published checkpoint answers best to its own words: unireason profile from-source, then --prompts FILE")
    print(f"made for: {found['scope'] or 'not stated'}")
    sizes = f"weights {memory['weights'] / 1e9:.2f} GB in bfloat16, {memory['cache'] / 1e9:.2f} GB for {memory['cache_tokens']:,} tokens"
    print(f"memory of one question on a volume: {sizes}, and buffers")
    for name, device in found["devices"].items():
        print(f"  {name}: {device['free_bytes'] / 1e9:.1f} GB free, {'fits' if device['fits'] else 'does not fit'}")
    return 0


# --- ``unireason weights convert``: published checkpoints of segmentation networks in the form that the experts load.


KINDS = ("medsam", "sam-med2d", "medsam2")  # those of segment.networks.convert, which would import torch


def add_weights(subparsers: Any) -> None:
    """Add the command and its subcommand to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "weights",
        help="convert weights of segmentation networks, gather those of a cluster",
        description="Bring original checkpoints of segmentation networks, and what verl trained, into the form that this package loads.",
    )
    below = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
    convert = below.add_parser(
        "convert",
        help="an original .pt file becomes a folder",
        description=(
            "Write config.json and model.safetensors from an original checkpoint. No code of the file is run: anything in it but tensors, "
            "numbers and plain containers is refused. Every tensor must be known, present and of its shape."
        ),
    )
    convert.add_argument("original", metavar="ORIGINAL.pt", type=Path, help="the published file (.pt, .pth)")
    convert.add_argument("--kind", choices=KINDS, required=True, help="which network it is")
    convert.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write; then: --weights DIR")
    convert.add_argument("--json", action="store_true", help="print one JSON object")
    convert.set_defaults(run=run_weights)
    merged = below.add_parser(
        "merge",
        help="what verl trained becomes a checkpoint",
        description="Write the last weights that `unireason train grpo --engine verl` saved as a checkpoint folder, profiles included.",
    )
    merged.add_argument("run_folder", metavar="RUN", type=Path, help="the run folder (--out of the training)")
    merged.add_argument("--step", metavar="N", type=int, default=0, help="a saved step (default: the last)")
    merged.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write; then: --model DIR")
    merged.add_argument("--json", action="store_true", help="print one JSON object")
    merged.set_defaults(run=run_merge)


def run_merge(args: argparse.Namespace) -> int:
    """Run the command; 0 when the folder is written."""
    from unireason.cluster.verl_run import merge

    done = merge(args.run_folder, args.out, step=args.step)
    print(json_text(done) if args.json else f"step {done['step']} written: {done['folder']}")
    return 0


def run_weights(args: argparse.Namespace) -> int:
    """Run the command; 0 when the folder is written."""
    from unireason.segment.convert import convert

    done = convert(args.original, args.kind, args.out)
    if args.json:
        print(json_text({"kind": args.kind, **done}))
    else:
        print(f"{done['read']} tensors read, {done['written']} written ({done['parameters']:,} parameters): {done['folder']}")
    return 0


# --- ``unireason phantom DIR``: write phantom patients as files.


FORMATS = ("nifti", "dicom", "png")


def add_phantom(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "phantom",
        help="write synthetic patients with exact masks",
        description="Write synthetic CT-like patients, one folder each: image, labels and structures.json.",
    )
    parser.add_argument("folder", metavar="DIR", type=Path, help="where to write; created if missing")
    parser.add_argument("--patients", metavar="N", type=int, default=4, help="how many (default 4)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="cohort; the same seed gives the same files (default 0)")
    parser.add_argument("--format", choices=FORMATS, default="nifti", help="nifti, dicom (a CT series) or png (one axial slice)")
    parser.add_argument(
        "--version",
        type=int,
        choices=(1, 2),
        default=1,
        help="1 (default), or 2: CT or MR, film and ultrasound with detail that only full resolution shows; nifti or png",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run_phantom)


def run_phantom(args: argparse.Namespace) -> int:
    """Run the command; 0 when all patients are there."""
    from unireason.data.sources.phantom import write_patients
    from unireason.report.html import plural

    folders = write_patients(args.folder, count=args.patients, seed=args.seed, form=args.format, version=args.version)
    if args.json:
        patients = [f.name for f in folders]
        print(
            json_text(
                {
                    "folder": str(args.folder),
                    "patients": patients,
                    "format": args.format,
                    "seed": args.seed,
                    "version": args.version,
                }
            )
        )
    else:
        names = ", ".join([*(f.name for f in folders[:3]), *(["..."] if len(folders) > 3 else [])])
        print(f"{plural(len(folders), 'patient')} in {args.folder}: {names}")
    return 0


# --- ``unireason conformance FILE|FOLDER``: does this package still answer as the published systems do?


def add_conformance(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "conformance",
        help="compare the package with recorded answers of the published systems",
        description="Compare every case of a file, or every fixture of a folder, and print one line a kind. "
        "Exit code: 0 all pass, 1 differences, 2 bad file.",
    )
    parser.add_argument("file", metavar="FILE|FOLDER", type=Path, help="JSON file of cases, or a folder of fixtures")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.set_defaults(run=run_conformance)


def run_conformance(args: argparse.Namespace) -> int:
    """Run the command."""
    from unireason.conformance import check_file
    from unireason.parity import check_folder

    results = check_folder(args.file) if args.file.is_dir() else check_file(args.file)
    good = all(result.passed == result.total for result in results)
    if args.json:
        print(json_text({"passed": good, "keys": [asdict(result) for result in results]}))
    else:
        for result in results:
            print(f"{result.key}: {result.passed}/{result.total}")
            for difference in result.differences:
                print(f"  {difference}")
    return 0 if good else 1


# --- ``unireason plan CONFIG``: what a run will cost, before it is started.


MARK = "Estimate of `unireason plan"


def add_plan(subparsers: Any) -> None:
    """Add the command to an ``argparse`` subparsers object; it sets ``run``."""
    parser = subparsers.add_parser(
        "plan",
        help="tell what a training run will cost",
        description=(
            "Tokens, operations, memory and hours of a run of train sft or train grpo, from its run file alone. Sizes of the data come "
            "from the data sets where they are at hand, else from the table [plan]. Exits 1 if the run does not fit the device."
        ),
    )
    parser.add_argument("config", metavar="FILE.toml", type=Path, help="run file")
    parser.add_argument("--gpu", metavar="NAME", help="A100-80, H100-80, H200 or cpu-core (default: plan.gpu of the file)")
    parser.add_argument(
        "--gpus", metavar="N", type=int, help="how many of them, one process each (default: plan.gpus of the file)"
    )
    parser.add_argument(
        "--flops", metavar="TFLOPS", type=float, default=0.0, help="measured matrix products, 10^12 operations a second"
    )
    parser.add_argument("--memory", metavar="GB", type=float, default=0.0, help="memory of a device")
    parser.add_argument("--bandwidth", metavar="GB/S", type=float, default=0.0, help="measured memory bandwidth of a device")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help="one setting in place of the file's"
    )
    parser.add_argument("--assumed", action="store_true", help="take the sizes of [plan] even where data sets are at hand")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--write-header", action="store_true", help="write the assumed estimate into the comments at the file's head"
    )
    parser.set_defaults(run=run_plan)


def run_plan(args: argparse.Namespace) -> int:
    """Run the command; 0 if the run fits the device, 1 if it does not."""
    from unireason.core.config import resolved
    from unireason.train.config import read_any
    from unireason.train.estimate import at_hand, lines, machine, plan, sizes

    settings, planned = read_any(args.config, args.overrides)
    here = not (args.assumed or args.write_header) and at_hand(settings)
    planned = sizes(settings, planned) if here else planned
    count = planned.gpus if args.gpus is None else args.gpus
    on = machine(args.gpu or planned.gpu, count, teraflops=args.flops, gigabytes=args.memory, bandwidth=args.bandwidth)
    estimate, origin = plan(settings, planned, on), "measured" if here else "assumed"
    told = lines(estimate, planned, origin=origin)
    if args.write_header:
        if args.overrides or args.gpu or args.gpus or args.flops or args.memory or args.bandwidth:
            raise FormatError("--write-header was given together with other values", "the file's own", "write them into the file")
        write_bytes(args.config, with_header(args.config.read_text(encoding="utf-8"), told, args.config.name).encode())
    if args.json:
        print(json_text({"settings": resolved(settings), "plan": asdict(planned), "sizes": origin, **estimate.to_json()}))
    else:
        print("\n".join(told))
    return 0 if estimate.fits else 1


def with_header(text: str, told: list[str], name: str) -> str:
    """The text of a run file with an estimate at the end of its leading comments."""
    lines = text.splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    start = next((i for i, line in enumerate(lines[:end]) if MARK in line), end)
    head = [f"# {MARK} {name} --assumed`:", *(f"#   {line}" for line in told)]
    return "\n".join([*lines[:start], *head, *lines[end:]]) + "\n"
