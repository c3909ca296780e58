"""How many built-in questions a model solves: prompts out, programs taken from the answers, verdicts counted.

Generation is in ``generation``, running programs in ``sandbox``.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.data.questions import NativeForm, family_of, question_of
from runner.data.template import THINK_CLOSE, prompt_text
from runner.evaluation.generation import AnswerEncoder, generate
from runner.evaluation.sandbox import CallProgram, Isolation, Verdict, run_programs, sandbox_works

FENCED = re.compile(r"```(?:python|py)[ \t]*\n(.*?)```", re.DOTALL)

NO_THINK_CLOSE = "no think close"
NO_CODE = "no code"


@dataclass(frozen=True)
class FamilyCount:
    """Questions of one family, and how many of them were solved."""

    solved: int
    questions: int


@dataclass(frozen=True)
class Answered:
    """One question with the model's answer; ``outcome`` is ``passed`` or the kind of failure."""

    question_id: str
    answer: str
    outcome: str
    detail: str


@dataclass(frozen=True)
class PassCount:
    """``solved`` of ``questions``, apart by family, failures apart by kind; ``answers`` in the order asked.

    ``isolation`` is what the programs ran in.
    """

    solved: int
    questions: int
    by_family: Mapping[str, FamilyCount]
    failures: Mapping[str, int]
    answers: tuple[Answered, ...]
    isolation: Isolation


def count_passes(
    model: Any,
    encoder: AnswerEncoder,
    question_ids: Sequence[str],
    *,
    max_new_tokens: int,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
) -> PassCount:
    """How many of the built-in questions the model answers with a program that passes its hidden tests.

    ``progress`` gets the number of questions answered.  Raises ``UserError`` for an id without hidden tests.
    """
    questions = [question_of(question_id) for question_id in question_ids]
    prompts = [prompt_text(question.statement) for question in questions]
    answers = generate(model, encoder, prompts, max_new_tokens=max_new_tokens, batch=batch, progress=progress)
    return _count(question_ids, answers, [extract_code(answer) for answer in answers])


def count_native_passes(
    model: Any,
    encoder: AnswerEncoder,
    question_ids: Sequence[str],
    *,
    max_new_tokens: int,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
) -> PassCount:
    """The same questions in the base's own format, comments to continue with code, so that format counts nothing."""
    forms = [question_of(question_id).native for question_id in question_ids]
    prompts = [form.prompt for form in forms]
    answers = generate(model, encoder, prompts, max_new_tokens=max_new_tokens, batch=batch, progress=progress)
    return _count(question_ids, answers, [_native_code(*pair) for pair in zip(forms, answers, strict=True)])


@dataclass(frozen=True)
class Missing:
    """Why an answer holds no program."""

    kind: str


def extract_code(answer: str) -> str | Missing:
    """The last fenced Python block after the closing think tag, or what is missing."""
    _, closed, rest = answer.partition(THINK_CLOSE)
    if not closed:
        return Missing(NO_THINK_CLOSE)
    blocks = FENCED.findall(rest)
    return str(blocks[-1]) if blocks else Missing(NO_CODE)


def _native_code(form: NativeForm, continuation: str) -> str | Missing:
    if form.literal is None:
        return form.prompt + continuation
    _, found, rest = continuation.partition(form.literal)
    return f"def solve():\n    return {rest.splitlines()[0]}\n" if found and rest.strip() else Missing(NO_CODE)


def _count(question_ids: Sequence[str], answers: Sequence[str], codes: Sequence[str | Missing]) -> PassCount:
    """Under bubblewrap where it works, else in plain subprocesses with limits."""
    tests = [question_of(question_id).tests for question_id in question_ids]
    programs = [
        CallProgram(code, test) for code, test in zip(codes, tests, strict=True) if not isinstance(code, Missing)
    ]
    isolation: Isolation = "bubblewrap" if sandbox_works() is None else "none"
    ran = iter(run_programs(programs, walls=isolation))
    verdicts = [_missing(code) if isinstance(code, Missing) else _told(next(ran)) for code in codes]
    judged = tuple(
        Answered(question_id, answer, *verdict)
        for question_id, answer, verdict in zip(question_ids, answers, verdicts, strict=True)
    )
    return summarize(judged, isolation)


def _missing(code: Missing) -> tuple[str, str]:
    return code.kind, ""


def _told(verdict: Verdict) -> tuple[str, str]:
    return verdict.outcome, verdict.detail


def summarize(answers: tuple[Answered, ...], isolation: Isolation) -> PassCount:
    """The counts over ``answers``."""
    asked = Counter(family_of(answer.question_id) for answer in answers)
    solved = Counter(family_of(answer.question_id) for answer in answers if answer.outcome == "passed")
    failures = Counter(answer.outcome for answer in answers if answer.outcome != "passed")
    return PassCount(
        solved=solved.total(),
        questions=len(answers),
        by_family={family: FamilyCount(solved[family], asked[family]) for family in sorted(asked)},
        failures=dict(sorted(failures.items())),
        answers=answers,
        isolation=isolation,
    )
