"""Text for a terminal in its place: facts after their labels, cells in columns.

What stands there is the summaries' and the commands' own.
"""

from collections.abc import Sequence

from runner.report.style import Style

LABEL = 13  # columns


def labelled(label: str, text: str, style: Style) -> str:
    """``text`` after its ``label``, in line with that of other labels."""
    return f"{style.ink(f'{label:{LABEL}}', 'quiet')}  {text}"


def wrapped(label: str, parts: Sequence[str], style: Style, *, joint: str = ", ") -> list[str]:
    """The parts joined after one label, over as many lines as they need; no part is broken."""
    lines, line = [], ""
    for part in parts:
        if line and LABEL + 2 + len(line) + len(joint) + len(part) + 1 > style.width:
            lines.append((line + joint).rstrip())
            line = ""
        line = f"{line}{joint}{part}" if line else part
    return [labelled(label if not place else "", text, style) for place, text in enumerate([*lines, line])]


def in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """A line for each row, cells two columns apart: words in the first column, numbers, set right, in the others."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = [f"{row[0]:{widths[0]}}", *(f"{cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(padded).rstrip())
    return lines
