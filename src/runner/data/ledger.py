"""What became of every row and token of a data set, as a value and as readable text.

Counting is done in ``documents`` and ``prepare``; this module holds and shows the counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

BAR_WIDTH = 30


@dataclass(frozen=True)
class SplitCount:
    """One split: ``tokens`` without padding, ``answer_tokens`` the learned ones, ``packs`` buffers."""

    questions: int
    rows: int
    tokens: int
    think_tokens: int
    answer_tokens: int
    packs: int
    efficiency: float


@dataclass(frozen=True)
class LengthBin:
    """Tokenised rows of at most ``upper`` tokens and more than the bin before: kept, and dropped as too long."""

    upper: int
    kept: int
    over: int


@dataclass(frozen=True)
class Lost:
    """Questions of one difficulty that were tried, and those of which no row could be used."""

    difficulty: str
    tried: int
    lost: int


@dataclass(frozen=True)
class Quarantined:
    """A row set aside as unreadable; ``row`` counts from 0 within ``source``."""

    source: str
    row: int
    id: str
    reason: str


@dataclass(frozen=True)
class Ledger:
    """Rows: ``rows_read`` = rows of both splits + the sum of ``dropped``.

    ``statements`` counts distinct texts, ``questions_found`` questions after merging near-identical statements,
    ``merged_statements`` the statements that were another's variant, if only in case, blanks or punctuation,
    ``largest_group`` the statements of the question with the most.
    ``origins`` counts kept rows by column (source, difficulty, licence, judgement) and value.
    """

    source: str
    max_length: int
    rows_read: int
    statements: int
    questions_found: int
    merged_statements: int
    largest_group: int
    shared_questions: int
    train: SplitCount
    validation: SplitCount
    dropped: Mapping[str, int]
    rows_encoded: int
    tokens_encoded: int
    lengths: tuple[LengthBin, ...]
    lost: tuple[Lost, ...]
    origins: Mapping[str, Mapping[str, int]]
    quarantined: tuple[Quarantined, ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        return _ADAPTER.dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str) -> "Ledger":
        return _ADAPTER.validate_json(text)


_ADAPTER = TypeAdapter(Ledger)


def length_bins(kept: Sequence[int], over: Sequence[int]) -> tuple[LengthBin, ...]:
    """Power-of-two bins from the shortest to the longest row, empty ones between them included."""

    def bin_of(length: int) -> int:
        return max(0, (length - 1).bit_length())

    bins = [bin_of(length) for length in (*kept, *over)]
    counts = {place: [0, 0] for place in range(min(bins, default=0), max(bins, default=-1) + 1)}
    for column, lengths in enumerate((kept, over)):
        for length in lengths:
            counts[bin_of(length)][column] += 1
    return tuple(LengthBin(2**place, kept_here, over_here) for place, (kept_here, over_here) in counts.items())


def render(ledger: Ledger) -> str:
    """The ledger as text of at most 100 columns, ending without a newline."""
    parts = [_head(ledger), _splits(ledger), _rows(ledger), _lengths(ledger), _lost(ledger), _origins(ledger)]
    if ledger.quarantined:
        rows = [f"  {row.source} row {row.row} (id {row.id or 'none'}): {row.reason}" for row in ledger.quarantined]
        parts.append("\n".join(["set aside as unreadable", *rows]))
    if ledger.notes:
        parts.append("\n".join(f"note: {note}" for note in ledger.notes))
    return "\n\n".join(part for part in parts if part)


def _head(ledger: Ledger) -> str:
    return (
        f"{ledger.source}\n"
        f"  {ledger.rows_read:,} rows, {ledger.statements:,} statements, {ledger.questions_found:,} questions "
        f"({ledger.merged_statements:,} statements merged as near-identical, at most {ledger.largest_group:,} in one)\n"
        f"  questions shared between training and validation: {ledger.shared_questions}"
    )


def _splits(ledger: Ledger) -> str:
    lines = [f"{'':12}{'questions':>10}{'rows':>9}{'tokens':>13}{'think':>13}{'answer':>13}{'buffers':>9}{'filled':>8}"]
    for name, split in (("training", ledger.train), ("validation", ledger.validation)):
        lines.append(
            f"{name:12}{split.questions:>10,}{split.rows:>9,}{split.tokens:>13,}{split.think_tokens:>13,}"
            f"{split.answer_tokens - split.think_tokens:>13,}{split.packs:>9,}{split.efficiency:>8.1%}"
        )
    lines.append(f"buffers of {ledger.max_length:,} tokens; think + answer are learned, the prompt is not")
    return "\n".join(lines)


def _rows(ledger: Ledger) -> str:
    kept = {"kept": ledger.train.rows + ledger.validation.rows}
    title = f"rows ({ledger.rows_encoded:,} tokenised, {ledger.tokens_encoded:,} tokens)"
    return title + "\n" + _bars({**kept, **ledger.dropped}, ledger.rows_read)


def _lengths(ledger: Ledger) -> str:
    if not ledger.lengths:
        return ""
    most = max(bin.kept + bin.over for bin in ledger.lengths)
    lines = ["length of tokenised rows (█ kept, ░ too long)"]
    for bin in ledger.lengths:
        kept, over = (round(BAR_WIDTH * count / most) for count in (bin.kept, bin.over))
        lines.append(f"  <= {bin.upper:>8,}  {'█' * kept + '░' * over:<{BAR_WIDTH + 1}} {bin.kept + bin.over:>9,}")
    return "\n".join(lines)


def _lost(ledger: Ledger) -> str:
    if not any(entry.lost for entry in ledger.lost):
        return ""
    lines = ["questions lost because none of their rows could be used, by difficulty"]
    lines += [
        f"  {entry.difficulty or '(none)':<24}{entry.lost:>8,} of {entry.tried:>8,} tried "
        f"{entry.lost / entry.tried:>7.1%}"
        for entry in ledger.lost
        if entry.tried
    ]
    return "\n".join(lines)


def _origins(ledger: Ledger) -> str:
    blocks = []
    for column, values in ledger.origins.items():
        if set(values) - {""}:
            blocks.append(f"kept rows by {column}\n" + _bars(values, sum(values.values())))
    return "\n\n".join(blocks)


def _bars(counts: Mapping[str, int], total: int) -> str:
    lines = []
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:12]:
        share = count / total if total else 0.0
        bar = "█" * round(BAR_WIDTH * share)
        lines.append(f"  {(name or '(none)')[:44]:<44} {bar:<{BAR_WIDTH}} {count:>9,} {share:>7.2%}")
    if len(counts) > 12:
        lines.append(f"  and {len(counts) - 12} more")
    return "\n".join(lines)
