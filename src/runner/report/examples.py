"""Six problems of an evaluation with both answers, chosen by a fixed rule, so that nobody chose them.

The page around them is ``run_page``'s.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from runner.data.template import THINK_CLOSE, THINK_OPEN
from runner.evaluation.results import Arm, Asked, Graded
from runner.report.evaluated import ARM_NAMES, Evaluated
from runner.report.highlight import highlighted
from runner.report.wording import counted

SHOWN = 6
KINDS: tuple[tuple[str, bool, bool, int], ...] = (
    ("newly solved", False, True, 2),
    ("lost", True, False, 1),
    ("solved by both", True, True, 1),
    ("solved by neither", False, False, 1),
)
"""What a kind is called, whether base and tuned solved it, and how many are shown."""
FOLDED_LINES, FOLDED_LETTERS = 14, 900  # a statement beyond either is folded
RULE = (
    "Chosen by a fixed rule: problems in the order of SHA-256 of seed and name; of it the first two newly solved, the "
    "first lost, the first solved by both and by neither, then the first of the others until there are six."
)


@dataclass(frozen=True)
class Example:
    """A problem, its kind, and the first answers of the arms that were asked."""

    problem: Asked
    kind: str
    answers: tuple[Graded, ...]  # base before tuned


def choose(found: Evaluated) -> tuple[Example, ...]:
    """At most six problems by ``RULE``, in the order of ``KINDS``; the same evaluation gives the same ones."""
    seed = found.evaluation.asking.seed
    pool = sorted(
        (example for problem in found.problems if (example := _example(found, problem))),
        key=lambda example: hashlib.sha256(f"{seed}:{example.problem.problem}".encode()).digest(),
    )
    chosen: list[Example] = []
    for kind, _, _, count in KINDS:
        chosen += [example for example in pool if example.kind == kind][:count]
    chosen += [example for example in pool if example not in chosen][: SHOWN - len(chosen)]
    order = [kind for kind, *_ in KINDS]
    return tuple(sorted(chosen, key=lambda example: order.index(example.kind)))


def _example(found: Evaluated, problem: Asked) -> Example | None:
    arms: tuple[Arm, ...] = ("base", "tuned")
    answers = tuple(answer for arm in arms if (answer := found.first(problem.problem, arm)))
    if not answers:
        return None
    passed = (answers[0].passed, answers[-1].passed)  # of one arm alone the kind tells that arm twice
    return Example(problem, next(kind for kind, *who, _ in KINDS if tuple(who) == passed), answers)


def examples(found: Evaluated) -> Iterator[str]:
    """The chosen problems as HTML."""
    chosen = choose(found)
    if not chosen:
        return
    yield f'<p class="note">{escape(RULE)} Seed {found.evaluation.asking.seed}.</p>'
    for example in chosen:
        sides = "".join(_side(answer) for answer in example.answers)
        group = f" · {escape(example.problem.group)}" if example.problem.group else ""
        yield (
            f'<article class="example"><h3>{escape(example.problem.problem)}'
            f"<small> {escape(example.kind)}{group}</small></h3>"
            f'{_statement(example.problem)}<div class="sides">{sides}</div></article>'
        )


def _statement(problem: Asked) -> str:
    text = problem.statement.strip()
    body = f'<pre class="prose">{escape(text)}</pre>'
    tests = folded("its tests", f"<pre>{escape(problem.tests)}</pre>") if problem.tests else ""
    long = text.count("\n") >= FOLDED_LINES or len(text) > FOLDED_LETTERS
    return (folded(f"the problem: {shortened(text, 90)}", body) if long else body) + tests


def _side(answer: Graded) -> str:
    sign, ink = ("✓", "good") if answer.passed else ("✗", "bad")
    detail = f'<p class="detail">{escape(answer.detail)}</p>' if answer.detail and not answer.passed else ""
    cut = ", cut at the cap" if answer.cut else ""
    return (
        f'<section><h4>{escape(ARM_NAMES[answer.arm])} <span class="{ink}">{sign} {escape(answer.outcome)}</span></h4>'
        f'{detail}{_answer(answer)}<p class="note">{counted(answer.tokens, "token")}{cut}</p></section>'
    )


def _answer(answer: Graded) -> str:
    """The trace folded, then the code, or where none was found the words that stand in its place."""
    trace, rest = taken_apart(answer)
    shown = ""
    if trace:
        tokens = "" if answer.trace_tokens is None else f", {counted(answer.trace_tokens, 'token')}"
        shown = folded(f"its thinking{tokens}", f'<pre class="prose">{escape(trace)}</pre>')
    if answer.code:
        return f'{shown}<pre class="code"><code>{highlighted(answer.code.strip(chr(10)))}</code></pre>'
    if rest:
        return f'{shown}<pre class="prose">{escape(shortened(rest, 1500))}</pre>'
    return shown or '<p class="note">An empty answer.</p>'


def taken_apart(answer: Graded) -> tuple[str, str]:
    """What was thought, and what follows the closing tag; where it never closed there is no thought."""
    thought, closed, rest = answer.text.strip("\n").removeprefix(THINK_OPEN).partition(THINK_CLOSE)
    return (thought.strip("\n"), rest.strip("\n")) if closed else ("", thought.strip("\n"))


def folded(summary: str, body: str) -> str:
    """``body``, already HTML, that opens by a click on the words."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def shortened(text: str, most: int) -> str:
    """``text``, or as much of it as ``most`` letters hold, ending in an ellipsis."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
