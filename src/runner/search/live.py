"""The table of a search while it runs, as text: a line a trial, and how far everything is.

Which study, and when it is drawn again, is up to its caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.config.search import Objective
from runner.report.style import Style
from runner.search.pairs import Pair, lowest, pairs_of
from runner.search.proposals import loss_of
from runner.search.records import Study, Trial
from runner.search.wording import counted, ending, loss, number, short_names

BAR = 10  # columns
GAP = 2
FEWEST_LINES = 7
NARROWEST_VALUE = 4
ENDED = {
    "finished": "finished",
    "stopped": "held back",
    "diverged": "diverged",
    "infeasible": "does not fit",
    "failed": "failed",
    None: "running",
}


@dataclass(frozen=True)
class Progress:
    """What is known of a running search beside its study."""

    objective: Objective
    stop_steps: tuple[int, ...]
    trials: int  # that will be proposed
    at_once: int  # trials that train together
    elapsed_s: float
    keys: tuple[str, ...] = ()  # searched, in the file's order
    steps: Mapping[int, int] = field(default_factory=dict)  # reached by running trials, by number
    repeating: int = 0  # repeats with other seeds that are still to come
    expected_tokens: int = 0  # trained by all trials, about
    repeat_tokens: int = 0  # of one repeat, at most


def live_table(study: Study, progress: Progress, style: Style, *, lines: int = 24) -> str:
    """The search at a glance, at most ``style.width`` columns wide and ``lines`` (seven at the least) high.

    Where there are more trials than lines the best, the running and the last to end are kept, and the others counted.
    """
    pairs = pairs_of(study, progress.objective)
    best = lowest(pairs)
    room = max(lines, FEWEST_LINES) - 5
    shown = _chosen(study.trials, best, room if len(study.trials) <= room else room - 1)
    rows = [_row(trial, best, progress, style) for trial in shown]
    table = _table(_headings(progress), rows, style)
    hidden = len(study.trials) - len(shown)
    more = [style.ink(_cut(f"and {counted(hidden, 'more trial')} that ended", style), "quiet")] if hidden else []
    return "\n".join([_heading(study, progress, style), "", *table, *more, "", _foot(study, best, progress, style)])


def seconds_left(study: Study, progress: Progress) -> float | None:
    """About how long the rest takes, by what a token took so far; None before the first measurement."""
    trained = _trained(study)
    if not trained:
        return None
    seconds = sum(trial.rungs[-1].seconds for trial in study.trials if trial.rungs)
    left = max(0, progress.expected_tokens - trained) + progress.repeat_tokens * progress.repeating
    return seconds / trained * left / max(1, min(progress.at_once, progress.trials))


def _trained(study: Study) -> int:
    return sum(trial.rungs[-1].trained_tokens for trial in study.trials if trial.rungs)


def _heading(study: Study, progress: Progress, style: Style) -> str:
    whole = sum(any(rung.stop_step == progress.stop_steps[-1] for rung in trial.rungs) for trial in study.trials)
    full = min(BAR, round(BAR * _trained(study) / max(progress.expected_tokens, 1)))
    signs = ("█", "░") if style.unicode else ("#", ".")
    left = seconds_left(study, progress)
    told = f"{clock(progress.elapsed_s)} elapsed" + ("" if left is None else f", about {clock(left)} left")
    bar = style.ink(signs[0] * full, "validation") + style.ink(signs[1] * (BAR - full), "quiet")
    tried = f" {len(study.trials)} of {counted(progress.trials, 'trial')} tried, {whole} to the end"
    return bar + _cut(f"{tried}, {told}", style, taken=BAR)


def _foot(study: Study, best: Pair | None, progress: Progress, style: Style) -> str:
    if best is None:
        return _cut("nothing measured yet", style)
    names = short_names(best.values)
    values = ", ".join(f"{names[key]} {number(value)}" for key, value in best.values.items())
    base = f" (untuned {loss(study.base_loss)})" if progress.objective == "validation" else ""
    return style.ink(_cut(f"best {loss(best.loss)}{base}: {values}, step {ending(best)}", style), "strong")


def _chosen(trials: Sequence[Trial], best: Pair | None, room: int) -> list[Trial]:
    """At most ``room`` trials, in order: the running, the best, then the last."""
    if len(trials) <= room:
        return list(trials)

    def weight(trial: Trial) -> tuple[bool, bool, int]:
        return best is not None and trial.number == best.trial, trial.ending is None, trial.number

    return sorted(sorted(trials, key=weight)[-room:], key=lambda trial: trial.number)


@dataclass(frozen=True)
class _Row:
    cells: tuple[str, ...]
    best: bool
    running: bool


def _headings(progress: Progress) -> tuple[str, ...]:
    names = short_names(progress.keys)
    return ("trial", *(names[key] for key in progress.keys), "step", "loss", "lowest", "")


def _row(trial: Trial, best: Pair | None, progress: Progress, style: Style) -> _Row:
    """Number, values, step reached, loss at the furthest rung, the lowest loss and its stop, how it ended."""
    is_best = best is not None and best.trial == trial.number
    mark = ("★" if style.unicode else "*") if is_best else ""
    values = (number(trial.values[key]) if key in trial.values else "" for key in progress.keys)
    furthest = max(trial.rungs, key=lambda rung: rung.stop_step, default=None)
    last = loss(loss_of(furthest, progress.objective)) if furthest else ""
    low = min(((loss_of(each, progress.objective), each.stop_step) for each in trial.measured), default=None)
    lowest_at = f"{loss(low[0])} at {low[1]:,}" if low else ""
    reached = progress.steps.get(trial.number, 0) if trial.ending is None else 0
    step = max([reached, *(rung.stop_step for rung in trial.rungs)])
    at = f"{step:,}/{progress.stop_steps[-1]:,}" if step or trial.ending is None else "-"
    return _Row((f"{mark}{trial.number}", *values, at, last, lowest_at, ENDED[trial.ending]), is_best, not trial.ending)


def _table(headings: tuple[str, ...], rows: Iterable[_Row], style: Style) -> list[str]:
    """Aligned columns; where they are too wide the lowest loss goes first, then values are cut, then columns."""
    rows = list(rows)
    kept = list(range(len(headings)))
    if _width(kept, headings, rows) > style.width:
        kept.remove(len(headings) - 2)
    widths = {place: max(len(headings[place]), *(len(row.cells[place]) for row in rows), 0) for place in kept}
    values = [place for place in kept if 0 < place < len(headings) - 4]
    while _total(widths) > style.width and any(widths[place] > NARROWEST_VALUE for place in values):
        widest = max(values, key=lambda place: widths[place])
        widths[widest] -= 1
    while _total(widths) > style.width and values:
        del widths[values.pop()]
    lines = [style.ink(_line(headings, widths, style), "quiet")]
    for row in rows:
        text = _line(row.cells, widths, style)
        lines.append(style.ink(text, "strong" if row.best else "train") if row.best or row.running else text)
    return lines


def _line(cells: Sequence[str], widths: Mapping[int, int], style: Style) -> str:
    shown = []
    for place, width in widths.items():
        cell = cells[place] if len(cells[place]) <= width else cells[place][: width - 1] + _dots(style)
        shown.append(cell.ljust(width) if place == len(cells) - 1 else cell.rjust(width))
    return _cut((" " * GAP).join(shown).rstrip(), style)


def _width(places: Sequence[int], headings: Sequence[str], rows: Sequence[_Row]) -> int:
    return _total({place: max(len(headings[place]), *(len(row.cells[place]) for row in rows), 0) for place in places})


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _cut(text: str, style: Style, *, taken: int = 0) -> str:
    """``text`` in the columns that are left."""
    room = style.width - taken
    return text if len(text) <= room else text[: max(0, room - 1)] + _dots(style)


def _dots(style: Style) -> str:
    return "…" if style.unicode else "~"


def clock(seconds: float) -> str:
    """``12 s``, ``4:05`` or ``1:02:03``."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if whole < 60:
        return f"{whole} s"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
