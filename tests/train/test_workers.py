"""Two workers against one: the same documents in every step, the same losses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ranks import losses, train_together, validations
from test_loop import Recorder, run, small_job

from runner.data.order import packs_of_step
from runner.train.batches import Batches


def test_two_workers_give_the_losses_of_one(tmp_path: Path) -> None:
    train_together({tmp_path / "two": {"lora__dropout": 0.0}}, tmp_path / "cache", ranks=2)
    _, alone = run(small_job(lora__dropout=0.0), tmp_path / "one", tmp_path / "cache")
    together = losses(tmp_path / "two")
    assert together.keys() == alone.losses().keys()
    for step, loss in alone.losses().items():
        assert together[step] == pytest.approx(loss, abs=1e-5), f"step {step}"
    assert validations(tmp_path / "two") == pytest.approx(recorded(alone), abs=1e-5)


def recorded(recorder: Recorder) -> list[float]:
    return [float(str(r["loss"])) for r in recorder.records if r["kind"] == "validation"]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_all_ranks_together_see_the_packs_of_the_step_once(ranks: int, tmp_path: Path) -> None:
    from runner.data import prepare
    from runner.model.tokenizer import load_encoder

    job = small_job()
    split = prepare(job.data, load_encoder(job.model), cache=tmp_path).train
    cpu = torch.device("cpu")
    views = [Batches(split, buffers_per_step=4, rows=1, seed=3, rank=r, ranks=ranks, device=cpu) for r in range(ranks)]
    for step in range(1, 6):
        batches = [view.of_step(step) for view in views]
        seen = sorted(micro.first_pack for batch in batches for micro in batch.micro_batches)
        assert seen == sorted(packs_of_step(len(split), 4, step, 3).tolist())
        assert len({batch.learned for batch in batches}) == 1


def test_every_pack_comes_once_an_epoch_in_another_order_each_time() -> None:
    packs, a_step = 10, 5
    epochs = [np.concatenate([packs_of_step(packs, a_step, 2 * e + s, 7) for s in (1, 2)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(packs))
    assert not np.array_equal(epochs[0], epochs[1])
