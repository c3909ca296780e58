"""Seeded order of questions and of their rows, and how many each stratum gives.

Whether a row fits is found out in ``documents``, which walks these orders.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Candidates:
    """Questions (groups of rows) of each stratum, and rows of each question, all in seeded order.

    ``queues[s]`` holds the groups of stratum ``s``; ``rows[starts[g]:starts[g + 1]]`` the rows of group ``g``.
    """

    queues: tuple[NDArray[np.int64], ...]
    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Questions of each stratum, ``(strata,)``."""
        return np.array([len(queue) for queue in self.queues], dtype=np.int64)

    def rows_of(self, group: int) -> NDArray[np.int64]:
        return self.rows[self.starts[group] : self.starts[group + 1]]


def candidates(
    group_of_row: NDArray[np.int64], stratum_of_group: NDArray[np.int64], eligible: NDArray[np.bool_], seed: int
) -> Candidates:
    """Every question with an ``eligible`` row, in an order fixed by ``seed`` and the rows alone."""
    random = np.random.default_rng((seed, 1))
    priority = random.permutation(len(group_of_row))
    rows = np.flatnonzero(eligible)
    rows = rows[np.lexsort((priority[rows], group_of_row[rows]))]
    groups = len(stratum_of_group)
    starts = np.searchsorted(group_of_row[rows], np.arange(groups + 1)).astype(np.int64)
    order = np.random.default_rng((seed, 2)).permutation(groups)
    order = order[np.diff(starts)[order] > 0]
    strata = int(stratum_of_group.max(initial=-1)) + 1
    queues = tuple(order[stratum_of_group[order] == stratum] for stratum in range(strata))
    return Candidates(queues, rows, starts)


def apportion(total: int, sizes: NDArray[np.int64], caps: NDArray[np.int64]) -> NDArray[np.int64]:
    """``(strata,)`` shares of ``total`` in proportion to ``sizes``, none over its cap, by largest remainder.

    They sum to ``min(total, caps.sum())``: what a capped stratum cannot give, the others give.
    """
    total = min(total, int(caps.sum()))
    shares = np.zeros_like(caps)
    while (left := total - int(shares.sum())) > 0:
        open_sizes = np.where(caps > shares, np.maximum(sizes, 1), 0)
        exact = left * open_sizes / open_sizes.sum()
        more = np.minimum(np.floor(exact).astype(np.int64), caps - shares)
        if not more.any():
            most = np.argsort(-exact, kind="stable")[:left]
            more[most] = (open_sizes[most] > 0).astype(np.int64)
        shares = shares + more
    return shares
