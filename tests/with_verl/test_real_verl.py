"""A real agent-loop worker of verl on phantoms: its batch holds what was sampled, at the positions and with the pictures of the model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl is not installed here: make verl")

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
from verl.trainer.ppo.utils import create_rl_dataset
from verl.workers.rollout.replica import TokenOutput

from training import grpo, make_phantoms
from unireason.cluster import verl_run
from unireason.cluster.verl import Desk
from unireason.model.checkpoint import Checkpoint, load
from unireason.model.files import locate
from unireason.model.tokens import picture_ids
from unireason.train.rollout import truth

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
TOLERANCE = 1e-3


class Servers:
    """Stands for verl's client of servers: draws with the library's own network, log-probabilities after bias and temperature as vLLM's."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.calls = checkpoint, 0
        self._random = torch.Generator().manual_seed(3)

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], image_data: list[Image.Image]
    ) -> TokenOutput:
        self.calls += 1
        drawn = list(self.tokens(prompt_ids, image_data, sampling_params))
        return TokenOutput(token_ids=[t for t, _ in drawn], log_probs=[p for _, p in drawn], stop_reason="completed")

    @torch.inference_mode()
    def tokens(self, ids: list[int], shown: list[Image.Image], how: dict[str, Any]) -> Iterator[tuple[int, float]]:
        made, left = self.checkpoint, iter(shown)
        read: list[int] = []
        for token in ids:
            grid = (1, *(s // made.patch for s in next(left).size[::-1])) if token == made.ids.image_pad else None
            read += picture_ids(made.ids, grid, merge=made.merge)[1:-1] if grid else [token]
        fed = made.image_processor(images=shown, return_tensors="pt")
        row = torch.tensor([read])
        more: dict[str, Any] = {"mm_token_type_ids": (row == made.ids.image_pad).int(), **fed}
        cache = None
        for _ in range(how["max_tokens"]):
            out = made.network(input_ids=row, past_key_values=cache, use_cache=True, logits_to_keep=1, **more)
            cache, more = out.past_key_values, {}
            logits = out.logits[0, -1].float()
            for token, bias in how["logit_bias"].items():
                logits[token] += bias
            chances = (logits / how["temperature"]).log_softmax(0)
            token = int(torch.multinomial(chances.exp(), 1, generator=self._random))
            yield token, float(chances[token])
            if token in how["stop_token_ids"]:
                return
            row = torch.tensor([[token]])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, DataProto, Servers, Desk]:
    """Four questions, two responses each, through verl's worker; its configuration, its batch, the servers and our desk."""
    folder = tmp_path_factory.mktemp("verl")
    phantoms = make_phantoms(folder / "data")
    settings = grpo(
        locate("phantom"),
        phantoms,
        rollout={"max_new_tokens": 0, "num_generations": 2},
        verl={"prompt_length": 1024, "response_length": 768},
    )
    verl_run.write(settings, folder / "run")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str((folder / "run").resolve()), version_base=None):
        config = compose(verl_run.CONFIG.removesuffix(".yaml"))
    servers = Servers(load("phantom", dtype="fp32"))
    worker = AgentLoopWorker(config, servers)
    questions = create_rl_dataset(config.data.train_files, config.data, worker.tokenizer, worker.processor)
    kinds = [
        questions.split_of(n) if hasattr(questions, "split_of") else questions[n]["extra_info"]["case"]
        for n in range(len(questions))
    ]
    chosen = [n for n, name in enumerate(kinds) if n < 1 or name != kinds[n - 1]][:6]
    rows = [questions[n] for n in chosen for _ in range(2)]
    columns = {key: np.array([None] * len(rows), dtype=object) for key in rows[0] if key != "dummy_tensor"}
    for key, column in columns.items():
        column[:] = [row[key] for row in rows]
    batch = DataProto.from_dict(tensors={"dummy_tensor": torch.stack([row["dummy_tensor"] for row in rows])}, non_tensors=columns)
    made = asyncio.run(worker.generate_sequences(batch))
    return config, made, servers, Desk(settings, folder / "run")


def rows_of(made: DataProto) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """(number, which ids are real, which of the response)."""
    for n in range(len(made)):
        real = made.batch["attention_mask"][n].bool()
        yield n, real, real[made.batch["prompts"].shape[1] :]


