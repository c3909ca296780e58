"""What each way took and found: seconds and tokens counted apart, the timed runs carried over to all.

Running the ways is ``fresh``'s and ``runner search``'s; showing the figures, ``table``'s.
"""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

from runner.errors import TrainingFailed
from runner.search.benchmark.plan import Plan, Run, Way, runs_of
from runner.search.journal import read_journal, rung_in, study_in
from runner.search.noise import student
from runner.search.pairs import lowest, pairs_of
from runner.search.proposals import loss_of
from runner.search.records import Study, Trial, Value
from runner.search.space import STOP_STEP
from runner.search.wording import configuration

COMPARED: tuple[Way, Way] = ("curve", "resident")  # the ways whose answers are trained again


@dataclass(frozen=True)
class Seconds:
    """A time, and half of its 95 % interval where it was carried over from some runs to all."""

    value: float
    reach: float | None = None


@dataclass(frozen=True)
class Found:
    """The lowest held-out loss of a way, and of what."""

    loss: float
    at: str


@dataclass(frozen=True)
class Row:
    """One way of searching; ``runs`` is of how many runs or trials, ``best`` None where not all losses are known."""

    way: Way
    runs: str
    wall: Seconds
    tokens: int
    best: Found | None


def separate_row(plan: Plan) -> Row:
    """All runs of ``separate`` by those that were timed; its best from ``pairs``, if that was done."""
    runs, search = _runs(plan, "separate"), plan.space.search
    count = search.trials * len(search.stop_steps)
    wall = carried_over(runs, search.trials, len(search.stop_steps))
    once = _wall(plan, "separate") - sum(run.seconds for run in runs)
    tokens = search.trials * sum(search.stop_steps) * plan.space.job.train.tokens_per_step
    found = _best_of(study_of(plan, "pairs"), plan) if plan.wall_file("pairs").is_file() else None
    told = f"{count} runs, {sum(not run.cut for run in runs)} of them timed"
    return Row("separate", told, Seconds(wall.value + once, wall.reach), tokens, found)


def carried_over(runs: Sequence[Run], configurations: int, stop_steps: int) -> Seconds:
    """The seconds of ``configurations`` runs to each of ``stop_steps``, from some of each; a run cut short has none.

    Stratified by stop step, with one variance for all (W. G. Cochran, Sampling Techniques, 3rd edition, 1977,
    chapter 5): N sum mean_h, and t sqrt(s^2 sum N^2 / n_h (1 - n_h / N)).  No interval where each was timed once.
    """
    groups: dict[int, list[float]] = {}
    for run in runs:
        if not run.cut:
            groups.setdefault(run.stop_step, []).append(run.seconds)
    if len(groups) < stop_steps:
        raise TrainingFailed(f"of {stop_steps} stop steps {len(groups)} were timed", "separate", "give more --minutes")
    total = configurations * sum(fmean(group) for group in groups.values())
    degrees = sum(len(group) - 1 for group in groups.values())
    if not degrees:
        return Seconds(total)
    squares = sum((seconds - fmean(group)) ** 2 for group in groups.values() for seconds in group)
    parts = sum(configurations**2 / len(group) * (1 - len(group) / configurations) for group in groups.values())
    return Seconds(total, student(degrees) * math.sqrt(squares / degrees * parts))


def tuned_row(plan: Plan, way: Way) -> Row:
    """``asha``, whose trials count at their own stop step, or ``curve``, whose losses count wherever they stand."""
    runs = _runs(plan, way)
    ends = [(run.last, run.stop_step, run) for run in runs if run.last is not None]
    along = [(loss, step, run) for run in runs for step, loss in run.losses if step in plan.space.search.stop_steps]
    losses = ends if way == "asha" else along
    best = min(losses, key=lambda found: found[:2], default=None)
    tokens = sum(run.trained_steps for run in runs) * plan.space.job.train.tokens_per_step
    found = None if best is None else Found(best[0], _named(best[2].values, best[1]))
    return Row(way, f"{len(runs)} trials", Seconds(_wall(plan, way)), tokens, found)


def resident_row(plan: Plan) -> Row:
    """``runner search``."""
    study = study_of(plan, "resident")
    pairs = len(pairs_of(study, plan.space.search.objective))
    told = f"{len(study.trials)} trials, {pairs} pairs"
    return Row("resident", told, Seconds(_wall(plan, "resident")), _tokens(study), _best_of(study, plan))


def reached_after(plan: Plan, loss: float) -> float | None:
    """Seconds after which ``resident`` had a loss as low; None if never.  What is not of a trial counts as before."""
    events = read_journal(_journal_file(plan, "resident"))
    passed = _wall(plan, "resident") - sum(_seconds(trial) for trial in study_in(events).trials)
    in_task = 0.0
    for event in events:
        if event["kind"] == "trial" or event.get("anew"):
            passed, in_task = passed + in_task, 0.0
        elif event["kind"] == "rung":
            rung = rung_in(event)
            in_task = rung.seconds
            if any(loss_of(each, plan.space.search.objective) <= loss for each in (rung, *rung.stable)):
                return passed + in_task
    return None


def greatest_difference(plan: Plan) -> tuple[int, float] | None:
    """Of the timed runs of ``separate``: how many there are, and how far the trunks' losses lie from theirs at most."""
    if not all(plan.wall_file(way).is_file() for way in ("separate", "pairs")):
        return None
    objective = plan.space.search.objective
    branches = {(pair.trial, pair.stop_step): pair.loss for pair in pairs_of(study_of(plan, "pairs"), objective)}
    timed = {(_key(pair.values), pair.stop_step): pair.configuration for pair in plan.timed_pairs()}
    apart = [
        abs(run.last - branches[timed[_key(run.values), run.stop_step], run.stop_step])
        for run in _runs(plan, "separate")
        if run.last is not None and (timed[_key(run.values), run.stop_step], run.stop_step) in branches
    ]
    return (len(apart), max(apart)) if apart else None


