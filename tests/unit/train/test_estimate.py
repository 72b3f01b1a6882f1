"""Estimates by hand: the numbers below were computed on paper from the sizes of the layers."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from unireason.core.config import build
from unireason.core.errors import FormatError, ModelError
from unireason.train import cost as memory
from unireason.train import cost as operations
from unireason.train.config import Grpo, Lora, Model, Optim, PlanAssumptions, Sft
from unireason.train.cost import CostShape, Language, Pictures, Vision, WorkloadTree, find, of_config, workload
from unireason.train.estimate import KNOWN, Machine, lines, machine, plan

Q7 = "Qwen/Qwen2.5-VL-7B-Instruct"
TINY = Language(layers=2, width=8, heads=2, key_heads=1, hidden=16, vocabulary=10)
EYE = Vision(blocks=2, full=1, width=4, hidden=8, out=8, patch=14, merge=2, values=5, window=56)
# one layer: q 64, k 32, v 32, o 64, gate 128, up 128, down 128
LAYER = 576
NONE = Pictures(0, 4, 1)


def settings(kind, **tables):
    given = {"model": {"init_from": Q7}, "data": {"folders": ["x"]}}
    for name, value in tables.items():
        given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
    return build(kind, given)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("Qwen/Qwen2.5-VL-3B-Instruct", 3_754_622_976),
        (Q7, 8_292_166_656),
        ("Qwen/Qwen2.5-VL-32B-Instruct", 33_452_718_336),
        ("Qwen/Qwen2.5-VL-72B-Instruct", 73_410_777_344),
    ],
)
def test_published_networks_have_as_many_weights_as_their_files_say(name, weights):
    assert find(name).parameters == weights


def test_weights_of_a_layer_by_hand():
    assert TINY.layer_matrices == 2 * LAYER
    # biases of q, k, v: 8 + 4 + 4; two norms: 16; last norm: 8; embedding and output layer: 80 each
    assert TINY.parameters == 2 * LAYER + 2 * (16 + 16) + 8 + 2 * 80
    assert dataclasses.replace(TINY, tied=True).parameters == TINY.parameters - 80


def test_sizes_of_old_and_new_configurations_and_of_broken_ones():
    text = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16}
    text |= {"vocab_size": 10}
    vision = {"depth": 2, "hidden_size": 4, "intermediate_size": 8, "fullatt_block_indexes": [1], "out_hidden_size": 8}
    new = of_config({"text_config": text, "vision_config": vision}, "x")
    assert new.language == TINY
    assert (new.vision.full, new.vision.values) == (1, 3 * 2 * 14 * 14)
    old = of_config({**text, "tie_word_embeddings": True, "vision_config": {"in_chans": 3, "out_hidden_size": 8}}, "x")
    assert (old.language.tied, old.vision.blocks, old.vision.width, old.vision.full) == (True, 32, 1280, 4)
    for broken in ({"text_config": text}, {"text_config": {**text, "hidden_size": "8"}, "vision_config": vision}):
        with pytest.raises(ModelError):
            of_config(broken, "x")


def test_the_sizes_of_a_start_that_is_not_at_hand():
    assert find("runs/nothing/checkpoint", like=Q7).parameters == find(Q7).parameters
    with pytest.raises(ModelError, match=r"plan\.like"):
        find("runs/nothing/checkpoint")


def test_the_phantom_is_read_from_its_folder():
    shape = find("phantom")
    assert (shape.language.layers, shape.language.width, shape.vision.blocks) == (6, 256, 3)


def test_forward_operations_by_hand():
    tree = WorkloadTree(count=1, prefix=4, rows=2, row=3, written=2, case=NONE, crops=NONE)
    one = operations.passed(TINY, tree)
    assert one.matrices == 2 * 2 * LAYER * 10
    # pairs: 1 + 2 + 3 + 4 in the prefix; two rows of three tokens look at seven places
    assert one.attention == 4 * 2 * 8 * (10 + 2 * 3 * 7)
    assert one.output == 2 * 80 * 4


def test_a_prefix_counts_once_however_many_rows_share_it():
    def cost(rows):
        return operations.passed(TINY, WorkloadTree(1, 1000, rows, 10, 10, NONE, NONE)).forward

    assert cost(8) < 1.4 * cost(1)
    assert cost(8) - cost(7) == pytest.approx(cost(2) - cost(1))


def test_backward_operations_by_hand():
    tree = WorkloadTree(1, 4, 2, 3, 2, NONE, NONE)
    one, shape = operations.passed(TINY, tree), CostShape("", TINY, EYE)
    full = operations.trained(shape, Model("x"), tree)
    assert full == pytest.approx(3 * (one.matrices + one.output) + 3.5 * one.attention)
    again = operations.trained(shape, Model("x", gradient_checkpointing=True), tree)
    assert again == pytest.approx(full + one.matrices + one.attention)
    lora = operations.trained(shape, Model("x", lora=Lora(rank=2, targets=("q_proj",))), tree)
    # weights: 2 layers x 2 x (8 + 8); a token makes two operations of each forward, four backward; no gradients of frozen weights
    assert lora == pytest.approx(2 * (one.matrices + one.output) + 3.5 * one.attention + 6 * 64 * 10)
    projector = operations.trained(shape, Model("x", train_llm=False, train_projector=True), tree)
    assert projector == pytest.approx(2 * (one.matrices + one.output) + 3.5 * one.attention)


def test_vision_operations_by_hand():
    # 36 patches, 9 tokens: blocks 2 x (4 x 16 + 3 x 32) + embedding 20; merger 16 x (16 + 8)
    seen = 1 * 36 + 1 * 16
    assert operations.looked(EYE, Pictures(1, 36, 9)) == 2 * (340 * 36 + 384 * 9) + 4 * 4 * 36 * seen
    assert operations.looked(EYE, Pictures(3, 36, 9)) == 3 * operations.looked(EYE, Pictures(1, 36, 9))
    small = Pictures(1, 4, 1)  # a window is never larger than the picture
    assert operations.looked(EYE, small) == 2 * (340 * 4 + 384) + 4 * 4 * 4 * (4 + 4)
    assert operations.looked_backward(EYE, Model("x"), small) == 0
    assert operations.looked_backward(EYE, Model("x", train_projector=True), small) == 4 * 384
    assert operations.looked_backward(EYE, Model("x", train_vision=True), small) == 2 * operations.looked(EYE, small)


def test_reading_a_prompt_and_writing_rows_make_a_whole_pass():
    tree = WorkloadTree(1, 40, 3, 7, 5, NONE, NONE)
    both = operations.prefilled(TINY, tree) + operations.decoded(TINY, tree)
    assert both == pytest.approx(operations.passed(TINY, tree).forward + 2 * TINY.output)


def test_tokens_of_a_step_of_sft_by_hand():
    run = settings(Sft, batch_size=10, max_questions_per_case=2)
    planned = PlanAssumptions(
        samples=95, images=0.4, image_size=(56, 84), slices=3, slice_size=(28, 56), text=20, response=30, crops=2, volume_crops=5,
        crop_tokens=4, shared=2,
    )  # fmt: skip
    work = workload(run, planned, find(Q7).vision)
    images, volumes = work.trees
    # an image is 2 x 3 tokens and two delimiters; a region 4 + 2
    assert (images.count, images.prefix, images.rows, images.row) == (2, 8, 2, 20 + 30 + 12)
    # a volume is 3 x (2 + 2)
    assert (volumes.count, volumes.prefix, volumes.rows, volumes.row) == (3, 12, 2, 20 + 30 + 30)
    assert work.steps == 10
    assert work.total("tokens") == 2 * (8 + 124) + 3 * (12 + 160)
    assert work.total("written") == 10 * 30
    assert work.total("injected") == 4 * 12 + 6 * 30
    assert work.total("prompt") == work.total("tokens") - 300 - 228
    assert work.cases == ((19.0, 6), (pytest.approx(95 * 0.6 / 2 * 3), 2))


def test_tokens_of_a_step_of_grpo_and_shares_that_are_set():
    run = settings(Grpo, rollout={"prompts_per_step": 6, "num_generations": 4}, data={"images": 1.0}, run={"epochs": 2})
    work = workload(
        run, PlanAssumptions(samples=12, images=0.0, image_size=(28, 28), text=10, response=5, crops=0, shared=3), find(Q7).vision
    )
    (tree,) = work.trees
    assert (tree.count, tree.prefix, tree.rows, tree.row) == (6, 3 + 10, 4, 5)
    assert (work.steps, work.epochs) == (4, 2)


def test_steps_follow_the_run():
    vision = find(Q7).vision
    assert workload(settings(Sft, batch_size=64, run={"epochs": 0.5}), PlanAssumptions(samples=1000), vision).steps == 8
    assert workload(settings(Sft, run={"steps": 7}), PlanAssumptions(samples=1000), vision).steps == 7


def test_how_numbers_are_kept():
    def of(processes=1, gpu=True, sharding="auto", **model):
        kept = memory.storage(Model("x", **model), processes=processes, sharding=sharding, gpu=gpu)
        return kept.weight, kept.computed, kept.stream, kept.copied, kept.shards, kept.replica

    assert of(precision="fp32", gpu=False) == (4, 4, 4, 0, 1, 0)
    assert of() == (4, 2, 4, 2, 1, 0)
    assert of(processes=8) == (4, 2, 2, 0, 8, 2)
    assert of(processes=8, sharding="none")[4:] == (1, 0)
    assert of(processes=8, lora=Lora(rank=4)) == (2, 2, 2, 0, 1, 0)
    assert of(lora=Lora(rank=4), gpu=False)[0] == 4


def test_resting_bytes_by_hand():
    shape, kept = CostShape("", TINY, EYE), memory.storage(Model("x", precision="fp32"), processes=1, sharding="none", gpu=False)
    rest = memory.resting(shape, Model("x", precision="fp32"), Optim(), kept, reference=True)
    weights = TINY.parameters
    assert rest == {
        "weights": 4 * shape.parameters, "gradients": 4 * weights, "moments": 8 * weights, "reference": 4 * shape.parameters,
    }  # fmt: skip
    muon = memory.resting(shape, Model("x"), Optim(optimizer="muon"), kept, reference=False)
    assert muon["moments"] == 8 * weights - 4 * TINY.layer_matrices
    adapters = Model("x", lora=Lora(rank=2, targets=("q_proj", "down_proj")))
    lora = memory.resting(shape, adapters, Optim(), kept, reference=True)
    assert (lora["gradients"], "reference" in lora) == (4 * 2 * 2 * (16 + 24), False)
    sharded = memory.storage(Model("x"), processes=4, sharding="auto", gpu=True)
    spread = memory.resting(shape, Model("x"), Optim(), sharded, reference=True)
    vision = EYE.tower + EYE.projector  # frozen, so whole
    assert spread["weights"] == spread["reference"] == 4 * vision + weights
    learning = memory.resting(shape, Model("x", train_projector=True), Optim(), sharded, reference=True)
    assert learning["weights"] == shape.parameters
    assert spread["whole copy for rollouts"] == 2 * shape.parameters


def test_activations_by_hand():
    kept = memory.storage(Model("x", precision="fp32"), processes=1, sharding="none", gpu=False)
    tree = WorkloadTree(1, 10, 2, 5, 3, NONE, NONE)
    # a token keeps 36 bytes a value of the width, keys and values, and 16 a hidden value; rows copy the keys they see and their queries
    layer = 20 * (36 * 8 + 2 * 4 * 4 + 16 * 16) + 2 * (15 * 2 * 4 * 4 + 5 * 8 * 4)
    assert memory.activations(TINY, [tree], kept, checkpointing=False) == 2 * layer
    assert memory.activations(TINY, [tree], kept, checkpointing=True) == 2 * 20 * 8 * 4 + layer
    assert memory.passing(TINY, [tree], kept) == max(12 * 6 * 10, 20 * 4 * (3 * 16 + 2 * 8))


def test_activations_are_what_autograd_keeps():
    """The coefficients, against every tensor that a packed sequence keeps for its backward pass."""
    import torch

    from recipes.phantom import network as scratch
    from unireason.model import adapters as parts
    from unireason.train.packing import PrefixTree as Sequence
    from unireason.train.packing import TokenRun, pack, packed_attention
    from unireason.train.policy import Policy, recompute

    def kept_bytes(layers, checkpointing):
        shape = scratch.NetworkShape(
            width=64, layers=layers, heads=4, kv_heads=2, mlp=160, vision_width=32, vision_layers=1, vision_heads=2
        )
        network = scratch.make_network(shape, scratch.make_tokenizer([]), seed=0)
        parts.choose(network, tower=False, projector=False, language=True)
        if checkpointing:
            recompute(network)
        prefix, rows = TokenRun(), []
        prefix.text([5] * 120, label=False)
        for _ in range(3):
            rows.append(TokenRun(next=prefix.next))
            rows[-1].text([7] * 40, label=True)
        own = {p.untyped_storage().data_ptr() for p in network.parameters()}
        seen = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                seen[storage.data_ptr()] = (storage.nbytes(), tensor)
            return tensor

        policy, packed = Policy(network, autocast=False).train(), pack([Sequence(prefix, tuple(rows))])
        with packed_attention(network), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            out = policy(packed, None, lambda logits, targets: logits.logsumexp(1))
        del out
        return sum(size for size, _ in seen.values())

    language = Language(layers=2, width=64, heads=4, key_heads=2, hidden=160, vocabulary=272)
    kept = memory.storage(Model("x", precision="fp32"), processes=1, sharding="none", gpu=False)
    tree = WorkloadTree(1, 120, 3, 40, 40, NONE, NONE)
    measured = 2 * (kept_bytes(3, False) - kept_bytes(2, False))
    assert memory.activations(language, [tree], kept, checkpointing=False) == pytest.approx(measured, rel=0.05)
    again = kept_bytes(3, True) - kept_bytes(2, True)
    assert again == (120 + 3 * 40) * 64 * 4


def test_trees_fill_a_sequence_up_to_its_limit():
    work = workload(
        settings(Sft, batch_size=64), PlanAssumptions(images=0.0, text=100, response=100, volume_crops=0), find(Q7).vision
    )
    (tree,) = work.trees
    assert tree.tokens == 32 * 83 + 200
    assert memory.together(work, 16384, 1)[0].count == 16384 // 2856
    assert memory.together(work, 100, 1)[0].count == 1
    assert memory.together(work, 10**9, 32)[0].count == 2


def test_machines_by_name_and_by_rates():
    assert machine("H200", 4) == dataclasses.replace(KNOWN["H200"], count=4)
    own = machine("mine", 2, teraflops=0.05, gigabytes=4)
    assert (own.rate, own.gigabytes, own.count) == (0.05e12, 4, 2)
    assert machine("H200", 1, teraflops=300).rate == 300e12
    assert machine("H200", 1).rate == pytest.approx(0.4 * 989e12)
    for bad in ({"name": "T4"}, {"name": "T4", "teraflops": 1}, {"name": "H200", "count": 0}, {"name": "H200", "gigabytes": -1}):
        with pytest.raises(FormatError):
            machine(**{"count": 1, **bad})


def test_hours_follow_operations_and_devices():
    run, own = settings(Sft, batch_size=8, run={"steps": 10}), Machine("cpu-core", 1, 1.0, 1e6, 1e9, utilisation=1.0, reached=1.0)
    one = plan(run, PlanAssumptions(), own)
    assert one.seconds["update"] == pytest.approx(one.operations["update"] / 1e12)
    assert one.hours == pytest.approx(10 * sum(one.seconds.values()) / 3600)
    two = plan(run, PlanAssumptions(), dataclasses.replace(own, count=2))
    assert two.seconds["update"] == pytest.approx(one.seconds["update"] / 2)
    faster = plan(run, PlanAssumptions(), dataclasses.replace(own, teraflops=4.0))
    assert faster.seconds["update"] == pytest.approx(one.seconds["update"] / 4)


def test_phases_of_grpo_come_with_their_settings():
    own = machine("H100-80", 8)

    def phases(**policy):
        return plan(settings(Grpo, policy=policy), PlanAssumptions(), own).operations

    both = phases()
    assert both["reference"] == 2 * both["old"] > 0  # of two mini-batches the second
    assert phases(passes=2)["old"] == both["reference"]
    assert phases(kl=0.0)["reference"] == 0
    assert phases(updates=1)["old"] == 0
    assert phases(passes=3)["update"] == pytest.approx(3 * both["update"])
    assert "reference" not in plan(settings(Grpo, policy={"beta": 0.0}), PlanAssumptions(), own).memory


def test_decoding_waits_for_weights_not_for_operations():
    run, own = (
        settings(Grpo, rollout={"prompts_per_step": 8, "num_generations": 16, "rollout_batch_size": 16}),
        machine("H100-80", 1),
    )
    few = plan(run, PlanAssumptions(images=1.0), own).seconds["decode"]
    assert few == pytest.approx(8 * 180 * 1.5 * max(own.launch * 28, 2 * find(Q7).language.parameters / own.flow))
    halves = plan(
        settings(Grpo, rollout={"prompts_per_step": 8, "num_generations": 16, "rollout_batch_size": 8}),
        PlanAssumptions(images=1.0),
        own,
    )
    assert halves.seconds["decode"] == pytest.approx(2 * few)


def test_the_cache_saves_the_tower_in_later_epochs_as_far_as_it_holds():
    def vision(epochs, **cache):
        return plan(
            settings(Sft, run={"epochs": epochs}, cache=cache), PlanAssumptions(samples=6400), machine("H200", 1)
        ).operations["vision"]

    assert vision(1.0) == vision(4.0, folder="off") > vision(4.0, gigabytes=1e6)
    assert vision(4.0, gigabytes=1e6) < vision(4.0, gigabytes=10.0) < vision(1.0)


def test_sharding_and_adapters_change_what_fits():
    one, eight = machine("H100-80", 1), machine("H100-80", 8)
    full = settings(Sft, model={"gradient_checkpointing": True})
    assert not plan(full, PlanAssumptions(), one).fits
    assert plan(full, PlanAssumptions(), eight).fits
    assert plan(settings(Sft, model={"gradient_checkpointing": True, "lora": {"rank": 64}}), PlanAssumptions(), one).fits
    assert plan(full, PlanAssumptions(), eight).loading > 0
    without = plan(settings(Sft), PlanAssumptions(), eight)
    assert without.memory["activations"] > 5 * plan(full, PlanAssumptions(), eight).memory["activations"]


def test_unknown_adapter_targets_are_named():
    with pytest.raises(FormatError, match="lm_head"):
        plan(settings(Sft, model={"lora": {"rank": 4, "targets": ["lm_head"]}}), PlanAssumptions(), machine("H200", 1))


@pytest.mark.parametrize("kind", [Sft, Grpo])
def test_an_estimate_is_plain_json_and_readable_lines(kind):
    estimate = plan(settings(kind), PlanAssumptions(), machine("H100-80", 8))
    values = json.loads(json.dumps(estimate.to_json()))
    assert (values["kind"], values["fits"]) == (kind.__name__.lower(), estimate.fits)
    told = "\n".join(lines(estimate, PlanAssumptions(), origin="assumed"))
    assert "8.29B weights" in told
    assert ("DOES NOT FIT" in told) != estimate.fits


def test_planning_needs_no_torch():
    code = "import sys, unireason.train.estimate, unireason.train.estimate; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
