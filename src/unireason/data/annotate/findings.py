"""What can be said about one structure of a scene: each finding in several wordings.

A finding is a ``Said``, full sentences that say the same, or None if there is nothing to say. Everything said is read off the scene;
nothing is guessed.
"""

from __future__ import annotations

from unireason.data.scene import Scene, Structure

from .wording import Said, amount, counted, is_plural, length, listed, the, unit_of

NEAR_MIDDLE = 0.02  # of the picture: a smaller offset is not worth a word
FLAT, CLEAR = 8.0, 40.0  # contrast in grey levels of 0-255: below the one it is none, above the other it is clear

Templates = tuple[str, ...]

_TOWARDS = {
    "patient": (("to the left", "to the right"), ("to the back", "to the front"), ("towards the head", "towards the feet")),
    "picture": (("to the right", "to the left"), ("down", "up"), ("towards the last slice", "towards the first slice")),
}
_PART = {
    "patient": (("left", "right"), ("posterior", "anterior"), ("superior", "inferior")),
    "picture": (("right", "left"), ("lower", "upper")),  # a volume without orientation has no word along z
}


def notable(offset: tuple[float, ...], scene: Scene) -> list[int]:
    """Axes along which an offset is worth a word, in the order x, y, z.

    Args:
        offset: In millimetres or pixels along the scene's directions.
        scene: Gives the size of the picture.
    """
    return [i for i, (o, e) in enumerate(zip(offset, scene.extent, strict=True)) if abs(o) >= max(1.0, NEAR_MIDDLE * e)]


def offsets(offset: tuple[float, ...], axes: list[int], scene: Scene) -> str:
    """An offset in words along some axes: "52 mm to the left and 31 mm to the back"."""
    return listed(
        [f"{length(offset[i], unit_of(scene.kind, scene.unit))} {_TOWARDS[scene.space][i][offset[i] < 0]}" for i in axes]
    )


def size(structure: Structure, scene: Scene) -> Said:
    """Area or volume."""
    quantity = "volume" if scene.unit == "mm3" or scene.kind == "volume" else "area"
    verbs = ("{holds}", "{takes} up") if quantity == "volume" else ("{covers}", "{spreads} over")
    return _said(
        (
            "{Its} {quantity} is about {value}.",
            f"{{It}} {verbs[0]} about {{value}}.",
            f"{{It}} {verbs[1]} roughly {{value}}.",
            "In {quantity}, {it} {comes} to about {value}.",
            "Inside {its} outline I measure about {value}.",
        ),
        structure,
        quantity=quantity,
        value=amount(structure.measure, unit_of(scene.kind, scene.unit)),
    )


def place(structure: Structure, scene: Scene) -> Said:
    """Where its centre lies, in words or measured from the middle of the picture."""
    axes = notable(structure.centre, scene)
    if not axes:
        templates: Templates = (
            "{It} {lies} in the middle of the {kind}.",
            "{Its} centre is almost that of the {kind}.",
            "{It} {sits} at the centre of the {kind}.",
            "{Its} centre hardly differs from the middle of the {kind}.",
        )
        return _said(templates, structure, kind=scene.kind)
    words = [_PART[scene.space][i][structure.centre[i] < 0] for i in axes if i < len(_PART[scene.space])]
    part = " ".join(words if scene.space == "patient" else reversed(words))  # "left anterior", but "upper left"
    templates = (
        "Measured from the middle of the {kind}, {its} centre lies {offsets}.",
        "{Its} centre lies {offsets} from the middle of the {kind}.",
        "From the middle of the {kind} to {its} centre it is {offsets}.",
    )
    if words:
        templates = ("{It} {lies} in the {part} part of the {kind}.", "{It} {sits} in the {part} part.", *templates)
    return _said(templates, structure, part=part, kind=scene.kind, offsets=offsets(structure.centre, axes, scene))


