"""Continuing bit for bit and with other numbers of processes, refusing what does not fit, and surviving full disks and damaged files."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from unireason.core.errors import FormatError, UniReasonError
from unireason.train import run_state
from unireason.train.run_state import Progress, latest, restore, save

SETTINGS = "c0ffee"


def make():
    """A matrix stepped by Muon, a bias by AdamW."""
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 4)
    parameters = dict(module.named_parameters())
    return parameters, [torch.optim.Muon([module.weight], lr=0.1), torch.optim.AdamW([module.bias], lr=0.1)]


def advance(parameters, optimizers, steps, start=0):
    for step in range(start, start + steps):
        row = torch.full((2, 4), float(step + 1))
        torch.nn.functional.linear(row, parameters["weight"], parameters["bias"]).square().sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def kept(tmp_path, step=3, **options):
    parameters, optimizers = make()
    advance(parameters, optimizers, step)
    return save(tmp_path, Progress(step, SETTINGS, {"seen": 7}), parameters, optimizers, **options)


def bytes_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_resumed_equals_uninterrupted(tmp_path):
    straight, optimizers = make()
    advance(straight, optimizers, 6)
    kept(tmp_path)
    resumed, others = make()
    progress = restore(latest(tmp_path), resumed, others, settings=SETTINGS)
    assert progress == Progress(3, SETTINGS, {"seen": 7})
    advance(resumed, others, 3, start=3)
    for name in straight:
        assert torch.equal(straight[name], resumed[name])


def test_optimisers_come_back_whole_in_their_own_types(tmp_path):
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    exact = torch.tensor([1 / 3, 2 / 3, 1e-9])
    optimizer.state[weight] = {"average": exact, "count": 5, "share": 0.1, "none": None}
    save(tmp_path, Progress(1, SETTINGS), {"w": weight}, [optimizer])
    optimizer.state.clear()
    restore(latest(tmp_path), {"w": weight}, [optimizer], settings=SETTINGS)
    back = optimizer.state[weight]
    assert torch.equal(back["average"], exact)  # float32 beside a bfloat16 weight
    assert (back["count"], back["share"], back["none"]) == (5, 0.1, None)
    assert type(back["count"]) is int


def test_what_optimisers_remembered_before_is_forgotten(tmp_path):
    path = kept(tmp_path, 0)  # before the first step they remember nothing
    parameters, optimizers = make()
    advance(parameters, optimizers, 2)
    restore(path, parameters, optimizers, settings=SETTINGS)
    assert not any(optimizer.state for optimizer in optimizers)


def test_a_memory_that_cannot_be_kept_is_refused(tmp_path):
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    optimizer.state[weight] = {"history": [1, 2]}
    with pytest.raises(UniReasonError, match="history is a list"):
        save(tmp_path, Progress(1, SETTINGS), {"w": weight}, [optimizer])
    with pytest.raises(UniReasonError, match="not among those saved"):
        save(tmp_path, Progress(1, SETTINGS), {}, [optimizer])


def test_layout_is_safetensors_and_json(tmp_path):
    path = kept(tmp_path)
    assert path == tmp_path / "step-0000003"
    assert sorted(p.name for p in path.iterdir()) == ["meta.json", "rank-00000-of-00001.safetensors"]
    assert json.loads((path / "meta.json").read_text()) == {
        **{"step": 3, "world": 1, "settings": SETTINGS, "counters": {"seen": 7}, "questions": {}}
    }
    keys = load_file(path / "rank-00000-of-00001.safetensors").keys()
    assert keys == {
        *("parameter.weight", "parameter.bias", "optimizer.0.momentum_buffer.weight", "optimizer.1.step.bias"),
        *("optimizer.1.exp_avg.bias", "optimizer.1.exp_avg_sq.bias"),
    }


def test_weights_alone_and_some_of_them(tmp_path):
    kept(tmp_path)
    parameters, _ = make()
    before = parameters["weight"].clone()
    restore(latest(tmp_path), {"bias": parameters["bias"]}, settings=SETTINGS)
    assert torch.equal(parameters["weight"], before)
    assert torch.equal(parameters["bias"], load_file(latest(tmp_path) / "rank-00000-of-00001.safetensors")["parameter.bias"])


@pytest.mark.parametrize(("keep", "left"), [(1, [10]), (2, [2, 10]), (9, [1, 2, 10])])
def test_as_many_states_are_kept_as_asked(tmp_path, keep, left):
    for step in (1, 2, 10):
        kept(tmp_path, step, keep=keep)
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-{n:07d}" for n in left]


def test_a_course_that_was_given_up_goes(tmp_path):
    for step in (1, 9):
        kept(tmp_path, step, keep=5)
    kept(tmp_path, 4, keep=5)
    assert latest(tmp_path).name == "step-0000004"
    assert not (tmp_path / "step-0000009").exists()


def test_steps_are_told_apart_by_number_not_by_spelling(tmp_path):
    parameters, optimizers = make()
    for step in (9_999_999, 10_000_000):
        save(tmp_path, Progress(step, SETTINGS), parameters, optimizers, keep=2)
    assert latest(tmp_path).name == "step-10000000"
    assert (tmp_path / "step-9999999").exists()


def test_the_same_step_can_be_saved_again(tmp_path):
    first = bytes_of(kept(tmp_path))
    assert bytes_of(kept(tmp_path)) == first
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000003"]


def test_nothing_saved_gives_nothing(tmp_path):
    assert latest(tmp_path) is None
    assert latest(tmp_path / "never") is None


def cut(path):
    file = path / "rank-00000-of-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def garble(path):
    (path / "rank-00000-of-00001.safetensors").write_bytes(b"\x00" * 50)


def unname(path):
    path.rename(path.with_name("step-0000009.partial"))


def lose(name):
    return lambda path: (path / name).unlink()


def meta(text):
    return lambda path: (path / "meta.json").write_text(text)


@pytest.mark.parametrize(
    "harm",
    [
        *(cut, garble, unname, lose("meta.json"), lose("rank-00000-of-00001.safetensors"), meta("{"), meta("[]"), meta("{}")),
        meta('{"step": 9, "world": "1", "settings": "c0ffee", "counters": {}}'),
        meta('{"step": 9, "world": 2, "settings": "c0ffee", "counters": {}}'),
        meta('{"step": 9, "world": 1, "settings": "c0ffee", "counters": 3}'),
    ],
)
def test_a_broken_state_is_never_picked(tmp_path, harm):
    kept(tmp_path, 3, keep=2)
    harm(kept(tmp_path, 9, keep=2))
    assert latest(tmp_path).name == "step-0000003"


def test_a_changed_byte_is_found_and_nothing_is_loaded(tmp_path):
    path = kept(tmp_path)
    file = path / "rank-00000-of-00001.safetensors"
    whole = bytearray(file.read_bytes())
    whole[-3] ^= 1
    file.write_bytes(whole)
    parameters, optimizers = make()
    before = {n: p.clone() for n, p in parameters.items()}
    with pytest.raises(UniReasonError, match=r"checksum differs.*Remove .*step-0000003"):
        restore(path, parameters, optimizers, settings=SETTINGS)
    assert all(torch.equal(parameters[n], before[n]) for n in before)
    assert not optimizers[1].state


def test_other_settings_and_other_weights_are_refused(tmp_path):
    path = kept(tmp_path)
    parameters, optimizers = make()
    with pytest.raises(FormatError, match="other settings"):
        restore(path, parameters, optimizers, settings="0ff")
    other = torch.nn.Linear(5, 4)
    for wrong in (
        {"weight": other.weight, "bias": other.bias},
        {"w": parameters["weight"]},
        {"bias": parameters["bias"].double()},
    ):
        with pytest.raises(FormatError, match="other weights"):
            restore(path, wrong, settings=SETTINGS)
    more = torch.optim.AdamW([parameters["bias"]], lr=0.1)
    with pytest.raises(FormatError, match="other weights, such as weight"):  # a saved weight that this run would not train
        restore(path, {"bias": parameters["bias"]}, [more], settings=SETTINGS)
    with pytest.raises(FormatError, match="other weights"):  # optimisers in another order
        restore(path, parameters, optimizers[::-1], settings=SETTINGS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["weight", "memory"])
def test_values_that_are_not_finite_are_not_saved(tmp_path, value, where):
    before = bytes_of(kept(tmp_path))
    parameters, optimizers = make()
    advance(parameters, optimizers, 4)
    target = parameters["bias"].data if where == "weight" else optimizers[1].state[parameters["bias"]]["exp_avg"]
    target[1] = value
    with pytest.raises(UniReasonError, match=r"step-0000004 was not saved.*not finite"):
        save(tmp_path, Progress(4, SETTINGS), parameters, optimizers)
    assert bytes_of(tmp_path / "step-0000003") == before
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000003"]


def test_a_full_disk_leaves_the_old_state(tmp_path, monkeypatch):
    before = bytes_of(kept(tmp_path))

    def full(path, tensors, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(run_state, "write", full)
    with pytest.raises(UniReasonError, match=r"step-0000005 cannot be written \(No space left on device\)"):
        kept(tmp_path, 5)
    assert bytes_of(latest(tmp_path)) == before
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000003"]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UniReasonError, match="cannot be written"):
        kept(tmp_path / "file" / "state")


def together(job):
    """Runs ``job(rank, barrier)`` in two threads and returns what came or was raised."""
    meeting, results = threading.Barrier(2), [None, None]

    def one(rank):
        try:
            results[rank] = job(rank, lambda: meeting.wait(20))
        except UniReasonError as error:
            results[rank] = error

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def of_two(folder, step=1, values=(1.0, 1.0)):
    """A state of two processes that hold the same weight, unless values say otherwise."""

    def run(rank, barrier):
        weight = torch.nn.Parameter(torch.full((2,), values[rank]))
        return save(folder, Progress(step, SETTINGS), {"w": weight}, [], rank=rank, world=2, barrier=barrier)

    return together(run)


def test_what_is_whole_in_every_process_is_kept_once(tmp_path):
    of_two(tmp_path)
    files = sorted(latest(tmp_path).glob("*.safetensors"))
    assert [p.name for p in files] == ["rank-00000-of-00002.safetensors", "rank-00001-of-00002.safetensors"]
    assert [list(load_file(p)) for p in files] == [["parameter.w"], []]
    weight = torch.zeros(2)
    restore(latest(tmp_path), {"w": weight}, settings=SETTINGS)  # by one process
    assert weight.tolist() == [1.0, 1.0]
    files[1].unlink()
    assert latest(tmp_path) is None


@pytest.mark.parametrize("bad", [0, 1])
def test_one_process_that_fails_fails_all_and_keeps_the_old_state(tmp_path, bad):
    of_two(tmp_path)
    before = bytes_of(tmp_path / "step-0000001")
    failed = of_two(tmp_path, 2, [float("nan") if rank == bad else 0.0 for rank in range(2)])
    assert "not finite" in str(failed[bad])
    assert "another process" in str(failed[1 - bad])
    assert bytes_of(tmp_path / "step-0000001") == before
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000001"]


def test_shards_without_their_rows_are_told_from_damage(tmp_path):
    """As earlier versions wrote them."""
    of_two(tmp_path)
    for path in latest(tmp_path).glob("*.safetensors"):
        notes = {"crc32": 0, "plain": {}, "host": [], "sharded": ["optimizer.0.exp_avg.w"]}
        save_file({"parameter.w": torch.ones(1)}, path, {"notes": json.dumps(notes)})
    with pytest.raises(FormatError, match="earlier version"):
        restore(latest(tmp_path), {"w": torch.zeros(2)}, settings=SETTINGS)


PROGRAM = """
import sys
import torch
from pathlib import Path
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from safetensors.torch import save_file
from unireason.train.run_state import Progress, latest, restore, save

