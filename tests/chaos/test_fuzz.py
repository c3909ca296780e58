"""Job files, rows and run names that no one expected: errors in one line, no hang, nothing written elsewhere."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz import Hung, fuzz, within, writes_only
from hypothesis import strategies as st
from odd_rows import OddFile, files

from job_texts import KEYS, names, nested, overrides, sound, trees, written, yaml_noise
from runner.config.job import Columns, Data
from runner.config.load import load_job
from runner.data import PreparedData
from runner.data.prepare import prepare
from runner.errors import RunnerError, UserError
from runner.runs import JobRecord, open_run

JOB_FILES = (
    st.binary(max_size=200)
    | yaml_noise.map(str.encode)
    | st.dictionaries(names, trees, max_size=5).map(written)
    | st.builds(nested, st.sampled_from(KEYS), trees).map(written)
)
RUN_NAMES = (
    st.text(max_size=80)
    | st.text(alphabet="ab./\\~- \0\n", max_size=70)
    | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,66}", fullmatch=True)
    | st.sampled_from(["..", ".", "/etc", "../x", "a/../../x", "~", "a" * 64, "a" * 65, "con", "a\n", "-x", "\ud800"])
)


class Bytes:
    """An encoder of one token a byte."""

    bos_ids: tuple[int, ...] = ()
    eos_id, pad_id, vocabulary, fingerprint = 0, 4, 272, "bytes"

    def encode(self, texts: Any) -> list[list[int]]:
        return [[byte + 16 for byte in text.encode()] for text in texts]

    def decode(self, ids: Any) -> str:
        return bytes(token - 16 for token in ids if token >= 16).decode()


def one_line(error: RunnerError) -> None:
    """Fails unless the error can be shown as one line."""
    assert str(error)
    assert len(str(error).splitlines()) == 1, str(error)
    str(error).encode()


def check_job_file(folder: Path) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        (folder / "job.yaml").write_bytes(content)
        sound(lambda: load_job(folder / "job.yaml"))

    return check


def check_override(words: list[str]) -> None:
    sound(lambda: load_job(None, words))


def check_rows(folder: Path) -> Callable[[OddFile], None]:
    """Through the reader of the product, from the file to packed buffers."""

    def check(odd: OddFile) -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        columns = Columns(prompt="prompt", response="response", id="id", messages="messages")
        values = {"id": str(odd.write(folder)), "format": odd.format, "columns": columns, "max_length": 256}
        data = Data.model_validate({**values, "validation_questions": 1})
        try:
            assert isinstance(prepare(data, Bytes(), cache=folder / "cache"), PreparedData)
        except RunnerError as error:
            one_line(error)

    return check


def check_run_name(folder: Path) -> Callable[[str], None]:
    def check(name: str) -> None:
        try:
            with open_run(folder, name, job=JobRecord({"name": name}, "hash"), resume="auto") as run:
                assert run.folder.root == folder / name
                assert {path.name for path in folder.iterdir()} == {name}
        except UserError as error:
            one_line(error)
            assert list(folder.iterdir()) == []
        for left in folder.iterdir():
            shutil.rmtree(left)

    return check


@pytest.mark.parametrize(
    ("kind", "cases"),
    [
        ("run names", 100),
        ("rows", 25),
        pytest.param("job files", 4500, marks=pytest.mark.chaos),
        pytest.param("overrides", 2000, marks=pytest.mark.chaos),
        pytest.param("run names", 1500, marks=pytest.mark.chaos),
        pytest.param("rows", 2000, marks=pytest.mark.chaos),
    ],
)
def test_generated_cases_end_in_a_result_or_an_error_of_ours(
    kind: str, cases: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {
        "job files": lambda: fuzz(cases, JOB_FILES, check_job_file(tmp_path), tmp_path),
        "overrides": lambda: fuzz(cases, overrides, check_override, tmp_path),
        "run names": lambda: fuzz(cases, RUN_NAMES, check_run_name(tmp_path), tmp_path),
        "rows": lambda: fuzz(cases, files(), check_rows(tmp_path), tmp_path),
    }[kind]()
    with capsys.disabled():
        print(f"\n{made:,} {kind}: no traceback, none over 10 s, nothing written outside the folder")
    assert made >= cases


def test_a_case_that_hangs_raises_or_writes_elsewhere_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(Hung), within(0.05):
        time.sleep(10)
    (tmp_path / "inside").mkdir()
    with pytest.raises(AssertionError, match="outside"), writes_only(tmp_path / "inside"):
        (tmp_path / "outside").mkdir()
    with pytest.raises(AssertionError, match="outside"), writes_only(tmp_path / "inside"):
        (tmp_path / "inside" / ".." / "outside.txt").write_text("x")
    with pytest.raises(ZeroDivisionError):
        fuzz(50, st.integers(0, 3), lambda number: print(1 // number), tmp_path)
