"""What follows from a study: best, earliest as good, front, importance, noise, and the words for them."""

import json
import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from made_up import (
    QUESTION_TOKENS,
    RANK,
    RATE,
    STOP_STEPS,
    answered,
    even,
    formula_study,
    rung,
    stable,
    study_of_trials,
    trial,
)

from runner.search.answer import answer_of, as_json
from runner.search.noise import student
from runner.search.pairs import Pair, difference
from runner.search.records import LostRepeat, Repeat, Study


def test_nothing_measured_is_said_and_not_guessed() -> None:
    empty = answered(study_of_trials())
    assert [empty.best, empty.earliest, empty.rival, empty.noise, empty.importance] == [None] * 5
    assert [*empty.front, *empty.pairs, *empty.remarks] == []
    assert empty.verdict == "Nothing was measured."
    lost = answered(study_of_trials(trial(0, ending="diverged"), trial(1, ending="infeasible"), trial(2, ending=None)))
    assert lost.verdict == "Nothing was measured: 1 trial diverged, 1 trial did not fit and 1 trial not ended."


def test_one_pair_is_not_called_the_best_of_something() -> None:
    answer = answered(study_of_trials(trial(0, [even(50, 0.5)], ending=None)))
    assert answer.best == answer.earliest
    assert answer.verdict.startswith("One pair was measured, so nothing is compared: rank 4, learning rate 0.002")
    assert not answer.edges


def test_best_is_the_lowest_over_all_trials_and_stop_steps() -> None:
    answer = answered(
        study_of_trials(
            trial(0, [even(50, 0.5), even(100, 0.3), even(200, 0.35)]),
            trial(1, [even(50, 0.6), even(100, 0.4)], ending="stopped"),
            trial(2, [even(50, math.nan)], ending="diverged"),
        ),
        tolerance=0.0,
    )
    assert answer.best is not None
    assert (answer.best.trial, answer.best.stop_step) == (0, 100)
    assert answer.best.minutes == pytest.approx(0.3 * 100 / 60)
    assert len(answer.pairs) == 5


def test_a_pair_is_the_lower_of_ending_with_a_decay_and_without() -> None:
    late = replace(even(200, 0.3), stable=(stable(50, 0.45), stable(100, 0.5)))
    study = study_of_trials(trial(0, [even(50, 0.5), even(100, 0.4), late]), trial(1, [even(50, 0.6)]))
    answer = answered(study, tolerance=0.2)
    assert [(pair.stop_step, pair.loss, pair.decayed) for pair in answer.pairs if pair.trial == 0] == [
        (50, 0.45, False),
        (100, 0.4, True),
        (200, 0.3, True),
    ]
    assert answer.earliest is not None
    assert (answer.earliest.stop_step, answer.earliest.decayed) == (50, False)
    assert "stop at step 50 without a decay: 0.4500" in answer.verdict
    told = "In the best trial a decay lowers the loss at step 100, by up to 0.100 nats, and raises it at step 50, by up"
    assert any(remark.startswith(f"{told} to 0.050 nats") for remark in answer.remarks)
    costs = study_of_trials(trial(0, [even(50, 0.5), replace(even(200, 0.3), stable=(stable(50, 0.45),))]))
    assert "In the best trial a decay raises the loss at step 50, by up to 0.050 nats." in answered(costs).remarks
    plain = as_json(answer)
    assert plain["decays"] == [
        {"stop_step": 50, "nats": pytest.approx(-0.05)},
        {"stop_step": 100, "nats": pytest.approx(0.1)},
    ]
    even_ones = study_of_trials(trial(0, [even(50, 0.5), replace(even(200, 0.6), stable=(stable(50, 0.5),))]))
    assert answered(even_ones).pairs[0].decayed