rank, world, first, last, folder, meeting = *map(int, sys.argv[1:5]), Path(sys.argv[5]), sys.argv[6]
torch.manual_seed(rank if first else 0)
module = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 1))
if world > 1:
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    fully_shard(module, mesh=init_device_mesh("cpu", (world,)))
parameters = dict(module.named_parameters())
optimizers = [torch.optim.AdamW(module.parameters(), lr=0.05)]

def whole():
    values = {**parameters, **{f"{s}.{n}": v for n, p in parameters.items() for s, v in optimizers[0].state[p].items()}}
    return {n: (v.full_tensor() if hasattr(v, "full_tensor") else v).detach().clone() for n, v in values.items()}

if first:
    assert restore(latest(folder), parameters, optimizers, settings="c0ffee").step == first
    save_file(whole(), folder / f"begun-{first}-{rank}")
for step in range(first, last):
    module(torch.arange(10.0).reshape(2, 5).sub(step).cos()).square().sum().backward()
    optimizers[0].step()
    optimizers[0].zero_grad()
barrier = distributed.barrier if world > 1 else lambda: None
save(folder, Progress(last, "c0ffee"), parameters, optimizers, rank=rank, world=world, barrier=barrier)
save_file(whole(), folder / f"ended-{last}-{rank}")
if world > 1:
    distributed.destroy_process_group()
