"""From a job's data section to packed training and validation buffers: read, choose, tokenise, pack, keep.

Tells the story; each step's work is in its own module.  Models and training are left to others.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runner.config.job import Data
from runner.data.catalogue import Catalogue, read_catalogue
from runner.data.choice import candidates
from runner.data.documents import (
    NOT_CHOSEN,
    Filled,
    Filling,
    RowReader,
    SplitFiller,
    Tally,
    kept_for,
    largest_answer_bytes,
)
from runner.data.encoder import TextEncoder
from runner.data.formats import DASH_QUESTION, format_of
from runner.data.ledger import Ledger, Lost, SplitCount, length_bins
from runner.data.shards import PackedSplit, SplitWriter
from runner.data.sources import Source, locate
from runner.data.store import fault_of, locked, publishing
from runner.data.template import template_fingerprint
from runner.errors import UserError

LAYOUT = 2  # raise it with any change of what is written or how rows are chosen
IN_HELD_OUT = "its question is in the validation split"


class Progress(Protocol):
    """Where long work shows itself: ``update`` moves a bar, ``say`` tells one line."""

    def update(self, task: str, done: int, total: int) -> None: ...

    def say(self, line: str) -> None: ...


@dataclass(frozen=True)
class PreparedData:
    """Both splits in packed buffers; ``validation_ids`` are the held-out questions' own ids."""

    train: PackedSplit
    validation: PackedSplit
    ledger: Ledger
    fingerprint: str
    validation_ids: tuple[str, ...]


class _Silent:
    """Progress for callers that show none: lines go to the log."""

    def update(self, task: str, done: int, total: int) -> None:
        pass

    def say(self, line: str) -> None:
        logging.getLogger(__name__).warning(line)


def prepare(data: Data, encoder: TextEncoder, *, cache: Path, progress: Progress | None = None) -> PreparedData:
    """The data of a job, tokenised once and kept under ``cache`` by a hash of all it depends on.

    Same arguments, same documents in the same packs.  Safe when several processes call it at once: one
    makes it, the others wait.  A damaged cache is told in one line and made again.  UserError for data that
    is missing, unreadable or leaves no row.
    """
    shown = progress or _Silent()
    cache = cache.expanduser().resolve()
    source = locate(data, cache)
    key = _key(data, encoder, source)
    with locked(cache, key):
        folder = cache / key
        fault = fault_of(folder) if folder.exists() else ""
        if fault:
            shown.say(f"the prepared data in {folder} cannot be used ({fault}); it is made again")
        if fault is not None:
            with publishing(cache, key) as fresh:
                _make(data, encoder, source, fresh, shown)
        return _opened(folder, data, encoder, key)


def _key(data: Data, encoder: TextEncoder, source: Source) -> str:
    depends_on = {
        "layout": LAYOUT,
        "data": data.model_dump(mode="json", exclude={"id", "revision"}),
        "source": source.fingerprint,
        "generated": source.generated,
        "encoder": [encoder.fingerprint, encoder.vocabulary, encoder.eos_id],
        "template": template_fingerprint(),
    }
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:32]


def _opened(folder: Path, data: Data, encoder: TextEncoder, key: str) -> PreparedData:
    train, validation = (_open(folder / name, data, encoder) for name in ("train", "validation"))
    ledger = Ledger.from_json((folder / "ledger.json").read_text(encoding="utf-8"))
    return PreparedData(train, validation, ledger, key, validation.question_ids)


def _open(folder: Path, data: Data, encoder: TextEncoder) -> PackedSplit:
    return PackedSplit(folder, vocabulary=encoder.vocabulary, max_length=data.max_length, pad_id=encoder.pad_id)


@dataclass(frozen=True)
class _Work:
    """What filling the splits shares."""

    data: Data
    catalogue: Catalogue
    reader: RowReader
    largest_bytes: int
    tally: Tally
    folder: Path
    vocabulary: int
    progress: Progress


def _make(data: Data, encoder: TextEncoder, source: Source, folder: Path, progress: Progress) -> None:
    """Reads, chooses, tokenises and writes both splits and the ledger into ``folder``."""
    parts = [(rows, format_of(data, rows)) for rows in source.load() if rows is not None]
    catalogue = read_catalogue(parts, generated=source.generated, advance=partial(progress.update, "read rows"))
    reader = RowReader(parts, encoder, data.max_length)
    largest = largest_answer_bytes(reader, encoder, catalogue, data.max_length)
    tally = Tally([catalogue.faults.get(row, NOT_CHOSEN) for row in range(len(catalogue.group_of_row))])
    work = _Work(data, catalogue, reader, largest, tally, folder, encoder.vocabulary, progress)
    validation, train = _fill_both(work, own_split=len(parts) > 1)
    shared = len(train.kept & validation.kept)
    assert shared == 0, f"{shared} questions are in both splits"
    _refuse_if_empty(train, validation, tally, source)
    splits = {name: _open(folder / name, data, encoder) for name in ("train", "validation")}
    ledger = _ledger(work, source, splits, {"train": train, "validation": validation})
    (folder / "ledger.json").write_text(ledger.to_json(), encoding="utf-8")


