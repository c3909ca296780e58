"""Tokenises the rows of chosen questions until enough questions have one that fits.

The order of questions and rows comes from ``choice``; what is kept goes to ``shards``, what became of every
row into a ``Tally``.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from runner.data.catalogue import Catalogue
from runner.data.choice import Candidates, apportion
from runner.data.encoder import TextEncoder
from runner.data.formats import RowFormat, Sample, read_sample
from runner.data.rows import ReadRows
from runner.data.shards import Document
from runner.data.statements import statement_key

OVER_LENGTH, OVER_LENGTH_BY_SIZE = "over max_length", "over max_length by its size, not tokenised"
NOT_CHOSEN, ANOTHER_ROW = "question not chosen", "another row of its question kept"
ENCODED_TOGETHER = 256  # rows
SIZED_ROWS, SIZED_CHARACTERS, SIZE_MARGIN = 64, 16000, 1.1


class Origin(NamedTuple):
    """What a row says of where it is from."""

    source: str
    difficulty: str
    licence: str
    judgement: str


NOWHERE = Origin("", "", "", "")


@dataclass
class Tally:
    """What became of each row so far (``fates``; kept ones say so), and of the tokens."""

    fates: list[str]
    lengths_kept: list[int] = field(default_factory=list)
    lengths_over: list[int] = field(default_factory=list)
    tried: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    origins: dict[str, Counter[str]] = field(default_factory=dict)

    def keep(self, row: int, split: str, tokens: int, origin: Origin) -> None:
        self.fates[row] = kept_for(split)
        self.lengths_kept.append(tokens)
        for column, value in zip(Origin._fields, origin, strict=True):
            self.origins.setdefault(column, Counter())[value] += 1


def kept_for(split: str) -> str:
    """The fate of a row that ``split`` keeps."""
    return f"kept for {split}"


@dataclass(frozen=True)
class Encoded:
    """A tokenised row; ``document`` is None if the row is not usable, for ``reason``."""

    row: int
    document: Document | None
    tokens: int
    reason: str
    origin: Origin = NOWHERE


class EncodesRows(Protocol):
    """Whatever knows rows as tokens."""

    def encode(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        """Each of ``rows`` (ascending), tokenised; those with a document in the same order."""
        ...


class TakesDocuments(Protocol):
    """Whatever documents are written to."""

    def append(self, document: Document) -> None: ...


class RowReader:
    """Rows of both splits by their number in the catalogue, read and tokenised in ascending order."""

    def __init__(self, parts: Sequence[tuple[ReadRows, RowFormat]], encoder: TextEncoder, max_length: int) -> None:
        self._parts = parts
        self._encoder = encoder
        self._max_length = max_length

    def encode(self, rows: NDArray[np.int64]) -> Iterator[Encoded]:
        """Each of ``rows`` (ascending), tokenised; at most 256 are held at once."""
        waiting: list[tuple[int, Sample]] = []
        for row, sample in self.samples(rows):
            if isinstance(sample, str):
                yield Encoded(row, None, 0, sample)
                continue
            waiting.append((row, sample))
            if len(waiting) == ENCODED_TOGETHER:
                yield from self._encoded(waiting)
                waiting = []
        yield from self._encoded(waiting)

    def samples(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Sample | str]]:
        start = 0
        for part, form in self._parts:
            here = rows[(rows >= start) & (rows < start + len(part))] - start
            for index, row in part.take(here, form.all_columns):
                yield start + index, read_sample(row, form)
            start += len(part)

    def _encoded(self, waiting: list[tuple[int, Sample]]) -> Iterator[Encoded]:
        texts = [text for _, sample in waiting for text in (sample.prompt, sample.answer.think, sample.answer.rest)]
        ids = self._encoder.encode(texts) if texts else []
        for place, (row, sample) in enumerate(waiting):
            prompt, think, rest = ids[3 * place : 3 * place + 3]
            prompt = [*self._encoder.bos_ids, *prompt]
            joined = [*prompt, *think, *rest, self._encoder.eos_id]
            if len(joined) > self._max_length:
                yield Encoded(row, None, len(joined), OVER_LENGTH)
                continue
            document = Document(_name_of(sample), np.array(joined, dtype=np.int64), len(prompt), len(think))
            origin = Origin(sample.source, sample.difficulty, sample.licence, sample.judgement)
            yield Encoded(row, document, len(joined), "", origin)


def _name_of(sample: Sample) -> str:
    """The row's own question id, else one made of the question (of the text, where there is no question)."""
    return sample.question_id or "text-" + statement_key([sample.prompt or sample.answer.rest]).hex()[:16]


