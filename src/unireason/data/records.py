"""Records: what a data set holds, field by field, and how rows travel between Parquet and the package.

A data set is a folder::

    manifest.json              schema version, configuration, counts, and the SHA-256 of every file below
    README.md                  the data-set card
    cases/train-00000.parquet  one row an image or volume: CASE
    samples/train-00000.parquet one row a question: SAMPLE
    images/train-00000.parquet only if embedded: IMAGE
    skipped.jsonl              items that could not be used, with the reason

Field by field: docs/reference/records.md, which a test holds against the schemas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from unireason.core.errors import FormatError
from unireason.core.types import Box, Box2D, Box3D, Frame, Look
from unireason.grounding import answer, grammar

from .scene import IMPLICIT, DataQuestion, Midline, Part, Scene, Structure

if TYPE_CHECKING:
    import pyarrow as pa


# --- What one case, one sample and one embedded picture of a data set say.


SCHEMA = "unireason.dataset/3"
READABLE = (SCHEMA, "unireason.dataset/2", "unireason.dataset/1")
"""Schema versions that can be read: 1 and 2 lack ``scale`` and ``midline``, and tell sides by the picture's middle; 1 lacks ``stages`` and
``origin`` too, and knows of every case what is in it. The columns of OPEN are there only in data sets that ask openly."""
OPEN = ("gold", "tolerance")
"""Columns of samples for questions without options."""
SPLITS = ("train", "validation", "test")
STAGES = ("sft", "grpo")


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One image or volume of a data set.

    Attributes:
        scene: Its description.
        source: Name of the source, or layout of the release that it was imported from.
        item: Item identifier inside the source; a slice of a volume shares that of its volume.
        image: Path relative to the source's folder.
        slice: Canonical slice of the volume, for images cut out of one; -1 otherwise.
        sha256: Hash of the image file, "" for phantoms and for volumes whose slices a release holds.
        phash: Perceptual hash as hex digits, "" if not computed.
        split: One of SPLITS.
        window: How intensities became grey levels.
    """

    scene: Scene
    source: str
    item: str
    image: str
    slice: int
    sha256: str
    phash: str
    split: str
    window: str


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One question with its grounded reasoning.

    Attributes:
        id: Stable identifier: hash of source, case and question.
        case: Identifier of its case.
        patient: Patient identifier; "" if it is not known.
        split: One of SPLITS.
        kind: "image" or "volume".
        question: The question with its facts.
        reasoning: Text and looks in order, without tags.
        annotator: Who wrote it; "" if there is no reasoning.
        box: The true box of the target in the model frame, for IMPLICIT; a cuboid in a volume; None otherwise.
        points: The two true key points, (x, y) or (x, y, z), for IMPLICIT; None otherwise.
        category: Name of the target, for IMPLICIT; "" otherwise.
        supercategory: Its group; "" otherwise.
        stages: Stages of training that it is meant for, of STAGES.
        origin: Data set from which the question comes, as a release tells; "" otherwise.
        scale: The line of the prompt that tells how large pixels are, for a profile that shows it; "" if no text relies on it.
    """

    id: str
    case: str
    patient: str
    split: str
    kind: str
    question: DataQuestion
    reasoning: tuple[str | Look, ...]
    annotator: str
    box: Box | None = None
    points: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    category: str = ""
    supercategory: str = ""
    stages: tuple[str, ...] = STAGES
    origin: str = ""
    scale: str = ""

    @property
    def task(self) -> str:
        """ "umrg" for implicit grounding, "vqa" for questions that are answered in words."""
        return "umrg" if self.question.family == IMPLICIT else "vqa"

    @property
    def target(self) -> str:
        """Name of the mask that an implicit question means, among those of its case; "" if there is none, or for other questions."""
        return self.question.about[0] if self.task == "umrg" and self.question.about else ""

    @property
    def looks(self) -> tuple[Look, ...]:
        """The looks that the question needs, in the order of the reasoning; a false lead, seen to be one, is none of them."""
        return tuple(p for p in self.reasoning if isinstance(p, Look) and (p.label in self.question.needs or not p.seen))

    @property
    def response(self) -> str:
        """The whole assistant's turn as text, boxes written by the grammar; crops follow each box when it is tokenised.

        "" without a reasoning: nothing is there to be learned word by word.
        """
        if not self.annotator:
            return ""
        body = "".join(p if isinstance(p, str) else grammar.write(p.box) for p in self.reasoning)
        if self.task == "vqa":
            letter = f"{self.question.letter}. " if self.question.options else ""
            return f"<think>{body}</think>{letter}{self.question.right}"
        assert self.box is not None
        assert self.points is not None
        return answer.write(body, self.box, self.points)


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One embedded picture, at the size of the model frame.

    Attributes:
        case: Identifier of its case.
        slice: Model slice; 0 for an image.
        png: The picture as a PNG file, grey or RGB, windowed.
        masks: For images: one PNG (0 or 255) a structure of the scene, or a target, on the same grid; () for volumes.
        mask_names: Names of the structures of ``masks``.
    """

    case: str
    slice: int
    png: bytes
    masks: tuple[bytes, ...] = ()
    mask_names: tuple[str, ...] = ()


