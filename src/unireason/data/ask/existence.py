"""Family existence_verification: what is there and what is not, among the structures that the source annotates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from unireason.data import names
from unireason.data.annotate.wording import is_plural, the
from unireason.data.question import Question

from .dice import Dice
from .even import evened, tally
from .place import Places, group_of, is_lesion, words_of
from .writing import Choice, Draft, write

FAMILY = "existence_verification"
_THERE, _MISSING = "it is there", "it is not there"


def present(places: Places, dice: Dice) -> Iterator[Question]:
    """Is a structure there? Yes and no take turns, beginning with either."""
    there, missing = dice.shuffled(places.all), dice.shuffled(certainly_absent(places))
    turns = [there, missing] if dice.below(2) else [missing, there]
    for i in range(max(len(there), len(missing))):
        for names_left in turns:
            if i < len(names_left) and there:
                yield _present(places, dice, names_left[i], yes=names_left is there)


def _present(places: Places, dice: Dice, name: str, *, yes: bool) -> Question:
    right: Choice = ("yes", _THERE) if yes else ("no", _MISSING)
    wrong: Choice = ("no", _THERE) if yes else ("yes", _MISSING)
    needs = [name] if yes else helpful(places, dice, name)
    return write(places, dice, Draft(FAMILY, "present", (name,), right, [wrong], needs, {"x": _any(name)}))


def _any(name: str) -> str:
    """A name with the article that does not take for granted that it is there."""
    if not is_lesion(name) or is_plural(name):
        return name if is_lesion(name) else the(name)
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def certainly_absent(places: Places) -> list[str]:
    """Absent structures that nothing there could be taken for: no special case of them, nor the same without its side."""
    seen = [*places.scene.structures, *places.scene.unclear]
    taken = [words_of(n) for n in seen]
    plain = {n for n in seen if not names.side_of(n)}
    found = []
    for name in places.scene.absent:
        words = words_of(name)
        if "union" not in name and names.base(name) not in plain and not any(words <= other for other in taken):
            found.append(name)
    return found


def helpful(places: Places, dice: Dice, name: str) -> list[str]:
    """Structures by which one sees that another is missing: its counterpart, then those of its group, then any."""
    other, group = names.counterpart(name), group_of(name)

    def rank(candidate: str) -> int:
        return 0 if candidate == other else 1 if group_of(candidate) == group else 2

    return sorted(dice.shuffled(places.all), key=rank)[: 1 + dice.below(3)]


def which_present(places: Places, dice: Dice) -> Iterator[Question]:
    """Which of four structures is there; the others are absent, of the same group if possible."""
    missing = certainly_absent(places)
    if len(missing) < 3:
        return
    for name in dice.shuffled(places.all):
        wrong = evened(places, dice, name, _alike(dice, missing, name), partial(_only_elsewhere, places, True))
        if len(wrong) == 3:
            rest = [(n, _MISSING) for n in wrong]
            yield write(places, dice, Draft(FAMILY, "which_present", (), (name, _THERE), rest, (name,)))


def which_absent(places: Places, dice: Dice) -> Iterator[Question]:
    """Which of four structures is absent; the others are there, of the same group if possible."""
    if len(places.all) < 3:
        return
    for name in dice.shuffled(certainly_absent(places)):
        there = evened(places, dice, name, _alike(dice, places.all, name), partial(_only_elsewhere, places, False))
        if len(there) == 3:
            draft = Draft(FAMILY, "which_absent", (), (name, _MISSING), [(n, _THERE) for n in there], there)
            yield write(places, dice, draft)


def _only_elsewhere(places: Places, there: bool, options: Sequence[str]) -> dict[str, float]:
    """How often each option is the only one there (missing) in other patients."""
    peers = [] if places.peers is None else places.peers.any_of(places.scene)
    found = []
    for peer in peers:
        alone = [n for n in options if (n in peer.scene.structures) == there]
        found.append(alone[0] if len(alone) == 1 else "")
    return tally(found)


def _alike(dice: Dice, pool: list[str], name: str) -> list[str]:
    """Three names out of a pool; those of the same group go first, so that the group tells nothing."""
    group = group_of(name)
    return sorted(dice.shuffled(pool), key=lambda n: group_of(n) != group)[:3]


ASKS = (present, which_present, which_absent)
