"""What a search knows: its trials, what each measured at its stop steps, and repeats with other seeds.

Where they are written is ``journal``'s, what follows from them ``answer``'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Value = str | int | float | bool
TrialEnding = Literal["finished", "stopped", "diverged", "infeasible", "failed"]
"""Trained to the last stop step; held back at an earlier one; loss not finite; does not fit; the program's error."""


@dataclass(frozen=True)
class Measured:
    """What the run that ends at ``stop_step`` in the stable phase, without a decay, would give: the trunk itself."""

    stop_step: int
    loss: float  # the held-out loss over all learned tokens, nats a token
    think_loss: float | None  # None: no such token
    answer_loss: float | None
    question_sums: tuple[float, ...]  # summed loss of each held-out question, nats, in the order of the split


@dataclass(frozen=True)
class Rung(Measured):
    """What the run that ends at ``stop_step`` would give: the trunk up to its decay, then the decay."""

    trained_tokens: int  # of this trial so far, trunk and decays together
    seconds: float  # of this trial so far, measuring included
    peak_gib: float
    stable: tuple[Measured, ...] = ()  # of stop steps that the trunk came by since the rung before


@dataclass(frozen=True)
class Trial:
    """One proposed configuration, trained to some or all stop steps."""

    number: int  # counted from 0, in the order of proposals
    values: Mapping[str, Value]  # by key of the job file, the stop step left out
    stop_step: int  # the one that was proposed with them
    step_s: float  # predicted seconds of a step at the configuration's own rank, with its share of measuring
    rungs: tuple[Rung, ...] = ()  # as they were measured
    ending: TrialEnding | None = None  # None: not ended
    why: str = ""
    until: int = 0  # the stop step up to which it trains, or was held back at

    @property
    def stable(self) -> tuple[Measured, ...]:
        """What it gives without a decay, at the stop steps that its trunk came by."""
        return tuple(measured for rung in self.rungs for measured in rung.stable)

    @property
    def measured(self) -> tuple[Measured, ...]:
        """All of it, with a decay and without."""
        return *self.rungs, *self.stable


@dataclass(frozen=True)
class Repeat:
    """A configuration of the search trained again to one stop step with another seed."""

    trial: int
    seed: int
    rung: Rung
    decayed: bool = True  # False: it ended without a decay, as what it repeats


@dataclass(frozen=True)
class LostRepeat:
    """A repeat that came to an end other than a measurement; it is not tried again."""

    trial: int
    seed: int
    stop_step: int
    decayed: bool
    ending: TrialEnding
    why: str


@dataclass(frozen=True)
class Study:
    """Everything that a search has measured so far."""

    question_tokens: tuple[int, ...]  # learned tokens of each held-out question, in the order of the split
    base_loss: float  # of the untuned base
    trials: tuple[Trial, ...]
    repeats: tuple[Repeat, ...] = ()
    lost: tuple[LostRepeat, ...] = ()
