"""DeepSpeed's strategies against our own: the same losses and files, and each goes on from the other's checkpoint."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import free_port, losses, records, run_ranks, train_together, validations
from safetensors.torch import load_file
from test_loop import run, small_job

from runner.config.job import Job
from runner.data.shards import PackedSplit
from runner.model.base import load_base
from runner.model.source import locate
from runner.train.batches import Batches, MicroBatch, in_order
from runner.train.strategies.derived import StepShape, derived_config
from runner.train.strategies.parts import part_of

STEPS = 4
BOUND = 2e-5  # nats, of losses of about 7: only the order of sums differs
CPU = torch.device("cpu")


def changes(strategy: str, **more: Any) -> dict[str, Any]:
    """A step of 3 buffers, uneven on 2 ranks, and a rank of 3, so that matrices do not divide by the ranks."""
    return {
        "model": {"id": "builtin:tiny-starcoder2", "weights": "random", "quantization": "none"},
        "lora": {"rank": 3},
        "train": {
            "tokens_per_step": 1536,
            "micro_batch": 1,
            "steps": STEPS,
            "learning_rate": 5e-3,
            "strategy": strategy,
        },
        "validation": {"every": 2},
        "checkpoint": {"every": 2, "keep": 5},
        **more,
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Runs of two ranks: under each strategy; and with a pretrained base, in NF4, and of all weights."""
    root = tmp_path_factory.mktemp("strategies")
    base = {"id": str(pretrained(root / "base")), "quantization": "none"}
    jobs = {strategy: changes(strategy) for strategy in ("ddp", "zero2", "zero3")}
    jobs |= {f"pretrained-{strategy}": changes(strategy, model=base) for strategy in ("ddp", "zero3")}
    nf4 = {"model": {**changes("ddp")["model"], "quantization": "nf4"}, "lora": {"rank": 3, "dropout": 0.1}}
    jobs |= {f"nf4-{strategy}": changes(strategy, **nf4) for strategy in ("ddp", "zero2")}
    for strategy in ("ddp", "zero2", "zero3"):
        slower = {**changes(strategy)["train"], "learning_rate": 1e-3}
        jobs[f"full-{strategy}"] = changes(strategy, lora=None, train=slower)
    train_together({root / name: job for name, job in jobs.items()}, cache, ranks=2)
    return root


def pretrained(folder: Path) -> Path:
    model: Any = load_base(small_job().model, CPU, residency="dequantized", seed=3)
    model.save_pretrained(folder)
    for file in Path(locate("builtin:tiny-starcoder2")).glob("*token*"):
        shutil.copy(file, folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("zero2", "ddp"),
        ("zero3", "ddp"),
        ("pretrained-zero3", "pretrained-ddp"),
        ("nf4-zero2", "nf4-ddp"),
        ("full-zero2", "full-ddp"),
        ("full-zero3", "full-ddp"),
    ],
)
def test_losses_and_files_are_those_of_ddp(name: str, like: str, trained: Path) -> None:
    assert list(losses(trained / name)) == list(range(1, STEPS + 1))
    same_curve(trained / name, trained / like)
    assert files(trained / name) == files(trained / like)
    for folder in ("best", "final", "checkpoints/step-000002"):
        same_weights(trained / name / folder, trained / like / folder)
    for root in (trained / name, trained / like):
        state = json.loads((root / "checkpoints" / "step-000002" / "state.json").read_text())
        assert state["optimizer_steps"] == 2


@pytest.mark.long
def test_a_checkpoint_goes_on_under_more_workers_and_another_strategy(
    trained: Path, tmp_path: Path, cache: Path
) -> None:
    begun = {tmp_path / name: changes(goes_on) for name, goes_on in (("ddp", "zero3"), ("zero3", "zero2"))}
    for root in begun:
        cut_short(trained / root.name, root)
    train_together(begun, cache, ranks=3)
    for root in begun:
        assert "resumed after step 2, 3 workers" in [record.get("text") for record in records(root)]
        same_curve(root, trained / "ddp")
        same_weights(root / "final", trained / "ddp" / "final")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_a_checkpoint_goes_on_under_ddp_on_one_worker(
    strategy: str, trained: Path, tmp_path: Path, cache: Path
) -> None:
    cut_short(trained / strategy, tmp_path)
    _, recorder = run(small_job(**changes("ddp")), tmp_path, cache)
    expected = losses(trained / "ddp")
    assert recorder.losses() == pytest.approx({step: expected[step] for step in range(3, STEPS + 1)}, abs=BOUND)


