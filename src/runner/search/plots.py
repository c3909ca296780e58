"""The plots of an answer: how the search went, when to stop, loss against minutes, each key, what matters.

Parallel coordinates are ``parallel``'s; the page around them is ``page``'s.
"""

from collections.abc import Callable, Iterable, Sequence

from runner.report.drawing import (
    STRONG_LETTER,
    Anchor,
    Plot,
    Point,
    Shape,
    Size,
    box,
    legend,
    line,
    mark,
    path,
    plot,
    text,
)
from runner.report.frame import ABOVE, LEFT, Frame
from runner.report.scales import Linear, losses_scale
from runner.search.answer import Answer
from runner.search.pairs import Pair, lowest
from runner.search.records import Study, Value
from runner.search.scales import scale_of
from runner.search.space import STOP_STEP
from runner.search.verdict import ENDINGS
from runner.search.wording import configuration, ending, loss, short_names, span


def history(study: Study, answer: Answer, size: Size) -> Plot:
    """The lowest loss of each trial in the order of proposals, and the best so far."""
    entries: list[tuple[Shape, str, str]] = [
        ("dot", "dot", "trained to the last stop"),
        ("ring", "ring", "stopped early"),
    ]
    found = {pair.trial: pair for pair in lows(answer)}
    without = [trial for trial in study.trials if trial.number not in found and trial.ending]
    if without:
        entries.append(("cross", "cross", "no loss"))
    pieces, low = legend([*entries, ("line", "bold", "best so far")], size)
    last = max(trial.number for trial in study.trials)
    frame = Frame(size, low + ABOVE, Linear(-0.5, last + 0.5, whole=True), losses_scale(p.loss for p in found.values()))
    pieces += frame.axes("trial, in the order proposed")
    pieces.append(path([frame.at(x, y) for x, y in _best_so_far(found, last)], "bold"))
    for trial in study.trials:
        if pair := found.get(trial.number):
            shape: Shape = "dot" if trial.ending == "finished" else "ring"
            pieces.append(mark(shape, frame.at(trial.number, pair.loss), tip=tip(pair)))
    for trial in without:
        told = f"trial {trial.number}: {configuration(trial.values)}; {ENDINGS[trial.ending or 'running']}"
        pieces.append(mark("cross", (frame.x(trial.number), frame.top + 2), tip=told))
    pieces += _best(frame, answer, lambda pair: pair.trial)
    about = f"{answer.verdict} Each point is a trial at its lowest loss; the line is the best so far."
    return plot("history", "Loss of each trial, nats a token", about, size, pieces)


def stop_curves(answer: Answer, size: Size) -> Plot:
    """The loss of each trial at its stop steps, the best bold, and what still counts as equally good."""
    assert answer.best is not None
    best = answer.best
    entries: list[tuple[Shape, str, str]] = [("line", "line", "a trial"), ("line", "bold", "the best trial")]
    if answer.tolerance is None:
        entries.append(("line", "whisker", "twice the standard error, from the best"))
    else:
        entries.append(("band", "band", f"within {answer.tolerance:g} of the best"))
    pieces, low = legend([*entries, *_signs(answer)], size)
    last = answer.stop_steps[-1]
    frame = Frame(size, low + ABOVE, Linear(0, last * 1.04, whole=True), losses_scale(p.loss for p in answer.pairs))
    pieces += frame.axes("stop step")
    if answer.tolerance is not None:
        top = frame.y(best.loss + answer.tolerance)
        pieces.append(box((LEFT, top), frame.right - LEFT, frame.y(best.loss) - top, "band"))
    pieces.append(line((LEFT, frame.y(best.loss)), (frame.right, frame.y(best.loss)), "level"))
    for number in sorted({pair.trial for pair in answer.pairs}, key=lambda number: number == best.trial):
        pieces += _curve(frame, [pair for pair in answer.pairs if pair.trial == number], bold=number == best.trial)
    if answer.tolerance is None:
        for behind in answer.by_stop_step:
            pieces += _whisker(frame, behind.pair, answer.allowed(behind.apart))
    pieces += _answers(frame, answer, lambda pair: pair.stop_step)
    return plot(
        "stop-steps", "Loss by stop step, nats a token", f"{answer.verdict} Each line is a trial.", size, pieces
    )


def trade(answer: Answer, size: Size) -> Plot:
    """Loss against minutes: every pair, and those that no other beats in both."""
    entries: list[tuple[Shape, str, str]] = [("dot", "dot pale", "a pair"), ("line", "line", "none better in both")]
    pieces, low = legend([*entries, *_signs(answer)], size)
    longest = max(pair.minutes for pair in answer.pairs) or 1.0
    seconds = longest < 1.65
    unit = 60.0 if seconds else 1.0
    frame = Frame(size, low + ABOVE, Linear(0, longest * unit * 1.04), losses_scale(p.loss for p in answer.pairs))
    pieces += frame.axes("seconds of training, predicted" if seconds else "minutes of training, predicted")
    steps: list[Point] = []
    for pair in answer.front:
        x, y = frame.at(pair.minutes * unit, pair.loss)
        steps += [(x, steps[-1][1]), (x, y)] if steps else [(x, y)]
    on_front = set(map(id, answer.front))
    for pair in answer.pairs:
        if id(pair) not in on_front:
            pieces.append(mark("dot", frame.at(pair.minutes * unit, pair.loss), tip=tip(pair), ink="dot pale"))
    pieces.append(path([*steps, (frame.right, steps[-1][1])], "line"))
    pieces += [mark("dot", frame.at(pair.minutes * unit, pair.loss), tip=tip(pair)) for pair in answer.front]
    pieces += _answers(frame, answer, lambda pair: pair.minutes * unit)
    told = "; ".join(f"{span(pair.minutes)}: {loss(pair.loss)}" for pair in answer.front)
    return plot("minutes", "Loss against time, nats a token", f"The lowest loss for its minutes: {told}.", size, pieces)


