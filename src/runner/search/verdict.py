"""What a search found, in plain words: one sentence of what to do, and remarks on how sure it is.

The facts are ``findings``'s.
"""

import math
from collections.abc import Iterator, Sequence

from runner.search.findings import Behind, Findings
from runner.search.noise import Noise, Seeds, student
from runner.search.pairs import Decay, Pair
from runner.search.space import STOP_STEP
from runner.search.wording import configuration, counted, ending, gap, listed, loss, short_names, span, spoken

ENDINGS = {
    "finished": "trained to the last stop step",
    "stopped": "stopped early",
    "diverged": "diverged",
    "infeasible": "did not fit",
    "failed": "failed",
    "running": "not ended",
}


def verdict(found: Findings) -> str:
    """One sentence: what to train and when to stop, or why that cannot be said."""
    best, earliest = found.best, found.earliest
    if best is None or earliest is None:
        return f"Nothing was measured{_how_trials_ended(found)}."
    if found.objective == "validation" and best.loss >= found.base_loss:
        return (
            f"Tuning does not pay here: the lowest loss, {loss(best.loss)} nats a token "
            f"({_with_stop(best)}), is not below the untuned base's {loss(found.base_loss)}."
        )
    if len(found.pairs) == 1:
        return f"One pair was measured, so nothing is compared: {_with_stop(best)} gives {_told(found, best)}."
    if earliest == best:
        first = best.stop_step == min(pair.stop_step for pair in found.pairs)
        earlier = "" if first else f"; {_no_earlier(found)}"
        return f"Train with {spoken(best.values)} to {_step(best)}: {_told(found, best)}, " + (
            f"the lowest of {counted(len(found.pairs), 'pair')}{earlier}."
        )
    return (
        f"Train with {spoken(earliest.values)}, and stop at {_step(earliest)}: "
        f"{_told(found, earliest)} in {span(earliest.minutes)}; the lowest, {loss(best.loss)} "
        f"({_changed(best, earliest)}, {span(best.minutes)}), is {_no_better(found)}."
    )


def remarks(found: Findings) -> tuple[str, ...]:
    """How sure that is, what seeds make of it, and where the search should have looked; a sentence each."""
    if found.best is None:
        return ()
    return tuple(_remarks(found, found.best))


def _remarks(found: Findings, best: Pair) -> Iterator[str]:
    if found.rival is not None:
        yield _against_rival(found.rival, best, found.noise)
    if found.noise is None:
        yield "No run with another seed gave a loss, so how much of a difference is luck is not known."
    else:
        yield from _of_seeds(found.noise, best)
    yield from _of_decays(found.decays)
    for key, side in found.edges.items():
        yield _at_edge(key, side, best)
    lost = {ending: found.endings.get(ending, 0) for ending in ("diverged", "infeasible", "failed", "running")}
    told = [f"{counted(count, 'trial')} {ENDINGS[ending]}" for ending, count in lost.items() if count]
    if told:
        yield f"{listed(told)}."


def _told(found: Findings, pair: Pair) -> str:
    kind = "" if found.objective == "validation" else f" of the {found.objective} part"
    return f"{loss(pair.loss)} nats a token{kind}"


def _with_stop(pair: Pair) -> str:
    return f"{configuration(pair.values)}, stopped at {_step(pair)}"


def _no_earlier(found: Findings) -> str:
    if found.tolerance is None and found.questions < 2:
        return "whether an earlier stop is as good cannot be told from one question"
    if found.tolerance is None:
        return "every earlier stop that was measured loses more than the choice of questions explains"
    return f"no earlier stop that was measured comes within {found.tolerance:g} of it"


def _no_better(found: Findings) -> str:
    apart = found.earliest_apart
    assert apart is not None
    if found.tolerance is not None:
        return f"lower by {gap(apart.nats)}, less than the tolerance of {found.tolerance:g}"
    error = 2 * (apart.standard_error or 0.0)
    return f"lower by {gap(apart.nats)}, which {counted(found.questions, 'question')} cannot tell from none" + (
        f" (twice the standard error: {gap(error)})"
    )


