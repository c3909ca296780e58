"""The learning rate at every step, and when a run that stops gaining should end.

Pure functions of the job and of the validation losses so far; the loop alone acts on them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from runner.config.job import Plateau, Train


@dataclass(frozen=True)
class Horizon:
    """The last step of the stable phase, and the last step of all."""

    decay_start: int
    end: int


@dataclass(frozen=True)
class Measured:
    """A validation loss, nats a token, and the step after which it was taken."""

    step: int
    loss: float


def full_horizon(train: Train) -> Horizon:
    """All of ``train.steps``, the decay in their last part."""
    decaying = max(1, round(train.decay * train.steps)) if train.schedule == "warmup-stable-decay" else 0
    return Horizon(train.steps - min(decaying, train.steps), train.steps)


def warmup_steps(train: Train) -> int:
    """Steps in which the rate rises."""
    return round(train.warmup * train.steps)


def learning_rate(train: Train, horizon: Horizon, step: int) -> float:
    """The rate of optimizer step ``step``, counted from 1; above zero at every one of them.

    The decay of ``warmup-stable-decay`` falls as 1 - sqrt(x) over the steps after ``horizon.decay_start``.
    """
    warming = warmup_steps(train)
    if step <= warming:
        return train.learning_rate * step / warming
    if train.schedule == "cosine":
        done = (step - warming) / (train.steps - warming + 1)
        return train.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
    if train.schedule == "constant" or step <= horizon.decay_start:
        return train.learning_rate
    done = (step - horizon.decay_start) / (horizon.end - horizon.decay_start + 1)
    return train.learning_rate * (1.0 - math.sqrt(done))


def has_plateaued(history: Sequence[Measured], rule: Plateau, *, stable_from: int) -> bool:
    """Whether the last ``rule.window`` steps of the stable phase lowered the best loss by less than the rule asks.

    ``history`` is in order of steps.  Never true before a whole window of the stable phase has passed.
    """
    stable = [measured for measured in history if measured.step >= stable_from]
    if not stable:
        return False
    border = stable[-1].step - rule.window
    before = [measured.loss for measured in stable if measured.step <= border]
    since = [measured.loss for measured in stable if measured.step > border]
    return bool(before) and min(before) - min(*before, *since) < rule.improvement


def shortened(train: Train, horizon: Horizon, step: int) -> Horizon:
    """The horizon when the decay starts after ``step``: the decay keeps its part of all steps done."""
    decaying = max(1, round(step * train.decay / (1.0 - train.decay)))
    return Horizon(step, min(step + decaying, horizon.end))