def test_of_equal_losses_the_earlier_then_the_cheaper_counts() -> None:
    late, early = trial(0, [even(50, 0.9), even(100, 0.3)]), trial(1, [even(50, 0.3)])
    cheap = trial(2, [even(50, 0.3)], step_s=0.1)
    answer = answered(study_of_trials(late, early, cheap))
    assert answer.best is not None
    assert answer.best.trial == 2
    assert answer.best == answer.earliest
    assert [pair.trial for pair in answer.front] == [2]


def test_standard_error_is_the_ratio_estimators() -> None:
    """By hand: d = 1, 0, 3, 4 nats on 10, 20, 30, 40 tokens; D = 8 / 100; residuals 0.2, -1.6, 0.6, 0.8."""
    low = rung(50, [5.0, 10.0, 15.0, 20.0])
    high = rung(50, [6.0, 10.0, 18.0, 24.0])
    pairs = [Pair(n, {}, 50, each.loss, 1.0, each.question_sums) for n, each in enumerate((low, high))]
    apart = difference(pairs[1], pairs[0], QUESTION_TOKENS)
    assert apart.nats == pytest.approx(0.08)
    assert apart.standard_error == pytest.approx(math.sqrt(4 / 3 * (0.04 + 2.56 + 0.36 + 0.64)) / 100)


def test_standard_error_is_what_drawing_other_questions_gives() -> None:
    """The bootstrap over questions, another way to the same number."""
    drawn = random.Random(5)
    tokens = [drawn.randrange(20, 200) for _ in range(300)]
    one = [n * math.exp(drawn.gauss(0, 0.4)) for n in tokens]
    two = [a * math.exp(drawn.gauss(0.02, 0.2)) for a in one]
    first, second = (Pair(n, {}, 50, sum(s) / sum(tokens), 1.0, tuple(s)) for n, s in enumerate((one, two)))
    found = difference(second, first, tokens).standard_error
    means = []
    for _ in range(400):
        chosen = drawn.choices(range(300), k=300)
        means.append(sum(two[i] - one[i] for i in chosen) / sum(tokens[i] for i in chosen))
    centre = sum(means) / len(means)
    assert found == pytest.approx(math.sqrt(sum((m - centre) ** 2 for m in means) / (len(means) - 1)), rel=0.15)


def test_questions_without_tokens_and_single_questions_give_no_error() -> None:
    pair = Pair(0, {}, 50, 1.0, 1.0, (3.0, 0.0))
    assert difference(pair, pair, (3, 0)).standard_error is None
    three = Pair(0, {}, 50, 1.0, 1.0, (3.0, 0.0, 3.3))
    assert difference(three, three, (3, 0, 3)).standard_error == 0.0


def test_earliest_is_the_first_stop_that_questions_cannot_tell_from_the_best() -> None:
    best = [10 * 0.30, 20 * 0.30, 30 * 0.30, 40 * 0.30]
    near = [10 * 0.40, 20 * 0.25, 30 * 0.35, 40 * 0.29]  # 0.006 worse, better on some questions
    far = [10 * 0.45, 20 * 0.45, 30 * 0.45, 40 * 0.45]  # worse on each by the same
    answer = answered(study_of_trials(trial(0, [rung(50, far), rung(100, near), rung(200, best)])))
    assert answer.earliest is not None
    assert answer.earliest.stop_step == 100
    assert answer.verdict.startswith("Train with rank 4 and learning rate 0.002, and stop at step 100: 0.3110 nats")
    assert "which 4 questions cannot tell from none" in answer.verdict


def test_of_earlier_stops_no_more_is_said_than_was_measured() -> None:
    one, two = trial(0, [even(200, 0.3)]), trial(1, [even(50, 0.5)])
    assert "every earlier stop that was measured loses more" in answered(study_of_trials(one, two)).verdict
    alone = [rung(stop, [10 * loss], [10]) for stop, loss in ((50, 0.5), (200, 0.3))]
    single = answered(Study((10,), 2.0, (trial(0, alone),)))
    assert "whether an earlier stop is as good cannot be told from one question" in single.verdict


