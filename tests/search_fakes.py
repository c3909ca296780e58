"""Searches without a model: a loss that is a formula of the values, and a journal in a folder."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from runner.config.load_search import load_search
from runner.plan import Device
from runner.search.costs import Costs
from runner.search.course import Course, Task
from runner.search.journal import Journal
from runner.search.records import Rung, Study
from runner.search.space import Space, space_of

QUESTION_TOKENS = (10, 30, 60)
BASE_LOSS = 4.0
SMALL: Mapping[str, object] = {
    "name": "small",
    "space": {
        "lora.rank": {"choices": [2, 4, 8]},
        "train.learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
    },
    "stop_steps": [20, 40, 80, 160],
    "trials": 12,
    "repeats": 0,
}


def space(folder: Path, **changes: object) -> Space:
    """The small search with top-level keys changed, on the demo job."""
    file = folder / "search.yaml"
    file.write_text(json.dumps({**SMALL, **changes}))
    return space_of(load_search(file))


def rung(task: Task, stop_step: int) -> Rung:
    """What the formula gives: lowest near a rate of 5e-3, lower with rank and steps; a seed adds a little."""
    train, lora = task.job["train"], task.job["lora"]
    assert isinstance(train, dict)
    assert isinstance(lora, dict)
    rate, rank = float(str(train["learning_rate"])), int(str(lora["rank"]))
    loss = 1.0 + math.log10(rate / 5e-3) ** 2 + 1.0 / rank + 20.0 / stop_step
    loss += 0.01 * (0 if task.seed is None else task.seed % 7)
    sums = tuple(loss * tokens for tokens in QUESTION_TOKENS)
    return Rung(stop_step, loss, None, loss, sums, 100 * stop_step, stop_step / 10, 0.5)


def course(
    space: Space,
    journal: Journal,
    device: Device | None = None,
    told: Callable[[Study], None] = lambda _: None,
) -> Course:
    """A course on a device that everything fits on, unless another is given."""
    return Course(space, Costs(device or Device("cpu", "a CPU", 8.0)), journal, told)


def run(running: Course, *, at_once: int = 1, rungs: int | None = None, order: Sequence[int] = (0,)) -> Study:
    """Run to the end, or to ``rungs`` measurements; of the ``at_once`` running, ``order`` says who measures next."""
    tasks: list[Task] = []
    reached: dict[str, int] = {}
    turn = 0
    while rungs is None or turn < rungs:
        while len(tasks) < at_once and not isinstance(task := running.next(), str):
            tasks.append(task)
            assert running.based(BASE_LOSS, QUESTION_TOKENS)
        if not tasks:
            break
        task = tasks[order[turn % len(order)] % len(tasks)]
        turn += 1
        index = reached.get(task.name, 0)
        reached[task.name] = index + 1
        if not running.measured(task, rung(task, task.stop_steps[index])):
            tasks.remove(task)
            del reached[task.name]
    return running.study


def without_times(study: Study) -> Study:
    """The study without what depends on the clock."""
    trials = tuple(replace(trial, step_s=0.0) for trial in study.trials)
    return replace(study, trials=trials)
