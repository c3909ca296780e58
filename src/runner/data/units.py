"""A large set as units of work: row groups of Parquet files and ranges of bytes of JSONL files.

A unit is read in batches, never whole.  What is done with its rows is left to ``unit_work``.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
from numpy.typing import NDArray

from runner.data.loading import refusal
from runner.data.rows import taken
from runner.errors import UserError

PARQUET, JSONL = ".parquet", (".jsonl", ".ndjson")
BATCH_ROWS = 256
UNIT_BYTES = 32 * 2**20  # of JSONL
CHUNK_BYTES = 8 * 2**20  # of JSONL, read at once


@dataclass(frozen=True)
class Unit:
    """Row group ``start`` of a Parquet file, or the lines of a JSONL file that begin in bytes ``start`` to ``stop``."""

    file: str
    start: int
    stop: int

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Arrow record batches of ``columns`` (all when None), in order; UserError for what cannot be read."""
        read = self._row_group if self.file.endswith(PARQUET) else self._lines
        try:
            for batch in read(columns):
                yield batch.select(list(columns)) if columns is not None else batch
        except (pa.ArrowException, OSError, KeyError) as error:
            what = f"row group {self.start}" if self.file.endswith(PARQUET) else f"a line in bytes {self.start:,} on"
            raise UserError(
                f"the data cannot be read: {refusal(error)}",
                f"{self.file}, {what}",
                "mend the file or fetch it again; on a cluster every node must see it under this path",
            ) from error

    def _row_group(self, columns: Sequence[str] | None) -> Iterator[Any]:
        with pq.ParquetFile(self.file) as file:
            wanted = list(columns) if columns is not None else None
            yield from file.iter_batches(BATCH_ROWS, row_groups=[self.start], columns=wanted, use_threads=False)

    def _lines(self, columns: Sequence[str] | None) -> Iterator[Any]:
        for chunk in self._chunks():
            options = pyarrow.json.ReadOptions(use_threads=False, block_size=len(chunk) + 1)
            table = pyarrow.json.read_json(io.BytesIO(chunk), read_options=options)
            for name in columns or ():
                if name not in table.column_names:
                    table = table.append_column(name, pa.nulls(len(table)))
            yield from table.combine_chunks().to_batches()

    def _chunks(self) -> Iterator[bytes]:
        """Whole lines, in pieces of about ``CHUNK_BYTES``."""
        with Path(self.file).open("rb") as stream:
            if self.start:
                stream.seek(self.start - 1)
                stream.readline()
            while (at := stream.tell()) < self.stop:
                chunk = stream.read(min(CHUNK_BYTES, self.stop - at))
                if not chunk.endswith(b"\n"):
                    chunk += stream.readline()
                if at == 0:
                    chunk = chunk.removeprefix(b"\xef\xbb\xbf")
                if chunk.strip():
                    yield chunk


def cut(files: Sequence[Path]) -> list[Unit] | None:
    """The units of ``files``, in order; None if one of them is neither Parquet nor JSON a line."""
    units: list[Unit] = []
    for file in files:
        if file.suffix == PARQUET:
            with pq.ParquetFile(file) as opened:
                sizes = [opened.metadata.row_group(group).num_rows for group in range(opened.num_row_groups)]
            units += [Unit(str(file), group, group + 1) for group, rows in enumerate(sizes) if rows]
        elif file.suffix in JSONL and not _is_one_array(file):
            size = file.stat().st_size
            units += [Unit(str(file), at, min(at + UNIT_BYTES, size)) for at in range(0, size, UNIT_BYTES)]
        else:
            return None
    return units


def _is_one_array(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def schema_of(units: Sequence[Unit]) -> Any:
    """Columns and types, as the first unit has them; of JSONL as its first lines have them."""
    return next(iter(units[0].batches())).schema if units else pa.schema([])


@dataclass(frozen=True)
class UnitRows:
    """Rows of units one after another; ``counts`` are the units' rows.  Each ``take`` reads the files anew."""

    units: Sequence[Unit]
    counts: Sequence[int]
    name: str
    schema: Any

    def __len__(self) -> int:
        return sum(self.counts)

    def take(self, indices: NDArray[np.int64], columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and row of each of ``indices`` (ascending); only their units are read, a batch at a time."""
        start = 0
        for unit, count in zip(self.units, self.counts, strict=True):
            here = indices[(indices >= start) & (indices < start + count)]
            at = start
            for batch in unit.batches(columns) if len(here) else ():
                yield from taken(batch, here[(here >= at) & (here < at + batch.num_rows)], at)
                at += batch.num_rows
            start += count
