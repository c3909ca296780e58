"""How many held-out questions the model solves, recorded before and after training.

Answering and executing are ``runner.evaluation``'s.
"""

from collections.abc import Mapping

from torch import nn

from runner.config.job import Job
from runner.data import PreparedData
from runner.evaluation.passes import PassCount, count_passes
from runner.evaluation.results import Arm
from runner.evaluation.sandbox import sandbox_works
from runner.evaluation.sandbox.bubblewrap import INSTALL
from runner.model.source import EMBEDDED
from runner.model.tokenizer import Encoder
from runner.runs import JSON
from runner.train.reporter import Reporter
from runner.train.stopping import CutShort
from runner.train.world import World

HAS_HIDDEN_TESTS = "builtin:questions"
BEFORE: Mapping[str, Arm] = {"instruction": "base", "native": "native"}
AFTER: Mapping[str, Arm] = {"instruction": "tuned"}
COUNTS = len(BEFORE) + len(AFTER)


def counted_questions(data: PreparedData, job: Job) -> tuple[str, ...]:
    """The first held-out questions, by their ids; none for data without hidden tests."""
    return data.validation_ids[: job.evaluation.questions] if job.data.id == HAS_HIDDEN_TESTS else ()


def why_not_executed(job: Job) -> str | None:
    """Why nothing that the job's model writes may be executed here; None where it may.

    What the embedded model writes, which knows nothing but the built-in questions' code, may run in plain processes;
    what any other writes needs a sandbox.
    """
    reason = None if job.model.id in EMBEDDED else sandbox_works()
    return None if reason is None else f"what the model writes may not run without a sandbox, and {reason}; {INSTALL}"


def record_passes(
    model: nn.Module, encoder: Encoder, data: PreparedData, job: Job, world: World, reporter: Reporter, *, step: int
) -> bool:
    """Record how many of the ``counted_questions`` are solved now, on rank 0; False if a request to stop cut it short.

    Before the first step also in the base's own format, a comment to continue with code, so that what tuning
    adds is not the format alone.  Where the programs may not be executed nothing is counted, and that is told.
    Before the first step all ranks wait for the answer, which is the same on each; after the last rank 0 alone goes on.
    """
    whole = not world.leads or _recorded(model, encoder, data, job, reporter, step=step)
    return whole if step else bool(world.from_lead(int(whole)))


def _recorded(
    model: nn.Module, encoder: Encoder, data: PreparedData, job: Job, reporter: Reporter, *, step: int
) -> bool:
    ids = counted_questions(data, job)
    if not ids:
        return True
    if (why := why_not_executed(job)) is not None:
        text = f"solved questions are not counted: {why}"
        reporter.record({"kind": "event", "step": step, "name": "passes", "text": text})
        return True

    def between() -> None:
        if reporter.stop_requested():
            raise CutShort

    most = job.evaluation.max_new_tokens
    for prompt, arm in (AFTER if step else BEFORE).items():
        try:
            counted = count_passes(model, encoder, ids, max_new_tokens=most, arm=arm, between=between)
        except CutShort:
            return False
        reporter.record(record_of(counted, step, prompt))
    return True


def record_of(count: PassCount, step: int, prompt: str) -> dict[str, JSON]:
    """What the run's metrics say of ``count``, made before training step ``step`` with ``prompt``'s format."""
    return {
        "kind": "passes",
        "step": step,
        "format": prompt,
        "solved": count.solved,
        "questions": count.questions,
        "by_family": {name: [family.solved, family.questions] for name, family in count.by_family.items()},
        "failures": dict(count.failures),
        "isolation": count.isolation,
    }
