"""journal.jsonl: everything a search learns, one event a line, on the disk before anything follows from it.

What the events mean for the search is in ``records``; what happens next is decided in ``course``.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeAlias

from runner.errors import UserError
from runner.search.records import LostRepeat, Measured, Repeat, Rung, Study, Trial, TrialEnding

Event: TypeAlias = Mapping[str, Any]
RUNG_FIELDS = tuple(field.name for field in fields(Rung))
LOST_FIELDS = tuple(field.name for field in fields(LostRepeat))


class Journal:
    """The journal of one search, for its one writer; ``events`` are all of them, those of earlier starts first.

    A line torn by a crash is cut off when the file is opened.  An event that ``append`` returned from survives
    a crash of the machine.
    """

    def __init__(self, path: Path) -> None:
        self.events: list[Event] = list(read_journal(path))
        self._file: BinaryIO = path.open("ab+")
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)

    def append(self, event: Event) -> None:
        """Add one event."""
        self._file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.events.append(event)

    def close(self) -> None:
        """End writing; what ``append`` found no room for is left out, for it has raised already."""
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_journal(path: Path) -> tuple[Event, ...]:
    """The events in ``path``, none if it is missing; a torn last line is left out.

    Raises ``UserError`` when another line cannot be read: what followed from it cannot be told.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return ()
    events: list[Event] = []
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            break
        try:
            event = json.loads(line)
            assert isinstance(event, dict)
        except (ValueError, AssertionError):
            raise UserError(
                f"line {number} of the search's journal cannot be read",
                str(path),
                "restore the file, or start the search under another name with --name",
            ) from None
        events.append(event)
    return tuple(events)


def base_event(base_loss: float, question_tokens: Iterable[int]) -> Event:
    """The untuned base's loss, nats a token, and the learned tokens of each held-out question."""
    return {"kind": "base", "base_loss": base_loss, "question_tokens": list(question_tokens)}


def trial_event(trial: Trial, *, step_flops: float, token_flops: float) -> Event:
    """A trial proposed; FLOPs of a step at its own rank, and of a token as it is really trained."""
    plain = {
        "number": trial.number,
        "values": dict(trial.values),
        "stop_step": trial.stop_step,
        "until": trial.until,
    }
    return {"kind": "trial", **plain, "step_flops": step_flops, "token_flops": token_flops}


def again_event(trial: int) -> Event:
    """A trial that was cut off begins again from where its task began: what it measured since does not count."""
    return {"kind": "again", "trial": trial}


def on_event(trial: int, until: int, *, anew: bool) -> Event:
    """A trial goes on to the stop step ``until``; ``anew``: in another task, for it had been held back."""
    return {"kind": "on", "trial": trial, "until": until, "anew": anew}


def rung_event(trial: int, rung: Rung) -> Event:
    """What a trial measured."""
    return {"kind": "rung", "trial": trial, **asdict(rung)}


def end_event(trial: int, ending: TrialEnding, why: str = "") -> Event:
    """How a trial ended."""
    return {"kind": "end", "trial": trial, "ending": ending, "why": why}


def repeat_event(repeat: Repeat) -> Event:
    """What a trial gave with another seed."""
    return {"kind": "repeat", **asdict(repeat)}


def lost_event(lost: LostRepeat) -> Event:
    """How a repeat ended that measured nothing."""
    return {"kind": "lost", **asdict(lost)}


class Reading:
    """A study put together event by event; the same events, the same study."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._base_loss = 0.0
        self._question_tokens: tuple[int, ...] = ()
        self._trials: dict[int, Trial] = {}
        self._begun: dict[int, Trial] = {}  # each as it was when its present task began
        self._costs: dict[int, tuple[float, float]] = {}
        self._repeats: list[Repeat] = []
        self._lost: list[LostRepeat] = []
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in the next event; a kind that is not known is passed over."""
        kind = event["kind"]
        if kind == "base":
            self._base_loss, self._question_tokens = event["base_loss"], tuple(event["question_tokens"])
        elif kind == "trial":
            number = int(event["number"])
            self._trials[number] = Trial(number, event["values"], event["stop_step"], 0.0, until=event["until"])
            self._begun[number] = self._trials[number]
            self._costs[number] = event["step_flops"], event["token_flops"]
        elif kind == "repeat":
            rung = rung_in(event["rung"])
            decayed = event.get("decayed", _ends_decayed(self._trials[event["trial"]], rung.stop_step))
            self._repeats.append(Repeat(event["trial"], event["seed"], rung, decayed))
        elif kind == "lost":
            self._lost.append(LostRepeat(**{name: event[name] for name in LOST_FIELDS}))
        elif kind in ("again", "on", "rung", "end"):
            number = int(event["trial"])
            self._trials[number] = _after(self._trials[number], event, self._begun[number])
            if kind == "on" and event["anew"]:
                self._begun[number] = self._trials[number]

    def study(self) -> Study:
        """What the events so far tell."""
        rate = _seconds_per_flop(self._trials.values(), self._costs)
        numbers = sorted(self._trials)
        timed = (replace(self._trials[number], step_s=self._costs[number][0] * rate) for number in numbers)
        return Study(self._question_tokens, self._base_loss, tuple(timed), tuple(self._repeats), tuple(self._lost))


def study_in(events: Iterable[Event]) -> Study:
    """What all of ``events`` tell."""
    return Reading(events).study()


def rung_in(values: Mapping[str, Any]) -> Rung:
    """A rung from a mapping that holds its fields, others beside them."""
    found = {name: values[name] for name in RUNG_FIELDS if name in values}
    stable = tuple(
        Measured(**{**each, "question_sums": tuple(each["question_sums"])}) for each in found.pop("stable", ())
    )
    return Rung(**{**found, "question_sums": tuple(found["question_sums"]), "stable": stable})


def _after(trial: Trial, event: Event, begun: Trial) -> Trial:
    """``trial`` after one more event; ``begun`` is what it was when its present task began."""
    if event["kind"] == "again":
        return begun
    if event["kind"] == "on":
        return replace(trial, until=event["until"], ending=None, why="")
    if event["kind"] == "rung":
        return replace(trial, rungs=(*trial.rungs, _counted_on(rung_in(event), begun)))
    return replace(trial, ending=event["ending"], why=event["why"])


def _ends_decayed(trial: Trial, stop_step: int) -> bool:
    """Whether ``trial`` gives less at ``stop_step`` with a decay; earlier versions do not tell how a repeat ended."""
    there = [measured for measured in trial.measured if measured.stop_step == stop_step]
    return not there or isinstance(min(there, key=lambda measured: measured.loss), Rung)


def _counted_on(rung: Rung, begun: Trial) -> Rung:
    """``rung`` with what the trial had trained before its present task."""
    if not begun.rungs:
        return rung
    before = begun.rungs[-1]
    return replace(
        rung, trained_tokens=before.trained_tokens + rung.trained_tokens, seconds=before.seconds + rung.seconds
    )


def _seconds_per_flop(trials: Iterable[Trial], costs: Mapping[int, tuple[float, float]]) -> float:
    """What a FLOP took, over all that was trained: one rate for all, so that costs differ by size and not by luck."""
    measured = [(trial.rungs[-1], costs[trial.number][1]) for trial in trials if trial.rungs]
    flops = sum(rung.trained_tokens * token_flops for rung, token_flops in measured)
    return sum(rung.seconds for rung, _ in measured) / flops if flops else 0.0