def slices(structure: Structure, scene: Scene) -> Said | None:
    """Which model slices of a volume it touches, counted from 0 as in boxes; nothing for an image."""
    first, last = structure.slices[0], structure.slices[1] - 1
    if scene.kind == "image":
        return None
    if first == last:
        templates: Templates = (
            "{It} {shows} on slice {first} only.",
            "Only slice {first} shows {them}.",
            "{It} {is} confined to slice {first}.",
            "No slice but {first} shows {them}.",
        )
    else:
        templates = (
            "{It} {reaches} from slice {first} to slice {last}.",
            "{It} {is} seen on slices {first} to {last}.",
            "{It} can be followed over {count}, from {first} to {last}.",
            "Slices {first} to {last} show {them}.",
        )
    return _said(templates, structure, first=str(first), last=str(last), count=counted(last - first + 1, "slice"))


def brightness(structure: Structure, scene: Scene) -> Said:
    """Contrast against a ring around it."""
    if abs(structure.contrast) < FLAT:
        templates: Templates = (
            "{It} {is} about as bright as the tissue around {them}.",
            "{Its} brightness hardly differs from that of the surroundings.",
            "{It} {stands} out little from the tissue around {them}.",
            "There is little contrast between {them} and the surroundings.",
        )
    else:
        templates = (
            "{It} {is} {degree}{word} than the tissue around {them}.",
            "{It} {looks} {degree}{word} than {its} surroundings.",
            "Against {its} surroundings {it} {appears} {degree}{word}.",
            "The tissue around {them} is {degree}{opposite}.",
        )
    words = ("brighter", "darker") if structure.contrast > 0 else ("darker", "brighter")
    degree = "clearly " if abs(structure.contrast) >= CLEAR else ""
    return _said(templates, structure, degree=degree, word=words[0], opposite=words[1])


def border(structure: Structure, scene: Scene) -> Said | None:
    """Whether the picture may cut it off; nothing if it touches no border."""
    if not structure.borders:
        return None
    return _said(
        (
            "{It} {touches} the {where} of the {kind}, so {it} may be cut off there.",
            "{It} {reaches} the {where} of the {kind} and may go on beyond.",
            "At the {where} of the {kind} {it} may be truncated.",
            "The {where} of the {kind} may cut {them} off.",
        ),
        structure,
        where=f"{listed(structure.borders)} {'border' if len(structure.borders) == 1 else 'borders'}",
        kind=scene.kind,
    )


def parts(structure: Structure, scene: Scene) -> Said:
    """Into how many connected pieces it falls, specks not counted."""
    if structure.part_count == 1:
        templates: Templates = (
            "{It} {is} one connected piece.",
            "{It} {hangs} together in one piece.",
            "I count a single piece.",
            "Nothing is split off from {them}.",
        )
    else:
        templates = (
            "{It} {falls} into {count}.",
            "{It} {consists} of {count}.",
            "I count {count}.",
            "The outline shows {count}.",
        )
    return _said(templates, structure, count=counted(structure.part_count, "separate part"))


def neighbours(structure: Structure, scene: Scene) -> Said | None:
    """What lies beside it, at most two names; nothing if nothing is near."""
    names = [name for name in structure.neighbours if name in scene.structures][:2]
    near = [the(name) for name in names]
    if not near:
        return None
    return _said(
        (
            "{It} {lies} next to {near}.",
            "{It} {borders} on {near}.",
            "Right beside {them} I see {near}.",
            "Close by {lie} {near}.",
        ),
        structure,
        near=listed(near),
        lie="lie" if len(names) > 1 or is_plural(names[0]) else "lies",
    )


def shape(structure: Structure, scene: Scene) -> Said | None:
    """Whether it is round or long; nothing in between."""
    if 1.35 < structure.elongation < 2.0:
        return None
    word = "elongated" if structure.elongation >= 2.0 else "compact"
    return _said(
        (
            "{Its} outline is {word}.",
            "{It} {has} a rather {word} shape.",
            "In shape {it} {is} {word}.",
            "{It} {looks} {word}.",
        ),
        structure,
        word=word,
    )


def _said(wordings: Templates, structure: Structure, **values: str) -> Said:
    return Said(wordings, structure.name, values)