def slices(answer: Answer, key: str, size: Size) -> Plot:
    """The lowest loss of each trial against its value of one key; one that was stopped early might have come lower."""
    name, pairs = short_names(answer.keys)[key], lows(answer)
    whole = {pair.trial for pair in answer.pairs if pair.stop_step == answer.stop_steps[-1]}
    entries: list[tuple[Shape, str, str]] = [("dot", "dot", "a trial at its lowest loss")]
    entries += [("ring", "ring", "stopped early"), ("star", "star", "the lowest")]
    pieces, low = legend(entries, size)
    frame = Frame(size, low + ABOVE, scale_of(answer.distributions[key]), losses_scale(pair.loss for pair in pairs))
    pieces += frame.axes(name)
    for pair in pairs:
        shape: Shape = "dot" if pair.trial in whole else "ring"
        pieces.append(mark(shape, frame.at(pair.values[key], pair.loss), tip=tip(pair)))
    pieces += _best(frame, answer, lambda pair: pair.values[key])
    return plot(
        f"by-{key}",
        f"Loss by {name}, nats a token",
        f"Each point is a trial at its lowest loss, by {name}.",
        size,
        pieces,
    )


def importance(answer: Answer, size: Size) -> Plot:
    """What each key has to do with being among the best."""
    assert answer.importance is not None
    names = {**short_names(answer.keys), STOP_STEP: "stop step"}
    left = max(len(names[each.key]) for each in answer.importance) * STRONG_LETTER + 12
    room = size.width - left - 52
    pieces = []
    for row, each in enumerate(answer.importance):
        y = 30.0 + 32 * row
        pieces += [text((left - 10, y + 15), names[each.key], "strong", anchor="end")]
        pieces += [box((left, y), room, 22, "trough"), box((left, y), room * each.share, 22, "bar")]
        pieces.append(text((left + room + 8, y + 15), f"{each.share:.0%}"))
    told = ", ".join(f"{names[each.key]} {each.share:.0%}" for each in answer.importance)
    fitting = Size(size.width, 38 + 32 * len(answer.importance))
    return plot("importance", "Importance", f"Shares: {told}.", fitting, pieces)


def lows(answer: Answer) -> list[Pair]:
    """The lowest pair of every trial that measured something."""
    trials = sorted({pair.trial for pair in answer.pairs})
    found = (lowest(pair for pair in answer.pairs if pair.trial == trial) for trial in trials)
    return [pair for pair in found if pair is not None]


def _best_so_far(lows: dict[int, Pair], last: int) -> Iterable[tuple[float, float]]:
    """The corners of the stairs."""
    best = None
    for number, pair in sorted(lows.items()):
        if best is None or pair.loss < best:
            if best is not None:
                yield number, best
            best = pair.loss
            yield number, best
    if best is not None:
        yield last + 0.5, best


def _curve(frame: Frame, pairs: Sequence[Pair], *, bold: bool) -> list[str]:
    points = [frame.at(pair.stop_step, pair.loss) for pair in pairs]
    pieces = [path(points, "bold" if bold else "thin", f"trial {pairs[0].trial}: {configuration(pairs[0].values)}")]
    ink = "mine" if bold else "dot pale"
    return [*pieces, *(mark("dot", at, tip=tip(pair), ink=ink) for at, pair in zip(points, pairs, strict=True))]


def _whisker(frame: Frame, pair: Pair, reach: float) -> list[str]:
    if not reach:
        return []
    x, high, low = frame.x(pair.stop_step), frame.y(pair.loss + reach), frame.y(pair.loss - reach)
    ends = [line((x - 5, y), (x + 5, y), "whisker") for y in (high, low)]
    return [line((x, high), (x, low), "whisker"), *ends]


def _signs(answer: Answer) -> list[tuple[Shape, str, str]]:
    best: tuple[Shape, str, str] = ("star", "star", "lowest")
    early: tuple[Shape, str, str] = ("diamond", "diamond", "earliest as good")
    return [best] if answer.earliest == answer.best else [best, early]


def _answers(frame: Frame, answer: Answer, across: Callable[[Pair], Value]) -> list[str]:
    """The earliest as good and the best over everything else, each with its loss."""
    pieces = _best(frame, answer, across)
    if answer.earliest is not None and answer.earliest != answer.best:
        pieces = [*_named(frame, answer.earliest, across(answer.earliest), "diamond"), *pieces]
    return pieces


def _best(frame: Frame, answer: Answer, across: Callable[[Pair], Value]) -> list[str]:
    assert answer.best is not None
    return _named(frame, answer.best, across(answer.best), "star")


def _named(frame: Frame, pair: Pair, across: Value, shape: Shape) -> list[str]:
    """A mark and its loss: the best's, which nothing lies under, below it, another's above."""
    x, y = frame.at(across, pair.loss)
    anchor: Anchor = "end" if x > frame.right - 34 else "middle"
    at = (min(x, frame.right), y + 21 if shape == "star" else y - 13)
    ink = "halo of-best" if shape == "star" else "halo of-early"
    return [mark(shape, (x, y), tip=tip(pair)), text(at, loss(pair.loss), ink, anchor=anchor)]


def tip(pair: Pair) -> str:
    """What shows under the pointer."""
    where = f"trial {pair.trial}, step {ending(pair)}: {loss(pair.loss)} in {span(pair.minutes)}"
    return f"{where}; {configuration(pair.values)}"
