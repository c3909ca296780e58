"""What an evaluation found, as values and as three files: result.json, answers.jsonl, problems.jsonl.

How it is found is ``evaluate``'s; how it is shown, ``runner.report``'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from runner.errors import UserError
from runner.evaluation.sandbox.programs import Isolation
from runner.runs.durable import write_file

Arm: TypeAlias = Literal["base", "tuned", "native"]
"""base: the untuned model, asked as in training.  tuned: with the run's weights, the same prompts.  native: the
untuned model with the problem as text to continue, so that knowing the format is not taken for ability."""

Row = TypeVar("Row", "Graded", "Asked")

RESULT_FILE, ANSWERS_FILE, PROBLEMS_FILE = "result.json", "answers.jsonl", "problems.jsonl"
PASSED = "passed"


@dataclass(frozen=True)
class Graded:
    """One answer and what came of it; ``outcome`` is ``passed`` or the name of the failure.

    ``tokens`` counts what was generated, the end of sequence not counted; ``trace_tokens`` those up to the closing
    think tag, None where it never closed or none was asked for.  ``code`` is empty where no program was found.
    """

    problem: str
    arm: Arm
    sample: int
    outcome: str
    detail: str
    tokens: int
    trace_tokens: int | None
    cut: bool  # ended by the cap on tokens
    text: str
    code: str

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED


@dataclass(frozen=True)
class Asked:
    """One problem as it was asked, for those who read answers beside it."""

    problem: str
    group: str
    statement: str
    tests: str  # as text, shortened


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ArmSummary:
    """How one arm fared; ``passed`` counts for each problem, in order, the samples that passed.

    ``pass_at`` is pass@k by k (unbiased; k up to ``samples``), ``groups`` pass@1 by group, ``failures`` counts
    answers by the name of their failure.
    """

    arm: Arm
    samples: int
    passed: tuple[int, ...]
    pass_at: Mapping[int, Estimate]
    groups: Mapping[str, Estimate]
    failures: Mapping[str, int]
    cut_share: float
    mean_tokens: float
    mean_trace_tokens: float | None


@dataclass(frozen=True)
class Paired:
    """Two arms on the same problems: counts by the first sample, the difference by all.

    ``difference`` is of pass@1, second less first, its interval by bootstrap over problems; ``p_value`` is McNemar's,
    exact and two-sided, on the problems that only one of the two solved.
    """

    first: Arm
    second: Arm
    both: int
    only_first: int
    only_second: int
    neither: int
    difference: Estimate
    p_value: float


@dataclass(frozen=True)
class Asking:
    """How answers were drawn: the same for every arm."""

    samples: int
    temperature: float  # 0 is greedy
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class SuiteFacts:
    """Which problems, without them."""

    name: str
    format: str
    source: str
    fingerprint: str
    problems: int
    weak: bool
    skipped: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Evaluation:
    """All that is known of one evaluation of a run on one suite, but for the answers themselves."""

    run: str
    model: str
    weights: Literal["final", "best"]
    suite: SuiteFacts
    asking: Asking
    isolation: Isolation
    arms: tuple[ArmSummary, ...]
    paired: Paired | None  # base against tuned
    verdict: str  # one sentence
    made: str  # ISO 8601, UTC
    seconds: float
    device: str
    command: str  # makes it again

    def arm(self, name: Arm) -> ArmSummary | None:
        """The summary of one arm, if it was asked."""
        return next((summary for summary in self.arms if summary.arm == name), None)


def write_evaluation(
    folder: Path, evaluation: Evaluation, answers: Sequence[Graded], problems: Sequence[Asked]
) -> None:
    """The three files into ``folder``, each atomically, the result last: where it is, the others are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / PROBLEMS_FILE, _lines(problems))
    write_file(folder / ANSWERS_FILE, _lines(answers))
    write_file(folder / RESULT_FILE, (json.dumps(asdict(evaluation), indent=1) + "\n").encode())


def read_evaluation(folder: Path) -> Evaluation:
    """What ``write_evaluation`` wrote.  Raises ``UserError`` when it is missing or damaged."""
    try:
        return _evaluation(json.loads((folder / RESULT_FILE).read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(folder / RESULT_FILE, error) from error


def read_answers(folder: Path) -> tuple[Graded, ...]:
    """The answers.  Raises ``UserError`` when they are missing or damaged."""
    return tuple(_read_lines(folder / ANSWERS_FILE, Graded))


def read_problems(folder: Path) -> tuple[Asked, ...]:
    """The problems.  Raises ``UserError`` when they are missing or damaged."""
    return tuple(_read_lines(folder / PROBLEMS_FILE, Asked))


def evaluations_in(folder: Path) -> tuple[Path, ...]:
    """The folders of evaluations directly under ``folder``, by name."""
    return tuple(sorted(path.parent for path in folder.glob(f"*/{RESULT_FILE}")))


def _lines(rows: Sequence[Graded] | Sequence[Asked]) -> bytes:
    return "".join(json.dumps(asdict(row)) + "\n" for row in rows).encode()


def _read_lines(file: Path, kind: type[Row]) -> list[Row]:
    try:
        return [kind(**json.loads(line)) for line in file.read_text().splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(f"no evaluation can be read ({error})", str(file), "run `runner evaluate` again")


def _evaluation(plain: dict[str, Any]) -> Evaluation:
    paired = plain["paired"]
    suite = plain["suite"]
    values = {
        **plain,
        "suite": SuiteFacts(**{**suite, "skipped": tuple((str(why), int(count)) for why, count in suite["skipped"])}),
        "asking": Asking(**plain["asking"]),
        "arms": tuple(_arm(arm) for arm in plain["arms"]),
        "paired": None if paired is None else Paired(**{**paired, "difference": Estimate(**paired["difference"])}),
    }
    return Evaluation(**values)


def _arm(plain: dict[str, Any]) -> ArmSummary:
    values = {
        **plain,
        "passed": tuple(plain["passed"]),
        "pass_at": {int(k): Estimate(**estimate) for k, estimate in plain["pass_at"].items()},
        "groups": {name: Estimate(**estimate) for name, estimate in plain["groups"].items()},
    }
    return ArmSummary(**values)
