"""What a terminal can show: its width, whether it draws beyond ASCII, whether it has colours.

What is shown is up to ``terminal`` and ``summary``.
"""

import os
import shutil
from dataclasses import dataclass
from typing import Literal, TextIO, TypeAlias

Ink: TypeAlias = Literal["train", "validation", "mark", "quiet", "strong"]
_ANSI: dict[Ink, str] = {"train": "36", "validation": "1;33", "mark": "35", "quiet": "2", "strong": "1"}
_WIDEST = 100


@dataclass(frozen=True)
class Style:
    """``width`` in columns; ``unicode`` False draws in ASCII; ``color`` False writes no escape codes."""

    width: int = 80
    unicode: bool = True
    color: bool = False

    def ink(self, text: str, ink: Ink) -> str:
        """``text`` in the colour of what it shows."""
        return f"\x1b[{_ANSI[ink]}m{text}\x1b[0m" if self.color and text else text


def style_of(stream: TextIO) -> Style:
    """The style for ``stream``; plain where it is no terminal, and no colours where NO_COLOR or TERM=dumb ask so."""
    terminal = stream.isatty()
    plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    unicode = "utf" in (stream.encoding or "").lower()
    width = min(shutil.get_terminal_size().columns, _WIDEST) if terminal else Style.width
    return Style(width, unicode, terminal and not plain)
