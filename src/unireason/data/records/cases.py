"""Cases as rows: plain values for Parquet, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from unireason.data.scene import Part, Scene, Structure
from unireason.types import Frame

from .record import CaseRecord
from .samples import box_of, unreadable

_WORDS = {"kind": ("image", "volume"), "space": ("patient", "picture"), "unit": ("mm2", "mm3", "pixels")}


def scene_row(scene: Scene) -> dict[str, Any]:
    """A scene as plain values: those fields of a case row that describe it."""
    apart = ("case", "frame", "structures", "described")
    row = {f.name: getattr(scene, f.name) for f in fields(scene) if f.name not in apart}
    row |= {"id": scene.case, "frame": [scene.frame.width, scene.frame.height, scene.frame.depth]}
    row["structures"] = [_structure_row(s) for s in scene.structures.values()] if scene.described else None
    return {key: list(value) if isinstance(value, tuple) else value for key, value in row.items()}


def scene_from_row(row: Mapping[str, Any]) -> Scene:
    """The inverse of ``scene_row``; a case row has all it needs.

    Raises:
        FormatError: If a field is missing or of another type.
    """
    try:
        width, height, depth = row["frame"]
        spacing = row["spacing_mm"]
        _check_scene(row)
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
            structures={s["name"]: _structure_from_row(s) for s in row["structures"] or ()},
            absent=tuple(row["absent"]),
            unclear=tuple(row["unclear"]),
            described=row["structures"] is not None,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise unreadable("case", error) from error


def _check_scene(row: Mapping[str, Any]) -> None:
    """Refuse words and lengths that no scene has.

    Raises:
        ValueError: Naming the field.
    """
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
    """The inverse of ``case_row``.

    Raises:
        FormatError: If a field is missing or of another type.
    """
    scene = scene_from_row(row)
    try:
        return CaseRecord(scene=scene, **{f.name: row[f.name] for f in fields(CaseRecord) if f.name != "scene"})
    except KeyError as error:
        raise unreadable("case", error) from error


def _structure_row(structure: Structure) -> dict[str, Any]:
    row = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(structure).items()}
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


def _structure_from_row(row: Mapping[str, Any]) -> Structure:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    values["box_model"] = box_of(row["box_model"])
    values["points"] = (tuple(row["points"][0]), tuple(row["points"][1]))
    values["parts"] = tuple(
        Part(tuple(p["box_canonical"]), box_of(p["box_model"]), p["measure"], p["voxels"]) for p in row["parts"]
    )
    return Structure(**values)
