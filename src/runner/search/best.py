"""A job file for one answer of a search: complete, with what it came from, ready for ``runner train``.

Which answer is given is ``answer``'s.
"""

import shlex
from pathlib import Path

import yaml

from runner.config.job import Job
from runner.runs.durable import write_file
from runner.search.proposals import loss_of
from runner.search.records import Study, Trial
from runner.search.space import Space

LONGEST_NAME = 64


def answer_job(space: Space, trial: Trial, stop_step: int, *, what: str) -> Job:
    """The job whose run gives what ``trial`` measured at ``stop_step``; its name ends with ``what``."""
    name = f"{space.search.name[: LONGEST_NAME - len(what) - 1]}-{what}"
    return space.ending_at(trial.values, stop_step).model_copy(update={"name": name})


def write_answer_job(path: Path, space: Space, study: Study, trial: Trial, stop_step: int) -> None:
    """Write ``path`` with comments that say where its values come from; its stem says which answer it is."""
    job = answer_job(space, trial, stop_step, what=path.stem)
    rung = next(rung for rung in trial.rungs if rung.stop_step == stop_step)
    search = space.search
    loss, kind = loss_of(rung, search.objective), _named(search.objective)
    found = ", ".join(f"{key} {value}" for key, value in trial.values.items())
    ended = sum(other.ending is not None for other in study.trials)
    lines = [
        f"# {_title(path)} by the search {search.name}: trial {trial.number} of {ended} ended, {found}.",
        f"# At stop step {stop_step:,} its held-out {kind} was {loss:.6f} nats a token; all tokens of the untuned base "
        f"{study.base_loss:.6f}.",
        f"# Warm-up {space.warmup(trial.values):,} steps; every other value is the base job's.",
        f"#   runner train {shlex.quote(str(path))}",
    ]
    body = yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_file(path, ("\n".join(lines) + "\n" + body).encode())


def _title(path: Path) -> str:
    return {"best": "The lowest loss found", "earliest": "The earliest stop within tolerance of the best"}[path.stem]


def _named(objective: str) -> str:
    return "loss" if objective == "validation" else f"{objective} loss"
