"""What a run's model can be asked: its own held-out questions, the problems that fit it, how many answers at once.

Loading the model is ``inference``'s, asking it ``runner.evaluation``'s.
"""

from dataclasses import replace
from pathlib import Path

from runner.config.job import Job
from runner.data.questions import rows
from runner.data.template import prompt_text, statement_in
from runner.errors import UserError
from runner.evaluation.generation import cache_bytes, prompt_ids
from runner.evaluation.problems import Suite
from runner.evaluation.suites import built_in_suite, statement_suite
from runner.model.adapter import causal_lm
from runner.plan import present_device, read_positions
from runner.plan.memory import GIB
from runner.train.assembly import load_data
from runner.train.inference import InferenceModel
from runner.train.passes import HAS_HIDDEN_TESTS

ROOM = 0.5  # of the free memory that keys and values may take
MOST_AT_ONCE = {"cpu": 64, "cuda": 128}


def held_out_suite(job: Job, limit: int, *, cache: Path) -> Suite:
    """The first held-out questions of the job's own data: with hidden tests where it is built in, else weak.

    Raises ``UserError`` for data without questions, and where no question has a test.
    """
    if job.data.id == HAS_HIDDEN_TESTS:
        # more than the loss was measured on: none shares its sequence of operations with a training question
        return built_in_suite([row["id"] for row in rows("validation", limit, job.data.seed)])
    encoder, data = load_data(job, cache=cache)
    found: list[tuple[str, str, str]] = []
    for number in range(data.validation.documents):
        document = data.validation.document(number)
        prompt = document.ids[len(encoder.bos_ids) : document.prompt_length]
        statement = statement_in(encoder.decode(prompt.tolist()))
        if statement is not None:
            found.append((document.question_id, statement, ""))
    if not found:
        raise UserError(
            "the run's data has no questions, only text", f"data.id {job.data.id}", "name a suite with --suite"
        )
    suite = statement_suite("held-out", job.data.id, found, limit=limit)
    if not suite.problems:
        reasons = ", ".join(f"{count:,}: {reason}" for reason, count in suite.skipped)
        raise UserError(
            f"none of the {len(found):,} held-out questions shows an example to test answers by ({reasons})",
            f"data.id {job.data.id}",
            "name a suite with --suite",
        )
    return suite


def fitting(suite: Suite, subject: InferenceModel, max_new_tokens: int) -> tuple[Suite, int]:
    """The problems whose prompts leave room for an answer, and the tokens of the longest with its answer.

    What is left out is counted as skipped.  Raises ``UserError`` where no problem fits.
    """
    positions = read_positions(subject.job.model)
    prompts = [[prompt_text(p.statement), p.native.text if p.native else ""] for p in suite.problems]
    lengths = [max(map(len, prompt_ids(subject.encoder, pair))) for pair in prompts]
    kept = [place for place, length in enumerate(lengths) if not positions or length + max_new_tokens <= positions]
    if not kept:
        raise UserError(
            f"no problem leaves room for an answer of {max_new_tokens:,} tokens: the model has {positions:,} positions",
            suite.source,
            "lower --max-new-tokens",
        )
    longest = max(lengths[place] for place in kept) + max_new_tokens
    left_out = len(lengths) - len(kept)
    if not left_out:
        return suite, longest
    skipped = (*suite.skipped, (f"no room for an answer of {max_new_tokens:,} tokens", left_out))
    return replace(suite, problems=tuple(suite.problems[place] for place in kept), skipped=skipped), longest


def answers_at_once(subject: InferenceModel, tokens: int, answers: int) -> int:
    """As many as find room for their keys and values of ``tokens`` each, no more than pays, of ``answers`` in all."""
    room = ROOM * present_device().free_gib * GIB
    most = MOST_AT_ONCE[subject.device.type]
    return max(1, min(most, answers, int(room / cache_bytes(causal_lm(subject.model), tokens))))
