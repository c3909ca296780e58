"""The journal: what it says again after a crash, and the study that follows from it."""

import json
import resource
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from runner.errors import UserError
from runner.search.journal import (
    Event,
    Journal,
    again_event,
    base_event,
    end_event,
    lost_event,
    on_event,
    read_journal,
    repeat_event,
    rung_event,
    rung_in,
    study_in,
    trial_event,
)
from runner.search.records import LostRepeat, Measured, Repeat, Rung, Study, Trial

RUNG = Rung(20, 1.5, None, 1.5, (0.1 + 0.2, 1 / 3), 200, 4.0, 0.5)
WITHOUT_DECAY = Measured(20, 1.25, None, 1.25, (0.2, 1 / 7))
LATER = replace(RUNG, stop_step=40, loss=1.25, trained_tokens=400, seconds=8.0, stable=(WITHOUT_DECAY,))
OTHER = replace(RUNG, loss=2.5, trained_tokens=400, seconds=8.0)
LOST = LostRepeat(1, 18, 20, True, "diverged", "loss not finite")
FIRST = Trial(0, {"lora.rank": 4, "train.learning_rate": 1e-3, "train.schedule": "cosine"}, 40, 0.0)


def events() -> list[Event]:
    return [
        base_event(4.0, (3, 5)),
        trial_event(FIRST, step_flops=1e6, token_flops=1e5),
        rung_event(0, RUNG),
        trial_event(replace(FIRST, number=1), step_flops=2e6, token_flops=1e5),
        rung_event(1, OTHER),
        rung_event(0, LATER),
        end_event(1, "stopped", "the others were better"),
        end_event(0, "finished"),
        lost_event(LOST),
        repeat_event(Repeat(0, 18, LATER, decayed=False)),
    ]


def written(path: Path) -> None:
    with Journal(path) as journal:
        for event in events():
            journal.append(event)


def test_a_rung_that_was_written_before_there_were_endings_without_a_decay_has_none() -> None:
    plain = dict(rung_event(0, LATER))
    assert rung_in(json.loads(json.dumps(plain))) == LATER
    del plain["stable"]
    assert rung_in(plain) == replace(LATER, stable=())


def test_a_journal_read_again_gives_the_same_study(tmp_path: Path) -> None:
    written(tmp_path / "j")
    rate = 16.0 / (800 * 1e5)  # seconds a FLOP, over both trials' last rungs
    assert study_in(read_journal(tmp_path / "j")) == Study(
        (3, 5),
        4.0,
        (
            replace(FIRST, step_s=1e6 * rate, rungs=(RUNG, LATER), ending="finished"),
            replace(FIRST, number=1, step_s=2e6 * rate, rungs=(OTHER,), ending="stopped", why="the others were better"),
        ),
        (Repeat(0, 18, LATER, decayed=False),),
        (LOST,),
    )


def test_a_repeat_of_an_earlier_version_ended_as_the_lower_of_what_it_repeats() -> None:
    plain = {"kind": "repeat", "trial": 0, "seed": 18}
    with_decay = study_in([*events(), {**plain, "rung": asdict(LATER)}]).repeats[-1]
    assert with_decay == Repeat(0, 18, LATER, decayed=True)
    without = study_in([*events(), {**plain, "rung": asdict(RUNG)}]).repeats[-1]
    assert without == Repeat(0, 18, RUNG, decayed=False)
    of_the_other = study_in([*events(), {**plain, "trial": 1, "rung": asdict(RUNG)}]).repeats[-1]
    assert of_the_other.decayed


def test_a_journal_on_a_full_disk_is_closed_without_another_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path / "j") as journal:
        journal.append(end_event(0, "finished"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                journal.append(end_event(1, "failed", 200 * "."))
            journal.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_journal(tmp_path / "j") == (end_event(0, "finished"),)


def test_a_torn_last_line_is_left_out_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    whole = path.read_bytes()
    for cut in range(1, 40, 7):
        path.write_bytes(whole[:-cut])
        assert len(read_journal(path)) == len(events()) - 1
    with Journal(path) as journal:
        assert len(journal.events) == len(events()) - 1
        journal.append(repeat_event(Repeat(0, 18, LATER, decayed=False)))
    assert path.read_bytes() == whole


def test_a_damaged_line_in_the_middle_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "j"
    written(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(UserError, match="line 3 of the search's journal"):
        Journal(path)


def test_a_trial_that_runs_again_loses_what_it_had() -> None:
    trials = study_in([*events()[:3], again_event(0)]).trials
    assert trials == (FIRST,)
    assert study_in([*events()[:3], again_event(0), rung_event(0, RUNG)]).trials[0].rungs == (RUNG,)


def test_a_trial_that_goes_on_keeps_what_it_had_and_its_costs_add_up() -> None:
    went_on = [*events()[:3], end_event(0, "stopped", "held back"), on_event(0, 40, anew=True)]
    (trial,) = study_in(went_on).trials
    assert (trial.rungs, trial.ending, trial.why, trial.until) == ((RUNG,), None, "", 40)
    after = study_in([*went_on, rung_event(0, LATER)]).trials[0].rungs
    assert after == (RUNG, replace(LATER, trained_tokens=200 + 400, seconds=4.0 + 8.0))
    killed = study_in([*went_on, rung_event(0, LATER), again_event(0)]).trials[0]
    assert killed.rungs == (RUNG,)
    assert killed.until == 40
    assert study_in([*went_on, rung_event(0, LATER), again_event(0), rung_event(0, LATER)]).trials[0].rungs == after


def test_a_trial_that_goes_straight_on_counts_once_and_a_kill_takes_it_back_to_its_start() -> None:
    straight = [*events()[:3], on_event(0, 40, anew=False), rung_event(0, LATER)]
    assert study_in(straight).trials[0].rungs == (RUNG, LATER)
    assert study_in([*straight, again_event(0)]).trials == (FIRST,)


def test_a_missing_journal_is_an_empty_study(tmp_path: Path) -> None:
    assert study_in(read_journal(tmp_path / "none")) == Study((), 0.0, ())
