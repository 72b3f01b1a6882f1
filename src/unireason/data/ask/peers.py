"""Scenes of other patients, by which wrong options become plausible.

A wrong option that no patient ever has is given away by anatomy: nobody's liver lies in the left lung. So an option is offered
only if it is true of some other patient of the data set, and boxes, slices and sizes are exchanged: the wrong ones are those of the same
structure in other patients, drawn without regard to the right one, so that nothing in the text tells which is which.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from unireason.data.scene import Scene

from .place import Places

EACH = 24
"""Scenes kept of every structure and kind."""
GROUP = 4
"""Patients that exchange a structure's box, slices or size: one is asked, the others lend theirs as wrong ones."""
MOST = 120
"""Scenes looked at of every structure: those kept for another one may hold it too."""


Key = tuple[str, str, str, str]


class Peers:
    """Scenes of other patients, by structure: some of the whole data set, and those that are near in the list of items.

    What is possible is asked of the first. What is exchanged comes from the second, because boxes that return again and again as
    wrong ones would become known.
    """

    def __init__(self, scenes: Iterable[Scene], near: Iterable[Scene] = ()) -> None:
        """Sort scenes by what they hold."""
        whole = [Places(scene) for scene in scenes]
        self._any = whole
        self._all = _sorted(whole, MOST)
        self._near = _sorted(map(Places, near), None)

    def beside(self, near: Iterable[Scene]) -> Peers:
        """The same with other scenes to exchange with."""
        other = Peers(())
        other._any, other._all, other._near = self._any, self._all, _sorted(map(Places, near), None)
        return other

    def of(self, scene: Scene, *names: str) -> Iterator[Places]:
        """Scenes of other patients that hold all the named structures, of the same kind, with directions and units of one sort.

        Args:
            scene: The scene that is asked about.
            names: At least one structure.
        """
        more = names[1:]
        for places in self._all.get(_key(scene, names[0]), ()):
            centres = places.centres
            if places.scene.patient != scene.patient and all(n in centres for n in more):
                yield places

    def any_of(self, scene: Scene) -> list[Places]:
        """All scenes of other patients of the same kind, whatever they hold: of every structure as many, so rare ones are too frequent."""
        return [p for p in self._any if p.scene.kind == scene.kind and p.scene.patient != scene.patient]

    def exchange(self, scene: Scene, name: str) -> list[Places]:
        """Near scenes of other patients that lend what is true of a structure to this one; at most three, one a patient.

        The patients near to each other that hold the structure are put into groups of four, in an order that knows nothing of them.
        The first of a group is asked, the others lend. So what was right in one question is wrong in no other, and nothing is wrong
        twice. Empty if this patient lends itself, or if another scene of this patient is asked.
        """
        first: dict[str, Places] = {}
        for places in self._near.get(_key(scene, name), []):
            first.setdefault(places.scene.patient, places)
        order = sorted(first, key=lambda patient: _rank(name, patient))
        for start in range(0, len(order), GROUP):
            if order[start] == scene.patient:
                lenders = [first[patient] for patient in order[start + 1 : start + GROUP]]
                return lenders if first[scene.patient].scene.case == scene.case else []
        return []


def _rank(name: str, patient: str) -> bytes:
    """Where a patient stands among those that hold a structure."""
    return hashlib.blake2b(f"{name}\0{patient}".encode(), digest_size=8).digest()


def _key(scene: Scene, name: str) -> Key:
    return scene.kind, scene.space, scene.unit, name


def _sorted(scenes: Iterable[Places], most: int | None) -> dict[Key, list[Places]]:
    """Scenes by structure, at most so many of each."""
    found: defaultdict[Key, list[Places]] = defaultdict(list)
    for places in scenes:
        for name in places.all:
            same = found[_key(places.scene, name)]
            if most is None or len(same) < most:
                same.append(places)
    return dict(found)


class PeerChoice:
    """Chooses which scenes become peers, while all scenes pass by once.

    Of every structure those patients are kept whose hash is lowest, one scene a patient, so the choice does not depend on how the scenes
    are divided among workers.
    """

    def __init__(self, seed: int, *, each: int = EACH) -> None:
        """Start with none."""
        self._seed, self._each = seed, each
        self._kept: defaultdict[tuple[str, str], dict[str, tuple[bytes, str]]] = defaultdict(dict)
        self._scenes: dict[str, tuple[Scene, int]] = {}

    def offer(self, scene: Scene) -> None:
        """Take a scene into account."""
        for name in scene.structures:
            kept = self._kept[scene.kind, name]
            if scene.patient in kept:
                continue
            rank = hashlib.blake2b(f"{self._seed}\0{name}\0{scene.patient}".encode(), digest_size=8).digest()
            if len(kept) == self._each:
                last = max(kept, key=lambda patient: kept[patient])
                if rank > kept[last][0]:
                    continue
                self._release(kept.pop(last)[1])
            kept[scene.patient] = (rank, scene.case)
            held = self._scenes.get(scene.case)
            self._scenes[scene.case] = (_slim(scene), 1) if held is None else (held[0], held[1] + 1)

    def _release(self, case: str) -> None:
        scene, uses = self._scenes[case]
        if uses == 1:
            del self._scenes[case]
        else:
            self._scenes[case] = (scene, uses - 1)

    def chosen(self) -> list[Scene]:
        """The scenes kept, in order of their cases."""
        return [self._scenes[case][0] for case in sorted(self._scenes)]


def _slim(scene: Scene) -> Scene:
    """A scene without what no question about another patient needs."""
    kept = {name: replace(s, parts=s.parts[:1]) for name, s in scene.structures.items()}
    return replace(scene, structures=kept, absent=(), unclear=())
