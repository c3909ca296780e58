"""What is searched: ranges as Optuna's distributions, values put into the job, stop steps that suit the schedule.

Reading the ranges is ``runner.config``'s, choosing among them ``proposals``'s.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from runner.config.job import Job, Train
from runner.config.load_search import LoadedSearch, number_kind
from runner.config.search import Choice, Range, Search
from runner.errors import JobFileError, UserError
from runner.search.legs import COMPLETED, leg_ends, legs, refining_from
from runner.search.records import Value
from runner.search.rungs import places
from runner.search.trunk import last_shared_step, train_until
from runner.search.unit import Numbers
from runner.train.schedule import warmup_steps

STOP_STEP = "stop_step"  # the name under which Optuna knows it, beside the job's own keys


@dataclass(frozen=True)
class Space:
    """A sound search with its job; see ``space_of``."""

    search: Search
    job: Job  # as its file says, plateau and evaluation included

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples: every key of the space, and the stop step."""
        keys = {key: _distribution(key, values) for key, values in self.search.space.items()}
        return {**keys, STOP_STEP: CategoricalDistribution(self.search.stop_steps)}

    @property
    def largest_rank(self) -> int:
        """The largest rank that a trial may have."""
        assert self.job.lora is not None
        ranks = self.search.space.get("lora.rank")
        if ranks is None:
            return self.job.lora.rank
        tried = ranks.choices or (ranks.low, ranks.high)
        return max(rank for rank in tried if isinstance(rank, int))

    def configured(self, values: Mapping[str, Value]) -> Job:
        """The base job with ``values`` set; raises ``UserError`` when they cannot stand together."""
        options = {key: labels(values) for key, values in self.search.space.items() if values.choices is not None}
        chosen = {key: options[key][value] if key in options else value for key, value in values.items()}
        return _with(self.job, chosen)

    def warmup(self, values: Mapping[str, Value]) -> int:
        """Steps of the warm-up of every trial with these ``values``, whatever its stop step."""
        if self.search.warmup_steps is not None:
            return self.search.warmup_steps
        train = self.configured(values).train
        return warmup_steps(train.model_copy(update={"steps": self.search.stop_steps[-1]}))

    def ending_at(self, values: Mapping[str, Value], stop_step: int, *, decayed: bool = True) -> Job:
        """The job whose run gives what the trial with ``values`` measures at ``stop_step``, with a decay or without."""
        job = self.configured(values)
        train = train_until(job.train, stop_step, warmup_steps=self.warmup(values))
        changes: dict[str, object] = {"train.steps": stop_step, "train.warmup": train.warmup, "stop.plateau": None}
        if not decayed:
            changes["train.schedule"] = "constant"
        for section in ("validation", "checkpoint"):
            changes[f"{section}.every"] = min(getattr(job, section).every, stop_step)
        return _with(job, changes)

    def trial_job(self, values: Mapping[str, Value], *, decayed: bool = True) -> Job:
        """The job that a trial trains: to the last stop step, without counts of solved questions."""
        job = self.ending_at(values, self.search.stop_steps[-1], decayed=decayed)
        return _with(job, {"evaluation.questions": 0, "track": ()})

    def pass_steps(self, values: Mapping[str, Value], stop_steps: Iterable[int]) -> int:
        """Steps that a trial trains from step 0 to measure ``stop_steps``: the trunk, and a decay for each."""
        left = self._leaving(values, stop_steps)
        return max(left.values(), default=0) + sum(stop - before for stop, before in left.items())

    def reached(self) -> dict[int, int]:
        """How many trials measure the end of each leg, when none fails and none goes on beyond its place."""
        ends, refining = leg_ends(self.search), self.search.trials - refining_from(self.search)
        counts = [self.search.trials - refining]
        for _ in ends[1:]:
            counts.append(max(places(counts[-1], self.search.reduction_factor), min(counts[-1], 1)))
        counts[-1] += refining
        return dict(zip(ends, counts, strict=True))

    def expected_steps(self, values: Mapping[str, Value]) -> int:
        """About the steps of all trials with ``values``, repeats left out.

        A trial trains more that measures its own stop step on the way, or whose state was lost while it waited.
        """
        refining = self.search.trials - refining_from(self.search)
        measured: list[int] = []
        steps = before = 0
        for leg, count in zip(legs(self.search), self.reached().values(), strict=True):
            measured += leg
            after = self.pass_steps(values, measured)
            halved = count - (refining if leg[-1] == self.search.stop_steps[-1] else 0)
            steps, before = steps + halved * (after - before), after
        passed_by = self._leaving(values, [stop for stop in self.search.stop_steps if stop not in measured])
        steps += refining * self.pass_steps(values, legs(self.search)[-1])
        return steps + COMPLETED * sum(stop - before for stop, before in passed_by.items())

    def _leaving(self, values: Mapping[str, Value], stop_steps: Iterable[int]) -> dict[int, int]:
        """The step at which the branch to each of ``stop_steps`` leaves the trunk."""
        train, warming = self.configured(values).train, self.warmup(values)
        return {stop: last_shared_step(train_until(train, stop, warmup_steps=warming)) for stop in stop_steps}


