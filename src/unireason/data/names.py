"""Structure names: readable, sided or not, lesion or organ, and the group they belong to.

Data sets spell names in many ways (``kidney_left``, ``Left Kidney``, ``ct_left_kidney``); questions need one readable spelling in which
the side comes first.
"""

from __future__ import annotations

import re

_LESION = re.compile(
    r"\b(lesions?|tumou?rs?|cancer|carcinoma|nodules?|mass(es)?|cysts?|metasta\w+|o?edema|infarct\w*|h(a)?emorrhage\w*|polyps?|melanoma|"
    r"plaques?|effusion|pneumothorax|fractures?|aneurysms?|stones?|neoplasm\w*|infection|consolidation|gtv|necrosis|necrotic\w*|"
    r"enhancing)\b"
)
SIDES = ("left", "right")

GROUPS: tuple[tuple[str, str], ...] = (
    (r"lung|trachea|bronch|airway|pleura", "thorax"),
    (
        r"heart|atri(um|al)|ventric(le|ular)|myocardi|aort|vein|vena|arter|vessel|portal|pulmonary|cava|carotid",
        "heart and vessels",
    ),
    (r"brain|cerebr|hippocamp|thalam|putamen|caudate|white matter|gr[ae]y matter|amygdala|pallid|skull|ventricle", "head"),
    (r"liver|spleen|pancrea|stomach|gall ?bladder|duoden|bowel|colon|intestin|o?esophag|rectum", "abdomen"),
    (r"kidney|adrenal|bladder|prostat|uter|ureter|ovar|semina|urethra", "pelvis and urinary tract"),
    (r"vertebra|spine|rib|bone|femur|hip|sacrum|scapula|clavic|humer|stern|skull|tibia|cartilage|disc|mandib", "skeleton"),
    (r"muscle|glute|iliopsoas|autochthon|fat", "muscle and fat"),
    (r"eye|optic|retina|macula|fovea|disc|cup|lens|vitre", "eye"),
    (r"skin|naev|nev(us|i)|mole", "skin"),
    (r"breast|thyroid|node|gland|parotid", "glands and nodes"),
)


def readable(raw: str) -> str:
    """One spelling: lower case, blanks, the side in front ("kidney_left" and "Kidney, Left" become "left kidney").

    Args:
        raw: Name as a data set spells it; "" gives "".
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", raw)
    words = re.sub(r"[_\-,;/()\s]+", " ", text).strip().lower().split()
    for side in SIDES:
        if side in words:
            rest = [w for w in words if w != side]
            return " ".join([side, *rest]) if rest else side
    for short, side in (("l", "left"), ("r", "right")):
        if len(words) > 1 and words[-1] == short:
            return " ".join([side, *words[:-1]])
    return " ".join(words)


def side_of(name: str) -> str:
    """ "left", "right", or "" if the name tells no side."""
    first = name.split(" ", 1)[0]
    return first if first in SIDES else ""


def base(name: str) -> str:
    """The name without its side."""
    return name.split(" ", 1)[1] if side_of(name) and " " in name else name


def counterpart(name: str) -> str:
    """The same structure on the other side; "" if the name tells no side."""
    side = side_of(name)
    return f"{'right' if side == 'left' else 'left'} {base(name)}" if side else ""


def is_lesion(name: str) -> bool:
    """True for the names of lesions, so that questions about lesions may be asked."""
    return bool(_LESION.search(name))


def group(name: str) -> str:
    """The super-category of a structure ("abdomen", "skeleton", "lesion", "other")."""
    if is_lesion(name):
        return "lesion"
    return next((title for pattern, title in GROUPS if re.search(pattern, name)), "other")
