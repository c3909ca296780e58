"""What a run's weights belong to: base, adapter and data in words that a checkpoint carries and a resume compares.

Also which commit of a hub's base is meant: the one that the run was started on.
"""

from pathlib import Path

from runner.config.job import Job, Model
from runner.config.load import job_hash
from runner.errors import UserError
from runner.model.base import load_config
from runner.model.source import commit_of, content_of, locate
from runner.runs import RunFolder
from runner.train.inference import as_trained
from runner.train.reporter import Reporter
from runner.train.world import World

_DIGITS = 10  # of a commit in one number: 40 bits


def stamp_of(job: Job, model: Model, data_fingerprint: str) -> dict[str, str]:
    """What tells the checkpoints of ``job`` from others', by name; ``model`` is its base at the commit in use."""
    lora, content = job.lora, _content(model, job.train.seed)
    targets = "" if lora is None else lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    stamp = {
        "job": job_hash(job),
        "base": model.id,
        "quantization": model.quantization,
        "adapter": "none: all weights are trained" if lora is None else f"rank {lora.rank} on {targets}",
        "data": f"{job.data.id} {data_fingerprint}",
    }
    return stamp if content is None else {**stamp, "base_content": content}


def _content(model: Model, seed: int) -> str | None:
    """The commit of a hub's base, a fingerprint of any other; None where a hub's is in no cache that is known."""
    if model.weights == "random":
        return f"random weights of seed {seed}"
    return content_of(model) if Path(locate(model.id)).is_dir() else commit_of(model)


def pinned(job: Job, folder: RunFolder, world: World, reporter: Reporter) -> Job:
    """``job`` with the commit of its base on which the run in ``folder`` was started, the same one on every rank.

    That the name has moved since then is told.  ``job`` itself for a new run, and for a base that is no hub's.
    Raises ``UserError`` on every rank where that commit can be had no more.
    """
    started = as_trained(job, folder) if world.leads else job
    commit = _from_lead(started.model.revision if started is not job else None, world)
    if commit is None or commit == job.model.revision:
        return job
    then = job.model_copy(update={"model": job.model.model_copy(update={"revision": commit})})
    now = commit_of(job.model)
    name = f"{job.model.id} at {job.model.revision or 'its main branch'}"
    moved = f"{name} is commit {now or 'unknown'} now, and the run was started on {commit}"
    try:
        load_config(then.model)
    except UserError as error:
        remedy = "bring that commit into the cache, or start a new run with --name or --resume never"
        raise UserError(f"{moved}, which cannot be loaded any more", error.what, remedy) from error
    if now not in (None, commit):
        text = f"{moved}: it goes on with that"
        reporter.record({"kind": "event", "step": 0, "name": "base", "text": text})
    return then


def _from_lead(commit: str | None, world: World) -> str | None:
    """The commit that rank 0 holds."""
    numbers = [int(commit[at : at + _DIGITS], 16) for at in range(0, 40, _DIGITS)] if commit else [-1] * 4
    told = [world.from_lead(number) for number in numbers]
    return None if told[0] < 0 else "".join(f"{number:0{_DIGITS}x}" for number in told)
