"""Cached = recomputed, packed = single, several cases = one by one: ids equal, logits within 1e-4 in float32."""

from dataclasses import replace

import pytest
import torch

import tiny
from unireason.engine import cache
from unireason.engine.case import Request
from unireason.engine.local import LocalEngine
from unireason.engine.reference import ReferenceEngine
from unireason.engine.sampling import Sampling
from unireason.engine.session import Budget
from unireason.model import tokens

BOXES_3D = [(4, 4, 0, 40, 50, 2), (10, 20, 1, 30, 56, 4), (0, 0, 3, 56, 56, 4), (1, 30, 0, 56, 40, 1)]
BOXES = {"volume": BOXES_3D, "image": [(b[0], b[1], b[3], b[4]) for b in BOXES_3D]}
TOLERANCE = 1e-4


def request(engine, case, question="what?", **fields):
    made = engine.checkpoint
    messages = made.profile.parts(case.stack.kind, question, ["yes", "no"], n_slices=len(case.stack.slices))
    return Request(case, tokens.prompt_ids(made, messages, case.prepared.grid_thw), **fields)


def run(kind, stacks, plans, questions=None, made=None):
    """Generate plan n for case ``stacks[n]``: (sessions, script)."""
    script = tiny.Script(*plans)
    engine = kind(made or tiny.checkpoint(), picker=script)
    cases = {id(s): engine.encode(s) for s in stacks}
    asked = questions or ["what?"] * len(plans)
    return engine.generate([request(engine, cases[id(s)], q) for s, q in zip(stacks, asked, strict=True)]), script


def worst(a, b, rows):
    return max(float((a.logits(r) - b.logits(r)).abs().max()) for r in range(rows))


@pytest.mark.parametrize("source", ["model", "native"])
@pytest.mark.parametrize("boxes", range(5))
@pytest.mark.parametrize("kind", ["volume", "image"])
def test_cached_equals_recomputed(kind, boxes, source):
    out = []
    for engine_kind in (LocalEngine, ReferenceEngine):
        script = tiny.Script(tiny.plan(BOXES[kind][:boxes]))
        engine = engine_kind(tiny.checkpoint(), picker=script)
        out.append((engine.generate([request(engine, engine.encode(tiny.stack(kind)), crop_source=source)])[0], script))
    (local, a), (reference, b) = out
    assert local.response == reference.response
    assert len(local.looks) == boxes
    assert local.finish == "end_of_turn"
    assert worst(a, b, 1) < TOLERANCE
    assert float(b.logits(0).std()) > 0.1  # the scale against which the tolerance stands


def flat_positions(network, ids, grids, start):
    return torch.arange(start, start + len(ids)).view(1, 1, -1).expand(3, 1, -1), start + len(ids)


def late_positions(network, ids, grids, start):
    positions, following = REAL(network, ids, grids, start)
    return positions, following + 1


REAL = cache.chunk_positions


@pytest.mark.parametrize("wrong", [flat_positions, late_positions])
def test_wrong_positions_are_seen(monkeypatch, wrong):
    """The comparison above has teeth."""
    stack, plans = tiny.stack(), [tiny.plan(BOXES_3D[:2])]
    _, right = run(ReferenceEngine, [stack], plans)
    monkeypatch.setattr(cache, "chunk_positions", wrong)
    _, bad = run(LocalEngine, [stack], plans)
    assert worst(right, bad, 1) > 100 * TOLERANCE


def test_missing_token_types_are_seen(monkeypatch):
    """Without them the library falls back to flat positions, silently; the reference must notice."""
    stack, plans = tiny.stack(), [tiny.plan(BOXES_3D[:2])]
    _, local = run(LocalEngine, [stack], plans)
    network = tiny.checkpoint().network
    forward = network.forward

    def forgetful(*args, mm_token_type_ids=None, **kwargs):
        network.model.rope_deltas = None
        return forward(*args, **kwargs)

    monkeypatch.setattr(network, "forward", forgetful)
    _, bad = run(ReferenceEngine, [stack], plans)
    assert worst(local, bad, 1) > 100 * TOLERANCE


def test_missing_owner_mask_is_seen(monkeypatch):
    """Rows that see each other's tokens give other logits."""
    plans = [tiny.plan(BOXES_3D[:1], free=3), tiny.plan(BOXES_3D[1:2], free=6)]
    _, right = run(ReferenceEngine, [tiny.stack()] * 2, plans)
    real = cache.PackedRow.add

    def everyone(self, parent):
        node = real(self, parent)
        self._sees[:] = True
        return node

    monkeypatch.setattr(cache.PackedRow, "add", everyone)
    _, bad = run(LocalEngine, [s := tiny.stack()] and [s] * 2, plans)
    assert worst(right, bad, 2) > 100 * TOLERANCE


