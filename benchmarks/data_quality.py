"""How often built reasoning says what it should not, on all kinds of source, and samples to be read.

    python -m benchmarks.data_quality build FOLDER [--real REALDATA] [--colin TEMPLATES]   # sources and data sets below FOLDER
    python -m benchmarks.data_quality measure FOLDER [--json]                              # rates a set and over all
    python -m benchmarks.data_quality sample FOLDER --out READ [--seed S] [--count N]      # texts, pictures, a table for verdicts
    python -m benchmarks.data_quality verdicts TABLE...                                    # rates of filled tables
    python -m benchmarks.data_quality time SRC SRC [--pairs N]                             # building with two versions, in turn

``build`` makes the sources (phantoms; whole-body names as TotalSegmentator spells them; an nnU-Net set with both kidneys in one class and
scattered lesions; pictures of eight modalities as in SA-Med2D; an upper abdomen cropped so that the middle of the body lies outside) and
takes two real ones where they are: MR with tumours (``--real`` or UNIREASON_REAL: a folder with ``tumour_mr``) and Colin27 with the AAL
atlas (``--colin`` or UNIREASON_COLIN: the folder ``templates`` of Debian's mricron-data). Sources that FOLDER holds already are used
again, so that two versions build from the same ones: run ``build`` with the other version in PYTHONPATH and ``--sources`` of the first.
``measure`` and ``sample`` read any data sets, older ones too. Rates are shares of reasonings unless said otherwise.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image
from scipy import ndimage

WHOLE_BODY = {
    **{1: "lung_middle_lobe_right", 2: "lung_upper_lobe_left", 3: "heart", 4: "liver", 5: "spleen", 6: "stomach"},
    **{
        7: "inferior_vena_cava",
        8: "autochthon_left",
        9: "kidney_left",
        10: "kidney_right",
        11: "iliac_vena_left",
        30: "vertebrae_L2",
    },
}
MODALITIES = (
    ("dermoscopy", "ISIC", {"melanoma": 1}),
    ("endoscopy", "Kvasir", {"polyp": 3}),
    ("fundus", "IDRID", {"optic_disc": 1, "hard_exudates": 5}),
    ("us", "TN3K", {"thyroid_nodule": 1}),
    ("x_ray", "Chest", {"left_lung": 1, "right_lung": 1}),
    ("histopathology", "GlaS", {"gland": 4}),
    ("ct", "AMOS", {"liver": 1, "spleen": 1, "right_kidney": 1, "left_kidney": 1}),
    ("mr", "BraTS", {"brain_tumor": 1, "edema": 2}),
)
PLACES = {  # as a picture shows them: (x, y) of what has its place
    **{"left_lung": (140, 80), "right_lung": (60, 80), "liver": (60, 70), "spleen": (150, 85)},
    **{"right_kidney": (75, 115), "left_kidney": (125, 115)},
}
CRITERIA = ("correct", "evidence first", "nothing unseen", "natural English", "clinically sensible")
ODD = re.compile(
    r"vertebrae [clt]\d|lung (?:upper|middle|lower) lobe|\bautochthon\b(?! muscle)|iliac vena|\bthe ivc\b|cerebelum",
    re.I,
)
METRIC = re.compile(r"\d(?:[\d.,]*\d)?\s*(?:mm[23²³]?|cm[23²³]?|ml)\b")
SIDES = re.compile(
    r"\b(?:to the |on the |the )?(?:left|right) (?:side|half|part|of|anterior|posterior|upper|lower)\b|\bto the (?:left|right)\b",
    re.I,
)
BODY_SIDES = re.compile(r"\b(?:left|right) (?:side|half|part|anterior|posterior|hemisphere)\b|\bmidline\b", re.I)


def _phantoms(patients: int) -> list[Any]:
    from unireason.data.sources.phantom import generate

    return [generate(5, n) for n in range(patients)]


def _nifti(path: Path, zyx: Any, affine_lps: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(np.transpose(zyx)), ras), path)


def whole_body(folder: Path, patients: int) -> list[str]:
    """Masks a structure, named as TotalSegmentator names them."""
    rows = ["image_id;age;split"]
    for n, one in enumerate(_phantoms(patients)):
        _nifti(folder / f"s{n:04d}" / "ct.nii.gz", one.voxels, one.affine_lps)
        for value, name in WHOLE_BODY.items():
            _nifti(
                folder / f"s{n:04d}" / "segmentations" / f"{name}.nii.gz", (one.labels == value).astype(np.uint8), one.affine_lps
            )
        rows.append(f"s{n:04d};60;train")
    (folder / "meta.csv").write_text("\n".join(rows))
    return ["totalsegmentator", str(folder)]


def lesions(folder: Path, patients: int) -> list[str]:
    """Both kidneys in one class, and some liver tumours each."""
    rng = np.random.default_rng(1)
    for n, one in enumerate(_phantoms(patients)):
        labels = np.select(
            [one.labels == 4, np.isin(one.labels, (9, 10)), one.labels == 5, one.labels == 6], [1, 2, 3, 4], 0
        ).astype(np.uint8)
        inside = np.argwhere(ndimage.binary_erosion(labels == 1, iterations=3))
        for place in inside[rng.permutation(len(inside))[: 1 + n % 4]] if len(inside) else ():
            grid = np.ogrid[tuple(slice(0, s) for s in labels.shape)]
            near = sum(((g - p) * s) ** 2 for g, p, s in zip(grid, place, one.spacing_mm[::-1], strict=True)) <= 9.0**2
            labels[near & (labels == 1)] = 5
        _nifti(folder / "imagesTr" / f"case_{n:02d}_0000.nii.gz", one.voxels, one.affine_lps)
        _nifti(folder / "labelsTr" / f"case_{n:02d}.nii.gz", labels, one.affine_lps)
    names = {"background": 0, "liver": 1, "kidneys": 2, "spleen": 3, "stomach": 4, "liver_tumour": 5}
    table = {"name": "Lesions", "licence": "CC0", "channel_names": {"0": "CT"}, "labels": names, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**table, "numTraining": patients}))
    return ["nnunet", str(folder)]


def modalities(folder: Path, patients: int) -> list[str]:
    """Discs on textured pictures, named as SA-Med2D names files and classes."""
    rng = np.random.default_rng(2)
    index: dict[str, list[str]] = {}
    classes: dict[str, dict[str, str]] = {}
    for modality, name, kinds in MODALITIES:
        classes[name] = {kind: f"{i:04d}" for i, kind in enumerate(kinds)}
        for n in range(patients):
            stem = f"{modality}_00--{name}--case_{n:03d}--2d_none"
            picture = rng.normal(120, 12, (160, 200, 3))
            files = []
            for i, (kind, most) in enumerate(kinds.items()):
                mask = np.zeros((160, 200), bool)
                for _ in range(int(rng.integers(1, most + 1))):
                    y, x, r = rng.integers(30, 130), rng.integers(30, 170), rng.integers(8, 26)
                    x, y = PLACES[kind] + rng.integers(-8, 9, 2) if kind in PLACES else (x, y)
                    mask |= np.add(*(a**2 for a in np.ogrid[-y : 160 - y, -x : 200 - x])) <= r**2
                picture[mask] += 50
                files.append(f"masks/{stem}--{i:04d}_000.png")
                (folder / "masks").mkdir(parents=True, exist_ok=True)
                Image.fromarray((mask * 255).astype(np.uint8)).save(folder / files[-1])
            (folder / "images").mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / "images" / f"{stem}.png")
            index[f"images/{stem}.png"] = files
    (folder / "SAMed2D_v1.json").write_text(json.dumps(index))
    (folder / "SAMed2D_v1_class_mapping_id.json").write_text(json.dumps(classes))
    return ["sa-med2d", str(folder)]


def cropped(folder: Path, patients: int) -> list[str]:
    """The side of the liver of the upper abdomen: the midline of the body and its spine lie outside."""
    from unireason.data.sources.phantom import SLICE_NAMES

    for n, one in enumerate(_phantoms(patients)):
        wide = one.labels.shape[2]
        where = np.argwhere(one.labels == 4)
        low, high = (where[:, 0].min() // 2, where[:, 0].max() + 2) if len(where) else (0, len(one.labels))
        left = len(where) > 0 and where[:, 2].mean() > wide / 2
        half = (slice(low, high), slice(None), slice(round(0.58 * wide), wide) if left else slice(0, round(0.42 * wide)))
        shift = np.eye(4)
        shift[:3, 3] = (half[2].start, 0, low)
        shown = np.where(np.isin(one.labels, list(SLICE_NAMES)), one.labels, 0)
        _nifti(folder / "images" / f"p{n:02d}.nii.gz", one.voxels[half], one.affine_lps @ shift)
        _nifti(folder / "masks" / f"p{n:02d}.nii.gz", shown[half], one.affine_lps @ shift)
    (folder / "labels.json").write_text(json.dumps({str(value): name for value, name in SLICE_NAMES.items()}))
    return ["pair", str(folder), "--option", "modality=CT"]


def colin27(folder: Path, templates: Path) -> list[str]:
    """One real brain (Colin27, T1) with 116 areas (AAL)."""
    lines = (templates / "aal.nii.txt").read_text().splitlines()
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    shutil.copy(templates / "ch2.nii.gz", folder / "images" / "colin.nii.gz")
    shutil.copy(templates / "aal.nii.gz", folder / "masks" / "colin.nii.gz")
    (folder / "labels.json").write_text(json.dumps(dict(line.split()[:2] for line in lines if len(line.split()) > 1)))
    return ["pair", str(folder), "--option", "labels=labels.json", "--option", "modality=MR"]


def build(folder: Path, patients: int, seed: int, sources: Path, real: Path | None, colin: Path | None) -> None:
    """Make the sources that are not there yet and build a data set from each."""
    made: dict[str, list[str]] = {"phantom": ["phantom", "--patients", str(patients)]}
    for make in (whole_body, lesions, modalities, cropped):
        place = sources / make.__name__
        held = place / "arguments.json"
        if not held.is_file():
            arguments = make(place, patients)
            held.write_text(json.dumps(arguments))
        made[make.__name__] = json.loads(held.read_text())
    if real is not None and (real / "tumour_mr").is_dir():
        made["tumour_mr"] = ["pair", str(real / "tumour_mr"), "--option", "modality=MR"]
    else:
        print("tumour_mr    left out: no folder tumour_mr (--real or UNIREASON_REAL)")
    if colin is not None and (colin / "aal.nii.txt").is_file():
        shutil.rmtree(sources / "colin27", ignore_errors=True)
        made["colin27"] = [*colin27(sources / "colin27", colin), "--questions", "12"]
    else:
        print("colin27      left out: no aal.nii.txt (--colin or UNIREASON_COLIN)")
    for name, source in made.items():
        slices = [] if name == "modalities" else ["--slices", "12" if name in ("tumour_mr", "colin27") else "2"]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "unireason",
                "data",
                "build",
                *source,
                *slices,
                "--seed",
                str(seed),
                "--out",
                str(folder / name),
            ],
            capture_output=True,
            text=True,
        )
        print(f"{name:12} {'built' if done.returncode == 0 else done.stderr.strip()[-400:]}", flush=True)


def midlines(dataset: Any) -> dict[str, tuple[str, float]]:
    """By case: how the midline of the body is found from picture and masks, and its offset, whatever the records say."""
    from unireason.core.errors import UniReasonError
    from unireason.data.frames import FrameRule
    from unireason.data.measure import describe
    from unireason.data.reader import CaseReader

    cases = list(dataset.cases())
    rule = FrameRule.from_json(dataset.manifest["config"]["frame"])
    reader = CaseReader(dataset.source(), (case.item for case in cases))
    found = {}
    for case in cases:
        try:
            midline = describe(reader.load(case.item, case.slice), rule, case=case.scene.case).midline
        except (UniReasonError, OSError) as error:
            raise SystemExit(f"{dataset.folder}: the source of {case.scene.case} cannot be read ({error})") from error
        found[case.scene.case] = (midline.found, midline.offset)
    return found


def measure(folder: Path) -> dict[str, Any]:
    """Rates of one data set."""
    from unireason.data.claims import answered_early, false_claims
    from unireason.data.dataset import Dataset
    from unireason.data.rationale.verify import repeated
    from unireason.data.records import SPLITS
    from unireason.data.scene import MIDLINE

    dataset = Dataset.open(folder)
    middles = midlines(dataset)
    counts: Counter[str] = Counter()
    forms: Counter[str] = Counter()
    wordings: set[str] = set()
    for split in SPLITS:
        scenes = {case.scene.case: case.scene for case in dataset.cases(split)}
        for sample in dataset.samples(split):
            scene, question = scenes[sample.case], sample.question
            texts = [s for s in sample.reasoning if isinstance(s, str)]
            whole = " ".join(texts)
            told = bool(getattr(sample, "scale", ""))
            options = " | ".join(question.options)
            counts["texts"] += 1
            counts["implicit"] += not question.options
            counts["options"] += bool(question.options)
            counts["answer before evidence"] += bool(answered_early(scene, question, sample.reasoning))
            faults = {f.code for f in false_claims(scene, question, sample.reasoning)}
            counts["false claims"] += bool(faults - {"unseen_number"})
            counts["numbers without a scale"] += bool(METRIC.search(f"{whole} {options}")) and not told
            looked = [(s.label, s.box) for s in sample.reasoning if not isinstance(s, str)]
            scattered = [
                n for n, s in scene.structures.items() if s.part_count > 1 and s.parts and s.parts[0].voxels < 0.8 * s.voxels
            ]
            counts["one box for scattered parts"] += any(n in scattered and b == scene.structures[n].box_model for n, b in looked)
            said = f"{question.text} {options} {whole}"
            sided = scene.space == "patient" and (bool(BODY_SIDES.search(said)) or question.ask in _SIDED)
            by, offset = middles[sample.case]
            counts["sides without a midline"] += sided and not by
            far = abs(scene.midline.offset - offset) > MIDLINE * scene.extent[0]
            counts["sides by another midline"] += sided and bool(by) and far
            counts["sides of a picture without any"] += bool(SIDES.search(f"{whole} {options}")) and scene.modality in _SIDELESS
            counts["odd names"] += bool(ODD.search(f"{question.text} {options} {whole}"))
            units = set(
                re.findall(r"(?<=\d )(?:mm[23]?|cm[23]?|ml|pixels|voxels)\b", " ".join((*question.options, *question.facts)))
            )
            counts["units that differ"] += len(units) > 1
            counts["implicit without a look"] += not question.options and not looked
            counts["implicit repeats the question"] += not question.options and bool(repeated(question, whole))
            counts["implicit without a rival"] += (
                not question.options and len(scene.structures) > 1 and not any("differs from" in f for f in question.facts)
            )
            counts["implicit with a clock"] += not question.options and "o'clock" in question.text
            counts["two options"] += len(question.options) == 2
            names = sorted({*scene.structures, *scene.absent, *question.options}, key=len, reverse=True)
            wordings.add(_form(question.text, names))
            forms.update(_form(s, names) for s in re.split(r"(?<=[.!?])\s+", whole) if s.strip())
    total = counts.pop("texts")
    bases = {k: "implicit" for k in counts if k.startswith("implicit ")} | {"two options": "options"}
    rates = {
        k: round(n / max(counts[bases[k]] if k in bases else total, 1), 4) for k, n in counts.items() if k not in bases.values()
    }
    common = forms.most_common(1)
    variety = {
        "question wordings": len(wordings),
        "sentence forms": len(forms),
        "commonest form": round(common[0][1] / sum(forms.values()), 4) if common else 0,
    }
    return {"texts": total, **rates, **variety}


_SIDED = ("side", "lesion_side", "quadrant", "which_in_quadrant")
_SIDELESS = ("ES", "DMS", "SM", "GM", "XC", "endoscopy", "dermoscopy", "histopathology")


def _form(text: str, names: list[str]) -> str:
    """A sentence without its names and numbers."""
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "_", text, flags=re.I)
    return re.sub(r"\d+(?:[.,]\d+)*", "#", text).strip()


def sample(folder: Path, out: Path, seed: int, count: int) -> None:
    """Samples drawn by data set, family, kind and dimension in turn, as text and pictures, with a table for verdicts."""
    from benchmarks.data_samples import drawn, told
    from unireason.data.dataset import Dataset
    from unireason.data.records import SPLITS
    from unireason.report.dataset import choose_samples

    chance = random.Random(seed)
    sets = {d.parent.name: Dataset.open(d.parent) for d in sorted(folder.glob("*/manifest.json"))}
    chosen: list[tuple[str, Any]] = []
    strata: dict[str, dict[tuple[str, str], list[Any]]] = {}
    for name, dataset in sets.items():
        own = strata.setdefault(name, defaultdict(list))
        for one in sorted((s for split in SPLITS for s in dataset.samples(split)), key=lambda s: s.id):
            own[one.question.family, one.kind].append(one)
        for pool in own.values():
            chance.shuffle(pool)
    while len(chosen) < count and any(any(own.values()) for own in strata.values()):
        for name, own in strata.items():
            taken = Counter((s.question.family, s.kind) for n, s in chosen if n == name)
            asked = Counter(s.question.ask for _, s in chosen)
            keys = [k for k, pool in own.items() if pool]
            if not keys or len(chosen) >= count:
                continue
            pool = own[min(keys, key=lambda k: (taken[k], chance.random()))]
            chosen.append((name, pool.pop(min(range(len(pool)), key=lambda i: asked[pool[i].question.ask]))))
    out.mkdir(parents=True, exist_ok=True)
    texts, rows = [], []
    for name, dataset in sets.items():
        for card in choose_samples(dataset, dataset.source(), [s for n, s in chosen if n == name]):
            number = len(rows) + 1
            if card.pictures:
                drawn(card).save(out / f"{number:03d}.png")
            structures = "; ".join(
                f"{n} {s.box_model.coords} {s.measure:.4g} {s.side} parts {s.part_count} contrast {s.contrast:.2g}"
                for n, s in card.case.scene.structures.items()
                if n in card.sample.question.needs or n in card.sample.question.about
            )
            scene = card.case.scene
            kept = f"frame {scene.frame}, {scene.modality} {scene.space}, midline {scene.midline_model:.3g}, spacing {scene.spacing_mm}"
            texts.append(f"{told(number, name, card, f'{number:03d}.png')}\n<!-- {kept}: {structures} -->\n")
            question = card.sample.question
            rows.append([number, name, card.sample.kind, question.family, question.ask, *("" for _ in CRITERIA), ""])
    (out / "samples.md").write_text("\n".join(texts), encoding="utf-8")
    with (out / "verdicts.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["number", "set", "kind", "family", "ask", *CRITERIA, "remark"], *rows])
    print(f"{len(rows)} samples in {out}")


def verdicts(tables: list[Path]) -> None:
    """Rates of filled tables: 1 for held, 0 for not, in every column of the checklist."""
    for table in tables:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if any(row[key] not in ("0", "1") for row in rows for key in CRITERIA):
            raise SystemExit(f"{table}: a verdict is neither 0 nor 1; fill all of them")
        rates: Mapping[str, float] = {key: sum(row[key] == "1" for row in rows) / len(rows) for key in CRITERIA}
        whole = sum(all(row[key] == "1" for key in CRITERIA) for row in rows) / len(rows)
        print(f"{table}: {len(rows)} samples; " + ", ".join(f"{k} {v:.0%}" for k, v in rates.items()) + f"; all five {whole:.0%}")


def compare(versions: list[Path], pairs: int, patients: int) -> dict[str, Any]:
    """Samples a second of CPU of the phantom build with two versions of the package, in turn; ratio of the second to the first."""
    rates: dict[str, list[float]] = {str(version): [] for version in versions}
    load = [os.getloadavg()[0]]
    for turn in range(pairs):
        for version in versions if turn % 2 == 0 else versions[::-1]:
            with tempfile.TemporaryDirectory() as place:
                environment = {**os.environ, "PYTHONPATH": str(version), "OMP_NUM_THREADS": "1"}
                command = [sys.executable, "-m", "unireason", "data", "build", "phantom", "--patients", str(patients)]
                begun = time.perf_counter()
                before = os.times()
                done = subprocess.run(
                    [*command, "--out", f"{place}/set", "--json"], env=environment, capture_output=True, text=True, check=True
                )
                after = os.times()
                spent = after.children_user + after.children_system - before.children_user - before.children_system
                made = json.loads(done.stdout)["counts"]["samples"]
                rates[str(version)].append(round(made / spent, 2))
                print(f"{version}: {made} samples, {spent:.1f} s CPU, {time.perf_counter() - begun:.1f} s", flush=True)
        load.append(os.getloadavg()[0])
    ratios = [round(b / a, 3) for a, b in zip(rates[str(versions[0])], rates[str(versions[1])], strict=True)]
    return {"samples_a_cpu_second": rates, "pairs": ratios, "median": sorted(ratios)[len(ratios) // 2], "load": load}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "measure", "sample", "verdicts", "time"))
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--real", type=Path, default=os.environ.get("UNIREASON_REAL"))
    parser.add_argument("--colin", type=Path, default=os.environ.get("UNIREASON_COLIN"))
    parser.add_argument("--sources", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folder = args.paths[0]
    if args.what == "build":
        build(folder, args.patients, args.seed, args.sources or folder / "sources", args.real, args.colin)
        return
    if args.what == "sample":
        sample(folder, args.out or folder / "read", args.seed, args.count)
        return
    if args.what == "verdicts":
        verdicts(args.paths)
        return
    if args.what == "time":
        print(json.dumps(compare(args.paths, args.pairs, args.patients), indent=1))
        return
    found = {d.parent.name: measure(d.parent) for d in sorted(folder.glob("*/manifest.json"))}
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for key in next(iter(found.values())):
        print(f"{key:32}" + "".join(f"{values[key]:>13}" for values in found.values()))
    print(f"{'':32}" + "".join(f"{name:>13}" for name in found))


if __name__ == "__main__":
    main()
