"""What the tests of trials share: a job of seconds, the run that a branch stands for, and a base for its trials."""

from pathlib import Path
from typing import Any

import torch

from runner.config.job import Job
from runner.runs import RunFolder, read_metrics
from runner.runs.metrics import MetricsLog
from runner.runs.trackers import open_trackers
from runner.search.resident import ResidentBase
from runner.search.trunk import train_until
from runner.train.loop import train
from runner.train.reporter import FileReporter
from runner.train.world import World

CPU = torch.device("cpu")
WARMUP_STEPS = 2


def small_job(**changes: Any) -> Job:
    """QLoRA of a random StarCoder2 of 1 M parameters on generated questions; ``train__seed=3`` changes one key."""
    values: dict[str, Any] = {
        "name": "small",
        "model": {"id": "builtin:tiny-starcoder2", "quantization": "nf4"},
        "data": {"id": "builtin:questions", "questions": 60, "max_length": 256, "validation_questions": 12},
        "lora": {"rank": 4, "alpha": 16},
        "train": {"tokens_per_step": 512, "steps": 12, "learning_rate": 5e-3, "decay": 0.34, "weight_decay": 0.1},
        "track": (),
    }
    for dotted, value in changes.items():
        section, _, key = dotted.partition("__")
        values[section] = {**values[section], key: value} if key else value
    return Job.model_validate(values)


def base_for(job: Job, cache: Path, *, largest_rank: int) -> ResidentBase:
    return ResidentBase(job, largest_rank=largest_rank, world=World(device=CPU), cache=cache)


def separate_run(job: Job, stop_step: int, root: Path, cache: Path) -> tuple[float, Path]:
    """The held-out loss at the end of an ordinary run of ``stop_step`` steps, and its adapter."""
    changes = {
        "train": train_until(job.train, stop_step, warmup_steps=WARMUP_STEPS),
        "validation": job.validation.model_copy(update={"every": stop_step}),
        "checkpoint": job.checkpoint.model_copy(update={"every": stop_step}),
    }
    root.mkdir(parents=True)
    folder = RunFolder(root)
    log = MetricsLog(folder.metrics_file)
    reporter = FileReporter(log, lambda step: open_trackers((), folder, step=step), root / "stop")
    train(job.model_copy(update=changes), folder, World(device=CPU), reporter, cache=cache)
    reporter.close()
    records = [record for record in read_metrics(folder.metrics_file) if record["kind"] == "validation"]
    assert [record["step"] for record in records] == [0, stop_step]
    return float(str(records[-1]["loss"])), root / "final"
