"""Which token follows, greedy or drawn; a draw is a function of (seed, prompt, sample, position) alone.

Where the logits come from is ``slots``'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from runner.errors import UserError

GAMMA = 0x9E3779B97F4A7C15 - 2**64  # SplitMix64's constants, as signed numbers
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64
_LARGEST = 1.0 - 2.0**-24  # of a uniform number: the float32 next below 1


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn.  Raises ``UserError`` for values out of range, and for several greedy samples."""

    samples: int = 1  # answers a prompt, at least 1
    temperature: float = 0.0  # at least 0; 0 is greedy
    top_p: float = 1.0  # probability of the likeliest tokens that are drawn from, above 0 up to 1
    seed: int = 17

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"samples is {self.samples}", "sampling", "it must be at least 1")
        if not self.temperature >= 0.0:
            raise UserError(f"temperature is {self.temperature}", "sampling", "it must be at least 0, which is greedy")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top_p is {self.top_p}", "sampling", "it must be above 0 and at most 1")
        if self.samples > 1 and self.temperature == 0.0:
            raise UserError(
                f"samples is {self.samples} and temperature 0: greedy answers are all the same",
                "sampling",
                "ask for one sample, or set a temperature such as 0.8",
            )


def draw_keys(seed: int, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """One int64 for each (prompt number, sample number): with a position it settles a draw."""
    signed = (seed + 2**63) % 2**64 - 2**63
    keys = _mixed(torch.full((len(pairs),), signed, dtype=torch.int64))
    for part in zip(*pairs, strict=True):
        keys = _mixed(keys + torch.tensor(part) * GAMMA)
    return keys


def choose(logits: Tensor, sampling: Sampling, keys: Tensor, positions: Tensor) -> Tensor:
    """The id that comes to stand at each row's position, ``(rows,)``; logits ``(rows, vocabulary)``.

    Temperature 0 takes the largest logit.  Else an exact draw from the softmax as the largest of logit / temperature
    plus Gumbel noise (Maddison, Tarlow and Minka, "A* Sampling", 2014), among the likeliest tokens that together
    reach ``top_p`` (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).  No host synchronisation.
    """
    if sampling.temperature == 0.0:
        return logits.argmax(-1)
    scores = logits.float() / sampling.temperature
    if sampling.top_p < 1.0:
        scores = scores.masked_fill(_outside(scores, sampling.top_p), -torch.inf)
    return (scores - _exponentials(keys, positions, logits.shape[-1]).log()).argmax(-1)


def _outside(scores: Tensor, top_p: float) -> Tensor:
    """True for tokens before which, likeliest first, ``top_p`` is already reached."""
    probabilities, order = scores.softmax(-1).sort(dim=-1, descending=True, stable=True)
    before = probabilities.cumsum(-1) - probabilities
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, before >= top_p)


def _exponentials(keys: Tensor, positions: Tensor, vocabulary: int) -> Tensor:
    """Exponential numbers ``(rows, vocabulary)``, whose negative logarithms are the Gumbel noise.

    Each row is a stream of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
    """
    streams = _mixed(keys + positions * GAMMA)
    counters = torch.arange(1, vocabulary + 1, device=keys.device) * GAMMA
    bits = _mixed(streams[:, None] + counters)
    # 63 bits near zero, where the winners are: 24 bits would leave unlikely tokens uneven
    uniform = (_shifted(bits, 1).float() * 2.0**-63).clamp(torch.finfo(torch.float32).tiny, _LARGEST)
    return -torch.log1p(-uniform)


def _mixed(state: Tensor) -> Tensor:
    """SplitMix64's output function; int64 products wrap around."""
    state = (state ^ _shifted(state, 30)) * _FIRST
    state = (state ^ _shifted(state, 27)) * _SECOND
    return state ^ _shifted(state, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """A shift to the right that fills with zeros."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