def largest_answer_bytes(reader: RowReader, encoder: TextEncoder, catalogue: Catalogue, max_length: int) -> int:
    """Answer sizes above it cannot fit: the most bytes a token among 64 evenly spaced rows held, plus a tenth.

    Sparing the tokenizer such rows is most of the speed on long data.  Each question's shortest row is
    tokenised all the same, so no question is lost by this estimate alone.
    """
    usable = np.flatnonzero(catalogue.group_of_row >= 0)
    if not len(usable) or catalogue.answer_bytes[usable].max() <= max_length:
        return max_length
    chosen = np.unique(usable[np.linspace(0, len(usable) - 1, SIZED_ROWS).astype(np.int64)])
    texts = []
    for _, sample in reader.samples(chosen):
        if isinstance(sample, Sample):
            texts.append((sample.answer.think + sample.answer.rest)[:SIZED_CHARACTERS])
    ratios = [
        len(text.encode("utf-8", "surrogatepass")) / max(1, len(ids))
        for text, ids in zip(texts, encoder.encode(texts), strict=True)
    ]
    return int(max_length * max(ratios, default=8.0) * SIZE_MARGIN)


@dataclass(frozen=True)
class Filling:
    """What one split is filled with: ``questions`` of the candidates, up to ``rows_each`` rows of each."""

    split: str
    questions: int
    rows_each: int
    largest_bytes: int


@dataclass(frozen=True)
class Filled:
    """Groups with a row in the split, and groups of which every row was tried in vain."""

    kept: frozenset[int]
    lost: frozenset[int]


class SplitFiller:
    """Walks the strata's queues until the split has its questions or the queues end."""

    def __init__(
        self,
        filling: Filling,
        candidates: Candidates,
        catalogue: Catalogue,
        reader: EncodesRows,
        tally: Tally,
    ) -> None:
        self._filling = filling
        self._candidates = candidates
        self._catalogue = catalogue
        self._reader = reader
        self._tally = tally

    def fill(self, writer: TakesDocuments, advance: Callable[[int, int], None]) -> Filled:
        """Writes the split and tells the groups it took from.

        A stratum gives questions in proportion to its size; one that is lost is replaced by the next of its
        stratum, and by other strata only when its own has run out.
        """
        sizes = self._candidates.sizes
        next_at = np.zeros_like(sizes)
        kept = np.zeros_like(sizes)
        found: set[int] = set()
        lost: set[int] = set()
        while True:
            shares = apportion(self._filling.questions, sizes, kept + sizes - next_at)
            more = np.minimum(np.maximum(shares - kept, 0), sizes - next_at)
            if int(kept.sum()) >= self._filling.questions or not more.any():
                return Filled(frozenset(found), frozenset(lost))
            for stratum in np.flatnonzero(more):
                queue = self._candidates.queues[stratum]
                started = queue[next_at[stratum] : next_at[stratum] + more[stratum]].tolist()
                next_at[stratum] += more[stratum]
                fitting = self._resolve(started, writer)
                found |= fitting
                lost |= set(started) - fitting
                kept[stratum] += len(fitting)
                advance(int(kept.sum()), min(self._filling.questions, int(sizes.sum())))

    def _resolve(self, groups: list[int], writer: TakesDocuments) -> set[int]:
        """Tokenises rows of ``groups``, a round at a time, until each has its rows or has none left."""
        waiting = {group: self._rows_to_try(group) for group in groups}
        kept: Counter[int] = Counter()
        while True:
            turn = [row for group, rows in waiting.items() for row in rows[: self._filling.rows_each - kept[group]]]
            if not turn:
                break
            for encoded in self._reader.encode(np.array(sorted(turn), dtype=np.int64)):
                kept[int(self._catalogue.group_of_row[encoded.row])] += self._settle(encoded, writer)
            tried = set(turn)
            waiting = {
                group: [row for row in rows if row not in tried]
                for group, rows in waiting.items()
                if kept[group] < self._filling.rows_each
            }
        found = {group for group in groups if kept[group]}
        self._account(groups, found)
        return found

    def _rows_to_try(self, group: int) -> list[int]:
        rows = self._candidates.rows_of(group)
        sizes = self._catalogue.answer_bytes[rows]
        small = rows[sizes <= self._filling.largest_bytes]
        for row in rows:
            self._tally.fates[row] = ANOTHER_ROW
        for row in rows[sizes > self._filling.largest_bytes]:
            self._tally.fates[row] = OVER_LENGTH_BY_SIZE
        return [int(row) for row in (small if len(small) else rows[[int(sizes.argmin())]])]

    def _settle(self, encoded: Encoded, writer: TakesDocuments) -> bool:
        if encoded.document is None:
            self._tally.fates[encoded.row] = encoded.reason
            if encoded.reason == OVER_LENGTH:
                self._tally.lengths_over.append(encoded.tokens)
            return False
        writer.append(encoded.document)
        self._tally.keep(encoded.row, self._filling.split, encoded.tokens, encoded.origin)
        return True

    def _account(self, groups: list[int], found: set[int]) -> None:
        for group in groups:
            difficulty = self._catalogue.strata[self._catalogue.stratum_of_group[group]][1]
            self._tally.tried[difficulty] += 1
            self._tally.lost[difficulty] += group not in found
