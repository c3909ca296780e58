"""Suites of a run's own held-out questions: built-in ones with hidden tests, others by their statements' examples.

Which questions were held out is ``runner.data``'s knowledge.
"""

from collections import Counter
from collections.abc import Sequence

from runner.data.questions import family_of, question_of
from runner.evaluation.problems import CallCheck, NativePrompt, PrintCheck, Problem, Suite
from runner.evaluation.suites.assembly import assembled
from runner.evaluation.suites.examples import examples_in

NO_EXAMPLES, REPEATED = "no example could be read from the statement", "the id came before"


def built_in_suite(question_ids: Sequence[str]) -> Suite:
    """The built-in questions of these ids, with their hidden tests, grouped by family.

    Raises ``UserError`` for an id that the generator does not give.
    """
    problems = [_built_in(question_id) for question_id in question_ids]
    return assembled("held-out", "held-out", problems, source="builtin:questions")


def statement_suite(name: str, source: str, rows: Sequence[tuple[str, str, str]], *, limit: int | None = None) -> Suite:
    """At most ``limit`` problems of rows (id, statement, group) without tests; the examples they show are the tests.

    Weak: a program may pass that knows these examples only.  A statement without examples that can be read is
    skipped and counted, as is an id that came before.  The suite may be empty.
    """
    problems: dict[str, Problem] = {}
    skipped: Counter[str] = Counter()
    for question_id, statement, group in rows:
        if len(problems) == limit:
            break
        examples = examples_in(statement)
        if question_id in problems:
            skipped[REPEATED] += 1
        elif not examples:
            skipped[NO_EXAMPLES] += 1
        else:
            problems[question_id] = Problem(question_id, statement, PrintCheck(examples), group=group)
    return assembled(name, "held-out", tuple(problems.values()), source=source, skipped=skipped, weak=True)


def _built_in(question_id: str) -> Problem:
    question = question_of(question_id)
    native = question.native
    return Problem(
        id=question_id,
        statement=question.statement,
        check=CallCheck(question.tests),
        native=NativePrompt(native.prompt, "literal" if native.literal else "function", native.literal or ""),
        reference=question.solution,
        group=family_of(question_id),
    )
