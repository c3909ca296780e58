"""Rows with their statements boiled down to hashes: all that is needed to find out which rows share a question.

Reading the columns is done in ``formats``; grouping the rows in ``catalogue``.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from runner.data.formats import LightRows
from runner.data.statements import signature_of, statement_key, words_of


@dataclass(frozen=True)
class DescribedRows:
    """One entry a row; ``keys`` and ``signatures`` only where a text was first met, and None elsewhere.

    ``texts`` are hashes of the statements as they stand, ``keys`` of their words; ``signatures`` hold the bytes of
    ``statements.Signature``.
    """

    ids: list[str | None]
    texts: list[bytes]
    keys: list[bytes | None]
    signatures: list[bytes | None]
    answer_bytes: list[int]
    sources: list[str]
    difficulties: list[str]
    faults: list[str | None]

    def to_table(self) -> Any:
        """As an Arrow table, a column a field."""
        types = {"texts": pa.binary(), "keys": pa.binary(), "signatures": pa.binary(), "answer_bytes": pa.int64()}
        return pa.table({name: pa.array(column, types.get(name, pa.string())) for name, column in asdict(self).items()})

    @staticmethod
    def from_table(table: Any) -> "DescribedRows":
        return DescribedRows(**{name: table.column(name).to_pylist() for name in table.column_names})


def describe(light: LightRows, met: set[bytes], *, signed: bool) -> DescribedRows:
    """``light`` without its texts; ``met`` are the texts of earlier rows, and gets those of these.

    Words are looked at once for each distinct text (a question has many rows); ``signed``: for MinHash too.
    """
    texts, keys, signatures = [], [], []
    for statement, fault in zip(light.statements, light.faults, strict=True):
        text = b"" if fault else hashlib.blake2b(statement.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        key = signature = None
        if not fault and text not in met:
            met.add(text)
            words = words_of(statement)
            key = statement_key(words)
            signature = signature_of(words) if signed else None
        texts.append(text)
        keys.append(key)
        signatures.append(None if signature is None else signature.tobytes())
    sources, difficulties = [source for source, _ in light.strata], [level for _, level in light.strata]
    sizes = light.answer_bytes.tolist()
    return DescribedRows(light.ids, texts, keys, signatures, sizes, sources, difficulties, light.faults)
