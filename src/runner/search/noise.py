"""How far the losses of runs lie apart that differ by their seed alone.

Which configurations are repeated is ``course``'s.
"""

import math
from dataclasses import dataclass
from statistics import fmean

from runner.config.search import Objective
from runner.search.pairs import Pair
from runner.search.proposals import loss_of
from runner.search.records import Study

Z_975 = 1.959963984540054
_T_975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)  # 1 to 10 degrees


@dataclass(frozen=True)
class Seeds:
    """The losses of one pair under several seeds, the search's own first."""

    trial: int
    stop_step: int
    losses: tuple[float, ...]

    @property
    def mean(self) -> float:
        """What to expect of one more seed; the search's own loss is lucky where it was chosen for being low."""
        return fmean(self.losses)


@dataclass(frozen=True)
class Noise:
    """What seeds alone make of a loss, from the pairs that were repeated."""

    deviation: float  # pooled standard deviation of a loss over seeds, nats a token
    degrees: int  # of freedom: losses less pairs
    seeds: tuple[Seeds, ...]

    @property
    def band(self) -> float:
        """Two losses less apart than this cannot be told apart: 95 % of the differences that seeds alone make.

        Student's t of the degrees of freedom, times sqrt(2), times the deviation.
        """
        return student(self.degrees) * math.sqrt(2) * self.deviation


def noise_of(study: Study, pairs: tuple[Pair, ...], objective: Objective) -> Noise | None:
    """The noise that the repeats tell; None without any."""
    measured = {(pair.trial, pair.stop_step, pair.decayed): pair.loss for pair in pairs}
    found: dict[tuple[int, int, bool], dict[int, float]] = {}
    for repeat in study.repeats:
        key = repeat.trial, repeat.rung.stop_step, repeat.decayed
        loss = loss_of(repeat.rung, objective)
        if key in measured and math.isfinite(loss):
            found.setdefault(key, {})[repeat.seed] = loss
    seeds = tuple(
        Seeds(trial, stop, (measured[trial, stop, decayed], *losses.values()))
        for (trial, stop, decayed), losses in found.items()
    )
    degrees = sum(len(group.losses) - 1 for group in seeds)
    if not degrees:
        return None
    squares = math.fsum((loss - group.mean) ** 2 for group in seeds for loss in group.losses)
    return Noise(math.sqrt(squares / degrees), degrees, seeds)


def student(degrees: int) -> float:
    """The 97.5 % point of Student's t; above ten degrees by the first terms of Abramowitz and Stegun, 26.7.5.

    Right to 0.002 there.
    """
    assert degrees > 0
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    z = Z_975
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