def ragged(kind):
    """Rows of different lengths and numbers of looks, so that injections and ends fall at different steps."""
    boxes = BOXES[kind]
    return [
        tiny.plan(boxes[:2], free=3, tail=9),
        tiny.plan([], tail=2),
        tiny.plan(boxes[1:4], free=5, tail=1),
        tiny.plan(boxes[:1], free=11, tail=30),
        tiny.plan(boxes[:2], free=3, tail=9),
    ]


@pytest.mark.parametrize("kind", ["volume", "image"])
def test_packed_equals_single(kind):
    """Two questions and several samples of each, on one case."""
    stack, plans = tiny.stack(kind), ragged(kind)
    questions = ["what?", "where is it?", "what?", "what?", "where is it?"]
    together, a = run(LocalEngine, [stack] * 5, plans, questions)
    for row, (plan, question) in enumerate(zip(plans, questions, strict=True)):
        (alone,), b = run(ReferenceEngine, [stack], [plan], [question])
        assert together[row].response == alone.response
        assert together[row].prompt == alone.prompt
        assert [c.box_model for c in together[row].crops] == [c.box_model for c in alone.crops]
        assert float((a.logits(row) - b.logits(0)).abs().max()) < TOLERANCE


def test_dropping_finished_rows_changes_nothing(monkeypatch):
    monkeypatch.setattr(cache, "_DEAD_SLOTS", 1)
    dropped = []
    real = cache.GrowingCache.keep
    monkeypatch.setattr(
        cache.GrowingCache, "keep", lambda self, start, kept: (dropped.append(len(kept)), real(self, start, kept))
    )
    stack, plans = tiny.stack(), ragged("volume")
    together, a = run(LocalEngine, [stack] * 5, plans)
    alone, b = run(ReferenceEngine, [stack] * 5, plans)
    assert dropped
    assert [s.response for s in together] == [s.response for s in alone]
    assert worst(a, b, 5) < TOLERANCE


def test_many_tokens_at_once_are_fed_in_passes(monkeypatch):
    monkeypatch.setattr(cache, "_TOKENS_AT_ONCE", 20)
    stack, plans = tiny.stack(), ragged("volume")
    together, a = run(LocalEngine, [stack] * 5, plans)
    alone, b = run(ReferenceEngine, [stack] * 5, plans)
    assert [s.response for s in together] == [s.response for s in alone]
    assert worst(a, b, 5) < TOLERANCE


def test_several_cases_in_one_call():
    """A volume, an image and another volume, requests interleaved."""
    first, image, second = tiny.stack(seed=1), tiny.stack("image", seed=2), tiny.stack(depth=3, side=84, seed=3)
    stacks = [first, image, second, first, image]
    plans = [tiny.plan(BOXES["image" if s is image else "volume"][:n]) for n, s in enumerate(stacks, 0)]
    plans[4] = tiny.plan(BOXES["image"][:1])
    together, a = run(LocalEngine, stacks, plans)
    alone, b = run(ReferenceEngine, stacks, plans)
    assert [s.response for s in together] == [s.response for s in alone]
    assert [len(s.looks) for s in together] == [0, 1, 2, 3, 1]
    assert worst(a, b, 5) < TOLERANCE


def test_a_case_is_encoded_and_its_prefix_computed_once(monkeypatch):
    calls = []
    from unireason.engine import local

    for module, name in ((local.vision, "encode"), (local, "compute_prefix")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))[1])
    script = tiny.Script(tiny.plan([]))
    engine = LocalEngine(tiny.checkpoint(), picker=script)
    case = engine.encode(tiny.stack())
    for question in ("one?", "two?", "one?"):
        engine.generate([request(engine, case, question)])
    assert calls == ["encode", "compute_prefix"]
    fresh, b = run(ReferenceEngine, [tiny.stack()], [tiny.plan([])], ["one?"])
    assert float((script.logits(0) - b.logits(0)).abs().max()) < TOLERANCE
    assert fresh[0].finish == "end_of_turn"


def test_rows_that_look_in_the_same_step_get_their_own_regions():
    stack, plans = (
        tiny.stack(),
        [tiny.plan([BOXES_3D[0]]), tiny.plan([(8, 8, 2, 44, 54, 3)])],
    )  # as many tokens as the other box, so that both close together
    together, a = run(LocalEngine, [stack] * 2, plans)
    alone, b = run(ReferenceEngine, [stack] * 2, plans)
    assert [s.response for s in together] == [s.response for s in alone]
    assert together[0].response.index(tiny.checkpoint().ids.box_end) == together[1].response.index(tiny.checkpoint().ids.box_end)
    assert worst(a, b, 2) < TOLERANCE


