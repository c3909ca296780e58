"""Parallel coordinates: one line a trial through its values, its stop step and its loss.

On a narrow page the axes lie under each other instead of side by side.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from runner.report.drawing import Anchor, Plot, Point, Shape, Size, legend, line, mark, path, plot, text
from runner.report.scales import Scale, losses_scale
from runner.search.answer import Answer
from runner.search.pairs import Pair
from runner.search.plots import lows, tip
from runner.search.records import Value
from runner.search.scales import scale_of
from runner.search.space import STOP_STEP
from runner.search.wording import short_names

LOSS = "loss"
SIDE, HEAD, FOOT = 56.0, 44.0, 16.0
ROW = 62.0  # from one axis to the next where they lie under each other
INDENT = 26.0
SHADES = 4  # of the lines, the darkest for the lowest losses


@dataclass(frozen=True)
class _Axes:
    """Where the axes lie, by name."""

    size: Size
    top: float
    scales: Mapping[str, Scale]

    def at(self, name: str, place: float) -> Point:
        """The point of an axis at ``place``, 0 to 1."""
        row = list(self.scales).index(name)
        if self.size.narrow:
            return INDENT + place * (self.size.width - 2 * INDENT), self.top + HEAD + ROW * row
        x = SIDE + row * (self.size.width - 2 * SIDE) / max(len(self.scales) - 1, 1)
        bottom = self.size.height - FOOT
        return x, bottom - place * (bottom - self.top - HEAD)

    def drawn(self, names: Mapping[str, str]) -> list[str]:
        """The axes with their names and ticks."""
        pieces = []
        for name, scale in self.scales.items():
            start, end = self.at(name, 0), self.at(name, 1)
            pieces.append(line(start, end, "axis"))
            anchor: Anchor = "start" if self.size.narrow else "middle"
            head = (start[0], start[1] - 10) if self.size.narrow else (end[0], end[1] - 14)
            pieces.append(text(head, names[name], "strong halo", anchor=anchor))
            for place, label in scale.ticks(5):
                pieces += self._tick(self.at(name, place), label)
        return pieces

    def _tick(self, at: Point, label: str) -> list[str]:
        x, y = at
        if self.size.narrow:
            return [line((x, y - 3), (x, y + 3), "axis"), text((x, y + 16), label, "halo", anchor="middle")]
        return [line((x - 3, y), (x + 3, y), "axis"), text((x + 7, y + 4), label, "halo")]


def parallel(answer: Answer, size: Size) -> Plot:
    """Each trial at its lowest loss as a line; the lower its loss, the stronger."""
    assert answer.best is not None
    pairs = sorted(lows(answer), key=lambda pair: -pair.loss)
    scales = {key: scale_of(spread) for key, spread in answer.distributions.items()}
    scales[LOSS] = losses_scale(pair.loss for pair in pairs)
    names = {**short_names(answer.keys), STOP_STEP: "stop step", LOSS: "loss"}
    signs: list[tuple[Shape, str, str]] = [("line", "line", "a trial at its lowest loss"), ("line", "bold", "the best")]
    early = answer.earliest if answer.earliest != answer.best else None
    if early is not None:
        signs.append(("line", "early", "earliest as good"))
    pieces, low = legend(signs, size)
    fitting = size if not size.narrow else Size(size.width, round(low + HEAD + ROW * (len(scales) - 1) + 24))
    axes = _Axes(fitting, low, scales)
    for row, pair in enumerate(pairs):
        shade = min(SHADES - 1, SHADES * row // len(pairs))
        pieces.append(path(_way(pair, axes), f"line shade{shade}", tip(pair)))
    if early is not None:
        pieces.append(path(_way(early, axes), "early", tip(early)))
        pieces.append(mark("diamond", _way(early, axes)[-1], tip=tip(early)))
    pieces += [path(_way(answer.best, axes), "bold", tip(answer.best)), *axes.drawn(names)]
    pieces.append(mark("star", _way(answer.best, axes)[-1], tip=tip(answer.best)))
    about = f"{answer.verdict} Each line is a trial through {', '.join(names[name] for name in scales)}."
    return plot("parallel", "Each trial through its values", about, fitting, pieces)


def _way(pair: Pair, axes: _Axes) -> list[Point]:
    """The points of a pair on the axes."""
    values: dict[str, Value] = {**pair.values, STOP_STEP: pair.stop_step, LOSS: pair.loss}
    return [axes.at(name, scale.place(values[name])) for name, scale in axes.scales.items()]
