"""Studies whose losses are given or follow a formula, for what is told of a search."""

import math
import random
from collections.abc import Mapping, Sequence

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from runner.search.answer import Answer, Tolerance, answer_of
from runner.search.records import Measured, Repeat, Rung, Study, Trial, TrialEnding, Value

QUESTION_TOKENS = (10, 20, 30, 40)
STOP_STEPS = (50, 100, 200)
RANK, RATE = "lora.rank", "train.learning_rate"
DISTRIBUTIONS: Mapping[str, BaseDistribution] = {
    RANK: CategoricalDistribution((2, 4, 8, 16)),
    RATE: FloatDistribution(1e-3, 3e-2, log=True),
    "stop_step": CategoricalDistribution(STOP_STEPS),
}


def rung(stop_step: int, sums: Sequence[float], tokens: Sequence[int] = QUESTION_TOKENS) -> Rung:
    """A rung with these nats of each question."""
    loss = math.fsum(sums) / sum(tokens)
    return Rung(stop_step, loss, None, loss, tuple(sums), 2048 * stop_step, stop_step * 0.15, 0.8)


def even(stop_step: int, loss: float) -> Rung:
    """A rung with the same loss on every token."""
    return rung(stop_step, [loss * tokens for tokens in QUESTION_TOKENS])


def stable(stop_step: int, loss: float) -> Measured:
    """An ending without a decay, with the same loss on every token."""
    return Measured(stop_step, loss, None, loss, tuple(loss * tokens for tokens in QUESTION_TOKENS))


def trial(
    number: int,
    rungs: Sequence[Rung] = (),
    *,
    values: Mapping[str, Value] | None = None,
    step_s: float = 0.3,
    ending: TrialEnding | None = "finished",
) -> Trial:
    """A trial; rank 4 at a rate of its own unless given."""
    found = values or {RANK: 4, RATE: round(1e-3 * (number + 2), 4)}
    return Trial(number, found, STOP_STEPS[-1], step_s, tuple(rungs), ending)


def study_of_trials(*trials: Trial, repeats: Sequence[Repeat] = ()) -> Study:
    return Study(QUESTION_TOKENS, 2.0, trials, tuple(repeats))


def answered(
    study: Study,
    tolerance: Tolerance = "auto",
    *,
    distributions: Mapping[str, BaseDistribution] = DISTRIBUTIONS,
) -> Answer:
    return answer_of(
        study,
        objective="validation",
        stop_steps=STOP_STEPS,
        tolerance=tolerance,
        distributions=distributions,
    )


def formula_study(trials: int = 24, *, questions: int = 40, seed: int = 3) -> Study:
    """A search as it may come out: the rate matters most, ASHA stops the worst, some diverge or do not fit."""
    drawn = random.Random(seed)
    tokens = tuple(drawn.randrange(20, 60) for _ in range(questions))
    difficulty = [math.exp(drawn.gauss(0, 0.5)) for _ in tokens]
    made = [_made_up(number, tokens, difficulty, drawn) for number in range(trials)]
    best = min((each for each in made if each.rungs), key=lambda each: each.rungs[-1].loss)
    repeats = tuple(
        Repeat(best.number, 18 + n, _made_up(best.number, tokens, difficulty, drawn, best.values).rungs[-1])
        for n in range(2)
    )
    return Study(tokens, 1.95, tuple(made), repeats)


def _made_up(
    number: int,
    tokens: Sequence[int],
    difficulty: Sequence[float],
    drawn: random.Random,
    values: Mapping[str, Value] | None = None,
) -> Trial:
    rank = drawn.choice((2, 4, 8, 16)) if values is None else int(values[RANK])
    rate = 10 ** drawn.uniform(-3, -1.53) if values is None else float(values[RATE])
    found: Mapping[str, Value] = values or {RANK: rank, RATE: float(f"{rate:.4g}")}
    step_s = 0.14 + 0.002 * rank
    if values is None and number % 11 == 7:
        return Trial(number, found, 100, step_s, (), "infeasible", "needs 30.1 GiB, 22.5 are there")
    rungs = []
    for stop in STOP_STEPS:
        loss = 0.06 + 0.25 * math.log10(rate / 7e-3) ** 2 + 0.05 / rank + 6 / stop**1.1
        sums = [n * loss * d * math.exp(drawn.gauss(0, 0.08)) for n, d in zip(tokens, difficulty, strict=True)]
        rungs.append(rung(stop, sums, tokens))
        if values is None and (rate > 2.5e-2 or loss > 0.25):
            ending: TrialEnding = "diverged" if rate > 2.5e-2 else "stopped"
            return Trial(number, found, 100, step_s, tuple(rungs[: 0 if ending == "diverged" else None]), ending)
    return Trial(number, found, 200, step_s, tuple(rungs), "finished")