def _changed(pair: Pair, other: Pair) -> str:
    """What ``pair`` has otherwise than ``other``."""
    keys = [key for key, value in pair.values.items() if other.values.get(key) != value]
    return ", ".join([*([configuration(pair.values, keys)] if keys else []), f"step {ending(pair)}"])


def _step(pair: Pair) -> str:
    return f"step {pair.stop_step:,}" + ("" if pair.decayed else " without a decay")


def _against_rival(rival: Behind, best: Pair, noise: Noise | None) -> str:
    """Whether the second trial is really worse; by seeds where both were repeated, else by what is known."""
    keys = [key for key, value in rival.pair.values.items() if best.values.get(key) != value]
    one, two = configuration(best.values, keys), configuration(rival.pair.values, keys)
    if best.stop_step != rival.pair.stop_step:
        one, two = f"{one} at step {best.stop_step:,}", f"{two} at step {rival.pair.stop_step:,}"
    nats, band, source = rival.apart.nats, 2 * (rival.apart.standard_error or 0.0), "twice the standard error"
    if noise is not None:
        nats, band = _by_seeds(rival, best, noise)
        source = "noise"
    told = f"{gap(abs(nats))} nats, {source} {gap(band)}"
    if abs(nats) <= band:
        return _sentence(f"{one} and {two} cannot be told apart: {told}.")
    if nats < 0:
        one, two = two, one
    return _sentence(f"{one} is better than {two}: {told}.")


def _by_seeds(rival: Behind, best: Pair, noise: Noise) -> tuple[float, float]:
    """The difference of the two pairs' means over seeds, and the band of such a difference."""
    groups = {(group.trial, group.stop_step): group for group in noise.seeds}
    both = [groups.get((pair.trial, pair.stop_step)) for pair in (rival.pair, best)]
    one, two = (
        group or Seeds(pair.trial, pair.stop_step, (pair.loss,))
        for group, pair in zip(both, (rival.pair, best), strict=True)
    )
    spread = math.sqrt(1 / len(one.losses) + 1 / len(two.losses))
    return one.mean - two.mean, student(noise.degrees) * spread * noise.deviation


def _of_seeds(noise: Noise, best: Pair) -> Iterator[str]:
    runs = sum(len(group.losses) for group in noise.seeds)
    yield (
        f"Seeds alone move a loss by {gap(noise.deviation)} (standard deviation, {runs} runs of "
        f"{counted(len(noise.seeds), 'pair')}): two single runs less than {gap(noise.band)} apart are noise."
    )
    own = [group for group in noise.seeds if (group.trial, group.stop_step) == (best.trial, best.stop_step)]
    for group in own:
        seeds = counted(len(group.losses), "seed")
        yield f"With {seeds} the lowest averages {loss(group.mean)}; the run that was chosen gave {loss(best.loss)}."


def _of_decays(decays: Sequence[Decay]) -> Iterator[str]:
    """Where a decay pays."""
    pays, costs = [each for each in decays if each.nats >= 0], [each for each in decays if each.nats < 0]
    told = []
    if pays:
        told.append(f"lowers the loss at {_steps(pays)}, by up to {gap(max(each.nats for each in pays))} nats")
    if costs:
        what = "it" if pays else "the loss"
        told.append(f"raises {what} at {_steps(costs)}, by up to {gap(max(-each.nats for each in costs))} nats")
    if told:
        yield f"In the best trial a decay {', and '.join(told)}."


def _steps(decays: Sequence[Decay]) -> str:
    return ("step " if len(decays) == 1 else "steps ") + listed([f"{each.stop_step:,}" for each in decays])


def _at_edge(key: str, side: str, best: Pair) -> str:
    if key == STOP_STEP:
        return f"The lowest loss is at the last stop step, {best.stop_step:,}: longer training may give a lower one."
    name = short_names(best.values)[key]
    way = "lower" if side == "smallest" else "higher"
    return _sentence(f"{configuration(best.values, [key])} is at the edge of its range: a {way} {name} may be better.")


def _how_trials_ended(found: Findings) -> str:
    told = [f"{counted(count, 'trial')} {ENDINGS[ending]}" for ending, count in sorted(found.endings.items())]
    return f": {listed(told)}" if told else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
