"""metrics.jsonl survives torn lines, and a resume leaves each step once."""

import json
import math
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runner.runs import MetricsLog, read_metrics


def train(step: int) -> dict[str, int | str | float]:
    return {"kind": "train", "step": step, "loss": 2.0 / step}


def test_records_come_back_in_order_while_the_log_is_open(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.append({"kind": "startup", "model": 1.5})
        log.append(train(1))
        assert read_metrics(tmp_path / "metrics.jsonl") == ({"kind": "startup", "model": 1.5}, train(1))
        assert log.read() == read_metrics(tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path / "missing.jsonl") == ()


def test_truncating_keeps_the_bytes_up_to_a_step_and_every_record_without_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.append({"kind": "startup", "model": 1.5})
    for step in range(1, 5):
        log.append(train(step))
    before = path.read_bytes().splitlines()
    log.truncate_after(2)
    assert path.read_bytes().splitlines() == before[:3]
    log.append(train(3))
    assert [record.get("step") for record in log.read()] == [None, 1, 2, 3]
    log.close()


@given(cut=st.integers(min_value=1, max_value=40))
def test_a_torn_last_line_is_not_read_and_gives_way_to_the_next_record(tmp_path_factory, cut: int) -> None:  # type: ignore[no-untyped-def]  # the factory's type is private to pytest
    path = tmp_path_factory.mktemp("torn") / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append(train(1))
        log.append(train(2))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    kept = read_metrics(path)
    assert kept == (train(1),)
    with MetricsLog(path) as log:
        log.append(train(2))
    assert path.read_bytes() == whole


def test_a_line_spoilt_in_the_middle_is_left_out_and_counted_at_the_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        for step in (1, 2, 3):
            log.append(train(step))
    path.write_bytes(path.read_bytes().replace(b'{"kind": "train", "step": 2', b'\x00\xff{"kind": "tr'))
    assert [record["step"] for record in read_metrics(path)] == [1, 3]
    MetricsLog(path).truncate_after(3)
    assert read_metrics(path)[-1] == {"kind": "event", "step": 3, "text": "1 unreadable line of metrics.jsonl dropped"}


def test_numbers_that_are_not_finite_are_written_as_null(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "metrics.jsonl") as log:
        log.append({"kind": "train", "step": 1, "loss": math.nan, "parts": [math.inf, {"x": -math.inf}]})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    line = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=refuse)
    assert line == {"kind": "train", "step": 1, "loss": None, "parts": [None, {"x": None}]}
