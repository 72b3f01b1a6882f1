"""Pictures with one spot, questions about its grey, and scripted models: for checks of evidence."""

from __future__ import annotations

import numpy as np

import tiny
from unireason.core.errors import ImageReadError
from unireason.core.types import Box2D, Case, Geometry, Look, Source
from unireason.engine.case import prepare_case, start_session
from unireason.engine.reasoner import Reasoner
from unireason.engine.session import Inject
from unireason.evaluate.evidence import evaluate
from unireason.evaluate.store import AskSettings
from unireason.evaluate.suites.base import Entry

SIDE, SPOT = 56, 8
OPTIONS = ("dark", "grey", "bright", "white")
GREYS = (40, 100, 160, 220)


def place(n):
    """Where the spot of a case lies."""
    return 8 * (1 + n % 4), 8 * (1 + n // 4 % 4)


def picture(n):
    """Black, with one spot whose grey is the answer to the question."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    x, y = place(n)
    pixels[y : y + SPOT, x : x + SPOT] = GREYS[n % 4]
    return pixels


class Spots:
    """Questions about spots, two a case; letters are even."""

    name, rule = "spots", "the letter"

    def __init__(self, cases=16, looks=True, broken=(), without=()):
        self.cases, self.looks, self.reads = cases, looks, []
        self.broken, self.without = set(broken), set(without)

    def entries(self):
        for n in range(self.cases):
            if f"c{n}" in self.without:
                continue
            x, y = place(n)
            looks = (Look("spot", Box2D(x, y, x + SPOT, y + SPOT)),) if self.looks else ()
            for part in "ab":
                letter = "ABCD"[n % 4]
                yield Entry(
                    f"{n:02d}{part}", f"c{n}", f"p{n}", f"How bright, {part}?", OPTIONS, (OPTIONS[n % 4],), letter, {}, looks
                )

    def read(self, case):
        self.reads.append(case)
        if case in self.broken:
            raise ImageReadError(f"{case} is broken")
        pixels = picture(int(case[1:]))
        geometry = Geometry(pixels.shape, pixels.shape[::-1], (0, 1), (False, False))
        return Case(pixels, "image", geometry, "", Source(case, "npy", case))


class Engine:
    """Lets a policy write through real sessions: a generator that is given the stack, yields text, and gets what was injected."""

    def __init__(self, policy):
        self.policy, self.stacks, self.fed = policy, [], []
        self.checkpoint = tiny.checkpoint()

    def encode(self, stack):
        self.stacks.append(stack)
        return prepare_case(self.checkpoint, stack)

    def generate(self, requests, sampling=None, *, on_token=None):
        return [self.one(request) for request in requests]

    def one(self, request):
        session = start_session(self.checkpoint, request)
        run = self.policy(request.case.stack)
        text = next(run)
        while session.finish is None:
            crops = ()
            for token in tiny.spell(text):
                decision = session.feed(token)
                if isinstance(decision, Inject):
                    crops = decision.crops
            self.fed.append([c.pixels for c in crops])
            text = "" if session.finish else run.send([c.pixels for c in crops])
        return session


def box_of(stack):
    """Brightest spot, or the middle."""
    rows, columns = np.nonzero(stack.slices[0] > stack.slices[0].min())
    if len(rows) == 0:
        return "<|box_start|>[24,24,32,32]<|box_end|>"
    return f"<|box_start|>[{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}]<|box_end|>"


def letter_of(grey):
    """The letter of a grey; A for none of them."""
    return "ABCD"[GREYS.index(grey)] if grey in GREYS else "A"


def reads_region(stack):
    crops = yield f"<think>see {box_of(stack)}"
    values = [int(np.bincount(c.ravel()).argmax()) for c in crops]
    yield f"it is</think>{letter_of(values[0] if values else 0)}.<|im_end|>"


def run(policy, folder, suite=None, *, progress=None, **how):
    """A check of a scripted model, with the engine that was asked."""
    engine = Engine(policy)
    reasoner = Reasoner(engine.checkpoint, engine=engine)
    return evaluate(reasoner, suite or Spots(), folder, settings=AskSettings(**how), progress=progress), engine
