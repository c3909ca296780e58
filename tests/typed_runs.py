"""`runner train` of a small job as a user types it, and what it left: losses by step, final weights."""

import subprocess
from pathlib import Path

from processes import start
from runner.runs import read_metrics

STEPS = 30
SMALL = {
    "model.weights": "random",
    "data.questions": 200,
    "data.max_length": 512,
    "data.validation_questions": 10,
    "lora.rank": 4,
    "train.tokens_per_step": 1024,
    "train.micro_batch": 1,
    "train.steps": STEPS,
    "train.learning_rate": 1e-3,  # at a large rate rounding alone drives two runs apart
    "validation.every": 10,
    "checkpoint.every": 5,
    "evaluation.questions": 0,
    "track": "[]",
}


def train(
    storage: Path | str, home: Path, *options: str, own_group: bool = False, **environment: str
) -> "subprocess.Popen[str]":
    """``runner train`` of the small job, with ``options`` after it."""
    overrides = [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]
    words = ["train", *overrides, "--storage", str(storage), *options]
    return start(home, *words, own_group=own_group, OMP_NUM_THREADS="1", **environment)


def losses(run: Path) -> dict[int, float]:
    """The loss of each step in the record."""
    return {
        int(str(r["step"])): float(str(r["loss"])) for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"
    }


def weights(run: Path) -> bytes:
    """The adapter after the last step."""
    return (run / "final" / "adapter_model.safetensors").read_bytes()