def gains(plan: Plan) -> list[tuple[int, float, float]]:
    """Of the best configuration, for each stop step: the loss on the curve of one long run, and ending there."""
    if not plan.wall_file("decay").is_file():
        return []
    run = _runs(plan, "decay")[0]
    curve = dict(run.losses)
    ends = {
        rung.stop_step: loss_of(rung, plan.space.search.objective)
        for trial in study_of(plan, "resident").trials
        for rung in trial.rungs
        if _key(trial.values) == _key(run.values)
    }
    return [(stop, curve[stop], loss) for stop, loss in sorted(ends.items()) if stop in curve]


@dataclass(frozen=True)
class Answer:
    """What to train for a stop step: a run to ``stop_step``, whose loss is read at the step that was asked for."""

    values: Mapping[str, Value]
    stop_step: int
    decayed: bool


def answers(plan: Plan, way: Way) -> dict[int, Answer]:
    """That of which ``curve`` or ``resident`` saw the lowest loss at each stop step, where any was seen.

    A run of ``curve`` goes on to the last stop step, wherever its loss is read.
    """
    stops = plan.space.search.stop_steps
    if way == "curve":
        seen = [
            (step, loss, Answer(run.values, stops[-1], True)) for run in _runs(plan, way) for step, loss in run.losses
        ]
    else:
        pairs = pairs_of(study_of(plan, way), plan.space.search.objective)
        seen = [(pair.stop_step, pair.loss, Answer(pair.values, pair.stop_step, pair.decayed)) for pair in pairs]
    found: dict[int, Answer] = {}
    for step, _, answer in sorted(seen, key=lambda each: each[1]):
        if step in stops:
            found.setdefault(step, answer)
    return found


def answers_to_train(plan: Plan, stop_steps: Collection[int]) -> list[dict[str, object]]:
    """The runs of ``again``, as its file has them: what was found lowest at each of ``stop_steps``."""
    both = [answer for way in COMPARED for stop, answer in answers(plan, way).items() if stop in stop_steps]
    return list({_key(asdict(answer)): asdict(answer) for answer in both}.values())


@dataclass(frozen=True)
class Worth:
    """What the two answers for one stop step give when they are trained anew: a loss for each seed, in one order."""

    stop_step: int
    curve: tuple[float, ...]
    resident: tuple[float, ...]

    @property
    def gained(self) -> float:
        """How much lower ``runner search``'s is on average, nats a token."""
        return fmean(self.curve) - fmean(self.resident)

    @property
    def reach(self) -> float | None:
        """Half of the 95 % interval of ``gained``, by the differences of each seed; None with a single one."""
        apart = [theirs - ours for theirs, ours in zip(self.curve, self.resident, strict=True)]
        if len(apart) < 2:
            return None
        return student(len(apart) - 1) * stdev(apart) / math.sqrt(len(apart))


def worths(plan: Plan) -> list[Worth]:
    """For each stop step whose answers of both were trained again, if ``again`` was done."""
    if not plan.wall_file("again").is_file():
        return []
    runs: dict[str, list[Run]] = {}
    for run in sorted(_runs(plan, "again"), key=lambda run: run.seed or 0):
        runs.setdefault(_key(asdict(Answer(run.values, run.stop_step, run.decayed))), []).append(run)
    found: list[Worth] = []
    of_each = [answers(plan, way) for way in COMPARED]
    for stop in plan.space.search.stop_steps:
        keys = [_key(asdict(answers_of[stop])) for answers_of in of_each if stop in answers_of]
        if len(keys) == len(COMPARED) and all(key in runs for key in keys):
            found.append(Worth(stop, *(tuple(_loss_at(run, stop) for run in runs[key]) for key in keys)))
    return found


def _loss_at(run: Run, step: int) -> float:
    loss = run.at(step)
    return math.inf if loss is None else loss


def study_of(plan: Plan, way: Way) -> Study:
    """What a search of ``runner search`` measured."""
    return study_in(read_journal(_journal_file(plan, way)))


def best_values(plan: Plan) -> dict[str, Value]:
    """The configuration of the lowest loss of ``resident``."""
    best = lowest(pairs_of(study_of(plan, "resident"), plan.space.search.objective))
    assert best is not None, "nothing was measured"
    return dict(best.values)


def _journal_file(plan: Plan, way: Way) -> Path:
    return plan.root / "searches" / way / "journal.jsonl"


def _best_of(study: Study, plan: Plan) -> Found | None:
    best = lowest(pairs_of(study, plan.space.search.objective))
    return None if best is None else Found(best.loss, _named(best.values, best.stop_step))


def _tokens(study: Study) -> int:
    return sum(trial.rungs[-1].trained_tokens for trial in study.trials if trial.rungs)


def _seconds(trial: Trial) -> float:
    return trial.rungs[-1].seconds if trial.rungs else 0.0


def _named(values: object, stop_step: int) -> str:
    assert isinstance(values, dict)
    return configuration({**values, STOP_STEP: stop_step})


def _key(values: object) -> str:
    return json.dumps(values, sort_keys=True)


def _runs(plan: Plan, way: Way) -> list[Run]:
    return runs_of(json.loads(plan.runs_file(way).read_text()))


def _wall(plan: Plan, way: Way) -> float:
    return float(json.loads(plan.wall_file(way).read_text())["seconds"])
