"""Continuous batching: as answers end, waiting prompts take their slots.

What a slot computes is ``slots``'s, which prompts there are ``answers``'s.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from runner.evaluation.generation.slots import Request, Slots

STEPS_ON_DEVICE = 8  # tokens between two looks at which answers have ended: the device never waits for the host
PREFILL_TOKENS = 8192  # of the prompts, with padding, that are computed in one pass: bounds its memory
PREFILL_PROMPTS = 16  # and of prompts: the last places of all of them are looked at in each, so it bounds the logits
REFILL_SHARE = 8  # prompts are taken in when one slot in so many is free: a pass for each would be many small ones


@dataclass(frozen=True)
class Finished:
    """The ids of one answer without end-of-sequence; ``cut`` when the cap ended it."""

    request: Request
    ids: tuple[int, ...]
    cut: bool


@dataclass
class _Row:
    request: Request
    ids: list[int] = field(default_factory=list)
    ended: bool = False


@dataclass(frozen=True)
class Ending:
    """What ends an answer: the id ``eos``, or ``cap`` tokens without it."""

    eos: int
    cap: int


def serve(
    slots: Slots, requests: Sequence[Request], ending: Ending, between: Callable[[], None] | None = None
) -> Iterator[Finished]:
    """Every request's answer, in the order in which they end; ``between`` is called between two looks.

    Longest prompts go first, so that a cache that is too large fails at once and the last answers are short ones.
    """
    waiting = sorted(requests, key=lambda request: (-len(request.ids), request.prompt, request.sample))
    rows: list[_Row] = []
    steps = steps_on(slots.device)
    while waiting or rows:
        if between is not None:
            between()
        taken = _to_admit(waiting, slots)
        if taken:
            rows += [_Row(request) for request in taken]
            waiting = waiting[len(taken) :]
            new = [[token] for token in slots.admit(taken)]
            _append(rows[-len(taken) :], new, ending)
        else:
            _append(rows, slots.advance(min(steps, _most_wanted(rows, ending))), ending)
        yield from (_finished(row) for row in rows if _over(row, ending))
        if any(_over(row, ending) for row in rows):
            rows = [rows[slot] for slot in slots.keep([s for s, row in enumerate(rows) if not _over(row, ending)])]


def tokens_of(slots: Slots, request: Request, ending: Ending) -> Iterator[int]:
    """The tokens of one answer as they are made, without end-of-sequence."""
    (token,) = slots.admit([request])
    for made in range(1, ending.cap + 1):
        if token == ending.eos:
            return
        yield token
        if made < ending.cap:
            ((token,),) = slots.advance(1)


def _to_admit(waiting: Sequence[Request], slots: Slots) -> list[Request]:
    """The next requests to compute together: none while so few slots are free that it can wait."""
    enough = min(len(waiting), -(-slots.size // REFILL_SHARE))
    if not waiting or (slots.lengths and slots.free < enough):
        return []
    longest = len(waiting[0].ids)  # they are sorted
    most = min(PREFILL_PROMPTS, max(1, PREFILL_TOKENS // longest))
    prompts = list(dict.fromkeys(request.prompt for request in waiting))[:most]
    return [request for request in waiting[: slots.free] if request.prompt in prompts]


def _most_wanted(rows: Sequence[_Row], ending: Ending) -> int:
    """Tokens that the row with the fewest may still get."""
    return ending.cap - min(len(row.ids) for row in rows)


def steps_on(device: torch.device) -> int:
    """Tokens between two looks: one where a look costs nothing."""
    return STEPS_ON_DEVICE if device.type == "cuda" else 1


def _append(rows: Sequence[_Row], new: Sequence[Sequence[int]], ending: Ending) -> None:
    """Add each row's new tokens, up to its end."""
    for row, tokens in zip(rows, new, strict=True):
        for token in tokens:
            if _over(row, ending):
                break
            if token == ending.eos:
                row.ended = True
            else:
                row.ids.append(token)


def _over(row: _Row, ending: Ending) -> bool:
    return row.ended or len(row.ids) >= ending.cap


def _finished(row: _Row) -> Finished:
    return Finished(row.request, tuple(row.ids), cut=not row.ended)
