"""A whole data set, read and tokenised unit by unit by several processes, with the result of ``prepare`` in one.

Rows that the splits ask for are found by filling them for trial: rows that are not tokenised yet are taken to fit.
What was asked for is tokenised, and so on until nothing is missing.  What one process would not tokenise, nobody does.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runner.config.job import Data
from runner.data.catalogue import merge_described
from runner.data.documents import ENCODED_TOGETHER, Encoded, RowReader, TakesDocuments, largest_answer_bytes
from runner.data.encoder import TextEncoder
from runner.data.filling import Candidature, fill_both
from runner.data.formats import RowFormat, format_of
from runner.data.progress import Progress
from runner.data.shards import Document
from runner.data.store import MANIFEST, fault_of
from runner.data.unit_work import ASSUMED, DescribeUnit, Done, Piece, TokenisedUnit, TokeniseUnit, read_described
from runner.data.units import Unit, UnitRows, schema_of
from runner.errors import UserError

Work = Callable[[Piece], Done]


class Crew(Protocol):
    """Processes that work side by side."""

    def each(self, work: Work, pieces: Sequence[Piece]) -> Iterator[Done]:
        """``work(piece)`` of each of the pieces, in the order in which they end; errors of the work are raised."""
        ...


Hire = Callable[[], AbstractContextManager[Crew]]


Parts = Sequence[tuple[str, Sequence[Unit]]]  # the units of data.split, then of data.validation_split, with their names


def candidature_of(data: Data, encoder: TextEncoder, parts: Parts, work: "Workplace", *, signed: bool) -> Candidature:
    """All that filling the splits needs, every row that it will ask for tokenised; ``signed`` as in ``describe``.

    Each piece of work is kept in a folder of ``work``: what is there and whole is not done again.
    """
    set_rows = [UnitRows(units, (), name, schema_of(units)) for name, units in parts]
    forms = [format_of(data, rows) for rows in set_rows]
    described = _described(set_rows, forms, work, signed=signed)
    set_rows = [
        replace(rows, counts=[read_described(work.folder / piece.name).rows for piece in pieces])
        for rows, pieces in zip(set_rows, described, strict=True)
    ]
    named = [
        (rows.name, (batch for piece in pieces for batch in read_described(work.folder / piece.name).batches))
        for rows, pieces in zip(set_rows, described, strict=True)
    ]
    total = sum(len(rows) for rows in set_rows)
    catalogue = merge_described(named, lambda done: work.progress.update("group rows", done, total))
    reader = RowReader(list(zip(set_rows, forms, strict=True)), encoder, data.max_length)
    largest = largest_answer_bytes(reader, encoder, catalogue, data.max_length)
    tokenised = _Tokenised(set_rows, forms, work, encoder, data.max_length)
    candidature = Candidature(data, catalogue, tokenised, largest, own_split=len(set_rows) > 1)
    while missing := tokenised.missing_of(candidature):
        tokenised.add(np.array(missing, dtype=np.int64))
    tokenised.complete = True
    return candidature


def _described(
    set_rows: Sequence[UnitRows], forms: Sequence[RowFormat], work: "Workplace", *, signed: bool
) -> list[list[Piece]]:
    """The pieces of each part, all of them done; UserError if a column's type is not the same in all units."""
    pieces = [
        [Piece(f"rows-{part}-{number:06d}", unit, form) for number, unit in enumerate(rows.units)]
        for part, (rows, form) in enumerate(zip(set_rows, forms, strict=True))
    ]
    work.do("read rows", DescribeUnit(work.folder, signed), [piece for part in pieces for piece in part])
    for rows, part_pieces in zip(set_rows, pieces, strict=True):
        types = sorted({found for piece in part_pieces for found in read_described(work.folder / piece.name).types})
        for (name, kind), (following, other) in pairwise(types):
            if name == following:
                raise UserError(
                    f"column {name} holds {kind} in some lines and {other} in others",
                    rows.name,
                    "write it alike in all lines, or prepare the data without --prepare",
                )
    return pieces


