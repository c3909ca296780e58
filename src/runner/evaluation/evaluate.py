"""Evaluation as a story: a suite is asked of the base and of the tuned model alike, programs are run, arms compared.

Loading models and suites is the callers'; generating, running and counting have modules of their own.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from torch import nn

from runner.data.template import THINK_CLOSE, prompt_text
from runner.errors import UserError
from runner.evaluation.answers import Missing, native_program, prediction_in, program_in
from runner.evaluation.generation import AnswerEncoder, Completion, Sampling, complete
from runner.evaluation.problems import AssertCheck, CallCheck, Problem, Suite, program_of
from runner.evaluation.results import Arm, Asked, Asking, Evaluation, Graded, SuiteFacts
from runner.evaluation.sandbox import Isolation, Verdict, run_programs
from runner.evaluation.statistics import compare, summarize, verdict

SHOWN_TESTS = 600  # characters of a problem's tests kept for the page


class Subject(Protocol):
    """The tuned model with its base; ``runner.train.inference.InferenceModel`` is one."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def encoder(self) -> AnswerEncoder: ...

    def base(self) -> AbstractContextManager[nn.Module]: ...


class Progress(Protocol):
    """Where long work shows itself; ``runner.cli.ticker.Ticker`` is one."""

    def update(self, task: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class Limits:
    """What is chosen by the machine and not by the question: ``batch`` answers at once, ``timeout_s`` a program."""

    batch: int
    timeout_s: float
    walls: Isolation


@dataclass(frozen=True)
class About:
    """What the record says of an evaluation beside what it found."""

    run: str
    model: str
    weights: Literal["final", "best"]
    device: str
    command: str


@dataclass(frozen=True)
class Outcome:
    """The record of an evaluation, all answers in the order of arms, problems and samples, and the problems."""

    evaluation: Evaluation
    answers: tuple[Graded, ...]
    asked: tuple[Asked, ...]


def evaluate(
    subject: Subject, suite: Suite, asking: Asking, limits: Limits, about: About, progress: Progress
) -> Outcome:
    """Ask ``suite`` of the untuned and the tuned model, same prompts, same cap, same draws, and compare them.

    The base is asked a third time in its own form, text to continue, where the suite has it, so that
    learning the format is told from learning to solve.  Raises ``UserError`` where the sandbox cannot work.
    """
    began = time.monotonic()
    answers: list[Graded] = []
    for arm in arms_of(suite):
        told = _told(progress, f"answers of {arm}", len(suite.problems))
        with _arm_model(subject, arm) as model:
            completions = ask(model, subject.encoder, suite, arm, asking, batch=limits.batch, told=told)
        answers += grade(suite, arm, completions, subject.encoder, limits, progress)
    summaries = {arm: summarize(arm, answers, suite.problems) for arm in arms_of(suite)}
    paired = compare("base", "tuned", answers, suite.problems)
    evaluation = Evaluation(
        run=about.run,
        model=about.model,
        weights=about.weights,
        suite=facts_of(suite),
        asking=asking,
        isolation=limits.walls,
        arms=tuple(summaries.values()),
        paired=paired,
        verdict=verdict(paired, summaries["base"], summaries["tuned"], suite),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=time.monotonic() - began,
        device=about.device,
        command=about.command,
    )
    return Outcome(evaluation, tuple(answers), tuple(_asked(problem) for problem in suite.problems))


def arms_of(suite: Suite) -> tuple[Arm, ...]:
    """The arms a suite is asked in; native only if every problem has such a form."""
    plain: tuple[Arm, ...] = ("base", "tuned")
    return (*plain, "native") if all(problem.native for problem in suite.problems) else plain


def facts_of(suite: Suite) -> SuiteFacts:
    """``suite`` without its problems."""
    return SuiteFacts(
        suite.name,
        suite.format,
        suite.source,
        suite.fingerprint,
        len(suite.problems),
        suite.weak,
        suite.skipped,
    )


def grade_references(suite: Suite, limits: Limits, progress: Progress) -> list[tuple[Problem, Verdict]]:
    """The verdict on every reference solution of ``suite``: all must pass, or the suite or the sandbox is at fault.

    Raises ``UserError`` for a suite without reference solutions.
    """
    known = [(problem, problem.reference) for problem in suite.problems if problem.reference is not None]
    if not known:
        raise UserError("the suite has no reference solutions", suite.source, "use a suite that has them")
    programs = [program_of(problem, reference) for problem, reference in known]
    told = _told(progress, "run references", len(programs))
    verdicts = run_programs(programs, timeout_s=limits.timeout_s, walls=limits.walls, progress=told)
    return [(problem, found) for (problem, _), found in zip(known, verdicts, strict=True)]


def grade(
    suite: Suite,
    arm: Arm,
    completions: Sequence[Sequence[Completion]],
    encoder: AnswerEncoder,
    limits: Limits,
    progress: Progress,
) -> list[Graded]:
    """Every completion with its program and what became of it, in order."""
    pairs = [(problem, each) for problem, drawn in zip(suite.problems, completions, strict=True) for each in drawn]
    codes = [_program(suite, problem, arm, each) for problem, each in pairs]
    programs = [
        program_of(problem, code)
        for (problem, _), code in zip(pairs, codes, strict=True)
        if not isinstance(code, Missing)
    ]
    told = _told(progress, f"run programs of {arm}", len(programs))
    ran = iter(run_programs(programs, timeout_s=limits.timeout_s, walls=limits.walls, progress=told))
    graded = []
    for number, ((problem, each), code) in enumerate(zip(pairs, codes, strict=True)):
        sample = number % len(completions[0])
        found = Verdict("passed") if isinstance(code, Missing) else next(ran)
        outcome, detail = (code.kind, "") if isinstance(code, Missing) else (found.outcome, found.detail)
        graded.append(
            Graded(
                problem=problem.id,
                arm=arm,
                sample=sample,
                outcome=outcome,
                detail=detail,
                tokens=len(each.ids),
                trace_tokens=None if arm == "native" else trace_tokens(each.ids, encoder),
                cut=each.cut,
                text=each.text,
                code="" if isinstance(code, Missing) else code,
            )
        )
    return graded


def trace_tokens(ids: Sequence[int], encoder: AnswerEncoder) -> int | None:
    """How many of ``ids`` it took to close the thinking, its tag included; None if it never closed."""
    if THINK_CLOSE not in encoder.decode(ids):
        return None
    low, high = 0, len(ids)  # the tag is not in the first ``low`` tokens, and is in the first ``high``
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if THINK_CLOSE in encoder.decode(ids[:middle]) else (middle, high)
    return high


def ask(
    model: nn.Module,
    encoder: AnswerEncoder,
    suite: Suite,
    arm: Arm,
    asking: Asking,
    *,
    batch: int,
    told: Callable[[int], None] | None = None,
    between: Callable[[], None] | None = None,
) -> list[tuple[Completion, ...]]:
    """``model``'s answers to every problem of ``suite``, asked as ``arm`` is.

    ``told`` gets the problems done, ``between`` is called between tokens.
    """
    return complete(
        model,
        encoder,
        [_prompt(problem, arm) for problem in suite.problems],
        sampling=Sampling(asking.samples, asking.temperature, asking.top_p, asking.seed),
        max_new_tokens=asking.max_new_tokens,
        batch=batch,
        progress=told,
        between=between,
    )


def _arm_model(subject: Subject, arm: Arm) -> AbstractContextManager[nn.Module]:
    return nullcontext(subject.model) if arm == "tuned" else subject.base()


def _prompt(problem: Problem, arm: Arm) -> str:
    if arm != "native":
        return prompt_text(problem.statement)
    assert problem.native is not None
    return problem.native.text


def _program(suite: Suite, problem: Problem, arm: Arm, completion: Completion) -> str | Missing:
    if arm == "native":
        assert problem.native is not None
        return native_program(problem.native, completion.text)
    program = program_in(completion.text, cut=completion.cut)
    if suite.format != "output-prediction" or isinstance(program, Missing):
        return program
    return prediction_in(program)


def _asked(problem: Problem) -> Asked:
    match problem.check:
        case CallCheck(tests, function):
            lines = [f"{function}{test.arguments!r} == {test.expected!r}" for test in tests]
            shown = "\n".join(lines)
        case AssertCheck(tests, _):
            shown = tests
        case _:
            shown = "\n\n".join(f"input:\n{e.stdin}\noutput:\n{e.stdout}" for e in problem.check.examples)
    return Asked(problem.id, problem.group, problem.statement, shown[:SHOWN_TESTS])


def _told(progress: Progress, task: str, total: int) -> Callable[[int], None]:
    return lambda done: progress.update(task, done, total)
