"""What a run's records say in single numbers: losses, speed, memory, time, questions solved.

Words about them are ``summary``'s and the pages'.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from runner.evaluation.intervals import Share
from runner.report.curve import Point, losses, number, of_kind
from runner.runs import JSON, LoadedRun, Record, RunSummary

STATES = {"finished": "finished", "stopped": "stopped, can be resumed", "failed": "failed", "running": "running"}
WARM_UP_STEPS = 2  # the first steps compile and fill caches; they say nothing of the speed


@dataclass(frozen=True)
class Facts:
    """None where nothing was recorded.

    ``first``, ``last`` and ``lowest`` are validation losses (step, nats a token); ``training_s`` is the steps' own
    time, ``whole_s`` from start to end; ``tokens_per_s`` is the median of ``timed_steps`` steps.
    """

    first: Point | None
    last: Point | None
    lowest: Point | None
    tokens_per_s: float | None
    timed_steps: int
    peak_gib: float | None
    training_s: float
    validation_s: float
    whole_s: float
    tokens: int


def state_of(summary: RunSummary) -> str:
    """How far a run came, and why no further."""
    told = STATES.get(summary.state, summary.state)
    reason = f": {summary.reason}" if summary.reason not in ("", summary.state) else ""
    return f"{told} at step {summary.step:,} of {summary.steps:,}{reason}"


def facts_of(run: LoadedRun) -> Facts:
    """The numbers of ``run``, as far as it came."""
    steps = of_kind(run.records, "train")
    points = losses(run.records, "validation")
    rates = speeds(steps)
    peaks = [peak for record in steps if (peak := number(record.get("peak_gib")))]
    measured = [record for record in of_kind(run.records, "validation") if record.get("step")]
    return Facts(
        first=points[0] if points else None,
        last=points[-1] if points else None,
        lowest=min(points, key=lambda point: point[1], default=None),
        tokens_per_s=median(rates) if rates else None,
        timed_steps=len(rates),
        peak_gib=max(peaks, default=None),
        training_s=total(steps, "seconds"),
        validation_s=total(measured, "seconds"),
        whole_s=run.summary.seconds,
        tokens=int(max((number(record.get("tokens")) or 0.0 for record in steps), default=0.0)),
    )


def speeds(steps: Sequence[Record]) -> list[float]:
    """Tokens a second of the steps after the warm-up, of all where there are no others."""
    return [rate for record in steps[WARM_UP_STEPS:] or steps if (rate := number(record.get("tokens_per_s")))]


def total(records: Sequence[Record], key: str) -> float:
    """The sum of one number over the records that have it."""
    return sum(number(record.get(key)) or 0.0 for record in records)


@dataclass(frozen=True)
class Passes:
    """Held-out questions solved, as training counted them at one step."""

    step: int
    all: Share
    families: dict[str, Share]
    failures: dict[str, int]


def passes(records: Sequence[Record], form: str = "instruction") -> tuple[Passes, ...]:
    """Every count of one form of asking, in order."""
    counts = [record for record in of_kind(records, "passes") if record.get("format", "instruction") == form]
    return tuple(_passes(record) for record in counts)


def _passes(record: Record) -> Passes:
    families = record.get("by_family")
    failures = record.get("failures")
    return Passes(
        _count(record.get("step")),
        Share(_count(record.get("solved")), _count(record.get("questions"))),
        {name: _pair(value) for name, value in families.items()} if isinstance(families, dict) else {},
        {kind: _count(value) for kind, value in failures.items()} if isinstance(failures, dict) else {},
    )


def _pair(value: JSON) -> Share:
    return Share(_count(value[0]), _count(value[1])) if isinstance(value, list) and len(value) == 2 else Share(0, 0)


def _count(value: JSON) -> int:
    return value if isinstance(value, int) else 0
