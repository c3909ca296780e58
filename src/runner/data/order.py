"""Which packed buffers an optimizer step sees: a pure function of step and seed.

Nothing here knows of workers; whoever trains deals a step's buffers out among them.
"""

import numpy as np
from numpy.typing import NDArray


def packs_of_step(packs: int, buffers_per_step: int, step: int, seed: int) -> NDArray[np.int64]:
    """``(buffers_per_step,)`` indices below ``packs`` for ``step``, counted from 1.

    The steps laid end to end walk through one seeded permutation after another: every buffer, and with it
    every document, is seen exactly once an epoch.  A step may straddle two epochs or more.
    """
    assert packs > 0, "no packs to order"
    assert buffers_per_step > 0
    assert step >= 1, "steps are counted from 1"
    first = (step - 1) * buffers_per_step
    places = np.arange(first, first + buffers_per_step)
    epochs = places // packs
    indices = np.empty(buffers_per_step, dtype=np.int64)
    for epoch in np.unique(epochs):
        permutation = np.random.default_rng((seed, int(epoch))).permutation(packs)
        here = epochs == epoch
        indices[here] = permutation[places[here] % packs]
    return indices
