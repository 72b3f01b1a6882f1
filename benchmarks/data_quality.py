"""How often built reasoning says what it should not, on eight kinds of source.

    python -m benchmarks.data_quality build FOLDER [--real REALDATA]     # sources and data sets below FOLDER
    python -m benchmarks.data_quality measure FOLDER [--json]            # rates a set and over all

``build`` makes the sources (phantoms; whole-body names as TotalSegmentator spells them; an nnU-Net set with both kidneys in one class and
scattered lesions; pictures of six modalities as in SA-Med2D; a cropped right upper abdomen) and, with ``--real``, adds the two MR scans
with tumours, then runs ``unireason data build`` on each. ``measure`` reads any data sets, older ones too, so that two versions of the
builder can be compared: build with each, measure both with one. Rates are shares of reasonings unless said otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
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
)
ODD = re.compile(
    r"vertebrae [clt]\d|lung (?:upper|middle|lower) lobe|\bautochthon\b(?! muscle)|iliac vena|\bthe ivc\b|cerebelum",
    re.I,
)
METRIC = re.compile(r"\d(?:[\d.,]*\d)?\s*(?:mm[23²³]?|cm[23²³]?|ml)\b")
SIDES = re.compile(
    r"\b(?:to the |on the |the )?(?:left|right) (?:side|half|part|of|anterior|posterior|upper|lower)\b|\bto the (?:left|right)\b",
    re.I,
)


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
                    x = {"left_lung": 140, "right_lung": 60}.get(kind, x)
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
    """The right upper abdomen: the middle of the picture is not that of the body."""
    names: dict[str, str] = {"4": "liver", "10": "right kidney", "30": "spine", "7": "gallbladder", "8": "pancreas"}
    for n, one in enumerate(_phantoms(patients)):
        wide = one.labels.shape[2]
        half = (slice(None), slice(None), slice(0, int(0.55 * wide)))
        _nifti(folder / "images" / f"p{n:02d}.nii.gz", one.voxels[half], one.affine_lps)
        _nifti(folder / "masks" / f"p{n:02d}.nii.gz", one.labels[half], one.affine_lps)
        for value in np.unique(one.labels):
            names.setdefault(str(int(value)), f"structure {value}")
    names.pop("0", None)
    (folder / "labels.json").write_text(json.dumps(names))
    return ["pair", str(folder)]


def build(folder: Path, real: Path | None, patients: int) -> None:
    """Make the sources and build a data set from each."""
    made = {
        "phantom": ["phantom", "--patients", str(patients)],
        **{
            make.__name__: make(folder / "sources" / make.__name__, patients)
            for make in (whole_body, lesions, modalities, cropped)
        },
    }
    if real is not None:
        made["tumour_mr"] = ["pair", str(real / "tumour_mr")]
    for name, source in made.items():
        done = subprocess.run(
            [sys.executable, "-m", "unireason", "data", "build", *source, "--out", str(folder / name)],
            capture_output=True,
            text=True,
        )
        print(f"{name:12} {'built' if done.returncode == 0 else done.stderr.strip()[-400:]}", flush=True)


def measure(folder: Path) -> dict[str, Any]:
    """Rates of one data set."""
    from unireason.data.claims import answered_early, false_claims
    from unireason.data.dataset import Dataset
    from unireason.data.rationale.verify import repeated
    from unireason.data.records import SPLITS

    dataset = Dataset.open(folder)
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
            sided = scene.space == "patient" and bool(SIDES.search(f"{question.text} {options} {whole}"))
            counts["sides without a midline"] += sided and not getattr(scene, "midline", "")
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


_SIDELESS = ("ES", "DMS", "SM", "GM", "XC", "endoscopy", "dermoscopy", "histopathology")


def _form(text: str, names: list[str]) -> str:
    """A sentence without its names and numbers."""
    for name in names:
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "_", text, flags=re.I)
    return re.sub(r"\d+(?:[.,]\d+)*", "#", text).strip()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path, default=None)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.what == "build":
        build(args.folder, args.real, args.patients)
        return
    found = {d.parent.name: measure(d.parent) for d in sorted(args.folder.glob("*/manifest.json"))}
    if args.json:
        print(json.dumps(found, indent=2))
        return
    for key in next(iter(found.values())):
        print(f"{key:32}" + "".join(f"{values[key]:>13}" for values in found.values()))
    print(f"{'':32}" + "".join(f"{name:>13}" for name in found))


if __name__ == "__main__":
    main()
