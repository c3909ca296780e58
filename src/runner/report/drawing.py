"""The pieces of a plot as SVG text, and their colours on light and dark pages.

What is drawn is up to the modules of plots.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Point = tuple[float, float]
Shape = Literal["dot", "ring", "star", "diamond", "cross", "line", "bar", "band"]
Anchor = Literal["start", "middle", "end"]
LETTER = 6.9  # pixels of a letter, about, at the size of the plots' text
STRONG_LETTER = 7.8
TITLE_LETTER = 9.0
LEGEND = 40.0  # base line of a legend's first line, under the title
LIGHT = {
    "page": "#ffffff",
    "panel": "#f5f6f8",
    "text": "#191d24",
    "quiet": "#525c6b",
    "grid": "#e4e7ec",
    "axis": "#8a93a1",
    "trial": "#2b66b9",
    "best": "#b34a07",
    "early": "#7a3fb0",
    "good": "#17703c",
    "bad": "#b3261e",
}
DARK = {
    "page": "#12151b",
    "panel": "#1b2029",
    "text": "#eceff4",
    "quiet": "#a7b1c0",
    "grid": "#2a313c",
    "axis": "#738093",
    "trial": "#77aefc",
    "best": "#ffa15c",
    "early": "#cba6f5",
    "good": "#6fd096",
    "bad": "#ff9389",
}


def _variables(colours: dict[str, str]) -> str:
    return ":root { " + " ".join(f"--{name}: {colour};" for name, colour in colours.items()) + " }"


THEME = f"""
:root {{ color-scheme: light dark }}
{_variables(LIGHT)}
@media (prefers-color-scheme: dark) {{ {_variables(DARK)} }}
"""
MARKS = """
svg text { font: 12.5px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--quiet);
  font-variant-numeric: tabular-nums }
svg .title { fill: var(--text); font-size: 15px; font-weight: 600 }
svg .strong { fill: var(--text); font-weight: 600 } svg .of-best { fill: var(--best); font-weight: 600 }
svg .of-early { fill: var(--early); font-weight: 600 }
svg .ground { fill: var(--page) } svg .grid { stroke: var(--grid) } svg .axis { stroke: var(--axis) }
svg .dot { fill: var(--trial); stroke: var(--page) }
svg .ring { fill: var(--page); stroke: var(--trial); stroke-width: 1.6 }
svg .mine { fill: var(--best); stroke: var(--page) }
svg .halo { paint-order: stroke; stroke: var(--page); stroke-width: 4px; stroke-linejoin: round }
svg .pale { opacity: .42 }
svg .star { fill: var(--best); stroke: var(--page) } svg .diamond { fill: var(--early); stroke: var(--page) }
svg .cross { stroke: var(--quiet); stroke-width: 1.6; fill: none }
svg .line { stroke: var(--trial); stroke-width: 1.6; fill: none; stroke-linejoin: round }
svg .thin { stroke: var(--trial); stroke-width: 1.2; fill: none; stroke-linejoin: round; opacity: .38 }
svg .bold { stroke: var(--best); stroke-width: 2.6; fill: none; stroke-linejoin: round }
svg .early { stroke: var(--early); stroke-width: 2.2; fill: none; stroke-linejoin: round }
svg .level { stroke: var(--best); stroke-width: 1.2; stroke-dasharray: 5 4 }
svg .shade0 { opacity: .28 } svg .shade1 { opacity: .42 } svg .shade2 { opacity: .65 } svg .shade3 { opacity: 1 }
svg .whisker { stroke: var(--quiet); stroke-width: 1.4; fill: none }
svg .band { fill: var(--best); opacity: .15 } svg .bar { fill: var(--trial) } svg .trough { fill: var(--grid) }
svg .when { stroke: var(--early); stroke-width: 1.2; stroke-dasharray: 3 4 }
svg .tuned-bar { fill: var(--best) } svg .native-bar { fill: var(--early) } svg .rest-bar { fill: var(--axis) }
svg .inside { fill: var(--page); font-weight: 600 }
svg .run0, svg .run4 { stroke: var(--trial) } svg .run1, svg .run5 { stroke: var(--best) }
svg .run2, svg .run6 { stroke: var(--early) } svg .run3, svg .run7 { stroke: var(--good) }
svg .run4, svg .run5, svg .run6, svg .run7 { stroke-dasharray: 6 4 }
svg .run0, svg .run1, svg .run2, svg .run3, svg .run4, svg .run5, svg .run6, svg .run7 { fill: none; stroke-width: 2.2;
  stroke-linejoin: round }