"""


def leg(folder, world, first, last):
    """Steps of a run, taken by so many processes of their own."""
    words = [str(first), str(last), str(folder), str(folder / f"meeting-{last}")]
    command = [sys.executable, "-c", PROGRAM]
    running = [subprocess.Popen([*command, str(r), str(world), *words], stderr=subprocess.PIPE, text=True) for r in range(world)]
    told = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * world, told


def test_any_number_of_processes_goes_on(tmp_path):
    """Rows that two and three do not divide; every leg begins with the very bits that the last one ended with."""
    relay, alone = tmp_path / "relay", tmp_path / "alone"
    for folder in (relay, alone):
        folder.mkdir()
    for number, world in enumerate((1, 2, 3, 1)):
        leg(relay, world, 2 * number, 2 * number + 2)
        for rank in range(world if number else 0):
            begun, ended = (load_file(relay / f"{name}-{2 * number}-{place}") for name, place in (("begun", rank), ("ended", 0)))
            assert begun.keys() == ended.keys()
            assert all(torch.equal(begun[name], ended[name]) for name in begun)
    leg(alone, 1, 0, 8)
    one, other = load_file(alone / "ended-8-0"), load_file(relay / "ended-8-0")
    for name in one:
        torch.testing.assert_close(other[name], one[name], atol=1e-6, rtol=1e-5)


@pytest.fixture
def mesh():
    """A device mesh of this process alone, on which weights are sharded as over many."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def test_sharded_weights_resume_as_uninterrupted_ones(tmp_path, mesh):
    from torch.distributed.fsdp import fully_shard

    def sharded():
        torch.manual_seed(0)
        module = fully_shard(torch.nn.Linear(4, 3), mesh=mesh)
        return module, dict(module.named_parameters()), [torch.optim.AdamW(module.parameters(), lr=0.1)]

    def go(module, optimizers, steps):
        for step in steps:
            module(torch.full((2, 4), float(step))).square().sum().backward()
            optimizers[0].step()
            optimizers[0].zero_grad()

    straight, expected, optimizers = sharded()
    go(straight, optimizers, range(6))
    module, parameters, optimizers = sharded()
    go(module, optimizers, range(3))
    path = save(tmp_path, Progress(3, SETTINGS), parameters, optimizers)
    assert load_file(path / "rank-00000-of-00001.safetensors")["parameter.weight"].shape == (3, 4)
    resumed, parameters, optimizers = sharded()
    restore(path, parameters, optimizers, settings=SETTINGS)
    assert type(optimizers[0].state[parameters["weight"]]["exp_avg"]) is type(parameters["weight"].data)
    go(resumed, optimizers, range(3, 6))
    for name in expected:
        assert torch.equal(expected[name].full_tensor(), parameters[name].full_tensor())


def test_left_overs_of_a_kill_are_cleaned(tmp_path):
    kept(tmp_path, 3)
    for name in ("step-0000005.partial", "step-0000004.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("")
    kept(tmp_path, 5)
    assert [p.name for p in tmp_path.iterdir()] == ["step-0000005"]


def test_what_is_remembered_of_questions_comes_back_bit_for_bit(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    told = {"a \u00e9": [0.1 + 0.2, 3], "b": [1 / 3, 0]}
    path = save(tmp_path, Progress(1, SETTINGS, {}, told), {"w": weight}, [])
    assert restore(path, {"w": weight}, settings=SETTINGS).questions == told
    meta = path / "meta.json"
    meta.write_text(meta.read_text().replace("0.3333333333333333", '"x"'))
    with pytest.raises(UniReasonError, match="damaged"):
        restore(path, {"w": weight}, settings=SETTINGS)
