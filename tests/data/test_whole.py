"""A set that is prepared unit by unit becomes the same files as in one process, and nothing is done twice."""

import json
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data_fakes import ByteEncoder, reasoning_row, write_jsonl
from test_prepare import LONG_STATEMENT, Listening, data_of

import runner.data.units
from runner.config.job import Columns, Data
from runner.data.prepare import prepare
from runner.data.unit_work import Done, Piece
from runner.data.units import Unit, cut
from runner.data.whole import Crew
from runner.errors import UserError


class Alone:
    """A crew of this process, which does the pieces from the last to the first."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def each(self, work: Callable[[Piece], Done], pieces: Sequence[Piece]) -> Iterator[Done]:
        work = pickle.loads(pickle.dumps(work))
        for piece in reversed(pieces):
            self.pieces.append(piece.name)
            yield work(piece)

    def hire(self) -> AbstractContextManager[Crew]:
        return nullcontext(self)


def mixed_rows(count: int) -> list[dict[str, str]]:
    """Questions of up to nine rows, far apart; near-identical statements; rows too long, never closed, faulty."""
    draw = np.random.default_rng(5)
    rows = []
    for number in range(count):
        question = int(draw.integers(count // 5))
        row = reasoning_row(question, thought=int(draw.choice([1, 20, 60, 90, 110, 130, 600])))
        if question % 4 == 0:
            row["input"] = LONG_STATEMENT.format(question // 8)
        if number % 31 == 0:
            row["output"] = "<think>\nWe never end."
        rows.append(row)
    if count > 1000:  # else one in so many rows would be too many
        rows[count // 2]["input"] = "-"
    return rows


def write_parquet(folder: Path, rows: Sequence[dict[str, str]], *, files: int = 3, group: int = 100) -> Path:
    folder.mkdir()
    each = -(-len(rows) // files)
    for file in range(files):
        table = pa.Table.from_pylist(list(rows[file * each : (file + 1) * each]))
        pq.write_table(table, folder / f"train-{file:05d}.parquet", row_group_size=group)
    return folder


def files_in(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "train/tokens.bin" in found
    return found


def both_ways(data: Data, folder: Path) -> tuple[dict[str, bytes], dict[str, bytes], list[str]]:
    """The files of one process, those of units, and the pieces of work that made these."""
    crew = Alone()
    one = prepare(data, ByteEncoder(), cache=folder / "one")
    many = prepare(data, ByteEncoder(), cache=folder / "many", hire=crew.hire)
    assert one.fingerprint == many.fingerprint
    assert sorted(path.name for path in (folder / "many").iterdir() if path.is_dir() and path.name != "arrow") == [
        many.fingerprint
    ]
    return files_in(folder / "one" / one.fingerprint), files_in(folder / "many" / many.fingerprint), crew.pieces


@pytest.mark.parametrize(
    "changes",
    [
        {"questions": None, "rows_per_question": 100},
        {"questions": None, "rows_per_question": 1},
        {"questions": 40, "rows_per_question": 2, "validation_questions": 5},
        {"questions": None, "rows_per_question": 3, "max_length": 700, "seed": 3},
    ],
)
def test_row_groups_of_parquet_give_the_same_files_to_the_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_parquet(tmp_path / "set", mixed_rows(1100))
    one, many, pieces = both_ways(data_of(folder, **changes), tmp_path)
    assert many == one
    assert len([piece for piece in pieces if piece.startswith("rows-")]) == 12
    assert len([piece for piece in pieces if piece.startswith("tokens-")]) >= 12
    ledger = json.loads(one["ledger.json"])
    assert ledger["merged_statements"] > 0
    assert {"thinking never closed", "over max_length"} <= ledger["dropped"].keys()
    assert len(pieces) == len(set(pieces))


def test_one_large_row_group_gives_the_same_files_to_the_bit(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", mixed_rows(1100), files=1, group=2000)
    one, many, _ = both_ways(data_of(folder, rows_per_question=100), tmp_path)
    assert many == one


def test_ranges_of_bytes_of_jsonl_give_the_same_files_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.data.units, "UNIT_BYTES", 60_000)
    monkeypatch.setattr(runner.data.units, "CHUNK_BYTES", 20_000)
    path = write_jsonl(tmp_path / "rows.jsonl", mixed_rows(1100))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\n\n", 3).removesuffix(b"\n"))
    one, many, pieces = both_ways(data_of(path, rows_per_question=4), tmp_path)
    assert many == one
    assert len(pieces) > 20


def test_every_line_is_in_one_unit_wherever_the_cuts_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", [{"n": number, "text": "x" * (number % 7)} for number in range(60)])
    monkeypatch.setattr(runner.data.units, "CHUNK_BYTES", 50)
    for size in range(1, 90):
        monkeypatch.setattr(runner.data.units, "UNIT_BYTES", size)
        units = cut([path])
        assert units is not None
        assert len(units) == -(-path.stat().st_size // size)
        assert [n for unit in units for batch in unit.batches(["n"]) for n in batch["n"].to_pylist()] == [*range(60)]


def test_a_validation_split_of_its_own_and_other_columns_give_the_same_files(tmp_path: Path) -> None:
    rows = [{"ask": row["input"], "reply": row["output"], "level": n % 3} for n, row in enumerate(mixed_rows(300))]
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train.jsonl", rows[:250])
    write_jsonl(tmp_path / "set" / "validation.jsonl", rows[250:])
    data = data_of(
        tmp_path / "set",
        format="columns",
        columns=Columns(prompt="ask", response="reply", difficulty="level"),
        validation_split="validation",
    )
    one, many, _ = both_ways(data, tmp_path)
    assert many == one
    assert json.loads(one["ledger.json"])["dropped"]["its question is in the validation split"] > 0


def test_units_that_do_not_agree_in_a_type_are_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set" / "train-0.jsonl", [reasoning_row(number) for number in range(100)])
    write_jsonl(tmp_path / "set" / "train-1.jsonl", [{**reasoning_row(n), "difficulty": n} for n in range(100)])
    with pytest.raises(UserError, match="column difficulty holds int64 in some lines and string in others"):
        prepare(data_of(tmp_path / "set"), ByteEncoder(), cache=tmp_path / "cache", hire=Alone().hire)


def test_a_part_of_a_split_is_prepared_in_one_process(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", mixed_rows(600))
    listening, crew = Listening(), Alone()
    data = data_of(folder, split="train[100:500]")
    prepared = prepare(data, ByteEncoder(), cache=tmp_path / "cache", progress=listening, hire=crew.hire)
    assert prepared.ledger.rows_read == 400
    assert crew.pieces == []
    assert listening.lines == [
        f"only whole splits of Parquet and JSONL files can be shared out: {folder} is prepared in one process"
    ]


def test_a_row_group_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    unit = Unit(str(tmp_path / "away.parquet"), 3, 4)
    with pytest.raises(UserError, match=r"row group 3.*under this path"):
        list(unit.batches(["input"]))


def test_prepared_data_asks_for_no_crew(tmp_path: Path) -> None:
    data = data_of(write_parquet(tmp_path / "set", mixed_rows(600)))
    first, second = Alone(), Alone()
    prepare(data, ByteEncoder(), cache=tmp_path / "cache", hire=first.hire)
    prepare(data, ByteEncoder(), cache=tmp_path / "cache", hire=second.hire)
    assert first.pieces
    assert second.pieces == []


def marks_of(folders: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every file in ``folders``."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_after_kill_9_no_finished_unit_is_done_again_and_the_result_is_the_same(tmp_path: Path) -> None:
    data = data_of(write_parquet(tmp_path / "set", mixed_rows(1100)), rows_per_question=100)
    program = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import test_whole; from test_whole import Alone, ByteEncoder, data_of, prepare\n"
        "class Slow(Alone):\n"
        "    def each(self, work, pieces):\n"
        "        for done in super().each(work, pieces):\n"
        "            time.sleep(0.5 if 'tokens' in self.pieces[-1] else 0)\n"
        "            yield done\n"
        "data = data_of(Path(sys.argv[2]), rows_per_question=100)\n"
        "prepare(data, ByteEncoder(), cache=Path(sys.argv[3]), hire=Slow().hire)\n"
    )
    cache = tmp_path / "cache"
    arguments = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path / "set"), str(cache)]
    process = subprocess.Popen(arguments)
    until = time.monotonic() + 120
    while len(finished := sorted(cache.glob("*.units/tokens-*[0-9a-f]/MANIFEST.json"))) < 3:
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = sorted(path for path in cache.glob("*.units/*/MANIFEST.json") if ".tmp-" not in str(path))
    before = marks_of([path.parent for path in finished])
    assert len(before) > 12 * 2
    crew, listening = Watching(before), Listening()
    prepared = prepare(data, ByteEncoder(), cache=cache, progress=listening, hire=crew.hire)
    done_before = {path.parent.name for path in finished}
    uninterrupted = Alone()
    whole = prepare(data, ByteEncoder(), cache=tmp_path / "whole", hire=uninterrupted.hire)
    assert done_before.isdisjoint(crew.pieces)
    assert done_before.union(crew.pieces) == set(uninterrupted.pieces)
    assert crew.seen == before
    assert "read rows: 12 of 12 units were done before" in listening.lines
    one = prepare(data, ByteEncoder(), cache=tmp_path / "one")
    assert files_in(cache / prepared.fingerprint) == files_in(tmp_path / "one" / one.fingerprint)
    assert whole.fingerprint == one.fingerprint
    assert not list(cache.glob("*.units"))


class Watching(Alone):
    """Looks, when its work is done, at the files that were there before."""

    def __init__(self, before: dict[str, tuple[int, int]]) -> None:
        super().__init__()
        self._folders = sorted({Path(name).parent for name in before})
        self.seen: dict[str, tuple[int, int]] = {}

    def each(self, work: Callable[[Piece], Done], pieces: Sequence[Piece]) -> Iterator[Done]:
        yield from super().each(work, pieces)
        self.seen = marks_of([folder for folder in self._folders if folder.exists()])


def test_a_damaged_unit_is_done_again(tmp_path: Path) -> None:
    data = data_of(write_parquet(tmp_path / "set", mixed_rows(1100)), rows_per_question=100)

    class Dying(Alone):
        def each(self, work: Callable[[Piece], Done], pieces: Sequence[Piece]) -> Iterator[Done]:
            yield from super().each(work, pieces[:4] if "tokens" in pieces[0].name else pieces)
            if "tokens" in pieces[0].name:
                raise KeyboardInterrupt

    first, second = Dying(), Alone()
    with pytest.raises(KeyboardInterrupt):
        prepare(data, ByteEncoder(), cache=tmp_path / "cache", hire=first.hire)
    damaged = next((tmp_path / "cache").glob(f"*.units/{first.pieces[-1]}/documents/tokens.bin"))
    content = bytearray(damaged.read_bytes())
    content[50] ^= 1
    damaged.write_bytes(content)
    prepared = prepare(data, ByteEncoder(), cache=tmp_path / "cache", hire=second.hire)
    assert first.pieces[-1] in second.pieces
    assert first.pieces[-2] not in second.pieces
    one = prepare(data, ByteEncoder(), cache=tmp_path / "one")
    assert files_in(tmp_path / "cache" / prepared.fingerprint) == files_in(tmp_path / "one" / one.fingerprint)
