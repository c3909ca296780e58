"""A job file for one answer of a search: complete, with what it came from, ready for ``runner train``.

Which answer is given is ``answer``'s.
"""

import shlex
from pathlib import Path

import yaml

from runner.config.job import Job
from runner.runs.durable import write_file
from runner.search.pairs import Pair
from runner.search.records import Study
from runner.search.space import Space

LONGEST_NAME = 64


def answer_job(space: Space, pair: Pair, *, what: str) -> Job:
    """The job whose run gives what ``pair`` measured; its name ends with ``what``."""
    name = f"{space.search.name[: LONGEST_NAME - len(what) - 1]}-{what}"
    job = space.ending_at(pair.values, pair.stop_step, decayed=pair.decayed)
    return job.model_copy(update={"name": name})


def write_answer_job(path: Path, space: Space, study: Study, pair: Pair) -> None:
    """Write ``path`` with comments that say where its values come from; its stem says which answer it is."""
    job, search = answer_job(space, pair, what=path.stem), space.search
    found = ", ".join(f"{key} {value}" for key, value in pair.values.items())
    ended = sum(trial.ending is not None for trial in study.trials)
    no_decay = "" if pair.decayed else ", and no decay, which gave more at this step"
    lines = [
        f"# {_title(path)} by the search {search.name}: trial {pair.trial} of {ended} ended, {found}.",
        f"# At stop step {pair.stop_step:,} its held-out {_named(search.objective)} was {pair.loss:.6f} nats a token; "
        f"all tokens of the untuned base {study.base_loss:.6f}.",
        f"# Warm-up {space.warmup(pair.values):,} steps{no_decay}; every other value is the base job's.",
        f"#   runner train {shlex.quote(str(path))}",
    ]
    body = yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_file(path, ("\n".join(lines) + "\n" + body).encode())


def _title(path: Path) -> str:
    return {"best": "The lowest loss found", "earliest": "The earliest stop within tolerance of the best"}[path.stem]


def _named(objective: str) -> str:
    return "loss" if objective == "validation" else f"{objective} loss"
