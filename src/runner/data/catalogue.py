"""What is known of every row before anything is tokenised: its question, its size, its stratum, its faults.

Reads light columns only; choosing among the questions is left to ``choice`` and ``documents``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from runner.data.described import DescribedRows, describe
from runner.data.formats import DASH_QUESTION, RowFormat, read_light
from runner.data.ledger import Quarantined
from runner.data.rows import Rows
from runner.data.statements import components, near_identical_pairs
from runner.errors import UserError

QUARANTINE_LIMIT = 0.001  # part of the rows
SHOWN_QUARANTINED = 20


@dataclass(frozen=True)
class Catalogue:
    """Rows of both splits, training rows first, and their questions (groups of near-identical statements).

    ``group_of_row`` is ``(rows,)``, -1 for a faulty row; ``faults`` names its reason by row.
    ``held_out`` marks the rows of a validation split of its own.  ``statements`` counts distinct texts, those that
    differ in case, blanks or punctuation alone too, and ``largest_group`` those of the question with the most.
    """

    group_of_row: NDArray[np.int64]
    answer_bytes: NDArray[np.int64]
    held_out: NDArray[np.bool_]
    stratum_of_group: NDArray[np.int64]
    strata: tuple[tuple[str, str], ...]
    statements: int
    largest_group: int
    faults: dict[int, str]
    quarantined: tuple[Quarantined, ...]

    @property
    def groups(self) -> int:
        return len(self.stratum_of_group)


@dataclass
class _Reading:
    """Grows while rows are scanned; one number stands for each distinct statement, name and stratum."""

    statement_of_row: list[int] = field(default_factory=list)
    stratum_of_row: list[int] = field(default_factory=list)
    sizes: list[NDArray[np.int64]] = field(default_factory=list)
    statements: dict[bytes, int] = field(default_factory=dict)
    texts: dict[bytes, int] = field(default_factory=dict)
    owners: dict[str, int] = field(default_factory=dict)
    links: list[tuple[int, int]] = field(default_factory=list)
    signed: list[int] = field(default_factory=list)
    signatures: list[NDArray[np.uint32]] = field(default_factory=list)
    strata: dict[tuple[str, str], int] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)
    part: str = ""
    part_start: int = 0


def read_catalogue(
    parts: Sequence[tuple[Rows, RowFormat]], *, generated: bool, advance: Callable[[int, int], None]
) -> Catalogue:
    """The catalogue of the training rows and, as a second part, those of a validation split of its own.

    ``generated`` statements are one question only if equal.  UserError if more than 0.1 % of the rows are
    faulty.  Memory: about 0.6 kB a distinct statement and 50 B a row; no text is kept.
    """
    total = sum(len(rows) for rows, _ in parts)
    met: set[bytes] = set()

    def described(rows: Rows, form: RowFormat) -> Iterator[DescribedRows]:
        for batch in rows.scan(form.light_columns):
            yield describe(read_light(batch, form), met, signed=not generated)

    named = [(rows.name, described(rows, form)) for rows, form in parts]
    return merge_described(named, lambda done: advance(done, total))


def merge_described(parts: Sequence[tuple[str, Iterable[DescribedRows]]], advance: Callable[[int], None]) -> Catalogue:
    """``read_catalogue`` of rows that are described already, with the names of their parts."""
    reading = _Reading()
    starts = []
    for name, batches in parts:
        reading.part, reading.part_start = name, len(reading.statement_of_row)
        starts.append(reading.part_start)
        for batch in batches:
            _read_batch(reading, batch)
            advance(len(reading.statement_of_row))
    total = len(reading.statement_of_row)
    _refuse_if_many_faults(reading, total, parts[0][0])
    return _grouped(reading, (*starts, total)[1])


def _read_batch(reading: _Reading, rows: DescribedRows) -> None:
    reading.sizes.append(np.array(rows.answer_bytes, dtype=np.int64))
    columns = (rows.ids, rows.texts, rows.keys, rows.signatures, rows.sources, rows.difficulties, rows.faults)
    for name, text, key, signature, source, difficulty, fault in zip(*columns, strict=True):
        row = len(reading.statement_of_row)
        if fault:
            reading.faults[row] = fault
            if len(reading.quarantined) < SHOWN_QUARANTINED:
                place = row - reading.part_start
                reading.quarantined.append(Quarantined(reading.part, place, name or "", fault))
            reading.statement_of_row.append(-1)
            reading.stratum_of_row.append(-1)
            continue
        number = _number_of(reading, text, key, signature)
        if name is not None:
            owner = reading.owners.setdefault(name, number)
            if owner != number:
                reading.links.append((owner, number))
        reading.statement_of_row.append(number)
        reading.stratum_of_row.append(reading.strata.setdefault((source, difficulty), len(reading.strata)))


def _number_of(reading: _Reading, text: bytes, key: bytes | None, signature: bytes | None) -> int:
    """The statement's number; ``key`` and ``signature`` count only where the text is new."""
    known = reading.texts.get(text)
    if known is not None:
        return known
    assert key is not None, "a text was said to be met before and was not"
    fresh = len(reading.statements)
    number = reading.statements.setdefault(key, fresh)
    reading.texts[text] = number
    if signature is not None and number == fresh:
        reading.signed.append(number)
        reading.signatures.append(np.frombuffer(signature, dtype=np.uint32))
    return number


