"""The end of an evaluation on one screen: verdict, pass@k of each arm, wins and losses, failures, lengths.

What was found is ``runner.evaluation``'s; its page is ``run_page``'s.
"""

import textwrap
from collections.abc import Sequence

from runner.evaluation.results import ArmSummary, Evaluation
from runner.report.evaluated import ARM_NAMES
from runner.report.layout import LABEL, in_columns, labelled, wrapped
from runner.report.style import Style
from runner.report.wording import counted, duration, percent, points, probability, sure

_BAR = 40
_SIGNS = {True: ("█", "▓", "▒", "░"), False: ("#", "+", "-", ".")}


def summary_of(evaluation: Evaluation, style: Style) -> str:
    """Everything worth knowing of ``evaluation``, at most ``style.width`` columns wide where its names allow.

    The same evaluation gives the same text; without ``style.unicode`` all of it is ASCII where its names are.
    """
    blocks = (
        _verdict(evaluation, style),
        _table(evaluation.arms, style),
        [*_wins(evaluation, style), *_failures(evaluation.arms, style)],
        _asked(evaluation, style),
    )
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _verdict(evaluation: Evaluation, style: Style) -> list[str]:
    lines = textwrap.wrap(evaluation.verdict, style.width, break_long_words=False)
    warning = "programs were not isolated" if evaluation.isolation == "none" else ""
    shown = [style.ink(line, "strong") for line in lines]
    return [*shown, style.ink(f"warning: {warning}", "mark")] if warning else shown


def _table(arms: Sequence[ArmSummary], style: Style) -> list[str]:
    """One line an arm: pass@k with intervals, mean tokens, share cut by the cap."""
    ks = sorted({k for arm in arms for k in arm.pass_at})
    head = ("", *(f"pass@{k}, 95 % interval" for k in ks), "tokens", "cut")
    lines = in_columns([head, *(_row(arm, ks) for arm in arms)])
    widest = max(map(len, lines))
    if widest > style.width:  # too many k for one line each
        return _long(arms, ks, style)
    rule = ("─" if style.unicode else "-") * widest
    return [style.ink(lines[0], "quiet"), style.ink(rule, "quiet"), *lines[1:]]


def _row(arm: ArmSummary, ks: Sequence[int]) -> tuple[str, ...]:
    found = [sure(arm.pass_at[k]) if k in arm.pass_at else "" for k in ks]
    return (ARM_NAMES[arm.arm], *found, f"{arm.mean_tokens:,.0f}", percent(arm.cut_share))


def _long(arms: Sequence[ArmSummary], ks: Sequence[int], style: Style) -> list[str]:
    """The same as one line for each arm and k."""
    widest = max(len(ARM_NAMES[arm.arm]) for arm in arms)
    lines = []
    for arm in arms:
        name = ARM_NAMES[arm.arm]
        for k in ks:
            if k in arm.pass_at:
                lines.append(f"{name:{widest}}  pass@{k:<3} {sure(arm.pass_at[k]):>22}")
                name = ""
        lines.append(f"{'':{widest}}  {arm.mean_tokens:,.0f} tokens, {percent(arm.cut_share)} cut by the cap")
    return [style.ink("pass@k with 95 % intervals", "quiet"), *lines]


def _wins(evaluation: Evaluation, style: Style) -> list[str]:
    """How many problems who solved, as a bar and in words, and how sure the difference is."""
    paired = evaluation.paired
    if paired is None:
        return []
    parts = (
        ("both", paired.both),
        (f"only {paired.second}", paired.only_second),
        (f"only {paired.first}", paired.only_first),
        ("neither", paired.neither),
    )
    whole = max(sum(count for _, count in parts), 1)
    signs = _SIGNS[style.unicode]
    room = min(_BAR, style.width - LABEL - 2)
    bar = "".join(sign * round(room * count / whole) for sign, (_, count) in zip(signs, parts, strict=True))
    told = [f"{sign} {name} {count:,}" for sign, (name, count) in zip(signs, parts, strict=True)]
    return [
        labelled("solved by", bar[:room], style),
        *wrapped("", told, style),
        *wrapped("difference", [f"{points(paired.difference)} points of pass@1", probability(paired.p_value)], style),
    ]


def _failures(arms: Sequence[ArmSummary], style: Style) -> list[str]:
    lines = []
    for arm in arms:
        if arm.arm != "native" and arm.failures:
            kinds = sorted(arm.failures.items(), key=lambda each: (-each[1], each[0]))
            told = [f"{count:,} {kind}" for kind, count in kinds]
            lines += wrapped(f"{ARM_NAMES[arm.arm]} failed", told, style)
    return lines


def _asked(evaluation: Evaluation, style: Style) -> list[str]:
    """What was asked and how, and the time it took."""
    asking, suite = evaluation.asking, evaluation.suite
    drawn = "greedy" if asking.temperature == 0 else f"temperature {asking.temperature:g}, seed {asking.seed}"
    parts = [
        counted(suite.problems, "problem"),
        f"{counted(asking.samples, 'answer')} each",
        drawn,
        f"at most {asking.max_new_tokens:,} tokens",
        *(["weak tests"] if suite.weak else []),
        *(f"{count:,} left out: {why}" for why, count in suite.skipped),
        f"{duration(evaluation.seconds)} on {evaluation.device}",
    ]
    return wrapped(suite.name, parts, style)
