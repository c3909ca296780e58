"""From where starts of a run went on: its newest whole checkpoint, and what its records say."""

from pathlib import Path

from runner.runs import read_metrics
from runner.runs.manifest import Damaged, verified


def kept_step(run: Path) -> int:
    """The step of the newest checkpoint whose every byte is right; 0 if there is none."""
    for path in sorted((run / "checkpoints").glob("step-??????"), reverse=True):
        try:
            return verified(path).step
        except Damaged:
            continue
    return 0


def went_on_from(run: Path) -> list[int]:
    """The steps after which starts of the run went on, the newest last."""
    records = read_metrics(run / "metrics.jsonl")
    return [int(str(record["step"])) for record in records if record.get("name") == "resumed"]
