"""From a job's data section to packed training and validation buffers: read, choose, tokenise, pack, keep.

Tells the story; each step's work is in its own module.  Models and training are left to others.
"""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runner.config.job import Data
from runner.data.catalogue import read_catalogue
from runner.data.documents import Filled, RowReader, Tally, kept_for, largest_answer_bytes
from runner.data.encoder import TextEncoder
from runner.data.filling import Candidature, fill_both
from runner.data.formats import DASH_QUESTION, format_of
from runner.data.ledger import Ledger, Lost, SplitCount, length_bins
from runner.data.progress import Progress, Silent
from runner.data.shards import PackedSplit, SplitWriter
from runner.data.sources import Source, locate
from runner.data.store import fault_of, locked, publishing
from runner.data.template import template_fingerprint
from runner.data.units import cut
from runner.data.whole import Hire, Workplace, candidature_of
from runner.errors import UserError

LAYOUT = 2  # raise it with any change of what is written or how rows are chosen


@dataclass(frozen=True)
class PreparedData:
    """Both splits in packed buffers; ``validation_ids`` are the held-out questions' own ids."""

    train: PackedSplit
    validation: PackedSplit
    ledger: Ledger
    fingerprint: str
    validation_ids: tuple[str, ...]


def prepare(
    data: Data, encoder: TextEncoder, *, cache: Path, progress: Progress | None = None, hire: Hire | None = None
) -> PreparedData:
    """The data of a job, tokenised once and kept under ``cache`` by a hash of all it depends on.

    Same arguments, same documents in the same packs.  Safe when several processes call it at once: one
    makes it, the others wait.  A damaged cache is told in one line and made again.  UserError for data that
    is missing, unreadable or leaves no row.

    ``hire`` gives processes that share the work, unit by unit; the result is the same to the bit, and what was
    done is not done again after a crash.  It is asked only if nothing prepared is at hand.
    """
    shown = progress or Silent()
    cache = cache.expanduser().resolve()
    source = locate(data, cache)
    key = _key(data, encoder, source)
    with locked(cache, key):
        folder = cache / key
        fault = fault_of(folder) if folder.exists() else ""
        if fault:
            shown.say(f"the prepared data in {folder} cannot be used ({fault}); it is made again")
        if fault is not None:
            units = cache / f"{key}.units"
            with publishing(cache, key) as fresh:
                making = _Making(data, encoder, source, fresh, shown)
                _make_in_units(making, units, hire) if hire else _make(making)
            shutil.rmtree(units, ignore_errors=True)
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
class _Making:
    """What making the data needs; ``folder`` takes both splits and the ledger."""

    data: Data
    encoder: TextEncoder
    source: Source
    folder: Path
    progress: Progress


def _make(making: _Making) -> None:
    """Reads, chooses, tokenises and writes in this process."""
    data, encoder, source = making.data, making.encoder, making.source
    parts = [(rows, format_of(data, rows)) for rows in source.load() if rows is not None]
    advance = partial(making.progress.update, "read rows")
    catalogue = read_catalogue(parts, generated=source.generated, advance=advance)
    reader = RowReader(parts, encoder, data.max_length)
    largest = largest_answer_bytes(reader, encoder, catalogue, data.max_length)
    _write(making, Candidature(data, catalogue, reader, largest, own_split=len(parts) > 1), "tokenise")


def _make_in_units(making: _Making, units: Path, hire: Hire) -> None:
    """``_make`` by those whom ``hire`` gives, with what they have done kept in ``units``."""
    found = making.source.files()
    parts = [(name, cut(files)) for name, files in found or ()]
    shared = [(name, part) for name, part in parts if part is not None]
    if not shared or len(shared) < len(parts):
        what = "only whole splits of Parquet and JSONL files can be shared out"
        making.progress.say(f"{what}: {making.source.name} is prepared in one process")
        _make(making)
        return
    with hire() as crew:
        work = Workplace(units, crew, making.progress)
        candidature = candidature_of(making.data, making.encoder, shared, work, signed=not making.source.generated)
    _write(making, candidature, "write")


def _write(making: _Making, work: Candidature, task: str) -> None:
    """Writes both splits and the ledger."""
    data, tally = making.data, work.tally()

    def opened(split: str) -> SplitWriter:
        return SplitWriter(making.folder / split, vocabulary=making.encoder.vocabulary, max_length=data.max_length)

    def advance(split: str, done: int, total: int) -> None:
        making.progress.update(f"{task} {split}", done, total)

    train, validation = fill_both(work, tally, opened, advance)
    shared = len(train.kept & validation.kept)
    assert shared == 0, f"{shared} questions are in both splits"
    _refuse_if_empty(train, validation, tally, making.source)
    splits = {name: _open(making.folder / name, data, making.encoder) for name in ("train", "validation")}
    ledger = _ledger(work, tally, making.source, splits, {"train": train, "validation": validation})
    (making.folder / "ledger.json").write_text(ledger.to_json(), encoding="utf-8")


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


def _ledger(
    work: Candidature, tally: Tally, source: Source, splits: Mapping[str, PackedSplit], filled: Mapping[str, Filled]
) -> Ledger:
    catalogue = work.catalogue
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


def _notes(work: Candidature, filled: Mapping[str, Filled]) -> tuple[str, ...]:
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