def test_earliest_within_a_fixed_tolerance_may_be_another_trial() -> None:
    study = study_of_trials(
        trial(0, [even(50, 0.50), even(100, 0.42), even(200, 0.40)]),
        trial(1, [even(50, 0.444), even(100, 0.43)], ending="stopped"),
        trial(2, [even(50, 0.446)], ending="stopped"),
    )
    answer = answered(study, tolerance=0.05)
    assert answer.earliest is not None
    assert (answer.earliest.trial, answer.earliest.stop_step) == (1, 50)
    assert answer.earliest_apart is not None
    assert answer.earliest_apart.nats == pytest.approx(0.044)
    assert answer.verdict == (
        "Train with rank 4 and learning rate 0.003, and stop at step 50: 0.4440 nats a token in 15 s; the lowest, "
        "0.4000 (learning rate 0.002, step 200, 60 s), is lower by 0.044, less than the tolerance of 0.05."
    )
    strict = answered(study, tolerance=0.0)
    assert strict.earliest == strict.best


def test_front_holds_what_no_other_pair_beats() -> None:
    study = study_of_trials(
        trial(0, [even(50, 0.5), even(100, 0.3), even(200, 0.2)], step_s=0.2),
        trial(1, [even(50, 0.45), even(100, 0.32), even(200, 0.1)], step_s=0.4),
    )
    front = answered(study).front
    assert [(pair.trial, pair.stop_step) for pair in front] == [(0, 50), (0, 100), (0, 200), (1, 200)]
    assert all(a.minutes < b.minutes and a.loss > b.loss for a, b in pairwise(front))


def test_importance_tells_the_key_that_matters_and_is_the_same_every_time() -> None:
    study = formula_study(24)
    shares = answered(study).importance
    assert shares is not None
    assert shares[0].key == RATE
    assert {share.key for share in shares} == {RANK, RATE, "stop_step"}
    assert sum(share.share for share in shares) == pytest.approx(1.0)
    assert answered(study).importance == shares


def test_importance_is_not_told_of_few_or_equal_pairs() -> None:
    assert answered(formula_study(6)).importance is None
    same = [trial(n, [even(stop, 0.5) for stop in STOP_STEPS]) for n in range(10)]
    assert answered(study_of_trials(*same)).importance is None


def test_noise_is_pooled_over_the_repeated_pairs() -> None:
    """By hand: deviations of 0.30, 0.32, 0.31 are 2e-4 in squares, of 0.35, 0.35 none; three degrees of freedom."""
    study = study_of_trials(
        trial(0, [even(200, 0.30)]),
        trial(1, [even(200, 0.35)]),
        repeats=[Repeat(0, 18, even(200, 0.32)), Repeat(0, 19, even(200, 0.31)), Repeat(1, 18, even(200, 0.35))],
    )
    noise = answered(study).noise
    assert noise is not None
    assert noise.degrees == 3
    assert noise.deviation == pytest.approx(math.sqrt(2e-4 / 3))
    assert noise.band == pytest.approx(3.1824 * math.sqrt(2) * noise.deviation)
    assert [group.mean for group in noise.seeds] == pytest.approx([0.31, 0.35])


def test_a_repeat_counts_for_what_ended_as_it_did() -> None:
    late = replace(even(200, 0.3), stable=(stable(50, 0.2),))
    trials = trial(0, [even(50, 0.5), late]), trial(1, [even(50, 0.6)])
    repeats = [Repeat(0, 18, even(50, 0.51)), Repeat(0, 18, even(50, 0.22), decayed=False)]
    noise = answered(study_of_trials(*trials, repeats=repeats)).noise
    assert noise is not None
    assert [(group.stop_step, group.losses) for group in noise.seeds] == [(50, (0.2, 0.22))]
    assert answered(study_of_trials(*trials, repeats=repeats[:1])).noise is None


