"""Annotators that a fake endpoint plays: a good one, a careless one and one that finds evidence for an answer it has in mind."""

from __future__ import annotations

import re

from unireason.data.names import display, the
from unireason.data.rationale.template import TemplateAnnotator
from unireason.data.scene import IMPLICIT
from unireason.grounding import grammar

_BOX = re.compile(re.escape(grammar.BOX_START) + r".*?" + re.escape(grammar.BOX_END))
_MOVED = "<|box_start|>[{}]<|box_end|>"
_SIDES = {"left": "right", "anterior": "posterior", "to the front": "to the back", "towards the feet": "towards the head"}
_SIDES |= {other: one for one, other in _SIDES.items()}
_AMOUNTS = {"brighter": "darker", "lighter": "darker", "darker": "brighter", "is more than": "is less than", ">": "<", "<": ">"}
_AMOUNTS |= {"is less than": "is more than", "bright": "dark"}


def reply(task, body):
    """A whole reply: reasoning and the right answer behind it."""
    question = task.question
    end = f"{question.letter}. {task.scene.said(question.right)}" if question.options else display(question.needs[0])
    return f"<think>{body}{grammar.THINK_END}{end}"


def good(task):
    """True and in order: what the template would say, boxes off by a pixel where they are large."""
    (found,) = TemplateAnnotator().annotate([task])
    return "".join(p if isinstance(p, str) else grammar.write(_moved(p.box)) for p in found.reasoning)


def careless(task, rng):
    """A good text with one slip: an invented size, sides turned round, something absent that is seen, the answer in front."""
    body = good(task)
    return _first_other(body, rng, (_invented, _turned, _absent, _early), task)


def rationalising(task, rng):
    """The right letter at the end of evidence that is false: comparisons turned round, boxes of others, facts that fit by force."""
    body = good(task)
    return _first_other(body, rng, (_other_boxes, _forced, _turned_all, _measured), task)


def _first_other(body, rng, slips, task):
    """What the first slip makes of a text that it can change, in random order."""
    for slip in rng.sample(slips, len(slips)):
        changed = slip(body, task, rng)
        if changed != body:
            return changed
    raise AssertionError(f"no slip fits {body!r}")


def _moved(box):
    """The box a pixel further right if it is wide enough for that to be tolerated."""
    half = len(box.coords) // 2
    wide = box.coords[half] - box.coords[0] >= 10
    return type(box)(*(v + (wide and i in (0, half)) for i, v in enumerate(box.coords)))


def _put(body, sentence):
    """A text with a sentence before its last one."""
    front, _, last = body.rpartition(". ")
    return f"{front}. {sentence} {last}"


def _invented(body, task, rng):
    name = the(task.question.needs[0])
    unit = "mm" if task.scene.scale else rng.choice(("mm", "cm", "HU"))
    return _put(body, f"{name[0].upper()}{name[1:]} measures {round(2 * max(task.scene.extent))} {unit} across.")


def _turned(body, task, rng):
    return _swapped(body, _SIDES, task)


def _turned_all(body, task, rng):
    return _swapped(body, _SIDES | _AMOUNTS, task)


def _swapped(body, words, task):
    """Words turned into their opposites, in the evidence but not in the conclusion, in names, at borders or where it looks."""
    turned = re.compile(rf"(?<![a-z])(?:{'|'.join(words)})(?![a-z]| (?:and \w+ )?(?:border|edge)s?\b)")
    front, dot, last = body.rpartition(". ")
    names = sorted({display(n) for n in (*task.scene.structures, *task.scene.absent)}, key=len, reverse=True)
    held = re.compile("|".join([*map(re.escape, names), _BOX.pattern]))
    pieces, position = [], 0
    for found in [*held.finditer(front), None]:
        piece = front[position : found.start() if found else len(front)]
        pieces += [turned.sub(lambda m: words[m[0]], piece), found[0] if found else ""]
        position = found.end() if found else position
    return "".join(pieces) + dot + last


def _absent(body, task, rng):
    name = rng.choice(task.scene.absent) if task.scene.absent else "appendix"
    return _put(body, f"{the(name)[0].upper()}{the(name)[1:]} is faintly visible beside it.")


def _early(body, task, rng):
    question = task.question
    if question.family == IMPLICIT:
        return body
    return f"The answer is {task.scene.said(question.right)} {question.letter}, as one sees at once. {body}"


def _other_boxes(body, task, rng):
    """Each box replaced by that of the next structure that is looked at, or of any other."""
    boxes = _BOX.findall(body)
    spare = iter([grammar.write(s.box_model) for n, s in task.scene.structures.items() if n not in task.question.needs])
    if not boxes:
        return body
    turned = boxes[1:] + boxes[:1] if len(set(boxes)) > 1 else [next(spare, boxes[0])] * len(boxes)
    changed = iter(turned)
    return _BOX.sub(lambda _: next(changed), body)


def _forced(body, task, rng):
    """Sizes and distances bent, those of the options left as they are."""
    said = [task.scene.said(o) for o in task.question.options]
    sized = re.compile("|".join([*map(re.escape, said), r"(\d+(?:\.\d+)?)(?= (?:ml|mm2?|cm2|pixels|voxels)\b)"]))
    return sized.sub(lambda m: f"{float(m[1]) * 3.7:.4g}" if m[1] else m[0], body)


def _measured(body, task, rng):
    """A brightness and a size that suit."""
    structure = task.scene.structures[task.question.needs[0]]
    name, shade = the(structure.name), "darker" if structure.contrast > 0 else "brighter"
    return _put(body, f"{name[0].upper()}{name[1:]} is clearly {shade} than its surroundings.")