def _refuse_if_many_faults(reading: _Reading, total: int, name: str) -> None:
    if not total:
        raise UserError("the data set has no rows", name, "check data.split")
    if len(reading.faults) <= QUARANTINE_LIMIT * total:
        return
    reasons = sorted(set(reading.faults.values()))
    counts = ", ".join(f"{sum(fault == r for fault in reading.faults.values()):,} {r}" for r in reasons)
    first = reading.quarantined[0]
    remedy = "remove or mend these rows"
    if DASH_QUESTION in reasons:
        remedy = (
            "take a configuration that holds the questions (split_0 of OpenCodeReasoning), or write a JSONL "
            "file in which the question is joined in (on dataset, split and index)"
        )
    raise UserError(
        f"{len(reading.faults):,} of {total:,} rows cannot be used, {QUARANTINE_LIMIT:.1%} is the limit: {counts}",
        f"{first.source}, first at row {first.row} (id {first.id or 'none'})",
        remedy,
    )


def _grouped(reading: _Reading, training_rows: int) -> Catalogue:
    links = list(reading.links)
    if reading.signed:
        signed = np.array(reading.signed)
        links += [(int(a), int(b)) for a, b in signed[near_identical_pairs(np.stack(reading.signatures))]]
    group_of_statement = components(len(reading.statements), links)
    groups = int(group_of_statement.max(initial=-1)) + 1
    group_of_text = group_of_statement[np.array(list(reading.texts.values()), dtype=np.int64)]
    statement_of_row = np.array(reading.statement_of_row, dtype=np.int64)
    usable = statement_of_row >= 0
    group_of_row = np.full(len(statement_of_row), -1, dtype=np.int64)
    group_of_row[usable] = group_of_statement[statement_of_row[usable]]
    _, first_rows = np.unique(group_of_row[usable], return_index=True)
    stratum_of_row = np.array(reading.stratum_of_row, dtype=np.int64)
    return Catalogue(
        group_of_row=group_of_row,
        answer_bytes=np.concatenate(reading.sizes),
        held_out=np.arange(len(statement_of_row)) >= training_rows,
        stratum_of_group=stratum_of_row[usable][first_rows],
        strata=tuple(reading.strata),
        statements=len(reading.texts),
        largest_group=int(np.bincount(group_of_text, minlength=groups).max(initial=0)),
        faults=reading.faults,
        quarantined=tuple(reading.quarantined),
    )
