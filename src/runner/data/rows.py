"""Rows of a data set as memory-mapped columns: read in batches, or a chosen few, never all at once.

Where the columns come from is left to ``sources``; what they mean to ``formats``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BATCH_ROWS = 1024


class ReadRows(Protocol):
    """Rows by their number from 0, wherever they lie."""

    @property
    def name(self) -> str:
        """Where they come from, in messages."""
        ...

    @property
    def schema(self) -> Any:
        """Names and Arrow types of the columns."""
        ...

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.int64], columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and row of each of ``indices`` (ascending)."""
        ...


def taken(batch: Any, indices: NDArray[np.int64], first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """``ReadRows.take`` of the rows of one Arrow ``batch``, of which ``first`` is the index of the first."""
    yield from zip(indices.tolist(), batch.take(pa.array(indices - first)).to_pylist(), strict=True)


@dataclass(frozen=True)
class Rows:
    """One split's rows; ``name`` says in messages where they come from."""

    table: pa.Table
    name: str

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def schema(self) -> Any:
        return self.table.schema

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        sizes = [batch.num_rows for batch in self._batches]
        return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)

    @cached_property
    def _batches(self) -> list[Any]:
        return [batch for batch in self.table.to_batches(max_chunksize=BATCH_ROWS) if batch.num_rows]

    def scan(self, columns: Sequence[str]) -> Iterator[Any]:
        """Arrow record batches of at most 1,024 rows with ``columns`` only, in order."""
        for batch in self._batches:
            yield batch.select(list(columns))

    def take(self, indices: NDArray[np.int64], columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and row of each of ``indices`` (ascending); only their batches are read."""
        owners = np.searchsorted(self._starts, indices, side="right") - 1
        for owner in np.unique(owners):
            here = indices[owners == owner]
            batch = self._batches[owner].select(list(columns))
            yield from taken(batch, here, int(self._starts[owner]))