def test_a_repeat_that_was_lost_warns_of_the_best() -> None:
    trials = (
        trial(0, [even(200, 0.30)]),
        trial(1, [even(50, 0.35), replace(even(200, 0.4), stable=(stable(100, 0.32),))]),
    )
    lost = (
        LostRepeat(0, 18, 200, True, "diverged", "loss not finite"),
        LostRepeat(0, 19, 200, True, "diverged", "loss not finite"),
        LostRepeat(1, 18, 100, False, "infeasible", "no memory"),
    )
    told = answered(replace(study_of_trials(*trials), lost=lost), tolerance=0.0).remarks[-2:]
    assert told == (
        "Trained again with seeds 18 and 19 to step 200, rank 4 and learning rate 0.002 diverged, which may happen to "
        "a run of the best, too.",
        "Trained again with seed 18 to step 100 without a decay, rank 4 and learning rate 0.003 did not fit.",
    )


@pytest.mark.parametrize(("degrees", "point"), [(1, 12.706), (10, 2.228), (11, 2.201), (30, 2.042), (1000, 1.962)])
def test_student_has_the_points_of_the_printed_tables(degrees: int, point: float) -> None:
    assert student(degrees) == pytest.approx(point, abs=0.003)


def test_differences_smaller_than_noise_are_called_that() -> None:
    trials = (
        trial(0, [even(200, 0.300)], values={RANK: 16, RATE: 0.003}),
        trial(1, [even(200, 0.303)], values={RANK: 8, RATE: 0.003}),
    )
    repeats = [Repeat(0, 18, even(200, 0.308)), Repeat(1, 18, even(200, 0.309)), Repeat(1, 19, even(200, 0.302))]
    told = answered(study_of_trials(*trials, repeats=repeats)).remarks
    assert told[0].startswith("Rank 16 and rank 8 cannot be told apart: ")
    assert any("mean" in line or "averages" in line for line in told)
    sure = (trials[0], replace(trials[1], rungs=(even(200, 0.5),)))
    far = [Repeat(0, 18, even(200, 0.301)), Repeat(1, 18, even(200, 0.501)), Repeat(1, 19, even(200, 0.502))]
    assert answered(study_of_trials(*sure, repeats=far)).remarks[0].startswith("Rank 16 is better than rank 8: ")


def test_a_tuning_that_does_not_beat_the_base_is_told() -> None:
    answer = answered(study_of_trials(trial(0, [even(50, 2.1), even(100, 2.2)]), trial(1, [even(50, 2.3)])))
    assert answer.verdict.startswith("Tuning does not pay here: the lowest loss, 2.1000")


def test_values_at_the_edge_of_a_range_are_told() -> None:
    rates = (1.02e-3, 3e-3, 9e-3, 2e-2)
    made = [
        trial(n, [even(200, 0.3 + rate)], values={RANK: 16, RATE: rate}, ending="stopped")
        for n, rate in enumerate(rates)
    ]
    answer = answered(study_of_trials(*made))
    assert answer.edges == {RANK: "largest", RATE: "smallest", "stop_step": "largest"}
    assert "Rank 16 is at the edge of its range: a higher rank may be better." in answer.remarks


def test_another_objective_takes_its_own_loss() -> None:
    first, second = (trial(n, [replace(even(50, 0.5 + n / 10), answer_loss=0.9 - n / 2)]) for n in range(2))
    answer = answer_of(
        study_of_trials(first, second),
        objective="answer",
        stop_steps=STOP_STEPS,
        tolerance=0.0,
        distributions={},
    )
    assert answer.best is not None
    assert (answer.best.trial, answer.best.loss) == (1, 0.4)
    assert "of the answer part" in answer.verdict


def test_answer_is_plain_and_finite_json() -> None:
    for study in (study_of_trials(), formula_study(1), formula_study(24)):
        answer = answered(study)
        plain = json.loads(json.dumps(as_json(answer), allow_nan=False))
        assert plain["verdict"] == answer.verdict
        assert len(plain["pairs"]) == len(answer.pairs)
        assert (plain["best"] is None) == (answer.best is None)
