"""Where the time of the training loop goes when it is killed once every ten checkpoints on average.

``python goodput.py FOLDER KILLS SEED`` prints a verdict in JSON.  Between kills lie exponentially distributed times, as
between failures that have nothing to do with each other.  Each life is a fork of a process that has all imported.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from loop_under_kills import JOB, result

from runner.runs import JSON, MetricsLog, RunFolder
from runner.runs.metrics import Record
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter
from runner.train.world import World
from went_on import kept_step

CHECKPOINT_EVERY, CHECKPOINTS_A_KILL, VALIDATION_EVERY = 10, 10, 100
ALONE = 10 * CHECKPOINT_EVERY  # steps of the run whose time tells how long ten checkpoints take


@dataclass(frozen=True)
class Event:
    """Something that the loop did, done at ``at`` (seconds of the machine's monotonic clock)."""

    at: float
    kind: str
    step: int


@dataclass
class Verdict:
    """Seconds of all lives by what they went into, and whether the losses and weights stayed those of a whole run."""

    kills: int = 0
    steps: int = 0
    lost_steps: int = 0
    identical: bool = False
    counted_s: float = 0.0  # steps that stand in the finished run
    saving_s: float = 0.0
    measuring_s: float = 0.0  # the held-out loss
    lost_s: float = 0.0  # between the last durable checkpoint and the kill
    restart_s: float = 0.0  # from the start of a life to its first step, the first life left out
    ending_s: float = 0.0
    restarts: list[float] = field(default_factory=list)
    new_steps: list[float] = field(default_factory=list)  # from each kill to the next step that had not been trained
    goodput: float = 0.0  # the share of counted_s in all but restart_s


@dataclass(frozen=True)
class Life:
    """What was done between the start of a child and its end, and whether it was killed."""

    events: list[Event]
    began: float
    ended: float
    killed: bool


class TimedReporter(FileReporter):
    """The plain one, which also writes down when what was done."""

    def __init__(self, root: Path, timeline: Path) -> None:
        folder = RunFolder(root)
        super().__init__(
            MetricsLog(folder.metrics_file), lambda step: open_trackers((), folder, step=step), root / "stop"
        )
        self._timeline = timeline.open("a", buffering=1)

    def record(self, record: Record) -> None:
        """As the plain one."""
        super().record(record)
        self._note(str(record["kind"]), record.get("step"))

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """As the plain one."""
        super().saved(step, checkpoint, validation_loss)
        self._note("saved", step)

    def _note(self, kind: str, step: JSON) -> None:
        self._timeline.write(f"{time.monotonic()} {kind} {step}\n")


def lived(root: Path, cache: Path, steps: int, after_s: float | None) -> Life:
    """A child that trained to the end, or until it was killed ``after_s`` seconds after its first step began."""
    timeline = root.with_name(f"{root.name}.timeline")
    timeline.write_text("")
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(root.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            _train(root, cache, steps, timeline)
            code = 0
        finally:
            os._exit(code)
    ended, kill_at = 0, float("inf")
    while not ended and time.monotonic() < kill_at:
        time.sleep(0.002)
        ended, status = os.waitpid(child, os.WNOHANG)
        if after_s is not None and kill_at == float("inf") and "startup" in timeline.read_text():
            kill_at = time.monotonic() + after_s
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), root.with_suffix(".log").read_text()
    return Life(_events(timeline), began, time.monotonic(), killed=code != 0)


def _train(root: Path, cache: Path, steps: int, timeline: Path) -> None:
    torch.set_num_threads(1)
    changes = {
        "train": JOB.train.model_copy(update={"steps": steps}),
        "checkpoint": JOB.checkpoint.model_copy(update={"every": CHECKPOINT_EVERY}),
        "validation": JOB.validation.model_copy(update={"every": VALIDATION_EVERY}),
    }
    reporter = TimedReporter(root, timeline)
    train(JOB.model_copy(update=changes), RunFolder(root), World(device=torch.device("cpu")), reporter, cache=cache)
    reporter.close()


def _events(timeline: Path) -> list[Event]:
    words = [line.split() for line in timeline.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return [Event(float(at), kind, int(step)) for at, kind, step in words if step != "None"]


def account(life: Life, verdict: Verdict, *, first: bool) -> None:
    """Share the seconds of one life out."""
    events, began, ended = life.events, life.began, life.ended
    start = next((n for n, event in enumerate(events) if event.kind == "startup"), None)
    if start is None:
        verdict.restart_s += ended - began
        return
    if not first:
        verdict.restarts.append(round(events[start].at - began, 2))
        verdict.restart_s += events[start].at - began
    saves = [n for n, event in enumerate(events) if event.kind == "saved"]
    last = max(saves, default=start) if life.killed else len(events) - 1
    for before, event in zip(events[start:last], events[start + 1 : last + 1], strict=True):
        seconds = event.at - before.at
        verdict.counted_s += seconds if event.kind == "train" else 0.0
        verdict.saving_s += seconds if event.kind == "saved" else 0.0
        verdict.measuring_s += seconds if event.kind == "validation" else 0.0
    if life.killed:
        verdict.lost_s += ended - events[last].at
        verdict.lost_steps += sum(event.kind == "train" for event in events[last:])
    else:
        verdict.ending_s += ended - events[last].at


def main(root: Path, kills: int, seed: int) -> None:
    chooser, cache, verdict = random.Random(seed), root / "cache", Verdict()
    verdict.steps = kills * CHECKPOINTS_A_KILL * CHECKPOINT_EVERY
    for name in ("short", "whole", "killed"):
        (root / name).mkdir(parents=True)
    short = lived(root / "short", cache, ALONE, None)
    ten_checkpoints_s = short.ended - next(event.at for event in short.events if event.kind == "startup")
    lived(root / "whole", cache, verdict.steps, None)
    killed_at, reached = 0.0, 0
    while kept_step(root / "killed") < verdict.steps:
        after_s = chooser.expovariate(1.0 / ten_checkpoints_s) if verdict.kills < kills else None
        life = lived(root / "killed", cache, verdict.steps, after_s)
        account(life, verdict, first=verdict.kills == 0)
        new = next((event for event in life.events if event.kind == "train" and event.step > reached), None)
        if new is not None and killed_at:
            verdict.new_steps.append(round(new.at - killed_at, 2))
        if new is not None or not killed_at:
            killed_at = life.ended
        reached = max([reached, *(event.step for event in life.events if event.kind == "train")])
        verdict.kills += life.killed
    verdict.identical = result(root / "killed") == result(root / "whole")
    spent = verdict.counted_s + verdict.saving_s + verdict.measuring_s + verdict.lost_s + verdict.ending_s
    verdict.goodput = verdict.counted_s / spent
    print(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
