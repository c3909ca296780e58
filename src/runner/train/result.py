"""What a training run ends with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runner.train.schedule import Measured

Ending = Literal["finished", "plateau", "stopped"]


@dataclass(frozen=True)
class Result:
    """How far the run came, why it ended, and where its adapters lie.

    ``stopped`` means asked to end: everything is saved and the same command goes on.
    """

    ending: Ending
    step: int
    best: Measured | None
    last: Measured | None
    plateau_step: int | None
    folder: Path