def _fill_both(work: _Work, *, own_split: bool) -> tuple[Filled, Filled]:
    """What the validation and the training split took; validation first, so that it is free of data.questions."""
    groups, held_out = work.catalogue.group_of_row, work.catalogue.held_out
    usable = groups >= 0
    _refuse_if_all_held_out(work, own_split=own_split)
    held = Filling("validation", work.data.validation_questions, 1, work.largest_bytes)
    validation = _fill(work, held, usable & held_out if own_split else usable)
    if own_split:
        shut = np.isin(groups, groups[usable & held_out]) & ~held_out & usable
        for row in np.flatnonzero(shut):
            work.tally.fates[row] = IN_HELD_OUT
    else:
        shut = np.isin(groups, list(validation.kept | validation.lost))
    wanted = work.data.questions or work.catalogue.groups
    filling = Filling("train", wanted, work.data.rows_per_question, work.largest_bytes)
    return validation, _fill(work, filling, usable & ~shut & ~held_out)


def _fill(work: _Work, filling: Filling, eligible: NDArray[np.bool_]) -> Filled:
    catalogue, data = work.catalogue, work.data
    order = candidates(catalogue.group_of_row, catalogue.stratum_of_group, eligible, data.seed)
    filler = SplitFiller(filling, order, catalogue, work.reader, work.tally)
    with SplitWriter(work.folder / filling.split, vocabulary=work.vocabulary, max_length=data.max_length) as writer:
        return filler.fill(writer, partial(work.progress.update, f"tokenise {filling.split}"))


def _refuse_if_all_held_out(work: _Work, *, own_split: bool) -> None:
    groups, asked = work.catalogue.groups, work.data.validation_questions
    if not own_split and groups and groups <= asked:
        raise UserError(
            f"data.validation_questions is {asked:,} and the data set has {groups:,} questions: none is left to train",
            f"{work.data.id} split {work.data.split}",
            f"set it to {max(1, groups // 10):,}, or name a data.validation_split",
        )


def _refuse_if_empty(train: Filled, validation: Filled, tally: Tally, source: Source) -> None:
    empty = [name for name, filled in (("training", train), ("validation", validation)) if not filled.kept]
    if not empty:
        return
    total = len(tally.fates)
    shares = Counter(tally.fates).most_common()
    raise UserError(
        f"0 rows are left for {' and '.join(empty)}: "
        + ", ".join(f"{count / total:.1%} {fate}" for fate, count in shares),
        f"{source.name}, {total:,} rows",
        "raise data.max_length if rows are over it, else check data.format and the columns",
    )


def _ledger(work: _Work, source: Source, splits: Mapping[str, PackedSplit], filled: Mapping[str, Filled]) -> Ledger:
    tally, catalogue = work.tally, work.catalogue
    fates = Counter(tally.fates)
    counts = {name: _count(split, filled[name]) for name, split in splits.items()}
    kept = sum(fates.pop(kept_for(name), 0) for name in splits)
    assert kept == counts["train"].rows + counts["validation"].rows, "a kept row was not written, or written twice"
    tokens = (*tally.lengths_kept, *tally.lengths_over)
    return Ledger(
        source=f"{source.name} split {work.data.split}",
        max_length=work.data.max_length,
        rows_read=len(tally.fates),
        statements=catalogue.statements,
        questions_found=catalogue.groups,
        merged_statements=catalogue.statements - catalogue.groups,
        largest_group=catalogue.largest_group,
        shared_questions=len(filled["train"].kept & filled["validation"].kept),
        train=counts["train"],
        validation=counts["validation"],
        dropped=dict(fates.most_common()),
        rows_encoded=len(tokens),
        tokens_encoded=sum(tokens),
        lengths=length_bins(tally.lengths_kept, tally.lengths_over),
        lost=tuple(Lost(name, tally.tried[name], tally.lost[name]) for name in sorted(tally.tried)),
        origins={column: dict(values.most_common()) for column, values in tally.origins.items()},
        quarantined=catalogue.quarantined,
        notes=_notes(work, filled),
    )


def _count(split: PackedSplit, filled: Filled) -> SplitCount:
    return SplitCount(
        questions=len(filled.kept),
        rows=split.documents,
        tokens=split.tokens,
        think_tokens=split.think_tokens,
        answer_tokens=split.answer_tokens,
        packs=len(split),
        efficiency=split.efficiency,
    )


def _notes(work: _Work, filled: Mapping[str, Filled]) -> tuple[str, ...]:
    notes = []
    asked = {"train": work.data.questions, "validation": work.data.validation_questions}
    for name, count in asked.items():
        if count and len(filled[name].kept) < count:
            notes.append(f"{name}: {count:,} questions were asked for, {len(filled[name].kept):,} could be kept")
    catalogue = work.catalogue
    if catalogue.largest_group > max(50, catalogue.statements // 20):
        notes.append(
            f"{catalogue.largest_group:,} of {catalogue.statements:,} statements count as one question: "
            "do the questions share one long text that should not be part of them?"
        )
    if DASH_QUESTION in catalogue.faults.values():
        notes.append("rows whose question is '-' were set aside: their questions must be joined in from their own sets")
    return tuple(notes)
