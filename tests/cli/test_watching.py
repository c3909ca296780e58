"""What is shown of a run while it trains: every record once, also across a resume, and no lie about the time left."""

import io
from pathlib import Path

from runner.cli.ticker import Ticker, duration
from runner.cli.watching import NewRecords, Watching
from runner.config.job import Job
from runner.runs import JSON, MetricsLog, RunFolder


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def train_record(step: int, loss: float | None = 2.0) -> dict[str, JSON]:
    return {"kind": "train", "step": step, "loss": loss, "tokens_per_s": 1000.0, "seconds": 0.5}


def test_records_are_given_once_and_old_ones_not_at_all(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(train_record(1))
    new = NewRecords(tmp_path / "metrics.jsonl")
    assert new() == []
    log.append(train_record(2))
    log.append(train_record(3))
    assert [record["step"] for record in new()] == [2, 3]
    assert new() == []


def test_a_torn_line_is_given_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    new = NewRecords(path)
    path.write_bytes(b'{"kind": "train", "st')
    assert new() == []
    path.write_bytes(b'{"kind": "train", "step": 1}\n')
    assert [record["step"] for record in new()] == [1]


def test_steps_done_again_after_a_resume_are_shown_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    new = NewRecords(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3, 4):
        log.append(train_record(step))
    assert len(new()) == 4
    log.truncate_after(2)
    log.append(train_record(3, loss=1.5))
    assert [(record["step"], record["loss"]) for record in new()] == [(3, 1.5)]


def test_follow_shows_the_last_records_written_before_the_end(tmp_path: Path) -> None:
    folder, stream = RunFolder(tmp_path), io.StringIO()
    log = MetricsLog(folder.metrics_file)
    polls = iter([False, True])

    def ended() -> bool:
        over = next(polls)
        if over:
            log.append({"kind": "validation", "step": 9, "loss": 1.25, "think_loss": 1.0, "answer_loss": 1.5})
        return over

    Watching(Job(), Ticker(stream)).follow(folder, ended)
    assert stream.getvalue() == "step 9: validation loss 1.2500 (think 1.000, answer 1.500)\n"


def test_a_request_to_stop_is_answered_at_once_on_the_screen(tmp_path: Path) -> None:
    from runner.runs import STOP_FILE

    folder, stream = RunFolder(tmp_path), io.StringIO()
    (tmp_path / STOP_FILE).touch()
    polls = iter([False, False, True])
    Watching(Job(), Ticker(stream)).follow(folder, lambda: next(polls))
    assert stream.getvalue().count("stopping: this step is finished and saved first") == 1


def test_the_line_of_a_step_tells_loss_speed_and_time_left() -> None:
    terminal = Terminal()
    watching = Watching(Job.model_validate({"train": {"steps": 200}}), Ticker(terminal))
    watching.tell(train_record(50))
    assert terminal.getvalue() == "\rstep 50/200 █████░░░░░░░░░░░░░░░ loss 2.000, 1,000 tokens/s, 1:15 left\x1b[K"


def test_a_plateau_shortens_the_time_left() -> None:
    terminal = Terminal()
    watching = Watching(Job.model_validate({"train": {"steps": 2000}}), Ticker(terminal))
    watching.tell({"kind": "event", "name": "plateau", "step": 600, "end": 650, "text": "plateau: ..."})
    watching.tell(train_record(600))
    assert "step 600/650" in terminal.getvalue()
    assert "25 s left" in terminal.getvalue()


def test_a_loss_that_is_not_finite_is_not_hidden() -> None:
    terminal = Terminal()
    watching = Watching(Job(), Ticker(terminal))
    watching.tell(train_record(1))
    watching.tell(train_record(2, loss=None))
    assert "loss not finite" in terminal.getvalue()


def test_without_a_terminal_only_lines_that_stay_are_written() -> None:
    stream = io.StringIO()
    ticker = Ticker(stream)
    ticker.show("a changing line")
    ticker.say("a line")
    ticker.clear()
    assert stream.getvalue() == "a line\n"


def test_durations_read_as_people_write_them() -> None:
    assert [duration(s) for s in (0.4, 59.4, 60, 3599, 3600, 7325)] == [
        "0 s",
        "59 s",
        "1:00",
        "59:59",
        "1:00:00",
        "2:02:05",
    ]
