"""What organs do, and words that give a name away; plain anatomy, no logic beyond the look-up."""

from __future__ import annotations

import re
from functools import lru_cache

from unireason.data import names

from .place import is_lesion, words_of

FUNCTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"kidneys?", ("filters the blood and makes urine", "clears waste from the blood into the urine")),
    (r"liver", ("makes bile and stores sugar", "takes up what the gut absorbs and makes bile")),
    (r"spleen", ("clears worn red cells from the blood", "filters old blood cells")),
    (r"stomach", ("churns swallowed food with acid", "receives swallowed food and adds acid to it")),
    (r"gall ?bladder", ("keeps bile between meals", "concentrates bile and releases it after a meal")),
    (r"pancreas", ("makes insulin", "makes insulin and digestive juice")),
    (r"(urinary )?bladder", ("holds urine until it is passed", "fills with urine")),
    (r"heart", ("pumps the blood", "beats and drives the circulation")),
    (r"lungs?", ("takes oxygen out of the breathed air", "exchanges gas between air and blood")),
    (r"aorta", ("takes all blood that the heart sends to the body", "carries blood away from the heart to the body")),
    (r"(inferior vena cava|postcava)", ("brings blood from legs and belly back to the heart",)),
    (r"o?esophagus", ("carries swallowed food down through the chest",)),
    (r"duodenum", ("receives what leaves the stomach",)),
    (r"adrenal( gland)?", ("makes cortisol", "answers stress with hormones")),
    (r"prostate", ("adds fluid to semen",)),
    (r"uterus", ("carries a pregnancy",)),
    (r"trachea", ("leads breathed air into the chest",)),
    (r"thyroid( gland)?", ("makes hormones that set the metabolic rate",)),
    (r"rectum", ("keeps stool until it is passed",)),
    (r"(spine|vertebrae|vertebral column)", ("carries the weight of the trunk",)),
    (r"hippocampus", ("lays down new memories",)),
    (r"optic (disc|disk)", ("is where nerve fibres leave the eye",)),
)
"""Pattern of the name without its side, and what it does."""

ABNORMAL = ("does not belong to normal anatomy", "is abnormal", "would not be there in a healthy person")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "kidney": ("renal", "nephr"),
    "liver": ("hepat",),
    "heart": ("cardi", "atri", "ventric"),
    "lung": ("pulmon",),
    "stomach": ("gastr",),
    "spleen": ("splen",),
    "bladder": ("vesic", "urinary"),
    "gallbladder": ("biliar", "cholecyst"),
    "brain": ("cereb", "enceph"),
    "eye": ("ocul", "ophthal"),
    "skin": ("derm", "cutan"),
    "bone": ("osse",),
    "spine": ("verteb", "spinal"),
    "vertebra": ("spin",),
    "vertebrae": ("spin",),
    "rib": ("costal",),
    "breast": ("mamm",),
    "esophagu": ("gullet",),
    "oesophagu": ("gullet",),
    "bowel": ("intestin", "colon", "gut"),
    "intestine": ("bowel", "gut"),
    "colon": ("bowel", "colic"),
    "trachea": ("airway", "windpipe"),
    "airway": ("trachea",),
    "artery": ("arteri",),
    "vein": ("venous",),
    "uteru": ("womb", "uter"),
    "disc": ("disk",),
    "disk": ("disc",),
    "muscle": ("muscul",),
}
"""Beginnings of words that say the same, by word of a name with a plural's s cut."""

_IDLE = frozenset(("of", "the", "and", "in", "with", "to", "for", "a", "or", "on", "at"))
_WORD = re.compile(r"[a-z0-9]+")
_LEAST_STEM = 4


@lru_cache(maxsize=4096)
def function_of(name: str) -> int:
    """Row of FUNCTIONS that is true of a structure; -1 if there is none. Lesions have no function."""
    plain = names.base(name)
    if is_lesion(name):
        return -1
    return next((i for i, (pattern, _) in enumerate(FUNCTIONS) if re.fullmatch(pattern, plain)), -1)


@lru_cache(maxsize=8192)
def gives_away(name: str, text: str) -> bool:
    """True if a text holds a word of a structure's name, of its counterpart's, or a word that says the same.

    Args:
        name: Readable name of the target.
        text: What is to be said about it.
    """
    mine = {w for w in words_of(name) | words_of(names.counterpart(name)) if w not in _IDLE}
    stems = [s for w in mine for s in SYNONYMS.get(w, ())]
    spoken = {w[:-1] if w.endswith("s") else w for w in _WORD.findall(text.lower())}
    if is_lesion(name) and any(is_lesion(w) for w in spoken):
        return True
    return any(_same(w, s) for w in mine for s in spoken) or any(s.startswith(stem) for stem in stems for s in spoken)


def _same(a: str, b: str) -> bool:
    """True for equal words, or if the shorter one, of four letters at least, is part of the other ("bladder", "gallbladder")."""
    if a == b:
        return True
    short, long = sorted((a, b), key=len)
    return len(short) >= _LEAST_STEM and short in long
