"""The part of a page that tells one evaluation: pass@k, groups, wins and losses, failures, lengths.

Answers themselves are ``examples``'s; the numbers ``runner.evaluation``'s.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from html import escape

from runner.evaluation.results import Arm, ArmSummary, Estimate, Evaluation
from runner.report.drawing import Plot, Shape, Size
from runner.report.evaluated import ARM_NAMES, Evaluated
from runner.report.lines import Heading
from runner.report.page_parts import BROAD, drawn
from runner.report.rows import Across, Group, Part, Row, Sign, parts_plot, rows_plot, shares_axis
from runner.report.table import Cell, table
from runner.report.wording import counted, percent, points, probability, sure

SHAPES: dict[Arm, tuple[Shape, str]] = {"base": ("ring", "ring"), "tuned": ("dot", "mine"), "native": ("diamond",) * 2}
BARS: dict[Arm, str] = {"base": "bar", "tuned": "tuned-bar", "native": "native-bar"}
Draw = Callable[[Size], Plot]


def ability(found: Evaluated) -> Iterator[str]:
    """The evaluation as HTML, without its answers."""
    evaluation = found.evaluation
    yield f'<p class="note">{escape(_asked(evaluation))}</p>'
    yield f'<div class="plots">{"".join(drawn(draw) for draw in _plots(found))}</div>'
    paired = evaluation.paired
    if paired is not None and evaluation.suite.problems:
        yield drawn(lambda size: wins_plot(evaluation, size), BROAD)
        told = f"pass@1 changed by {points(paired.difference)} points (95 % interval)"
        told += f"; McNemar {probability(paired.p_value)}"
        yield f'<p class="note">{escape(told)}, by the first answer to each problem.</p>'
        yield _changes(found)


def evaluation_plots(found: Evaluated) -> tuple[Draw, ...]:
    """What to draw of an evaluation, each in any size."""
    evaluation = found.evaluation
    draws = _plots(found)
    if evaluation.paired is not None and evaluation.suite.problems:
        draws.append(lambda size: wins_plot(evaluation, size))
    return tuple(draws)


def _plots(found: Evaluated) -> list[Draw]:
    """Those that stand side by side."""
    evaluation = found.evaluation
    draws: list[Draw] = [lambda size: pass_plot(evaluation, size)]
    if found.answers:
        draws.append(lambda size: lengths_plot(found, size))
    if any(len(arm.groups) > 1 for arm in evaluation.arms):
        draws.append(lambda size: groups_plot(evaluation, size))
    if any(arm.failures for arm in evaluation.arms if arm.arm != "native"):
        draws.append(lambda size: failures_plot(evaluation, size))
    return draws


def pass_plot(evaluation: Evaluation, size: Size) -> Plot:
    """pass@k of every arm with its interval."""
    ks = sorted({k for arm in evaluation.arms for k in arm.pass_at})
    groups = [
        Group(f"pass@{k}", tuple(_row(arm, arm.pass_at[k], f"pass@{k}") for arm in evaluation.arms if k in arm.pass_at))
        for k in ks
    ]
    told = "; ".join(
        f"{ARM_NAMES[arm.arm]} pass@{k} {sure(found)}" for arm in evaluation.arms for k, found in arm.pass_at.items()
    )
    heading = Heading(f"{slug(evaluation)}-pass", "Problems solved, with 95 % intervals", f"{told}.")
    return rows_plot(heading, groups, size, across=_shares(groups), signs=_signs(evaluation.arms))


def groups_plot(evaluation: Evaluation, size: Size) -> Plot:
    """pass@1 by group of problems, base and tuned."""
    arms = [arm for arm in evaluation.arms if arm.arm != "native"]
    names = dict.fromkeys(name for arm in arms for name in arm.groups)
    groups = [
        Group(name, tuple(_row(arm, arm.groups[name], name) for arm in arms if name in arm.groups)) for name in names
    ]
    told = "; ".join(f"{name}, {row.tip}" for name, group in zip(names, groups, strict=True) for row in group.rows)
    heading = Heading(f"{slug(evaluation)}-groups", "pass@1 by group", f"{told}.")
    return rows_plot(heading, groups, size, across=_shares(groups), signs=_signs(arms))


def solved_by(counts: tuple[int, int, int, int], one: str, other: str) -> tuple[list[Part], str]:
    """Problems that both solved, only ``one``, only ``other``, neither, as parts of a bar and in words."""
    names = ("both", f"only {one}", f"only {other}", "neither")
    inks = ("bar", "tuned-bar", "native-bar", "rest-bar")
    parts = [Part(*part) for part in zip(names, counts, inks, strict=True)]
    return parts, ", ".join(f"{part.name} {part.count:,}" for part in parts)


def wins_plot(evaluation: Evaluation, size: Size) -> Plot:
    """How many problems both, one or neither of base and tuned solved."""
    paired = evaluation.paired
    assert paired is not None
    counts = (paired.both, paired.only_second, paired.only_first, paired.neither)
    parts, told = solved_by(counts, paired.second, paired.first)
    heading = Heading(f"{slug(evaluation)}-wins", "Solved by whom, problem by problem", f"Solved by: {told}.")
    return parts_plot(heading, parts, size)


def failures_plot(evaluation: Evaluation, size: Size) -> Plot:
    """Answers that failed, by kind of failure, base and tuned side by side."""
    arms = [arm for arm in evaluation.arms if arm.arm != "native"]
    kinds = sorted(
        {kind for arm in arms for kind in arm.failures},
        key=lambda kind: (-max(arm.failures.get(kind, 0) for arm in arms), kind),
    )
    groups = [
        Group(
            kind,
            tuple(
                Row(count, f"{count:,}", "bar", BARS[arm.arm], tip=f"{ARM_NAMES[arm.arm]}: {count:,}")
                for arm in arms
                for count in (arm.failures.get(kind, 0),)
            ),
        )
        for kind in kinds
    ]
    most = max((row.value for group in groups for row in group.rows), default=1.0)
    told = "; ".join(f"{group.name}, {row.tip}" for group in groups for row in group.rows)
    heading = Heading(f"{slug(evaluation)}-failures", "Answers that failed, by kind", f"{told}.")
    signs: list[Sign] = [("bar", BARS[arm.arm], ARM_NAMES[arm.arm]) for arm in arms]
    return rows_plot(heading, groups, size, across=Across(max(most, 1.0), "{:,.0f}".format, True), signs=signs)


def lengths_plot(found: Evaluated, size: Size) -> Plot:
    """Tokens of the answers: the median, and between which the middle eight tenths lie."""
    rows = []
    for arm in found.evaluation.arms:
        lengths = sorted(answer.tokens for answer in found.answers if answer.arm == arm.arm)
        if lengths:
            low, middle, high = (lengths[round(share * (len(lengths) - 1))] for share in (0.1, 0.5, 0.9))
            shape, ink = SHAPES[arm.arm]
            told = f"{middle:,} ({low:,}-{high:,}), {percent(arm.cut_share)} cut"
            rows.append(Row(middle, told, shape, ink, (low, high), f"{ARM_NAMES[arm.arm]}: {told}"))
    across = Across(max(found.evaluation.asking.max_new_tokens, 1), "{:,.0f}".format, True)
    heading = Heading(
        f"{slug(found.evaluation)}-lengths", "Answer tokens, middle 80 %", f"{'; '.join(row.tip for row in rows)}."
    )
    signs = _signs(found.evaluation.arms)
    return rows_plot(heading, [Group("tokens", tuple(rows))], size, across=across, signs=signs)


def slug(evaluation: Evaluation) -> str:
    """The evaluation in the names of files and of places on a page: letters, digits and hyphens."""
    samples, weights = evaluation.asking.samples, evaluation.weights
    words = evaluation.suite.name
    words += ("" if samples == 1 else f"-x{samples}") + ("" if weights == "final" else f"-{weights}")
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _row(arm: ArmSummary, found: Estimate, what: str) -> Row:
    shape, ink = SHAPES[arm.arm]
    tip = f"{ARM_NAMES[arm.arm]}: {what} {sure(found)}"
    return Row(found.value, sure(found), shape, ink, (found.low, found.high), tip)


def _signs(arms: Sequence[ArmSummary]) -> list[Sign]:
    return [(*SHAPES[arm.arm], ARM_NAMES[arm.arm]) for arm in arms]


def _shares(groups: Sequence[Group]) -> Across:
    return shares_axis(max(row.interval[1] for group in groups for row in group.rows if row.interval))


def _asked(evaluation: Evaluation) -> str:
    asking, suite = evaluation.asking, evaluation.suite
    drawn_how = "greedy" if asking.temperature == 0 else f"at temperature {asking.temperature:g}"
    told = (
        f"{counted(suite.problems, 'problem')}, {counted(asking.samples, 'answer')} each, {drawn_how}, at most "
        f"{asking.max_new_tokens:,} tokens; the {evaluation.weights} weights."
    )
    told += " The tests are weak: passing them means little." if suite.weak else ""
    return told + (" Programs ran without isolation." if evaluation.isolation == "none" else "")


def _changes(found: Evaluated) -> str:
    """The problems that base and tuned do not both solve or both fail."""
    changed = found.changed
    if not changed:
        return '<p class="note">No problem changed sides.</p>'
    rows = []
    for problem in changed:
        base, tuned = found.first(problem.problem, "base"), found.first(problem.problem, "tuned")
        assert base is not None
        assert tuned is not None
        which = "newly solved" if tuned.passed else "lost"
        cells = [problem.problem, problem.group, which, base.outcome, tuned.outcome]
        rows.append(("", [Cell(words) for words in cells]))
    caption = f"{counted(len(changed), 'problem')} changed sides"
    headings = ("problem", "group", "change", "base", "tuned")
    return f"<details><summary>{caption}</summary>{table(caption, headings, rows)}</details>"
