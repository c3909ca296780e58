"""Answers in progress on the device: prompts go into slots, and all slots advance by a token at once.

Which prompt goes where, and when an answer ends, is decided in ``serving``.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from runner.evaluation.generation.cache import Decode, Pass, Prefill, SlotCache
from runner.evaluation.generation.replay import Replays, replayable
from runner.evaluation.generation.sampling import Sampling, choose, draw_keys

COLUMNS_STEP = 256  # of recorded passes: a recording serves so many positions


@dataclass(frozen=True)
class Request:
    """One answer that is wanted: of which prompt, and the how many-th."""

    prompt: int
    sample: int
    ids: tuple[int, ...]


class Slots:
    """The first ``len(lengths)`` slots hold answers in progress; ``lengths`` are their tokens that are stored.

    ``capacity`` is the most tokens of prompt and answer that a slot takes.
    """

    def __init__(self, lm: Any, sampling: Sampling, slots: int, capacity: int) -> None:
        self.device: torch.device = next(lm.parameters()).device
        self.replays = Replays() if replayable(lm, self.device) else None
        if self.replays:
            capacity = _rounded(capacity, COLUMNS_STEP)
        self.lengths: list[int] = []
        self.size = slots
        self._lm, self._sampling, self._cache = lm, sampling, SlotCache(slots, capacity)
        # transformers renames it, and warns of the old name
        self._cache_name = "cache" if "cache" in inspect.signature(lm.forward).parameters else "past_key_values"
        self._tokens, self._positions, self._keys = (
            torch.zeros(slots, dtype=torch.int64, device=self.device) for _ in range(3)
        )

    @property
    def free(self) -> int:
        """How many more answers there is room for."""
        return self.size - len(self.lengths)

    @torch.no_grad()
    def admit(self, requests: Sequence[Request]) -> list[int]:
        """Put ``requests`` into the next slots, in order; back comes the first token of each answer.

        Requests of one prompt are computed once.
        """
        prompts = {request.prompt: request.ids for request in requests}
        row_of = {prompt: row for row, prompt in enumerate(prompts)}
        first = len(self.lengths)
        slots = torch.arange(first, first + len(requests), device=self.device)
        rows = self._indices([row_of[request.prompt] for request in requests])
        logits = self._prefill(list(prompts.values()), Prefill(slots, rows))[rows]
        lengths = [len(request.ids) for request in requests]
        pairs = [(request.prompt, request.sample) for request in requests]
        self._keys[slots] = draw_keys(self._sampling.seed, pairs).to(self.device)
        self._positions[slots] = self._indices(lengths)
        self._tokens[slots] = choose(logits, self._sampling, self._keys[slots], self._positions[slots])
        self.lengths += lengths
        return self._tokens[slots].tolist()

    @torch.no_grad()
    def advance(self, steps: int) -> list[list[int]]:
        """The next ``steps`` tokens of every answer in progress; the host waits for the device only at the end."""
        active, columns = len(self.lengths), max(self.lengths) + steps
        rows = active
        if self.replays:
            rows, columns = min(_power_of_two(active), self.size), _rounded(columns, COLUMNS_STEP)
        columns = min(columns, self._cache.capacity)
        emitted = torch.empty(steps, rows, dtype=torch.int64, device=self.device)
        for step in range(steps):
            if self.replays:
                self.replays.run(self._step, rows, columns)
            else:
                self._step(rows, columns)
            emitted[step] = self._tokens[:rows]
        self.lengths = [length + steps for length in self.lengths]
        return emitted[:, :active].T.tolist()

    @torch.no_grad()
    def keep(self, kept: Sequence[int]) -> list[int]:
        """Only the answers in slots ``kept`` go on; back comes which of them each of the first slots holds now."""
        order, moved = _closed_up(kept)
        if moved:
            sources, targets = (self._indices(side) for side in zip(*moved, strict=True))
            self._cache.copy_slots(sources, targets, max(self.lengths[source] for source, _ in moved))
            for state in (self._tokens, self._positions, self._keys):
                state[targets] = state[sources]
        self.lengths = [self.lengths[slot] for slot in order]
        return order

    def _prefill(self, prompts: Sequence[tuple[int, ...]], prefill: Prefill) -> Tensor:
        """Logits ``(prompts, vocabulary)`` after the last token of each."""
        longest = max(map(len, prompts))
        ids = self._indices([[*ids, *[0] * (longest - len(ids))] for ids in prompts])
        positions = torch.arange(longest, device=self.device).expand(len(prompts), -1)
        ends = sorted({len(ids) - 1 for ids in prompts})
        logits = self._logits(ids, positions, prefill, self._indices(ends))
        column_of = {end: column for column, end in enumerate(ends)}
        columns = self._indices([column_of[len(ids) - 1] for ids in prompts])
        return logits[torch.arange(len(prompts), device=self.device), columns]

    def _step(self, rows: int, columns: int) -> None:
        """One token for the first ``rows`` slots; rows beyond those in use hold nothing and do no harm."""
        tokens, positions = self._tokens[:rows], self._positions[:rows]
        logits = self._logits(tokens[:, None], positions[:, None], Decode(positions, columns), 1)
        after = (positions + 1).clamp(max=self._cache.capacity - 1)
        tokens.copy_(choose(logits[:, -1], self._sampling, self._keys[:rows], after))
        positions.copy_(after)

    def _logits(self, ids: Tensor, positions: Tensor, now: Pass, kept: int | Tensor) -> Tensor:
        self._cache.current = now
        output = self._lm(
            input_ids=ids,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=kept,
            slot_pass=now,
            **{self._cache_name: self._cache},
        )
        logits: Tensor = output.logits
        return logits

    def _indices(self, values: Sequence[Any]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def _closed_up(kept: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """The slots ``kept`` as they stand once holes are filled from the end, and the moves (from, to) for it."""
    present = set(kept)
    later = [slot for slot in kept if slot >= len(kept)]
    holes = [slot for slot in range(len(kept)) if slot not in present]
    moved = list(zip(later, holes, strict=True))
    into = {target: source for source, target in moved}
    return [into.get(slot, slot) for slot in range(len(kept))], moved


def _rounded(value: int, step: int) -> int:
    return -(-value // step) * step


def _power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()
