"""How sure a share of solved questions is.

Everything else that is told from counts is ``statistics``'s.
"""

import math
from dataclasses import dataclass

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Share:
    """``solved`` of ``questions``."""

    solved: int
    questions: int

    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the true share; (0, 1) of no question."""
        return wilson(self.solved, self.questions)


def overlap(one: Share, other: Share) -> bool:
    """Whether the two intervals share a value: then the counts alone show no change."""
    (a, b), (c, d) = one.interval(), other.interval()
    return a <= d and c <= b


def wilson(solved: int, questions: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, JASA 22, 1927); (0, 1) of no question."""
    if questions == 0:
        return 0.0, 1.0
    n, p, square = questions, solved / questions, Z_95 * Z_95
    centre = (p + square / (2 * n)) / (1 + square / n)
    reach = Z_95 / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    return max(0.0, centre - reach), min(1.0, centre + reach)