"""


@dataclass(frozen=True)
class Size:
    """Of a plot, in pixels; ``narrow`` for a telephone."""

    width: int
    height: int

    @property
    def narrow(self) -> bool:
        """Whether there is room for few labels only."""
        return self.width < 480


@dataclass(frozen=True)
class Plot:
    """A drawn plot; ``svg`` takes its colours from ``THEME`` and ``MARKS``, which a page has once."""

    name: str  # for a file
    title: str
    svg: str

    def file(self) -> str:
        """The plot as a file of its own."""
        head, _, rest = self.svg.partition(">")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}><style>{THEME}{MARKS}</style>{rest}\n'


def plot(name: str, title: str, about: str, size: Size, pieces: Iterable[str]) -> Plot:
    """The pieces on their ground; ``about`` says in words what is to be seen, for those who do not see it."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size.width} {size.height}" '
        f'width="{size.width}" height="{size.height}" role="img">'
        f"<title>{escape(title)}</title><desc>{escape(about)}</desc>"
        f'<rect class="ground" width="{size.width}" height="{size.height}"/>'
        f"{text((0, 15), cut(title, size.width, TITLE_LETTER), 'title')}{''.join(pieces)}</svg>"
    )
    return Plot(name, title, svg)


def cut(words: str, width: float, letter: float = LETTER) -> str:
    """As much of ``words`` as finds room."""
    most = max(1, int(width / letter))
    return words if len(words) <= most else words[: most - 1] + "…"


def text(at: Point, words: str, ink: str = "", *, anchor: Anchor = "start") -> str:
    """One line of text on its base line."""
    ink = f' class="{ink}"' if ink else ""
    return f'<text{ink} x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def line(start: Point, end: Point, ink: str) -> str:
    """A straight line."""
    return f'<line class="{ink}" x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'


def path(points: Sequence[Point], ink: str, tip: str = "") -> str:
    """Points joined."""
    return f'<path class="{ink}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}">{_tip(tip)}</path>'


def box(corner: Point, width: float, height: float, ink: str, *, tip: str = "") -> str:
    """A filled rectangle from its upper left corner."""
    x, y = corner
    size = f'width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect class="{ink}" x="{x:.1f}" y="{y:.1f}" {size} rx="2">{_tip(tip)}</rect>'


def mark(shape: Shape, at: Point, *, tip: str = "", ink: str = "") -> str:
    """A point of a shape that tells it without its colour; ``tip`` shows under the pointer."""
    x, y = at
    ink = ink or shape
    if shape in ("dot", "ring"):
        return f'<circle class="{ink}" cx="{x:.1f}" cy="{y:.1f}" r="4">{_tip(tip)}</circle>'
    if shape == "cross":
        return f'<path class="{ink}" d="M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7">{_tip(tip)}</path>'
    if shape == "diamond":
        return f'<path class="{ink}" d="M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z">{_tip(tip)}</path>'
    assert shape == "star", shape
    return f'<path class="{ink}" d="M{x:.1f} {y - 9:.1f}{_STAR}z">{_tip(tip)}</path>'


_STAR = "l2.6 6.1l6.6 .6l-5 4.4l1.5 6.5l-5.7 -3.4l-5.7 3.4l1.5 -6.5l-5 -4.4l6.6 -.6"


def legend(entries: Sequence[tuple[Shape, str, str]], size: Size) -> tuple[list[str], float]:
    """Signs (shape, ink) and what they mean, under the title in as many lines as they take; and where they end."""
    pieces, x, y = [], 0.0, LEGEND
    for shape, ink, words in entries:
        width = 26 + len(words) * LETTER
        if x > 0 and x + width > size.width:
            x, y = 0.0, y + 19
        middle = (x + 8, y - 4)
        if shape == "line":
            pieces.append(line((x, y - 4), (x + 16, y - 4), ink))
        elif shape in ("band", "bar"):
            pieces.append(box((x, y - 10), 16, 11, ink))
        else:
            pieces.append(mark(shape, middle, ink=ink))
        pieces.append(text((x + 21, y), words))
        x += width + 6
    return pieces, y


def _tip(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""
