"""Where long work shows itself; how it looks is left to the command line."""

import logging
from typing import Protocol


class Progress(Protocol):
    """Where long work shows itself: ``update`` moves a bar, ``say`` tells one line."""

    def update(self, task: str, done: int, total: int) -> None: ...

    def say(self, line: str) -> None: ...


class Silent:
    """Progress for callers that show none: lines go to the log."""

    def update(self, task: str, done: int, total: int) -> None:
        pass

    def say(self, line: str) -> None:
        logging.getLogger(__name__).warning(line)