def cut_short(finished: Path, root: Path) -> None:
    """A copy of a run as it stood after step 2."""
    shutil.copytree(finished, root, dirs_exist_ok=True)
    for later in ("checkpoints/step-000004", "final"):
        shutil.rmtree(root / later)


def same_curve(root: Path, expected: Path) -> None:
    assert losses(root) == pytest.approx(losses(expected), abs=BOUND)
    assert validations(root) == pytest.approx(validations(expected), abs=BOUND)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def same_weights(one: Path, other: Path) -> None:
    name = "adapter_config.json" if (one / "adapter_config.json").exists() else "config.json"
    configs = [json.loads((folder / name).read_text()) for folder in (one, other)]
    for config in configs:
        config["target_modules"] = sorted(config.get("target_modules", []))  # PEFT keeps a set
    assert configs[0] == configs[1]
    (file,) = one.glob("*model.safetensors")
    ours, theirs = load_file(file), load_file(other / file.name)
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, theirs[key], atol=1e-4, rtol=0.0)


@pytest.mark.slow
def test_steps_are_those_of_ddp_and_one_that_is_not_finite_moves_nothing() -> None:
    script = str(Path(__file__).with_name("zero_steps.py"))
    run_ranks([[sys.executable, script, free_port()]] * 2)


def test_the_configuration_follows_from_the_job() -> None:
    job = small_job(**changes("zero2"))
    config = derived_config(job, StepShape(rows=2, passes=3), torch.bfloat16)
    assert config["zero_optimization"]["stage"] == 2
    assert (config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]) == (2, 3)
    assert config["bf16"] == {"enabled": True}
    assert config["gradient_clipping"] == 1.0
    unclipped = Job.model_validate({"model": {"quantization": "none"}, "train": {"strategy": "zero3", "clip": None}})
    config = derived_config(unclipped, StepShape(rows=1, passes=1), torch.float32)
    assert config["zero_optimization"]["stage"] == 3
    assert config["bf16"] == {"enabled": False}
    assert config["gradient_clipping"] == 0.0


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_the_parts_of_all_ranks_are_the_whole_and_then_zeros(ranks: int) -> None:
    whole = torch.arange(1.0, 8.0).view(1, 7)
    size = -(-7 // ranks)
    parts = torch.cat([part_of(whole, size, rank) for rank in range(ranks)])
    assert parts.tolist() == [*range(1, 8), *[0] * (ranks * size - 7)]


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_every_rank_makes_as_many_passes_and_each_token_counts_once(ranks: int, tmp_path: Path) -> None:
    from runner.data import prepare
    from runner.model.tokenizer import load_encoder

    job = small_job()
    prepared = prepare(job.data, load_encoder(job.model), cache=tmp_path)
    views = [training(prepared.train, rank, ranks) for rank in range(ranks)]
    alone, together = training(prepared.train, 0, 1), [list(view.of_step(2).micro_batches) for view in views]
    even(together, list(alone.of_step(2).micro_batches))
    held_out = [list(in_order(prepared.validation, rows=2, rank=r, ranks=ranks, device=CPU)) for r in range(ranks)]
    even(held_out, list(in_order(prepared.validation, rows=2, rank=0, ranks=1, device=CPU)))


def training(split: PackedSplit, rank: int, ranks: int) -> Batches:
    return Batches(split, buffers_per_step=5, rows=2, seed=3, rank=rank, ranks=ranks, device=CPU, even=True)


def even(together: list[list[MicroBatch]], alone: list[MicroBatch]) -> None:
    assert len({len(batches) for batches in together}) == 1
    learned = sorted(int(t) for batches in together for batch in batches for t in batch.targets)
    assert learned == sorted(int(t) for batch in alone for t in batch.targets)
