"""A loss curve as one SVG file that needs nothing else, readable on light and dark pages.

Which losses are drawn is decided in ``curve``; the file's place by the caller.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from runner.report.axis import decimals, round_step, round_ticks
from runner.report.curve import Curve, Point, read_curve, smoothed
from runner.runs import Record
from runner.runs.durable import write_file

WIDTH, HEIGHT = 860, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 76, 62, 52
_TICKS_ACROSS, _TICKS_DOWN = 9, 7
_MOST_POINTS = 1500
_LABEL_WIDTH = 7.2
_STYLE = """
:root { color-scheme: light dark }
.page { fill: #ffffff } .text { fill: #3d4450 } .title { fill: #14181f } .grid { stroke: #e7e9ee }
.axis { stroke: #9aa1ad } .raw { stroke: #2f6fd0; opacity: .25 } .train { stroke: #2f6fd0 }
.validation { stroke: #d2601a } .dot { fill: #d2601a; stroke: #ffffff } .mark { stroke: #8a5bb8 }
.named { fill: #7a48ac } .of-train { fill: #2f6fd0 } .of-validation { fill: #c4540f }
@media (prefers-color-scheme: dark) {
.page { fill: #14181f } .text { fill: #b6bdc9 } .title { fill: #f2f4f8 } .grid { stroke: #272d38 }
.axis { stroke: #6a7280 } .raw { stroke: #6aa5ff; opacity: .3 } .train { stroke: #6aa5ff }
.validation { stroke: #ff9a5c } .dot { fill: #ff9a5c; stroke: #14181f } .mark { stroke: #b48be0 }
.named { fill: #c7a4ee } .of-train { fill: #6aa5ff } .of-validation { fill: #ff9a5c }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums }
.title { font-size: 16px; font-weight: 600 }
path, line { fill: none; stroke-width: 1 } .train, .validation { stroke-width: 2; stroke-linejoin: round }
.mark { stroke-dasharray: 3 4 }
"""


def write_curve(records: Sequence[Record], path: Path, *, title: str = "Loss") -> bool:
    """Write the curve of ``records`` to ``path``, atomically; False, and no file, if there are under two points."""
    curve = read_curve(records)
    if curve.last_step == 0 or len(curve.train) + len(curve.validation) < 2:
        return False
    write_file(path, curve_svg(curve, title=title).encode())
    return True


def curve_svg(curve: Curve, *, title: str) -> str:
    """The curve as SVG text: training loss raw and smoothed, validation with its points, marks, axes."""
    plot = _Plot(curve)
    parts = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}: training and validation loss by step</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(_LEFT, 26, title, "title"),
        _text(_LEFT, 46, "loss, nats a token", "text"),
        *plot.grid(),
        *plot.marks(),
        *plot.lines(),
        *plot.end_labels(),
        "</svg>",
    )
    return "\n".join(parts) + "\n"


class _Plot:
    """Where steps and losses lie on the page, and the pieces drawn there."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._line = smoothed(curve.train)
        values = [loss for _, loss in (*self._line, *curve.validation)]
        pad = max((max(values) - min(values)) * 0.05, 1e-3)
        self._low, self._high = min(values) - pad, max(values) + pad

    def grid(self) -> list[str]:
        """Horizontal lines with losses, the axis of steps with its numbers."""
        right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        step = round_step(self._high - self._low, _TICKS_DOWN)
        pieces = []
        for loss in round_ticks(self._low, self._high, _TICKS_DOWN):
            y = self._y(loss)
            pieces.append(_line(_LEFT, y, right, y, "grid"))
            pieces.append(_text(_LEFT - 10, y + 4, f"{loss:.{max(1, decimals(step))}f}", "text", anchor="end"))
        pieces.append(_line(_LEFT, bottom, right, bottom, "axis"))
        for tick in round_ticks(0, self._curve.last_step, _TICKS_ACROSS):
            if tick == int(tick):
                pieces.append(_line(self._x(tick), bottom, self._x(tick), bottom + 5, "axis"))
                pieces.append(_text(self._x(tick), bottom + 20, f"{tick:,.0f}", "text", anchor="middle"))
        pieces.append(_text((_LEFT + right) / 2, HEIGHT - 10, "optimizer step", "text", anchor="middle"))
        return pieces

    def marks(self) -> list[str]:
        """A dashed line at each mark, its name on top, on a second level where it would run into another."""
        pieces = []
        taken = -1.0
        for mark in self._curve.marks:
            x = self._x(mark.step)
            half = len(mark.name) * _LABEL_WIDTH / 2
            low = x - half < taken
            pieces.append(_line(x, _TOP, x, HEIGHT - _BOTTOM, "mark"))
            pieces.append(_text(x, _TOP + 14 if low else _TOP - 4, mark.name, "named", anchor="middle"))
            taken = x + half
        return pieces

    def lines(self) -> list[str]:
        """The losses: raw training thin and pale under the smoothed line, validation over both."""
        pieces = []
        if self._line:
            pieces.append(f'<path class="raw" d="{self._path(_thinned(self._curve.train))}"/>')
            pieces.append(f'<path class="train" d="{self._path(_thinned(self._line))}"/>')
        if self._curve.validation:
            pieces.append(f'<path class="validation" d="{self._path(self._curve.validation)}"/>')
        for step, loss in self._curve.validation:
            tip = f"<title>step {step:,}: validation loss {loss:.4f}</title>"
            x, y = self._x(step), self._y(loss)
            pieces.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{tip}</circle>')
        return pieces

    def end_labels(self) -> list[str]:
        """Name and last loss of each line, in its colour: at the end in numbers, on top as the legend."""
        pieces = []
        right = WIDTH - _RIGHT
        ends = [(line[-1][1], ink) for line, ink in self._named() if line]
        places = _apart([self._y(loss) for loss, _ in ends], 15.0)
        for (loss, ink), y in zip(ends, places, strict=True):
            pieces.append(_text(right + 8, y + 4, f"{loss:.3f}", ink))
        x = float(right)
        for line, ink in reversed(self._named()):
            if line:
                name = {"of-train": "training (smoothed)", "of-validation": "validation"}[ink]
                pieces.append(_text(x, 26, name, ink, anchor="end"))
                x -= len(name) * _LABEL_WIDTH + 20
        return pieces

    def _named(self) -> list[tuple[tuple[Point, ...], str]]:
        return [(self._line, "of-train"), (self._curve.validation, "of-validation")]

    def _path(self, points: Sequence[Point]) -> str:
        return "M" + "L".join(f"{self._x(step):.1f} {self._y(loss):.1f}" for step, loss in points)

    def _x(self, step: float) -> float:
        return _LEFT + step / self._curve.last_step * (WIDTH - _RIGHT - _LEFT)

    def _y(self, loss: float) -> float:
        inside = min(max(loss, self._low), self._high)
        return _TOP + (self._high - inside) / (self._high - self._low) * (HEIGHT - _BOTTOM - _TOP)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most ``_MOST_POINTS`` of the points, evenly chosen, the last among them."""
    stride = -(-len(points) // _MOST_POINTS)
    chosen = list(points[::stride])
    return chosen if chosen[-1] == points[-1] else [*chosen, points[-1]]


def _apart(places: Sequence[float], distance: float) -> list[float]:
    """One or two places, pushed apart evenly if they are closer than ``distance``."""
    if len(places) < 2 or abs(places[0] - places[1]) >= distance:
        return list(places)
    middle = sum(places) / 2
    up = -1 if places[0] <= places[1] else 1
    return [middle + up * distance / 2, middle - up * distance / 2]


def _text(x: float, y: float, text: str, ink: str, anchor: str = "start") -> str:
    return f'<text class="{ink}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, ink: str) -> str:
    return f'<line class="{ink}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'