class _Tokenised:
    """Rows that the units' shards hold as tokens; until ``complete``, others are taken to fit and noted."""

    def __init__(
        self,
        set_rows: Sequence[UnitRows],
        forms: Sequence[RowFormat],
        work: "Workplace",
        encoder: TextEncoder,
        max_length: int,
    ) -> None:
        self._units = [
            (u, f, n)
            for rows, f in zip(set_rows, forms, strict=True)
            for u, n in zip(rows.units, rows.counts, strict=True)
        ]
        self._starts = np.concatenate(([0], np.cumsum([count for _, _, count in self._units]))).astype(np.int64)
        self._shards: list[list[TokenisedUnit]] = [[] for _ in self._units]
        self._work = work
        self._encoder = encoder
        self._max_length = max_length
        self._missing: list[int] = []
        self.complete = False

    def encode(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        """Each of ``rows`` (ascending); at most 256 are held at once."""
        for unit, here in self._by_unit(rows):
            for at in range(0, len(here), ENCODED_TOGETHER):
                yield from self._encoded(unit, here[at : at + ENCODED_TOGETHER])

    def _encoded(self, unit: int, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        found = {e.row: e for shard in self._shards[unit] for e in shard.encoded(rows, read=self.complete)}
        for row in rows.tolist():
            encoded = found.get(row)
            if encoded is None:
                assert not self.complete, f"row {row} was not asked for before"
                self._missing.append(row)
                encoded = Encoded(row, ASSUMED, 0, "")
            yield encoded

    def missing_of(self, candidature: Candidature) -> list[int]:
        """The rows that filling the splits asks for and that are not tokenised yet."""
        self._missing = []
        fill_both(candidature, candidature.tally(), _opened_for_trial, _unshown)
        return sorted(self._missing)

    def add(self, rows: NDArray[np.int64]) -> None:
        """Tokenises ``rows`` (ascending), a piece a unit."""
        pieces: dict[int, Piece] = {}
        for unit, here in self._by_unit(rows):
            wanted = here - self._starts[unit]
            what, form, count = self._units[unit]
            mark = hashlib.sha256(wanted.tobytes()).hexdigest()[:12]
            pieces[unit] = Piece(f"tokens-{unit:06d}-{mark}", what, form, count, wanted)
        work = TokeniseUnit(self._work.folder, self._encoder, self._max_length)
        self._work.do("tokenise", work, list(pieces.values()))
        for unit, piece in pieces.items():
            folder, first = self._work.folder / piece.name, int(self._starts[unit])
            self._shards[unit].append(TokenisedUnit(folder, first, self._encoder, self._max_length))

    def _by_unit(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        units, firsts = np.unique(owners, return_index=True)
        yield from zip(units.tolist(), np.split(rows, firsts[1:]), strict=True)


def _opened_for_trial(split: str) -> AbstractContextManager[TakesDocuments]:
    del split
    return nullcontext(_Nowhere())


def _unshown(split: str, done: int, total: int) -> None:
    del split, done, total


class _Nowhere:
    """Takes documents and keeps none."""

    def append(self, document: Document) -> None:
        pass


@dataclass(frozen=True)
class Workplace:
    """Where pieces of work are kept, and who does them."""

    folder: Path
    crew: Crew
    progress: Progress

    def do(self, task: str, work: Work, pieces: Sequence[Piece]) -> None:
        """Each of ``pieces`` done, those apart that an earlier call has done; UserError if they cannot be seen here."""
        left = [piece for piece in pieces if fault_of(self.folder / piece.name) is not None]
        before = len(pieces) - len(left)
        if before:
            self.progress.say(f"{task}: {before:,} of {len(pieces):,} units were done before")
        began, total = time.monotonic(), Done(0, 0, 0.0, 0.0)
        for number, done in enumerate(self.crew.each(work, left), start=1):
            total = _sum(total, done)
            seconds = time.monotonic() - began
            ahead_min = seconds / number * (len(left) - number) / 60
            shown = f"{task}, {total.rows / seconds:,.0f} rows/s, {ahead_min:,.1f} min left, units"
            self.progress.update(shown, before + number, len(pieces))
        self._check_seen(left)
        if left:
            self.progress.say(
                f"{task}: {total.rows:,} rows, {total.tokens:,} tokens in {time.monotonic() - began:,.1f} s and "
                f"{total.cpu_s:,.1f} s of cores; at most {total.peak_mib:,.0f} MiB a process"
            )

    def _check_seen(self, pieces: Sequence[Piece]) -> None:
        unseen = [piece.name for piece in pieces if not (self.folder / piece.name / MANIFEST).is_file()]
        if unseen:
            raise UserError(
                f"{len(unseen):,} units were done and cannot be seen here, {unseen[0]} for one",
                str(self.folder),
                "let all nodes of the cluster see this folder under the same path",
            )


def _sum(one: Done, other: Done) -> Done:
    peak_mib = max(one.peak_mib, other.peak_mib)
    return Done(one.rows + other.rows, one.tokens + other.tokens, one.cpu_s + other.cpu_s, peak_mib)
