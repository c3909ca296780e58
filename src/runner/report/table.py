"""A table of a page as HTML: it scrolls in a box of its own, and a click on a heading sorts it.

The script that sorts is ``page_style``'s; what stands in the cells, the caller's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, and the number it is sorted by; without one it is words."""

    text: str
    by: float | None = None


def table(caption: str, headings: Sequence[str], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    """A table in a box of its own that it scrolls in; each row has a class; a click on a heading sorts by it."""
    rows = list(rows)
    numbers = [all(cells[place].by is not None for _, cells in rows) for place in range(len(headings))]
    head = "".join(
        f'<th scope="col"{_class("number" if sorted_by else "")}><button type="button">{escape(name)}</button></th>'
        for name, sorted_by in zip(headings, numbers, strict=True)
    )
    body = "".join(f"<tr{_class(ink)}>{''.join(map(_cell, cells))}</tr>" for ink, cells in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _class(ink: str) -> str:
    return f' class="{ink}"' if ink else ""


def _cell(cell: Cell) -> str:
    return (
        f"<td>{escape(cell.text)}</td>" if cell.by is None else f'<td data-by="{cell.by:.9g}">{escape(cell.text)}</td>'
    )