# --- Arrow schemas of the three tables; a test holds docs/reference/records.md against them.


def case_schema() -> pa.Schema:
    """Arrow schema of ``cases``."""
    import pyarrow as pa

    ints, reals, texts = pa.list_(pa.int32()), pa.list_(pa.float64()), pa.list_(pa.string())
    part = pa.struct({"box_canonical": ints, "box_model": ints, "measure": pa.float64(), "voxels": pa.int64()})
    structure = pa.struct(
        {
            "name": pa.string(),
            "box_canonical": ints,
            "box_voxel": ints,
            "box_model": ints,
            "voxels": pa.int64(),
            "measure": pa.float64(),
            "centre": reals,
            "side": pa.string(),
            "parts": pa.list_(part),
            "part_count": pa.int32(),
            "neighbours": texts,
            "slices": ints,
            "borders": texts,
            "contrast": pa.float64(),
            "elongation": pa.float64(),
            "points": pa.list_(ints),
        }
    )
    text = dict.fromkeys(("id", "patient", "split", "kind", "source", "item", "image"), pa.string())
    rest = {
        "slice": pa.int32(),
        "sha256": pa.string(),
        "phash": pa.string(),
        "modality": pa.string(),
        "window": pa.string(),
        "frame": ints,
        "shape": ints,
        "spacing_mm": reals,
        "extent": reals,
        "space": pa.string(),
        "unit": pa.string(),
        "structures": pa.list_(structure),
        "absent": texts,
        "unclear": texts,
        "scale": pa.string(),
        "midline": pa.struct({"found": pa.string(), "offset": pa.float64(), "canonical": pa.float64()}),
        "across": pa.list_(
            pa.struct({"name": pa.string(), "diameters": reals, "widest": ints, "gap_to": texts, "gaps": reals}),
        ),
        "looks": pa.list_(pa.struct({"name": pa.string(), "touching": texts, "grey": reals, "outline": reals})),
        "hounsfield": reals,
    }
    return pa.schema({**text, **rest}, metadata={"schema": SCHEMA})


def sample_schema() -> pa.Schema:
    """Arrow schema of ``samples``."""
    import pyarrow as pa

    ints, texts = pa.list_(pa.int32()), pa.list_(pa.string())
    step = pa.struct({"text": pa.string(), "label": pa.string(), "box": ints, "seen": pa.bool_()})
    text = dict.fromkeys(("id", "case", "patient", "split", "kind", "task", "family", "ask"), pa.string())
    rest = {
        "about": texts,
        "question": pa.string(),
        "options": texts,
        "answer": pa.int32(),
        "letter": pa.string(),
        "facts": texts,
        "needs": texts,
        "reasoning": pa.list_(step),
        "response": pa.string(),
        "annotator": pa.string(),
        "box": ints,
        "points": pa.list_(ints),
        "category": pa.string(),
        "supercategory": pa.string(),
        "stages": texts,
        "origin": pa.string(),
        "scale": pa.string(),
        "gold": pa.list_(texts),
        "tolerance": pa.float64(),
    }
    return pa.schema({**text, **rest}, metadata={"schema": SCHEMA})


def image_schema() -> pa.Schema:
    """Arrow schema of ``images``: pictures as the network's processor gets them, and masks on the same grid."""
    import pyarrow as pa

    return pa.schema(
        {
            "case": pa.string(),
            "slice": pa.int32(),
            "png": pa.binary(),
            "masks": pa.list_(pa.binary()),
            "mask_names": pa.list_(pa.string()),
        },
        metadata={"schema": SCHEMA},
    )


# --- Samples and embedded pictures as rows: plain values for Parquet, and back.


def sample_row(record: SampleRecord) -> dict[str, Any]:
    """A sample as plain values for Parquet; see ``sample_schema``."""
    question = record.question
    steps = [
        {"text": p, "label": None, "box": None, "seen": None}
        if isinstance(p, str)
        else {"text": None, "label": p.label, "box": [int(v) for v in p.box.coords], "seen": p.seen}
        for p in record.reasoning
    ]
    return {
        **{name: getattr(record, name) for name in ("id", "case", "patient", "split", "kind", "task", "annotator", "response")},
        **{name: getattr(question, name) for name in ("family", "ask", "answer", "letter")},
        **{name: list(getattr(question, name)) for name in ("about", "options", "facts", "needs")},
        "question": question.text,
        "reasoning": steps,
        "box": None if record.box is None else [int(v) for v in record.box.coords],
        "points": None if record.points is None else [list(p) for p in record.points],
        "category": record.category,
        "supercategory": record.supercategory,
        "stages": list(record.stages),
        "origin": record.origin,
        "scale": record.scale,
        **({"gold": [list(texts) for texts in question.gold], "tolerance": question.tolerance} if question.gold else {}),
    }


