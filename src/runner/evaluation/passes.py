"""The short count of a run: how many built-in questions a model that is in memory solves, asked in one way.

Asking and grading are ``evaluate``'s, which also compares; when counts are made is the run's to say.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from runner.evaluation.evaluate import Limits, ask, grade
from runner.evaluation.generation import AnswerEncoder
from runner.evaluation.results import Arm, Asking
from runner.evaluation.sandbox import Isolation, sandbox_works
from runner.evaluation.suites import built_in_suite

TIMEOUT_S = 4.0  # of a program, all its tests


@dataclass(frozen=True)
class FamilyCount:
    """Questions of one family, and how many of them were solved."""

    solved: int
    questions: int


@dataclass(frozen=True)
class PassCount:
    """``solved`` of ``questions``, apart by family, failures by kind; ``isolation`` is what the programs ran in."""

    solved: int
    questions: int
    by_family: Mapping[str, FamilyCount]
    failures: Mapping[str, int]
    isolation: Isolation


@dataclass(frozen=True)
class _Unseen:
    """Progress of a count that shows none; ``between`` is called at each of its updates."""

    between: Callable[[], None]

    def update(self, task: str, done: int, total: int) -> None:
        del task, done, total
        self.between()


def count_passes(
    model: nn.Module,
    encoder: AnswerEncoder,
    question_ids: Sequence[str],
    *,
    max_new_tokens: int,
    arm: Arm = "tuned",
    batch: int = 64,
    between: Callable[[], None] = lambda: None,
) -> PassCount:
    """How many of the built-in questions ``model`` answers with a program that passes its hidden tests, greedily.

    ``arm`` native: asked in the base's own form, comments to continue with code, so that format counts nothing.
    Programs run under bubblewrap where it works, else in plain subprocesses with limits.
    ``between`` is called between the tokens of the answers and between the programs: what it raises ends the count.
    Raises ``UserError`` for an id without hidden tests.
    """
    suite = built_in_suite(question_ids)
    limits = Limits(batch, TIMEOUT_S, "bubblewrap" if sandbox_works() is None else "none")
    asking = Asking(samples=1, temperature=0.0, top_p=1.0, max_new_tokens=max_new_tokens, seed=0)
    answers = ask(model, encoder, suite, arm, asking, batch=batch, between=between)
    graded = grade(suite, arm, answers, encoder, limits, _Unseen(between))
    asked = Counter(problem.group for problem in suite.problems)
    solved = Counter(problem.group for problem, answer in zip(suite.problems, graded, strict=True) if answer.passed)
    return PassCount(
        solved=solved.total(),
        questions=len(graded),
        by_family={family: FamilyCount(solved[family], asked[family]) for family in sorted(asked)},
        failures=dict(sorted(Counter(answer.outcome for answer in graded if not answer.passed).items())),
        isolation=limits.walls,
    )
