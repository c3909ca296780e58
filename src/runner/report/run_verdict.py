"""What a run came to: its verdict in one sentence, its state, and the numbers worth a panel.

Verdicts on evaluations are ``runner.evaluation.statistics``'s; they are only repeated here.
"""

from collections.abc import Iterator, Sequence

from runner.evaluation.intervals import Share, overlap
from runner.report.evaluated import Evaluated
from runner.report.facts import Facts, facts_of, passes
from runner.report.page_parts import Figure
from runner.report.wording import counted, duration, loss, percent, sure
from runner.runs import LoadedRun


def verdict_of(run: LoadedRun, evaluations: Sequence[Evaluated], evaluate: str) -> str:
    """One sentence: of the evaluation that counts most, else of the questions asked in training, else of the loss.

    Where nothing was asked it says so, with the command ``evaluate`` that asks.
    """
    if evaluations:
        return evaluations[0].evaluation.verdict
    counts = passes(run.records)
    ask = f"; to measure it, type {evaluate}" if evaluate else ""
    if len(counts) > 1:
        return _of_passes(counts[0].all, counts[-1].all)
    facts = facts_of(run)
    if facts.first is None or facts.last is None or facts.first == facts.last:
        return (
            f"Nothing can be said yet: no change of the validation loss is recorded, and ability was not measured{ask}."
        )
    (_, before), (step, after) = facts.first, facts.last
    moved = "fell" if after < before else "rose" if after > before else "stayed"
    return (
        f"The validation loss {moved} from {loss(before)} to {loss(after)} nats a token by step {step:,}: "
        f"ability was not measured{ask}."
    )


def _of_passes(before: Share, after: Share) -> str:
    change = "better" if after.solved > before.solved else "worse"
    found = "No clear change" if overlap(before, after) else f"The tuned model is {change}"
    return (
        f"{found} on held-out questions: {before.solved:,} of {before.questions:,} solved before "
        f"({_interval(before)}), {after.solved:,} of {after.questions:,} after ({_interval(after)}), asked in training."
    )


def _interval(share: Share) -> str:
    low, high = share.interval()
    return f"95 % interval {100 * low:.1f}-{100 * high:.1f} %"


def key_figures(run: LoadedRun, evaluations: Sequence[Evaluated]) -> Iterator[Figure]:
    """The panels: ability if measured, validation loss, speed, memory, time; those not recorded are left out."""
    facts = facts_of(run)
    yield from _ability(run, evaluations)
    if facts.last is not None:
        once = f"at step {facts.last[0]:,}"
        before = f"{loss(facts.first[1])} before" if facts.first and facts.first != facts.last else once
        lowest = "" if facts.lowest in (None, facts.last) or facts.lowest is None else f"lowest {loss(facts.lowest[1])}"
        yield Figure("validation loss", loss(facts.last[1]), ", ".join(filter(None, (before, lowest))))
    if facts.tokens_per_s is not None:
        yield Figure("speed", f"{facts.tokens_per_s:,.0f}", f"tokens/s, median of {counted(facts.timed_steps, 'step')}")
    if facts.peak_gib is not None:
        yield Figure("peak memory", f"{facts.peak_gib:.2f} GiB", "of the training process")
    yield from _time(facts)


def _ability(run: LoadedRun, evaluations: Sequence[Evaluated]) -> Iterator[Figure]:
    if evaluations:
        evaluation = evaluations[0].evaluation
        base, tuned = evaluation.arm("base"), evaluation.arm("tuned")
        if tuned is not None and 1 in tuned.pass_at:
            before = f"; base {sure(base.pass_at[1])}" if base is not None and 1 in base.pass_at else ""
            found = tuned.pass_at[1]
            interval = f"{100 * found.low:.1f}-{100 * found.high:.1f}{before}"
            yield Figure(f"pass@1, {evaluation.suite.name}", percent(found.value), interval, "best-ink")
        return
    counts = passes(run.records)
    if counts:
        share = counts[-1].all
        before = f", {counts[0].all.solved:,} before" if len(counts) > 1 else f" at step {counts[0].step:,}"
        more = f"of {counted(share.questions, 'held-out question')}{before}"
        yield Figure("solved", f"{share.solved:,}", more, "best-ink")


def _time(facts: Facts) -> Iterator[Figure]:
    if not facts.training_s:
        return
    validation = f", validation {duration(facts.validation_s)}" if facts.validation_s else ""
    whole = f"; {duration(facts.whole_s)} from start to end" if facts.whole_s else ""
    yield Figure("training", duration(facts.training_s), f"{facts.tokens:,} tokens{validation}{whole}")