def test_injected_ids_are_masked_and_pictures_whole(run: Any) -> None:
    _, made, servers, _ = run
    ids, seen = servers.checkpoint.ids, 0
    for n, _, real in rows_of(made):
        response, mask = made.batch["responses"][n][real], made.batch["response_mask"][n][real].bool()
        injected = torch.isin(response, torch.tensor([ids.vision_start, ids.image_pad, ids.vision_end]))
        assert torch.equal(~mask, injected)
        grids = made.non_tensor_batch["multi_modal_inputs"][n]["image_grid_thw"]
        pads = int((made.batch["input_ids"][n] == ids.image_pad).sum())
        assert pads == int(grids.prod(-1).sum()) // servers.checkpoint.merge**2
        assert len(grids) == int((made.batch["input_ids"][n] == ids.vision_start).sum())
        seen += int(injected.any())
    assert seen >= len(made) // 2


def test_positions_and_log_probabilities_are_the_models_own(run: Any) -> None:
    _, made, servers, _ = run
    network, ids = servers.checkpoint.network, servers.checkpoint.ids
    worst = 0.0
    for n, real, own in rows_of(made):
        shown = made.non_tensor_batch["multi_modal_inputs"][n]
        row = made.batch["input_ids"][n][real][None]
        kinds, grids = (row == ids.image_pad).int(), shown["image_grid_thw"]
        positions, _ = network.model.get_rope_index(row, mm_token_type_ids=kinds, image_grid_thw=grids)
        assert torch.equal(made.batch["position_ids"][n][1:, real], positions[:, 0])
        with torch.inference_mode():
            out = network(
                input_ids=row,
                position_ids=positions,
                mm_token_type_ids=kinds,
                **{k: shown[k] for k in ("pixel_values", "image_grid_thw")},
            )
            logits = out.logits[0].float()
            logits[:, list(ids.forbidden)] -= 100
        chances = logits.log_softmax(-1)[:-1].gather(1, row[0, 1:, None])[:, 0][-int(own.sum()) :]
        mask = made.batch["response_mask"][n][own].bool()
        worst = max(worst, float((chances - made.batch["rollout_log_probs"][n][own])[mask].abs().max()))
    assert worst < TOLERANCE


def test_rewards_are_ours(run: Any) -> None:
    _, made, servers, desk = run
    for n, _, own in rows_of(made):
        place = made.non_tensor_batch["extra_info"][n]
        asked = desk.prompt(place["split"], place["case"], place["sample"])
        text = servers.checkpoint.tokenizer.decode(made.batch["responses"][n][own], skip_special_tokens=False)
        earned = float(made.batch["rm_scores"][n].sum())
        assert 0 <= earned <= 1
        assert earned == pytest.approx(float(made.non_tensor_batch["score"][n]), abs=1e-6)
        right = made.non_tensor_batch["right"][n]
        if right:
            assert earned >= desk.weights.answer - 1e-6
            assert truth(asked.sample).letter in text[-40:]


def test_a_prompt_that_does_not_fit_is_an_error(run: Any) -> None:
    config, _, servers, _ = run
    short = config.copy()
    short.actor_rollout_ref.rollout.prompt_length = 64
    worker = AgentLoopWorker(short, servers)
    questions = create_rl_dataset(short.data.train_files, short.data, worker.tokenizer, worker.processor)
    row = questions[0]
    columns = {key: np.array([None], dtype=object) for key in row if key != "dummy_tensor"}
    for key, column in columns.items():
        column[:] = [row[key]]
    batch = DataProto.from_dict(tensors={"dummy_tensor": row["dummy_tensor"][None]}, non_tensors=columns)
    with pytest.raises(Exception, match="max_prompt_length"):
        asyncio.run(worker.generate_sequences(batch))


def test_the_configuration_is_whole(run: Any, tmp_path: Path) -> None:
    config, *_ = run
    from verl.utils.config import omega_conf_to_dataclass

    rollout = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert rollout.limit_images >= 16
    assert actor.clip_ratio_high == pytest.approx(0.2)
    assert config.algorithm.adv_estimator == "grpo"
