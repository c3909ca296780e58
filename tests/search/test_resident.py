"""The base that stays loaded: which jobs it takes, and that trials cost it nothing."""

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import CPU, WARMUP_STEPS, base_for, small_job

from runner.config.job import Job
from runner.errors import UserError
from runner.search.resident import ResidentBase
from runner.train.world import World


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def base(cache: Path) -> ResidentBase:
    return base_for(small_job(), cache, largest_rank=16)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"lora__rank": 17}, "lora.rank is 17 and the adapters here have rank 16"),
        ({"lora__dropout": 0.1}, "lora.dropout is 0.1 and here 0.0"),
        ({"lora__targets": ["q_proj"]}, "lora.targets is ('q_proj',) and here all-linear"),
        ({"train__kernels": "fused"}, "train.kernels is fused and here auto"),
        ({"model__quantization": "none"}, "model.quantization is none and here nf4"),
        ({"data__seed": 1, "data__questions": 50}, "data.questions is 50 and here 60; data.seed is 1 and here 17"),
        ({"lora": None, "model__quantization": "none"}, "lora is null: every parameter would be trained"),
    ],
)
def test_a_job_that_needs_another_base_is_told_why(changes: dict[str, Any], reason: str, base: ResidentBase) -> None:
    assert base.why_not(small_job(**changes)) == reason


@pytest.mark.parametrize(
    "changes",
    [
        {"lora__rank": 16, "lora__alpha": 1.0, "name": "other"},
        {"train__learning_rate": 1e-3, "train__steps": 7, "train__schedule": "cosine", "train__clip": None},
        {"train__warmup": 0.1, "train__decay": 0.2, "train__weight_decay": 0.0, "train__seed": 1},
        {"train__tokens_per_step": 1024, "validation": {"every": 7}, "checkpoint": {"keep": 1}},
    ],
)
def test_a_job_that_differs_in_what_changes_in_place_fits(changes: dict[str, Any], base: ResidentBase) -> None:
    assert base.why_not(small_job(**changes)) is None


def test_random_weights_belong_to_one_seed(cache: Path) -> None:
    random = base_for(small_job(model__weights="random"), cache, largest_rank=4)
    reason = "train.seed is 3, and random weights were drawn here with 17"
    assert random.why_not(small_job(model__weights="random", train__seed=3)) == reason


def test_a_job_without_an_adapter_has_no_resident_base(cache: Path) -> None:
    with pytest.raises(UserError, match="lora is null"):
        base_for(small_job(lora=None, model__quantization="none"), cache, largest_rank=4)


def trial(base: ResidentBase, job: Job) -> None:
    trunk = base.start(job, warmup_steps=WARMUP_STEPS)
    for stop_step in (4, 6):
        trunk.to_rung(stop_step)


def job_of(number: int) -> Job:
    return small_job(
        lora__rank=(16, 3, 8, 5)[number % 4], train__seed=number, train__learning_rate=1e-3 * (number % 4 + 1)
    )


def held() -> tuple[int, int]:
    """Live tensors and the bytes of their storages, each storage once; those that only stand for others left out."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if type(found) in (torch.Tensor, torch.nn.Parameter)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if t.device == CPU}
    return len(tensors), sum(storages.values())


def test_no_memory_grows_from_trial_to_trial(base: ResidentBase) -> None:
    counts = []
    for number in range(5):
        trial(base, job_of(number))
        counts.append(held())
    assert counts[4] == counts[1]


@pytest.mark.gpu
@pytest.mark.parametrize("kernels", ["fused", "compiled"])
def test_the_gpu_holds_after_twenty_trials_what_it_held_after_two(
    kernels: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._dynamo

    def job(number: int) -> Job:
        found = job_of(number)
        return found.model_copy(update={"train": found.train.model_copy(update={"kernels": kernels})})

    gpu = torch.device("cuda", torch.cuda.current_device())
    base = ResidentBase(job(0), largest_rank=16, world=World(device=gpu), cache=cache)
    allocated = []
    for number in range(20):
        trial(base, job(number))
        torch.cuda.synchronize()
        gc.collect()
        allocated.append(torch.cuda.memory_allocated())
        monkeypatch.setattr(torch._dynamo.config, "error_on_recompile", True)
    assert allocated[19] == allocated[1]