def sample_from_row(row: Mapping[str, Any]) -> SampleRecord:
    """The inverse of ``sample_row``."""
    try:
        stages, annotator = tuple(row.get("stages", STAGES)), row["annotator"]  # version 1 lacks stages and origin
        if not stages or set(stages) - set(STAGES) or ("sft" in stages and not annotator):
            raise ValueError(f"stages are {list(stages)}, the annotator is {annotator!r}")
        for step in row["reasoning"]:
            if step["box"] is None and not isinstance(step["text"], str):
                raise ValueError("a step of the reasoning is neither text nor a look")
        lists: dict[str, Any] = {name: tuple(row[name]) for name in ("about", "options", "facts", "needs")}
        gold = tuple(tuple(texts) for texts in row.get("gold") or ())
        if not all(gold) or (gold and (lists["options"] or row["answer"] != -1)):
            raise ValueError(f"the gold answers are {gold!r}, beside {len(lists['options'])} options")
        lists |= {"gold": gold, "tolerance": row.get("tolerance") or 0.0}
        question = DataQuestion(row["family"], row["ask"], text=row["question"], answer=row["answer"], **lists)
        points = row["points"]
        record = SampleRecord(
            **{name: row[name] for name in ("id", "case", "patient", "split", "kind", "annotator", "category", "supercategory")},
            question=question,
            reasoning=tuple(
                step["text"] if step["box"] is None else Look(step["label"], box_of(step["box"]), step["seen"])
                for step in row["reasoning"]
            ),
            box=None if row["box"] is None else box_of(row["box"]),
            points=None if points is None else (tuple(points[0]), tuple(points[1])),
            stages=stages,
            origin=row.get("origin", ""),
            scale=row.get("scale", ""),
        )
        agrees = (question.letter, record.response) == (row["letter"], row["response"])
    except (KeyError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise unreadable("sample", error) from error
    if not agrees:
        raise FormatError(f"sample {record.id} contradicts itself: letter or response do not follow from its other fields")
    return record


def box_of(numbers: Sequence[float]) -> Box:
    """Four or six numbers as a box."""
    if len(numbers) not in (4, 6):
        raise ValueError(f"a box of {len(numbers)} numbers")
    return Box2D(*numbers) if len(numbers) == 4 else Box3D(*numbers)


def image_row(record: ImageRecord) -> dict[str, Any]:
    """An embedded picture as plain values for Parquet; see ``image_schema``."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(record).items()}


def image_from_row(row: Mapping[str, Any]) -> ImageRecord:
    """The inverse of ``image_row``."""
    try:
        return ImageRecord(row["case"], row["slice"], row["png"], tuple(row["masks"]), tuple(row["mask_names"]))
    except (KeyError, TypeError) as error:
        raise unreadable("image", error) from error


def unreadable(what: str, error: Exception) -> FormatError:
    """The error of a row that is none."""
    return FormatError(f"a {what} row cannot be read ({error!r})", f"the fields of {SCHEMA}", "build the data set again")


# --- Cases as rows: plain values for Parquet, and back.


_LOOKS = ("touching", "grey", "outline")
"""Fields of ``looks``, a column that older data sets lack."""
_WORDS = {"kind": ("image", "volume"), "space": ("patient", "picture"), "unit": ("mm2", "mm3", "pixels")}


def scene_row(scene: Scene) -> dict[str, Any]:
    """A scene as plain values: those fields of a case row that describe it."""
    apart = ("case", "frame", "structures", "described")
    row = {f.name: getattr(scene, f.name) for f in fields(scene) if f.name not in apart}
    row |= {"id": scene.case, "frame": [scene.frame.width, scene.frame.height, scene.frame.depth]}
    row["midline"] = asdict(scene.midline)
    row["across"] = [
        {
            "name": s.name,
            "diameters": list(s.diameters),
            "widest": list(s.widest),
            "gap_to": list(s.gaps),
            "gaps": list(s.gaps.values()),
        }
        for s in scene.structures.values()
        if s.diameters or s.widest or s.gaps
    ]
    row["looks"] = [
        {"name": s.name, **{key: list(getattr(s, key)) for key in _LOOKS}}
        for s in scene.structures.values()
        if any(getattr(s, key) for key in _LOOKS)
    ]
    row["structures"] = [_structure_row(s) for s in scene.structures.values()] if scene.described else None
    return {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}


def scene_from_row(row: Mapping[str, Any]) -> Scene:
    """The inverse of ``scene_row``; a case row has all it needs."""
    try:
        width, height, depth = row["frame"]
        spacing = row["spacing_mm"]
        _check_scene(row)
        across, looks = ({a["name"]: a for a in row.get(column) or ()} for column in ("across", "looks"))
        return Scene(
            case=row["id"],
            patient=row["patient"],
            kind=row["kind"],
            modality=row["modality"],
            frame=Frame(width, height, depth, row["kind"]),
            shape=tuple(row["shape"]),
            spacing_mm=None if spacing is None else tuple(spacing),
            extent=tuple(row["extent"]),
            space=row["space"],
            unit=row["unit"],
            structures={
                s["name"]: _structure_from_row(s, across.get(s["name"]), looks.get(s["name"], {}))
                for s in row["structures"] or ()
            },
            absent=tuple(row["absent"]),
            unclear=tuple(row["unclear"]),
            described=row["structures"] is not None,
            scale=row.get("scale", ""),
            midline=_midline(row),
            hounsfield=tuple(row.get("hounsfield") or ()),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise unreadable("case", error) from error


def _midline(row: Mapping[str, Any]) -> Midline:
    """The midline; versions 1 and 2 have none, and the picture's middle in its place."""
    values = row.get("midline")
    if values is None:
        return Midline("picture", 0.0, row["shape"][-1] / 2)
    if values["found"] not in get_args(get_type_hints(Midline)["found"]):
        raise ValueError(f"the midline is found by {values['found']!r}")
    return Midline(values["found"], float(values["offset"]), float(values["canonical"]))


def _check_scene(row: Mapping[str, Any]) -> None:
    """Refuse words and lengths that no scene has."""
    for name, known in _WORDS.items():
        if row[name] not in known:
            raise ValueError(f"{name} is {row[name]!r}")
    axes = 2 if row["kind"] == "image" else 3
    lists = {"shape": row["shape"], "extent": row["extent"], "spacing_mm": row["spacing_mm"] or row["extent"]}
    structures = row["structures"] or ()
    lists |= {f"centre of {s['name']}": s["centre"] for s in structures}
    boxes = {f"box_{space} of {s['name']}": s[f"box_{space}"] for s in structures for space in ("canonical", "voxel", "model")}
    for name, values, count in (*((n, v, axes) for n, v in lists.items()), *((n, v, 2 * axes) for n, v in boxes.items())):
        if len(values) != count:
            raise ValueError(f"{name} has {len(values)} numbers, not {count}")


def case_row(record: CaseRecord) -> dict[str, Any]:
    """A case as plain values for Parquet; see ``case_schema``."""
    return {f.name: getattr(record, f.name) for f in fields(record) if f.name != "scene"} | scene_row(record.scene)


def case_from_row(row: Mapping[str, Any]) -> CaseRecord:
    """The inverse of ``case_row``."""
    scene = scene_from_row(row)
    try:
        return CaseRecord(scene=scene, **{f.name: row[f.name] for f in fields(CaseRecord) if f.name != "scene"})
    except KeyError as error:
        raise unreadable("case", error) from error


def _structure_row(structure: Structure) -> dict[str, Any]:
    apart = ("diameters", "widest", "gaps", *_LOOKS)
    row = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(structure).items() if key not in apart}
    row["box_model"] = [int(v) for v in structure.box_model.coords]
    row["points"] = [list(p) for p in structure.points]
    row["parts"] = [
        {
            "box_canonical": list(p.box_canonical),
            "box_model": [int(v) for v in p.box_model.coords],
            "measure": p.measure,
            "voxels": p.voxels,
        }
        for p in structure.parts
    ]
    return row


def _structure_from_row(row: Mapping[str, Any], across: Mapping[str, Any] | None, looks: Mapping[str, Any]) -> Structure:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    values["box_model"] = box_of(row["box_model"])
    values["points"] = (tuple(row["points"][0]), tuple(row["points"][1]))
    values["parts"] = tuple(
        Part(tuple(p["box_canonical"]), box_of(p["box_model"]), p["measure"], p["voxels"]) for p in row["parts"]
    )
    if across is not None:
        values |= {"diameters": tuple(across["diameters"]), "widest": tuple(across["widest"])}
        values["gaps"] = dict(zip(across["gap_to"], across["gaps"], strict=True))
    values |= {key: tuple(looks.get(key) or ()) for key in _LOOKS}
    return Structure(**values)


def schema(table: str) -> pa.Schema:
    """The Arrow schema of "cases", "samples" or "images"."""
    return {"cases": case_schema, "samples": sample_schema, "images": image_schema}[table]()
