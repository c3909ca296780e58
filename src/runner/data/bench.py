"""``python -m runner.data.bench FOLDER --gib 2``: a set as large as wanted, to measure ``runner data --prepare`` with.

Its columns, files, row groups and lengths are those of OpenCodeReasoning, its text is the Python library's own.
"""

import argparse
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS, FILE_GROUPS = 1000, 20
ROWS_A_QUESTION = 26
ANSWER_BYTES, SPREAD = 27_500, 0.5  # median and log-normal spread of an answer: 31 kB on average
QUESTION_BYTES = 1_500


def library_text(least_bytes: int = 8 * 2**20) -> str:
    """Sources of the Python library, in the order of their names."""
    text: list[str] = []
    size = 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text.append(file.read_text(encoding="utf-8", errors="ignore"))
        size += len(text[-1])
        if size >= least_bytes:
            break
    return "\n".join(text)


def rows(size: int, seed: int = 17) -> Iterator[dict[str, str]]:
    """Rows in the nine columns until their answers and questions have ``size`` characters."""
    text, draw = library_text(), np.random.default_rng(seed)
    questions = max(20, size // ((ANSWER_BYTES + QUESTION_BYTES) * ROWS_A_QUESTION))

    def piece(length: int, at: int) -> str:
        at %= len(text) - length
        return text[at : at + length]

    written = 0
    while written < size:
        question = int(draw.integers(questions))
        length = int(min(ANSWER_BYTES * np.exp(SPREAD * draw.standard_normal()), 200_000))
        code = piece(600, int(draw.integers(2**40)))
        row = {
            "id": f"{question:032x}",
            "input": f"Problem {question}.\n" + piece(QUESTION_BYTES, question * 7919),
            "output": f"<think>\n{piece(length, int(draw.integers(2**40)))}\n</think>\n\n```python\n{code}\n```",
            "source": ("codeforces", "atcoder", "codechef", "aizu")[question % 4],
            "license": "cc-by-4.0",
            "dataset": "code_contests",
            "split": "train",
            "difficulty": str(question % 7),
            "solution": code,
        }
        written += len(row["input"]) + len(row["output"])
        yield row


def write_set(folder: Path, size: int) -> int:
    """Parquet files of ``size`` characters of text in ``folder``; how many rows they have."""
    folder.mkdir(parents=True)
    count, file, group = 0, 0, 0
    writer: pq.ParquetWriter | None = None
    source = rows(size)
    while waiting := list(islice(source, GROUP_ROWS)):
        table = pa.Table.from_pylist(waiting)
        if writer is None:
            writer = pq.ParquetWriter(folder / f"train-{file:05d}.parquet", table.schema)
        writer.write_table(table, row_group_size=GROUP_ROWS)
        count, group = count + len(waiting), group + 1
        if group == FILE_GROUPS:
            writer.close()
            writer, file, group = None, file + 1, 0
    if writer is not None:
        writer.close()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a set in OpenCodeReasoning's columns.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gib", type=float, default=2.0, help="text of questions and answers, GiB")
    arguments = parser.parse_args()
    count = write_set(arguments.folder, int(arguments.gib * 2**30))
    size = sum(file.stat().st_size for file in arguments.folder.glob("*.parquet"))
    print(f"{count:,} rows, {arguments.gib:g} GiB of text, {size / 2**30:.2f} GiB of Parquet in {arguments.folder}")


if __name__ == "__main__":
    main()
