"""The course of a search: what runs next, what a measurement means for it, when all is done.

It holds no process: ``tuning`` asks it and tells it what came out, ``trainable`` trains.  Whatever it decides is in the
journal before anyone acts on it, and follows from the journal alone.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from runner.config.job import Job
from runner.errors import RunnerError, TrainingFailed, UserError
from runner.runs import JSON
from runner.search.choice import best_trials, goes_straight_on, to_complete, to_go_on, why_held_back
from runner.search.costs import Costs, with_rank
from runner.search.journal import (
    Journal,
    Reading,
    again_event,
    base_event,
    end_event,
    lost_event,
    on_event,
    repeat_event,
    rung_event,
    trial_event,
)
from runner.search.legs import BEST, first_leg, not_seen_stable, passed_by, refining_from, stops_due
from runner.search.proposals import loss_of, propose
from runner.search.records import LostRepeat, Measured, Repeat, Rung, Study, Trial, TrialEnding
from runner.search.space import Space

STEPS = ("stop_steps", "passing", "stable")  # of a task: lists in JSON
LOST = ("diverged", "infeasible")  # ends of a repeat that say something of its configuration
FAILURES = 3  # trials in a row that end in an error of the program after which the search ends


@dataclass(frozen=True)
class Task:
    """One thing to train: a trial, or a repeat of one with another seed; plain values, so that it travels."""

    name: str  # trial-3, trial-3-seed-18
    trial: int
    seed: int | None  # None: the trial itself
    job: Mapping[str, JSON]
    stop_steps: tuple[int, ...]
    warmup_steps: int
    largest_rank: int
    passing: tuple[int, ...] = ()  # stop steps that it passes by, and measures last if it is the best
    best: int | None = None  # the best trial when this task was made
    stable: tuple[int, ...] = ()  # stop steps at which it is measured without a decay, when it comes by
    decayed: bool = True  # False: a repeat that ends without a decay


Wait = Literal["wait", "over"]


class Course:
    """One search between its start, or its resume, and its end.  For one thread.

    ``told`` is called with the study after every event.
    """

    def __init__(self, space: Space, costs: Costs, journal: Journal, told: Callable[[Study], None]) -> None:
        self.failure: RunnerError | None = None  # what no other trial would escape
        self._space, self._costs, self._journal, self._told = space, costs, journal, told
        self._reading = Reading(journal.events)
        self.study = self._reading.study()
        self._again = [trial for trial in self.study.trials if trial.ending is None]
        self._running: dict[str, Task] = {}
        self._largest_rank = costs.largest_fitting(space.job, space.largest_rank)
        self._failed_in_a_row = 0

    def next(self) -> Task | Wait:
        """What to train now; ``wait`` when that depends on what still runs, ``over`` when nothing is left.

        Unfinished trials of an earlier start come first, with the values they had; then those that may go on, the
        furthest first; then new ones.  When all of them are at rest the best goes on wherever it waits, then come those
        drawn close to the best, and at last the best measures the stop steps that it has passed by.  A configuration
        that does not fit ends here, without anything being loaded.
        """
        if self.failure is not None:
            return "over"
        if self._again:
            again = self._again.pop(0).number
            self._note(again_event(again))
            return self._begun(again)
        search = self._space.search
        if on := to_go_on(self.study, search, closing=False):
            return self._gone_on(*on)
        refining = refining_from(search)
        if (number := self._fitting(refining)) is not None:
            return self._begun(number)
        if any(task.seed is None and task.trial < refining for task in self._running.values()):
            return "wait"
        if on := to_go_on(self.study, search, closing=True):
            return self._gone_on(*on)
        if (number := self._fitting(search.trials)) is not None:
            return self._begun(number)
        if any(task.seed is None for task in self._running.values()):
            return "wait"
        if on := to_complete(self.study, search):
            return self._gone_on(*on)
        for trial, measured, seed in self._missing_repeats():
            task = self._repeat(trial, measured, seed)
            if task.name not in self._running:
                self._running[task.name] = task
                return task
        return "wait" if self._running else "over"

    @property
    def is_over(self) -> bool:
        """Whether everything has been run; asking begins nothing."""
        search = self._space.search
        if self._again or self._running or len(self.study.trials) < search.trials:
            return False
        going_on = to_go_on(self.study, search, closing=True) or to_complete(self.study, search)
        return going_on is None and not self._missing_repeats()

    def based(self, base_loss: float, question_tokens: tuple[int, ...]) -> bool:
        """A base was loaded; False when its held-out questions are not those of the bases before."""
        if not self.study.question_tokens:
            self._note(base_event(base_loss, question_tokens))
        return self.study.question_tokens == question_tokens

    def measured(self, task: Task, rung: Rung) -> bool:
        """``task`` measured ``rung``; returns whether it goes on.

        A process that took over from one that died measures anew what is known already: that is noted once.
        """
        if not math.isfinite(self._loss(rung)):
            self.failure = UserError(
                f"the held-out answers have no {self._space.search.objective} tokens",
                "objective",
                "set objective to validation",
            )
            return False
        if task.seed is not None:
            self._note(repeat_event(Repeat(task.trial, task.seed, rung, task.decayed)))
            self._running.pop(task.name, None)
            return False
        if rung.stop_step not in (known.stop_step for known in self.study.trials[task.trial].rungs):
            self._note(rung_event(task.trial, rung))
        if rung.stop_step == task.stop_steps[-1]:
            self._end(task.trial, "finished")
            self._failed_in_a_row = 0
            return False
        return rung.stop_step < self.study.trials[task.trial].until or self._goes_straight_on(task.trial)

    def ended(self, task: Task, ending: TrialEnding, why: str, error: RunnerError | None = None) -> None:
        """``task`` came to an end other than a measurement.

        A ``UserError`` ends the search, as do many failures, and a repeat that fails: it would be the next again.
        """
        self._running.pop(task.name, None)
        if task.seed is None and self.study.trials[task.trial].ending is None:
            self._end(task.trial, ending, why)
        self._failed_in_a_row = self._failed_in_a_row + 1 if ending == "failed" else 0
        if isinstance(error, UserError):
            self.failure = error
        elif self._failed_in_a_row >= FAILURES:
            self.failure = TrainingFailed(f"{FAILURES} trials in a row failed", task.name, why)
        elif task.seed is not None and ending in LOST:
            self._note(lost_event(LostRepeat(task.trial, task.seed, task.stop_steps[0], task.decayed, ending, why)))
        elif task.seed is not None:
            self.failure = error or TrainingFailed(f"a repeat of trial {task.trial} failed", task.name, why)

    def is_running(self, task: Task) -> bool:
        """Whether ``task`` was begun and has not ended."""
        return task.name in self._running

    def _goes_straight_on(self, number: int) -> bool:
        """Whether a trial goes on from where its leg has ended; if not it is held back."""
        search = self._space.search
        alone = len(self._running) == 1 and not self._again and len(self.study.trials) >= refining_from(search)
        if on := goes_straight_on(self.study, search, number, closing=alone):
            self._note(on_event(*on, anew=False))
            return True
        self._end(number, "stopped", why_held_back(self.study, search, number))
        self._failed_in_a_row = 0
        return False

    def _gone_on(self, number: int, until: int) -> Task:
        self._note(on_event(number, until, anew=True))
        return self._begun(number)

    def _fitting(self, trials: int) -> int | None:
        """The number of the next trial that fits, while there are fewer than ``trials``."""
        while len(self.study.trials) < trials:
            number, why = self._proposed()
            if not why:
                return number
            self._end(number, "infeasible", why)
        return None

    def _proposed(self) -> tuple[int, str]:
        """The number of the next trial, and why it cannot be trained, if so."""
        number, space = len(self.study.trials), self._space
        proposal = propose(space, self.study.trials, number)
        trial = Trial(number, proposal.values, proposal.stop_step, 0.0, until=first_leg(space.search, number))
        try:
            job = space.trial_job(trial.values)
            why = self._costs.why_unfit(job)
        except UserError as error:
            self._note(trial_event(trial, step_flops=0.0, token_flops=0.0))
            return number, str(error)
        flops = self._costs.token_flops(job)
        assert job.lora is not None
        padded = with_rank(job, max(job.lora.rank, self._largest_rank))
        trained = flops if why else self._costs.token_flops(padded)
        self._note(trial_event(trial, step_flops=flops * job.train.tokens_per_step, token_flops=trained))
        return number, why

    def _begun(self, number: int) -> Task:
        task = self._task(self.study.trials[number])
        self._running[task.name] = task
        return task

    def _task(self, trial: Trial) -> Task:
        """To go on with ``trial``, from its start or from where it was held back."""
        search = self._space.search
        due = stops_due(search, trial)
        best = next(iter(best_trials(self.study, search.objective)), None)
        return self._to_train(
            trial,
            self._space.trial_job(trial.values),
            stop_steps=due,
            passing=passed_by(search, trial, due),
            best=None if best is None else best.number,
            stable=not_seen_stable(search, trial),
        )

    def _repeat(self, trial: Trial, measured: Measured, seed: int) -> Task:
        """To measure again, with another seed, what ``trial`` gave."""
        decayed = isinstance(measured, Rung)
        job = self._space.trial_job(trial.values, decayed=decayed)
        job = job.model_copy(update={"train": job.train.model_copy(update={"seed": seed})})
        return self._to_train(trial, job, seed=seed, stop_steps=(measured.stop_step,), decayed=decayed)

    def _to_train(self, trial: Trial, job: Job, *, seed: int | None = None, **more: Any) -> Task:
        assert job.lora is not None
        return Task(
            name=f"trial-{trial.number}" + ("" if seed is None else f"-seed-{seed}"),
            trial=trial.number,
            seed=seed,
            job=job.model_dump(mode="json"),
            warmup_steps=self._space.warmup(trial.values),
            largest_rank=max(job.lora.rank, self._largest_rank),
            **more,
        )

    def _missing_repeats(self) -> list[tuple[Trial, Measured, int]]:
        """Trial, lowest measurement and seed of the repeats of the best that are neither measured yet nor lost."""
        done = {(repeat.trial, repeat.rung.stop_step, repeat.decayed, repeat.seed) for repeat in self.study.repeats}
        done |= {(lost.trial, lost.stop_step, lost.decayed, lost.seed) for lost in self.study.lost}
        wanted = []
        for trial in best_trials(self.study, self._space.search.objective)[:BEST]:
            lowest = min(trial.measured, key=self._loss)
            seed = self._space.configured(trial.values).train.seed
            repeated = trial.number, lowest.stop_step, isinstance(lowest, Rung)
            seeds = range(seed + 1, seed + self._space.search.repeats + 1)
            wanted += [(trial, lowest, other) for other in seeds if (*repeated, other) not in done]
        return wanted

    def _loss(self, measured: Measured) -> float:
        return loss_of(measured, self._space.search.objective)

    def _end(self, number: int, ending: TrialEnding, why: str = "") -> None:
        self._running.pop(f"trial-{number}", None)
        self._note(end_event(number, ending, why))

    def _note(self, event: Mapping[str, Any]) -> None:
        self._journal.append(event)
        self._reading.add(event)
        self.study = self._reading.study()
        self._told(self.study)


def task_as_plain(task: Task) -> dict[str, JSON]:
    """``task`` as a mapping that travels; ``task_of`` makes it again."""
    return {**asdict(task), **{name: list(getattr(task, name)) for name in STEPS}}


def task_of(plain: Mapping[str, Any]) -> Task:
    """The task that ``task_as_plain`` told."""
    return Task(**{**plain, **{name: tuple(plain[name]) for name in STEPS}})
