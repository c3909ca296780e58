"""`runner search` of a small search as a user types it, and what it left: its journal's study, its answer."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from processes import start
from runner.search.journal import read_journal, study_in
from runner.search.records import Study

STOP_STEPS = (5, 10, 15)
SEARCH = {
    "name": "tiny",
    "override": {
        "data.questions": 200,
        "data.max_length": 512,
        "data.validation_questions": 10,
        "train.tokens_per_step": 1024,
        "train.micro_batch": 1,
        "evaluation.questions": 0,
        "track": [],
    },
    "space": {
        "lora.rank": {"choices": [2, 4]},
        "train.learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
    },
    "stop_steps": list(STOP_STEPS),
    "trials": 4,
    "repeats": 1,
    "concurrency": 1,
}


def search(storage: Path, home: Path, *words: str) -> "subprocess.Popen[str]":
    file = home / "search.yaml"
    file.write_text(json.dumps(SEARCH))
    return run(home, "search", str(file), "--storage", str(storage), *words)


def run(home: Path, *words: str) -> "subprocess.Popen[str]":
    """One thread a trial: two of them wait for each other while another program has the second core."""
    profile = home / "cluster.yaml"
    profile.write_text("cpus_per_worker: 1\n")
    return start(home, *words, "--cluster", str(profile), own_group=True)


def study(storage: Path) -> Study:
    """What was measured, without what depends on the clock and on what processes had in memory.

    A trial whose state was lost while it waited trains its trunk again, so its tokens depend on that, too.
    """
    found = study_in(read_journal(storage / "tiny" / "journal.jsonl"))
    trials = []
    for trial in found.trials:
        rungs = tuple(replace(rung, seconds=0.0, peak_gib=0.0, trained_tokens=0) for rung in trial.rungs)
        trials.append(replace(trial, step_s=0.0, rungs=rungs))
    repeats = (replace(each, rung=replace(each.rung, seconds=0.0, peak_gib=0.0)) for each in found.repeats)
    return replace(found, trials=tuple(trials), repeats=tuple(repeats))


def answer(storage: Path) -> dict[str, Any]:
    """The answer's values that do not depend on the clock."""
    found: dict[str, Any] = json.loads((storage / "tiny" / "answer.json").read_text())
    return {key: found[key] for key in ("base_loss", "questions", "trials", "noise", "importance")} | {
        key: {name: found[key][name] for name in ("trial", "values", "stop_step", "loss")}
        for key in ("best", "earliest")
    }


def pairs_at_rest(found: Study) -> set[tuple[int, int]]:
    """Trial and stop step of what was measured by trials that have ended or wait."""
    return {(trial.number, rung.stop_step) for trial in found.trials if trial.ending for rung in trial.rungs}


def went_on(storage: Path) -> list[tuple[int, int]]:
    """The trials that went on after a wait, and how far; the last of them to complete the curve of the second best."""
    events = read_journal(storage / "tiny" / "journal.jsonl")
    return [(event["trial"], event["until"]) for event in events if event["kind"] == "on" and event["anew"]]


def measurements(storage: Path) -> int:
    return sum(event["kind"] == "rung" for event in read_journal(storage / "tiny" / "journal.jsonl"))
