"""Evaluations with their answers and problems, as pages read them: the one that counts most, who solved what.

What they look like is ``ability``'s and ``examples``'s.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from runner.evaluation.results import (
    Arm,
    Asked,
    Evaluation,
    Graded,
    evaluations_in,
    read_answers,
    read_evaluation,
    read_problems,
)

ARM_NAMES: Mapping[Arm, str] = {"base": "base", "tuned": "tuned", "native": "base in its own form"}


@dataclass(frozen=True)
class Evaluated:
    """One evaluation of a run, with every answer and every problem."""

    evaluation: Evaluation
    answers: tuple[Graded, ...]
    problems: tuple[Asked, ...]

    @cached_property
    def first_answers(self) -> Mapping[tuple[str, Arm], Graded]:
        """The first sample of each problem and arm."""
        return {(answer.problem, answer.arm): answer for answer in self.answers if answer.sample == 0}

    def first(self, problem: str, arm: Arm) -> Graded | None:
        """The first sample of one problem and arm, if it was asked."""
        return self.first_answers.get((problem, arm))

    @property
    def changed(self) -> tuple[Asked, ...]:
        """The problems that only one of base and tuned solved at the first sample, in order."""
        found = []
        for problem in self.problems:
            base, tuned = self.first(problem.problem, "base"), self.first(problem.problem, "tuned")
            if base is not None and tuned is not None and base.passed != tuned.passed:
                found.append(problem)
        return tuple(found)


def read_evaluated(folder: Path) -> tuple[Evaluated, ...]:
    """Every evaluation under ``folder``, the one that counts most first.  ``UserError`` where one is damaged."""
    return ordered(
        Evaluated(read_evaluation(path), read_answers(path), read_problems(path)) for path in evaluations_in(folder)
    )


def ordered(found: Iterable[Evaluated]) -> tuple[Evaluated, ...]:
    """Those of strong tests before those of weak ones, then the newest first."""
    newest = sorted(found, key=lambda each: (each.evaluation.made, each.evaluation.suite.name), reverse=True)
    return tuple(sorted(newest, key=lambda each: each.evaluation.suite.weak))
