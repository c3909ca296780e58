"""Fakes of the data tests: a byte-level encoder that counts its texts, and makers of rows and files."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


class ByteEncoder:
    """One token a byte, ids from 16 on; ``encoded`` counts the texts that were asked for."""

    bos_ids: tuple[int, ...] = ()
    eos_id = 0
    pad_id = 4
    vocabulary = 272
    fingerprint = "bytes"

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        self.encoded += len(texts)
        return [[byte + 16 for byte in text.encode()] for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(token - 16 for token in ids if token >= 16).decode() + "<eos>" * list(ids).count(self.eos_id)


def reasoning_row(question: int, *, thought: int = 1, **changes: str) -> dict[str, str]:
    """A row in OpenCodeReasoning's nine columns; ``thought`` repeats a sentence of 8 bytes to make it long."""
    row = {
        "id": f"q{question:04d}",
        "input": f"Add {question} to the number that is read and print the sum.",
        "output": "<think>\n" + "We add. " * thought + f"\n</think>\n\n```python\nprint({question})\n```",
        "source": "codeforces" if question % 3 else "atcoder",
        "license": "cc-by-4.0",
        "dataset": "taco",
        "split": "train",
        "difficulty": "HARD" if question % 5 == 0 else "EASY",
        "solution": f"print({question})",
    }
    return {**row, **changes}


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_repository(root: Path, rows: Sequence[dict[str, Any]], shards: int = 2) -> Path:
    """``rows`` as a data set's repository on the hub holds them: a card, and Parquet shards of split_0."""
    (root / "split_0").mkdir(parents=True)
    card = (
        "---\nlicense: cc-by-4.0\nconfigs:\n- config_name: split_0\n  data_files:\n"
        "  - split: split_0\n    path: split_0/train-*\n---\n# A set\n"
    )
    (root / "README.md").write_text(card, encoding="utf-8")
    each = -(-len(rows) // shards)
    for shard in range(shards):
        table = pa.Table.from_pylist(list(rows[shard * each : (shard + 1) * each]))
        pq.write_table(table, root / "split_0" / f"train-{shard:05d}-of-{shards:05d}.parquet")
    return root