def test_another_system_message_gets_its_own_prefix():
    made, plan = tiny.checkpoint(), tiny.plan([])
    script = tiny.Script(plan)
    engine = LocalEngine(made, picker=script)
    case = engine.encode(tiny.stack())
    engine.generate([request(engine, case)])
    other = replace(made.profile, system_3d="look badly")
    prompt = tokens.prompt_ids(made, other.parts("volume", "what?", ["yes", "no"], n_slices=4), case.prepared.grid_thw)
    engine.generate([Request(case, prompt)])
    slow = tiny.Script(plan)
    ReferenceEngine(made, picker=slow).generate([Request(case, prompt)])
    assert float((script.logits(0) - slow.logits(0)).abs().max()) < TOLERANCE


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_samples_do_not_depend_on_their_neighbours(temperature):
    """Real sampling, own random numbers a row: packed = one by one = recomputed, for the same seeds."""
    made = tiny.checkpoint()
    sampling = Sampling(temperature=temperature, top_p=0.95, top_k=100)
    budget = Budget(max_new_tokens=40, max_round_tokens=40)
    local, reference = LocalEngine(made), ReferenceEngine(made)
    case, plain = local.encode(tiny.stack()), reference.encode(tiny.stack())
    together = local.generate([request(local, case, seed=s, budget=budget) for s in range(6)], sampling)
    alone = [local.generate([request(local, case, seed=s, budget=budget)], sampling)[0] for s in range(6)]
    slow = reference.generate([request(reference, plain, seed=s, budget=budget) for s in range(6)], sampling)
    assert [s.response for s in together] == [s.response for s in alone] == [s.response for s in slow]
    assert len({tuple(s.response) for s in together}) == (6 if temperature else 1)
    for a, b in zip(together, slow, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


def test_more_rows_than_fit_run_in_turns():
    made = tiny.checkpoint()
    budget = Budget(max_new_tokens=10)
    wide, narrow = LocalEngine(made), LocalEngine(made, max_rows=2)
    out = []
    for engine in (wide, narrow):
        case = engine.encode(tiny.stack())
        requests = [request(engine, case, seed=s, budget=budget) for s in range(5)]
        out.append([s.response for s in engine.generate(requests, Sampling(temperature=1.0))])
    assert out[0] == out[1]


def test_think_tags_need_not_be_single_tokens():
    made = tiny.checkpoint(think=False)
    _, a = run(LocalEngine, [s := tiny.stack()] and [s], [tiny.plan(BOXES_3D[:1])], made=made)
    _, b = run(ReferenceEngine, [s], [tiny.plan(BOXES_3D[:1])], made=made)
    assert worst(a, b, 1) < TOLERANCE


def test_bf16_runs_and_stays_near():
    import copy

    base = tiny.checkpoint()
    from unireason.model.checkpoint import assemble

    half = assemble(copy.deepcopy(base.network).bfloat16(), base.tokenizer, base.image_processor, profile=base.profile)
    forced = [t or 65 for t in tiny.plan(BOXES_3D[:2])]
    _, a = run(LocalEngine, [s := tiny.stack()] and [s], [forced], made=half)
    _, b = run(ReferenceEngine, [s], [forced], made=half)
    assert worst(a, b, 1) < 0.5  # rounding only: logits reach 3
    assert float((a.logits(0) - b.logits(0)).abs().mean()) < 0.03


def test_text_read_anew_goes_on_behind_its_own_ids():
    """A think tag spelled in bytes is one token when the text is read anew: cached and recomputed go on alike, others than without."""
    spelled = [ord(c) - 33 if c != " " else 220 for c in "<think>"]  # byte-level ids of the tiny tokenizer
    boxes = tiny.spell("<|box_start|>[4,4,40,50]<|box_end|>")
    plan = [*spelled, *boxes, None, None, *boxes, None, None, tiny.checkpoint().ids.im_end]
    out = {}
    for reread in (True, False):
        made = replace(tiny.checkpoint(), profile=replace(tiny.PROFILE, reread=reread))
        for kind in (LocalEngine, ReferenceEngine):
            script = tiny.Script(plan)
            engine = kind(made, picker=script)
            sampling = Sampling(repetition_penalty=1.3)
            out[kind, reread] = engine.generate([request(engine, engine.encode(tiny.stack("image")))], sampling)[0], script
    (local, a), (reference, b) = out[LocalEngine, True], out[ReferenceEngine, True]
    assert local.response == reference.response
    assert local.response[0] == made.ids.think_start
    assert len(local.looks) == 2
    assert len(local.replaced) == 1
    assert worst(a, b, 1) < TOLERANCE
    assert worst(a, out[LocalEngine, False][1], 1) > 100 * TOLERANCE


@pytest.mark.parametrize(("ends", "finish"), [(True, "end_of_turn"), (False, "token_budget")])
def test_end_of_text_ends_where_the_profile_says_so(ends, finish):
    made = replace(tiny.checkpoint(), profile=replace(tiny.PROFILE, end_of_text=ends))
    engine = LocalEngine(made, picker=tiny.Script([made.tokenizer.convert_tokens_to_ids("<|endoftext|>"), 40, 41]))
    asked = request(engine, engine.encode(tiny.stack("image")), budget=Budget(max_new_tokens=3))
    assert engine.generate([asked])[0].finish == finish
