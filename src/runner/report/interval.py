"""How sure a share of solved questions is.

Counting them is ``evaluation``'s task.
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
        """Wilson's 95 % interval of the true share (E. B. Wilson, JASA 22, 1927); (0, 1) of no question."""
        if self.questions == 0:
            return 0.0, 1.0
        n, p, square = self.questions, self.solved / self.questions, Z_95 * Z_95
        centre = (p + square / (2 * n)) / (1 + square / n)
        reach = Z_95 / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
        return max(0.0, centre - reach), min(1.0, centre + reach)


def overlap(one: Share, other: Share) -> bool:
    """Whether the two intervals share a value: then the counts alone show no change."""
    (a, b), (c, d) = one.interval(), other.interval()
    return a <= d and c <= b
