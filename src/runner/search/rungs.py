"""Which trials go on: asynchronous successive halving (arXiv:1810.05934) whose rungs are stop steps.

It only remembers losses; stopping a trial is for those who run it.
"""

from collections.abc import Sequence


def halving_steps(stop_steps: Sequence[int], reduction_factor: int) -> tuple[int, ...]:
    """The stop steps at which trials are stopped: each ``reduction_factor`` times after the one before.

    The last stop step is none of them: there every trial ends.
    """
    chosen: list[int] = []
    for stop in stop_steps[:-1]:
        if not chosen or stop >= reduction_factor * chosen[-1]:
            chosen.append(stop)
    return tuple(chosen)


class Halving:
    """A trial goes on from a halving step when its loss is among the best ``ceil(n / factor)`` of the ``n`` so far.

    The first to come is the best so far and goes on, so nothing ever waits for others.
    """

    def __init__(self, steps: Sequence[int], reduction_factor: int) -> None:
        self._factor = reduction_factor
        self._losses: dict[int, dict[int, float]] = {step: {} for step in steps}

    def record(self, trial: int, stop_step: int, loss: float) -> None:
        """Remember what ``trial`` measured; told again, it replaces."""
        if stop_step in self._losses:
            self._losses[stop_step][trial] = loss

    def forget(self, trial: int) -> None:
        """As if ``trial`` had never begun."""
        for losses in self._losses.values():
            losses.pop(trial, None)

    def why_stop(self, trial: int, stop_step: int) -> str:
        """Why ``trial`` ends after the loss it recorded at ``stop_step``; empty when it goes on."""
        losses = self._losses.get(stop_step, {})
        if trial not in losses:
            return ""
        go_on = -(-len(losses) // self._factor)
        better = sum(loss < losses[trial] for loss in losses.values())
        if better < go_on:
            return ""
        return f"at step {stop_step:,} {better} of {len(losses)} trials were better, the best {go_on} go on"
