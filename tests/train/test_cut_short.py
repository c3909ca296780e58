"""A request to stop that comes in the midst of a measurement: nothing half is left, and nothing is told twice."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from ranks import losses, records, train_together
from test_loop import small_job, weights

from runner.config.job import Job
from runner.runs import JSON, MetricsLog, RunFolder, read_metrics
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter
from runner.train.result import Result
from runner.train.world import World

STEPS = 12
JOB = small_job(evaluation={"questions": 4, "max_new_tokens": 40}, data__validation_questions=30)
Seen = Callable[[list[Mapping[str, JSON]]], bool]


class Impatient(FileReporter):
    """Asks to stop at the second look after what was recorded is as ``seen`` says."""

    def __init__(self, root: Path, seen: Seen | None) -> None:
        folder = RunFolder(root)
        log = MetricsLog(folder.metrics_file)
        super().__init__(log, lambda step: open_trackers((), folder, step=step), root / "stop-requested")
        self.looks, self._seen, self._records = 0, seen, list[Mapping[str, JSON]]()

    def record(self, record: Mapping[str, JSON]) -> None:
        self._records.append(record)
        super().record(record)

    def stop_requested(self) -> bool:
        self.looks += self._seen is not None and self._seen(self._records)
        return self.looks > 1


def trained(job: Job, root: Path, cache: Path, seen: Seen | None = None) -> tuple[Result, Impatient]:
    root.mkdir(parents=True, exist_ok=True)
    reporter = Impatient(root, seen)
    result = train(job, RunFolder(root), World(device=torch.device("cpu")), reporter, cache=cache)
    reporter.close()
    return result, reporter


def last_is(kind: str, step: int) -> Seen:
    return lambda records: bool(records) and (records[-1]["kind"], records[-1]["step"]) == (kind, step)


def measured(root: Path) -> list[tuple[JSON, ...]]:
    """What was measured, in order and as often as it stands there, with what came out."""
    kinds = ("validation", "passes")
    return [
        (r["kind"], r["step"], r.get("format"), r.get("loss"), r.get("solved"))
        for r in read_metrics(root / "metrics.jsonl")
        if r["kind"] in kinds
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    root = tmp_path_factory.mktemp("whole")
    trained(JOB, root, cache)
    return root


CUTS = {
    "the count before the first step": (lambda records: not records, 0),
    "its second part": (last_is("passes", 0), 0),
    "the validation after a step": (last_is("train", 4), 4),
    "one that is also saved": (last_is("train", STEPS), STEPS),
    "the last count": (last_is("validation", STEPS), STEPS),
}


@pytest.mark.parametrize("place", CUTS)
def test_a_measurement_that_is_cut_short_is_made_again_and_the_run_is_that_of_one_left_alone(
    place: str, whole: Path, cache: Path, tmp_path: Path
) -> None:
    seen, step = CUTS[place]
    first, reporter = trained(JOB, tmp_path, cache, seen)
    assert (first.ending, first.step, reporter.looks) == ("stopped", step, 2)
    before = measured(tmp_path)
    assert before == measured(whole)[: len(before)]
    assert len(before) < len(measured(whole))
    second, _ = trained(JOB, tmp_path, cache)
    assert second.ending == "finished"
    assert measured(tmp_path) == measured(whole)
    assert losses(tmp_path) == losses(whole)
    assert set(Counter(r["step"] for r in records(tmp_path) if r["kind"] == "train").values()) == {1}
    assert weights(tmp_path) == weights(whole)


def test_a_validation_made_again_twice_is_told_once(whole: Path, cache: Path, tmp_path: Path) -> None:
    """It is in the record and not in the checkpoint when the run ends, without a word, before it is saved again."""
    trained(JOB, tmp_path, cache, last_is("train", 4))

    class PowerLost(Exception):
        pass

    def lost(records: list[Mapping[str, JSON]]) -> bool:
        if last_is("validation", 4)(records):
            raise PowerLost
        return False

    with pytest.raises(PowerLost):
        trained(JOB, tmp_path, cache, lost)
    assert measured(tmp_path)[-1][:2] == ("validation", 4)
    trained(JOB, tmp_path, cache)
    assert measured(tmp_path) == measured(whole)
    assert weights(tmp_path) == weights(whole)


def test_a_plateau_found_by_a_validation_that_was_cut_short_is_the_same_one(cache: Path, tmp_path: Path) -> None:
    job = small_job(train__steps=40, stop={"plateau": {"window": 4, "improvement": 10.0}}, train__decay=0.2)
    alone, _ = trained(job, tmp_path / "alone", cache)
    assert alone.plateau_step is not None
    first, _ = trained(job, tmp_path / "cut", cache, last_is("train", alone.plateau_step))
    assert (first.ending, first.step, first.plateau_step) == ("stopped", alone.plateau_step, None)
    second, _ = trained(job, tmp_path / "cut", cache)
    assert (second.ending, second.step, second.plateau_step) == ("plateau", alone.step, alone.plateau_step)
    assert weights(tmp_path / "cut") == weights(tmp_path / "alone")


@pytest.mark.slow
def test_all_ranks_cut_the_same_validation_short(cache: Path, tmp_path: Path) -> None:
    """The first rank alone is asked, between two passes; a rank that ended elsewhere would wait for ever."""
    job = {"lora__dropout": 0.0, "data__validation_questions": 30}
    train_together({tmp_path / "cut": job}, cache, ranks=2, stop_after=4)
    cut = records(tmp_path / "cut")
    assert [r["step"] for r in cut if r["kind"] == "validation"] == [0]
    assert max(losses(tmp_path / "cut")) == 4
    assert sorted(path.name for path in (tmp_path / "cut" / "checkpoints").iterdir()) == ["step-000003", "step-000004"]
    (tmp_path / "cut" / "stop-requested").unlink()
    train_together({tmp_path / "cut": job, tmp_path / "alone": job}, cache, ranks=2)
    assert losses(tmp_path / "cut") == losses(tmp_path / "alone")
    assert measured(tmp_path / "cut") == measured(tmp_path / "alone")
    assert weights(tmp_path / "cut") == weights(tmp_path / "alone")
