"""The parts that pages are made of, as HTML: the page itself, figures, commands, plots in two layouts.

What they look like is ``page_style``'s; which of them a page has is the page's.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

from runner.report.commands import Command
from runner.report.drawing import MARKS, THEME, Plot, Size
from runner.report.page_style import SORT, STYLE

WIDE, NARROW = Size(544, 360), Size(328, 330)
BROAD = Size(1120, 380)  # the whole width of the page
LONG_VERDICT = 150  # letters


@dataclass(frozen=True)
class Figure:
    """A number worth a panel: what it is, its value, a line more, and the ink of its value."""

    what: str
    value: str
    more: str
    ink: str = ""


def document(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """A whole page that needs nothing else; ``style`` is added to that of every page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        f"<style>{THEME}{MARKS}{STYLE}{style}</style></head>\n"
        f"<body><main>{''.join(parts)}</main><script>{SORT}</script></body></html>\n"
    )


def header(name: str, verdict: str) -> str:
    """What the page is of, and its one sentence: what was found, and after a colon, smaller, by which numbers."""
    found, colon, numbers = verdict.partition(": ")
    if len(verdict) < LONG_VERDICT or not colon:
        found, numbers = verdict, ""
    more = f'<span class="joint">: </span><span class="by">{escape(numbers)}</span>' if numbers else ""
    return f'<header><p class="name">{escape(name)}</p><h1>{escape(found)}{more}</h1></header>'


def figures(shown: Iterable[Figure]) -> str:
    """The numbers worth a panel, side by side as far as there is room."""
    divs = "".join(
        f'<div><dt>{escape(each.what)}</dt><dd class="{each.ink}">{escape(each.value)}</dd>'
        f"<dd>{escape(each.more)}</dd></div>"
        for each in shown
    )
    return f'<dl class="figures">{divs}</dl>'


def commands(shown: Iterable[Command]) -> str:
    """What to type, each under what it does."""
    each = "".join(f"<div><p>{escape(command.effect)}</p><pre>{escape(command.text)}</pre></div>" for command in shown)
    return f'<section class="commands">{each}</section>'


def figure(full: Plot, slim: Plot, *, broad: bool = False) -> str:
    """A plot in two layouts; the page's width chooses one."""
    return (
        f"<figure{' class=broad' if broad else ''}>"
        f'<div class="full">{full.svg}</div><div class="slim">{slim.svg}</div></figure>'
    )


def drawn(draw: Callable[[Size], Plot], wide: Size = WIDE) -> str:
    """What ``draw`` draws, in the two layouts; the wide one as ``wide`` as given."""
    return figure(draw(wide), draw(NARROW), broad=wide.width > WIDE.width)
