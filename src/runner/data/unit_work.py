"""What is done with one unit of a large set, in whichever process: describe its rows, or tokenise some of them.

Each piece of work becomes a folder of its own, whole and with its checksums, or nothing.  Which rows are wanted is
decided in ``whole``.
"""

import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
from numpy.typing import NDArray

from runner.data.described import DescribedRows, describe
from runner.data.documents import Encoded, Origin, RowReader
from runner.data.encoder import TextEncoder
from runner.data.formats import RowFormat, read_light
from runner.data.shards import Document, PackedSplit, SplitWriter
from runner.data.store import publishing
from runner.data.units import PARQUET, Unit, UnitRows

ROWS, DOCUMENTS = "rows.arrow", "documents"
ASSUMED = Document("", np.zeros(1, dtype=np.int64), 0, 0)  # stands for one that nobody looks at


@dataclass(frozen=True)
class Done:
    """A piece of work's rows, tokens and time on a core, and the most memory that its process has taken so far."""

    rows: int
    tokens: int
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True)
class Piece:
    """One unit to work on; ``name`` is the folder that it becomes, ``wanted`` are its rows to tokenise, ascending."""

    name: str
    unit: Unit
    form: RowFormat
    rows: int = 0
    wanted: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class DescribeUnit:
    """Writes what ``catalogue`` needs to know of a unit's rows; ``signed`` as in ``describe``."""

    folder: Path
    signed: bool

    def __call__(self, piece: Piece) -> Done:
        began = time.process_time()
        parquet = piece.unit.file.endswith(PARQUET)
        tables, types = [], set()
        met: set[bytes] = set()
        for batch in piece.unit.batches(piece.form.light_columns if parquet else piece.form.all_columns):
            if not parquet:  # whose files say the types themselves
                types |= {(field.name, str(field.type)) for field in batch.schema if _is_flat(field.type)}
            light = read_light(batch.select(list(piece.form.light_columns)), piece.form)
            tables.append(describe(light, met, signed=self.signed).to_table())
        table = pa.concat_tables(tables) if tables else DescribedRows([], [], [], [], [], [], [], []).to_table()
        with publishing(self.folder, piece.name) as fresh:
            kept = table.replace_schema_metadata({"types": json.dumps(sorted(types))})
            feather.write_feather(kept, str(fresh / ROWS), compression="uncompressed")
        return Done(len(table), 0, time.process_time() - began, _peak_mib())


def _is_flat(kind: Any) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_null(kind))


@dataclass(frozen=True)
class DescribedUnit:
    """What ``DescribeUnit`` wrote; ``types`` are the columns' names and types where the files do not fix them."""

    rows: int
    types: frozenset[tuple[str, str]]
    batches: Iterator[DescribedRows]


def read_described(folder: Path) -> DescribedUnit:
    """The rows described in ``folder``; they are read when ``batches`` is walked."""
    table = feather.read_table(str(folder / ROWS), memory_map=True)
    types = frozenset((name, kind) for name, kind in json.loads(table.schema.metadata[b"types"]))
    return DescribedUnit(len(table), types, (DescribedRows.from_table(part) for part in (table,)))


@dataclass(frozen=True)
class TokeniseUnit:
    """Writes the wanted rows of a unit as a shard, those that do not fit by their length only."""

    folder: Path
    encoder: TextEncoder
    max_length: int

    def __call__(self, piece: Piece) -> Done:
        began = time.process_time()
        assert piece.wanted is not None
        part = UnitRows((piece.unit,), (piece.rows,), piece.unit.file, None)
        reader = RowReader([(part, piece.form)], self.encoder, self.max_length)
        told: list[tuple[Any, ...]] = []
        documents = tokens = 0
        with publishing(self.folder, piece.name) as fresh:
            vocabulary = self.encoder.vocabulary
            with SplitWriter(fresh / DOCUMENTS, vocabulary=vocabulary, max_length=self.max_length) as writer:
                for encoded in reader.encode(piece.wanted):
                    number = None if encoded.document is None else documents
                    told.append((encoded.row, number, encoded.tokens, encoded.reason, *encoded.origin))
                    tokens += encoded.tokens
                    if encoded.document is not None:
                        writer.append(encoded.document)
                        documents += 1
            _write_told(told, fresh / ROWS)
        return Done(len(told), tokens, time.process_time() - began, _peak_mib())


def _write_told(told: list[tuple[Any, ...]], file: Path) -> None:
    names = ("row", "document", "tokens", "reason", *Origin._fields)
    types = [pa.int64()] * 3 + [pa.string()] * (len(names) - 3)
    columns = zip(*sorted(told, key=lambda entry: int(entry[0])), strict=True)
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    feather.write_feather(table, str(file), compression="uncompressed")


class TokenisedUnit:
    """What ``TokeniseUnit`` wrote, memory-mapped; ``first`` is the number of the unit's first row in the set."""

    def __init__(self, folder: Path, first: int, encoder: TextEncoder, max_length: int) -> None:
        self._table = feather.read_table(str(folder / ROWS), memory_map=True)
        self._rows: NDArray[np.int64] = self._table.column("row").to_numpy() + first
        self._documents = PackedSplit(
            folder / DOCUMENTS, vocabulary=encoder.vocabulary, max_length=max_length, pad_id=encoder.pad_id
        )

    def encoded(self, rows: NDArray[np.int64], *, read: bool) -> Iterator[Encoded]:
        """Those of ``rows`` that are here; with ``ASSUMED`` for their documents unless ``read``."""
        places = np.searchsorted(self._rows, rows)
        here = places < len(self._rows)
        here[here] = self._rows[places[here]] == rows[here]
        entries = self._table.take(pa.array(places[here])).to_pylist()
        for row, entry in zip(rows[here].tolist(), entries, strict=True):
            number = entry["document"]
            document = None if number is None else self._documents.document(number) if read else ASSUMED
            origin = Origin(*(entry[name] for name in Origin._fields))
            yield Encoded(row, document, entry["tokens"], entry["reason"], origin)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
