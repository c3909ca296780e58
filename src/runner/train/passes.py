"""How many held-out questions the model solves, recorded before and after training.

Answering and executing are ``runner.evaluation``'s.
"""

from typing import Any

from torch import nn

from runner.config.job import Job
from runner.data import PreparedData
from runner.evaluation.passes import PassCount, count_native_passes, count_passes
from runner.model.adapter import causal_lm
from runner.model.attention import padded_attention
from runner.model.tokenizer import Encoder
from runner.runs import JSON
from runner.train.reporter import Reporter
from runner.train.world import World

HAS_HIDDEN_TESTS = "builtin:questions"


def record_passes(
    model: nn.Module, encoder: Encoder, data: PreparedData, job: Job, world: World, reporter: Reporter, *, step: int
) -> None:
    """Record how many of the first held-out questions are solved now; on rank 0, for data that has hidden tests.

    Before the first step also in the base's own format, a comment to continue with code, so that what tuning
    adds is not the format alone.
    """
    count = job.evaluation.questions
    if not count or not world.leads or job.data.id != HAS_HIDDEN_TESTS:
        return
    ids = data.validation_ids[:count]
    options: dict[str, Any] = {"max_new_tokens": job.evaluation.max_new_tokens}
    with padded_attention(causal_lm(model)):
        reporter.record(_record(count_passes(model, encoder, ids, **options), step, "instruction"))
        if step == 0:
            reporter.record(_record(count_native_passes(model, encoder, ids, **options), step, "native"))


def _record(count: PassCount, step: int, prompt: str) -> dict[str, JSON]:
    return {
        "kind": "passes",
        "step": step,
        "format": prompt,
        "solved": count.solved,
        "questions": count.questions,
        "by_family": {name: [family.solved, family.questions] for name, family in count.by_family.items()},
        "failures": dict(count.failures),
    }