def space_of(loaded: LoadedSearch) -> Space:
    """The space of a search that can be searched; ``JobFileError`` names every reason why one cannot."""
    search, job = loaded.search, loaded.job
    faults = []
    if job.lora is None:
        faults.append("lora is null in the base job: trials share one base and train adapters; give lora a rank")
    if not faults:
        faults = list(dict.fromkeys(_unsuited_stop_steps(search, job.train)))
    if faults:
        raise JobFileError(search.name, tuple(f"search {search.name}: {fault}" for fault in faults))
    return Space(search, job)


def numbers_of(search: Search) -> dict[str, Numbers]:
    """The searched keys that are numbers, not choices, with their ranges."""
    spreads = {key: _distribution(key, values) for key, values in search.space.items()}
    return {key: spread for key, spread in spreads.items() if not isinstance(spread, CategoricalDistribution)}


def labels(values: Range) -> dict[Value, Choice]:
    """The choices by what they are called among a trial's values: themselves, lists and null as text."""
    found: dict[Value, Choice] = {}
    for choice in values.choices or ():
        label = "null" if choice is None else f"[{', '.join(choice)}]" if isinstance(choice, tuple) else choice
        found[label] = choice
    return found


def _unsuited_stop_steps(search: Search, train: Train) -> Iterator[str]:
    """Why a stop step leaves no room for warm-up and decay, for all that may come together."""
    keys = ("schedule", "decay", "warmup")
    tried = [_ends(search, f"train.{key}", getattr(train, key)) for key in keys]
    for values, stop in itertools.product(itertools.product(*tried), search.stop_steps):
        changed = train.model_copy(update=dict(zip(keys, values, strict=True)))
        warming = search.warmup_steps
        if warming is None:
            warming = warmup_steps(changed.model_copy(update={"steps": search.stop_steps[-1]}))
        try:
            train_until(changed, stop, warmup_steps=warming)
        except UserError as error:
            yield f"stop_steps has {stop}: {error.what}; leave it out, or lower warmup_steps or train.decay"


def _ends(search: Search, key: str, default: Choice) -> tuple[Choice, ...]:
    values = search.space.get(key)
    return (default,) if values is None else values.choices or (values.low, values.high)


def _distribution(key: str, values: Range) -> CategoricalDistribution | Numbers:
    if values.choices is not None:
        return CategoricalDistribution(tuple(labels(values)))
    low, high, step = values.low, values.high, values.step
    assert low is not None
    assert high is not None
    if number_kind(key) == "integer":
        stride = int(step or 1)
        return IntDistribution(
            int(low), int(low) + (int(high) - int(low)) // stride * stride, log=values.log, step=stride
        )
    if step is None:
        return FloatDistribution(float(low), float(high), log=values.log)
    return FloatDistribution(float(low), low + math.floor((high - low) / step + 1e-9) * step, step=float(step))


def _with(job: Job, changes: Mapping[str, object]) -> Job:
    """``job`` with keys set, checked as a job file is."""
    plain = job.model_dump()
    for key, value in changes.items():
        *sections, name = key.split(".")
        here = plain
        for section in sections:
            here[section] = dict(here[section] or {})
            here = here[section]
        here[name] = value
    try:
        return Job.model_validate(plain)
    except ValidationError as error:
        faults = "; ".join(str(detail["msg"]) for detail in error.errors())
        said = ", ".join(f"{key} {value}" for key, value in changes.items())
        raise UserError(f"these values cannot stand together: {faults}", said, "narrow the ranges of space") from None
