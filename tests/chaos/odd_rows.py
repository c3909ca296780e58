"""Data files as no one should write them: rows with odd values, noise between them, Parquet that is not quite right."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

COLUMNS = {
    "open-code-reasoning": ("id", "input", "output", "source", "difficulty", "license"),
    "open-code-reasoning-2": ("question_id", "question", "r1_generation", "judgement", "pass_rate"),
    "columns": ("prompt", "response", "id"),
    "chat": ("messages",),
}
SOUND = {
    "id": "q1", "input": "Add.", "output": "<think>\nWe add.\n</think>\n\n```python\nprint(1)\n```", "source": "taco",
    "difficulty": "EASY", "license": "mit", "question_id": "7", "question": "Sort.", "judgement": "right",
    "pass_rate": "0.5", "r1_generation": "<think>\nHm.\n</think>\nx", "prompt": "Write f.", "response": "def f(): ...",
    "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>a</think>b"}],
}  # fmt: skip
texts = (
    st.text(max_size=30)
    | st.text(alphabet=st.characters(codec=None), max_size=6)  # lone surrogates too
    | st.sampled_from(
        ["", " ", "-", "<think>", "</think>", "<think></think>", "<|endoftext|>", "<fim_pad>", "\0", "\u2028", "\ud800"]
    )
    | st.integers(1, 3000).map(lambda count: "long " * count)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
turns = st.lists(
    st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "assistant", "system", "tool", ""]) | values,
                                        "content": values}), max_size=4)  # fmt: skip


@dataclass(frozen=True)
class OddFile:
    """A file's name and bytes, and the format that the job says it has."""

    name: str
    content: bytes
    format: str

    def write(self, folder: Path) -> Path:
        """Its path, after it was written into ``folder``."""
        path = folder / self.name
        path.write_bytes(self.content)
        return path


@st.composite
def rows(draw: st.DrawFn, form: str) -> list[dict[str, Any]]:
    """Sound rows, in which some values are odd, missing or renamed."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        row: dict[str, Any] = {name: SOUND[name] for name in COLUMNS[form]}
        row[COLUMNS[form][0]] = row[COLUMNS[form][0]] if form == "chat" else f"{number}"
        for name in draw(st.lists(st.sampled_from(COLUMNS[form]), max_size=2)):
            row[name] = draw(turns if form == "chat" and draw(st.booleans()) else values)
            if draw(st.integers(0, 9)) == 0:
                del row[name]
        found.append(row)
    return found


@st.composite
def files(draw: st.DrawFn) -> OddFile:
    """JSONL or Parquet of odd rows, in one file of four spoilt afterwards."""
    form = draw(st.sampled_from(sorted(COLUMNS)))
    found = draw(rows(form))
    if draw(st.booleans()):
        name, content = "rows.jsonl", "".join(json.dumps(row) + "\n" for row in found).encode()
    else:
        name, content = "rows.parquet", _parquet(found, form)
    if draw(st.integers(0, 3)) == 0:
        content = _spoilt(draw, content)
    return OddFile(name, content, form)


def _parquet(found: list[dict[str, Any]], form: str) -> bytes:
    """``found`` as a table if Arrow finds types for it, else with every value as text."""
    try:
        table = pa.Table.from_pylist(found)
        stream = io.BytesIO()
        pq.write_table(table, stream)
    except (pa.ArrowException, UnicodeError, ValueError, TypeError, OverflowError):
        plain = [{name: ascii(row.get(name)) for name in COLUMNS[form]} for row in found]
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(plain), stream)
    return stream.getvalue()


def _spoilt(draw: st.DrawFn, content: bytes) -> bytes:
    at = draw(st.integers(0, len(content)))
    way = draw(st.sampled_from(["cut", "noise", "html", "flip"]))
    if way == "cut":
        return content[:at]
    if way == "html":
        return b"<!DOCTYPE html>" + content
    if way == "flip" and at < len(content):
        return content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1 :]
    return content[:at] + draw(st.binary(max_size=8)) + content[at:]
