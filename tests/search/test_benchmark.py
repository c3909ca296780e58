"""The benchmark's arithmetic on runs that are made up, and all of it once on a search of seconds."""

import json
import math
import random
import statistics
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from made_up import even, stable, trial

from runner.config.load_search import load_search
from runner.errors import TrainingFailed, UserError
from runner.search.benchmark.figures import (
    Answer,
    answers,
    answers_to_train,
    carried_over,
    gains,
    greatest_difference,
    reached_after,
    tuned_row,
    worths,
)
from runner.search.benchmark.plan import (
    Options,
    Plan,
    Run,
    Way,
    demo_overrides,
    make_plan,
    read_plan,
    runs_as_plain,
    runs_of,
)
from runner.search.benchmark.table import render
from runner.search.journal import Journal, base_event, end_event, on_event, rung_event, trial_event
from runner.search.records import Trial

STOPS = (50, 100, 200)
SMALL = ("trials=3", "stop_steps=[50,100,200]")


def plan_in(folder: Path, *overrides: str, timed: int = 2) -> Plan:
    loaded = load_search(None, demo_overrides([*SMALL, *overrides]))
    return make_plan(folder, loaded, Options(None, folder / "cache", timed))


def done(plan: Plan, way: Way, seconds: float, *, runs: tuple[Run, ...] = (), trials: tuple[Trial, ...] = ()) -> None:
    """As if ``way`` had been done."""
    plan.wall_file(way).write_text(json.dumps({"seconds": seconds}))
    plan.runs_file(way).write_text(json.dumps(runs_as_plain(runs)))
    folder = plan.root / "searches" / way
    folder.mkdir(parents=True)
    events = [base_event(2.0, (10, 20, 30, 40))]
    for each in trials:
        events.append(trial_event(each, step_flops=1.0, token_flops=1.0))
        events += [rung_event(each.number, rung) for rung in each.rungs]
        events.append(end_event(each.number, "finished"))
    (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def run(stop_step: int, losses: dict[int, float], seconds: float = 1.0, **values: float) -> Run:
    return Run(values, stop_step, max(losses), tuple(losses.items()), seconds)


def test_plan_is_read_back_and_every_way_does_the_same_search(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    again = read_plan(tmp_path)
    assert again.space.search == plan.space.search.model_copy(update={"job": "job.yaml"})
    assert again.space.job == plan.space.job
    assert again.timed_pairs() == plan.timed_pairs()
    assert (plan.space.search.repeats, plan.space.search.concurrency) == (0, 1)


def test_timed_runs_are_drawn_by_seed_and_some_for_each_stop_step(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    pairs = plan.timed_pairs()
    assert sorted(pair.stop_step for pair in pairs) == [50, 50, 100, 100, 200, 200]
    assert len({(pair.configuration, pair.stop_step) for pair in pairs}) == 6
    configurations = plan.configurations()
    assert all(pair.values == configurations[pair.configuration] for pair in pairs)
    assert {pair.stop_step for pair in pairs[:3]} == set(STOPS)
    other = plan_in(tmp_path / "other", "seed=18")
    assert other.configurations() != configurations


def test_folder_of_another_search_is_refused(tmp_path: Path) -> None:
    plan_in(tmp_path)
    plan_in(tmp_path, timed=1)
    with pytest.raises(UserError, match="another search was begun here"):
        plan_in(tmp_path, "seed=18")


def test_local_model_and_data_are_found_from_wherever_processes_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("model", "rows.jsonl"):
        (tmp_path / name).touch()
    job = plan_in(tmp_path / "made", "model.id=model", "data.id=rows.jsonl").space.job
    assert (job.model.id, job.data.id) == (str(tmp_path / "model"), str(tmp_path / "rows.jsonl"))


def test_demo_is_searched_in_24_configurations_and_8_stop_steps(tmp_path: Path) -> None:
    loaded = load_search(None, demo_overrides([]))
    plan = make_plan(tmp_path, loaded, Options(None, tmp_path, 2))
    assert len(plan.configurations()) * len(plan.space.search.stop_steps) == 192
    assert len(plan.timed_pairs()) == 16
    assert plan.validation_every == 25


def test_runs_count_no_questions_and_end_with_the_loss_of_their_stop_step(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    pair = plan.timed_pairs()[0]
    job = plan.job_of(pair, every=25)
    assert job.train.steps == pair.stop_step
    assert job.validation.every == 25
    assert (job.evaluation.questions, job.track) == (0, ())
    assert job.train.seed == plan.space.job.train.seed
    assert plan.job_of(replace(pair, seed=5), every=25).train.seed == 5


def test_timed_runs_are_carried_over_with_an_interval() -> None:
    """By hand, with runs of 10, 14 and 20, 22 s: (12 + 21) x 10, s^2 = (8 + 2) / 2, parts 2 x 50 x 0.8."""
    runs = [run(stop, {stop: 1.0}, seconds) for stop, seconds in ((50, 10), (50, 14), (100, 20), (100, 22))]
    seconds = carried_over(runs, 10, 2)
    assert seconds.value == pytest.approx(330)
    assert seconds.reach == pytest.approx(4.3027 * math.sqrt(5 * 80))
    assert carried_over(runs[::2], 10, 2).reach is None
    everything = carried_over(runs, 2, 2)
    assert everything.value == pytest.approx(66)
    assert everything.reach == 0.0


def test_run_that_was_cut_short_has_no_time_and_each_stop_step_needs_one() -> None:
    runs = [run(50, {50: 1.0}, 10.0), run(100, {100: 1.0}, 20.0), replace(run(100, {50: 1.0}, 3.0), cut=True)]
    assert carried_over(runs, 10, 2).value == pytest.approx(300)
    with pytest.raises(TrainingFailed, match="of 2 stop steps 1 were timed"):
        carried_over([runs[0], runs[2]], 10, 2)


def test_interval_holds_what_all_runs_take() -> None:
    """Of 24 x 8 drawn times the total lies in nearly all of the intervals that 16 of them give."""
    drawn = random.Random(4)
    times = {stop: [drawn.gauss(10 + stop / 10, 2) for _ in range(24)] for stop in range(25, 225, 25)}
    total = sum(map(sum, times.values()))
    held = []
    for _ in range(300):
        runs = [run(stop, {stop: 1.0}, s) for stop, each in times.items() for s in drawn.sample(each, 2)]
        found = carried_over(runs, 24, 8)
        assert found.reach is not None
        held.append(abs(found.value - total) <= found.reach)
    assert 0.9 < statistics.fmean(held) < 1.0


def test_losses_count_where_the_way_takes_them(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    runs = (run(200, {50: 0.3, 100: 0.25, 150: 0.1, 200: 0.4}, rank=4), run(100, {50: 0.2, 100: 0.5}, rank=8))
    done(plan, "asha", 60.0, runs=(*runs, run(200, {50: 0.01}, rank=2)))
    done(plan, "curve", 60.0, runs=runs)
    ended, along = tuned_row(plan, "asha").best, tuned_row(plan, "curve").best
    assert ended is not None
    assert along is not None
    assert (ended.loss, ended.at) == (0.4, "rank 4, stop step 200")  # stopped early, 0.01 is of no run that ended
    assert (along.loss, along.at) == (0.2, "rank 8, stop step 50")  # 150 is no stop step
    assert tuned_row(plan, "curve").tokens == 300 * plan.space.job.train.tokens_per_step


def test_time_to_a_loss_counts_all_that_came_before(tmp_path: Path) -> None:
    """Rungs at 50, 100 and 200 take 7.5, 15 and 30 s of a trial; 100 - 30 - 15 s are of no trial."""
    plan = plan_in(tmp_path)
    first = trial(0, [even(50, 0.5), even(100, 0.4), even(200, 0.3)])
    done(plan, "resident", 100.0, trials=(first, trial(1, [even(50, 0.45), even(100, 0.2)])))
    assert reached_after(plan, 0.5) == pytest.approx(55 + 7.5)
    assert reached_after(plan, 0.3) == pytest.approx(55 + 30)
    assert reached_after(plan, 0.2) == pytest.approx(55 + 30 + 15)
    assert reached_after(plan, 0.1) is None


def test_time_to_a_loss_follows_the_order_in_which_trials_went_on(tmp_path: Path) -> None:
    """Trial 0 takes 7.5 s to 50, trial 1 as long, then trial 0 to 200 takes 30 s more."""
    plan = plan_in(tmp_path)
    trials = trial(0, [even(50, 0.5)]), trial(1, [even(50, 0.45)])
    done(plan, "resident", 100.0, trials=trials)
    with Journal(plan.root / "searches" / "resident" / "journal.jsonl") as journal:
        journal.append(on_event(0, 200, anew=True))
        journal.append(rung_event(0, even(200, 0.3)))
    assert reached_after(plan, 0.45) == pytest.approx(55 + 15)
    assert reached_after(plan, 0.3) == pytest.approx(55 + 15 + 30)


def test_what_the_decay_gains_is_of_one_configuration(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    best = trial(0, [even(50, 0.4), replace(even(200, 0.3), stable=(stable(50, 0.35),))], values={"lora.rank": 8})
    done(plan, "resident", 100.0, trials=(best, trial(1, [even(50, 0.6)])))
    assert gains(plan) == []
    done(plan, "decay", 20.0, runs=(Run({"lora.rank": 8}, 200, 200, ((50, 0.5), (100, 0.4), (200, 0.3)), 20.0),))
    assert gains(plan) == [(50, 0.5, 0.4), (200, 0.3, 0.3)]


def test_answers_are_the_lowest_seen_at_each_stop_step(tmp_path: Path) -> None:
    """The curve's loss at 50 is of a run that goes on; a loss at 75, no stop step, is nobody's answer."""
    plan = plan_in(tmp_path)
    small, large = {"rank": 4.0}, {"rank": 8.0}
    runs = (run(200, {50: 0.5, 75: 0.1, 200: 0.2}, **small), run(100, {50: 0.4, 100: 0.3}, **large))
    done(plan, "curve", 60.0, runs=runs)
    rungs = [even(50, 0.45), replace(even(200, 0.15), stable=(stable(50, 0.4),))]
    trials = trial(0, rungs, values=small), trial(1, [even(50, 0.5)], values=large)
    done(plan, "resident", 60.0, trials=trials)
    long_large, long_small, short = Answer(large, 200, True), Answer(small, 200, True), Answer(small, 50, False)
    assert answers(plan, "curve") == {50: long_large, 100: long_large, 200: long_small}
    assert answers(plan, "resident") == {50: short, 200: long_small}
    assert answers_to_train(plan, (50, 100, 200)) == [asdict(each) for each in (long_small, long_large, short)]
    assert answers_to_train(plan, (200,)) == [{"values": small, "stop_step": 200, "decayed": True}]


def test_answers_are_worth_what_other_seeds_give(tmp_path: Path) -> None:
    """The two answers differ at 50, read off a run to 200 and ended there, and are one at 200; 100 has one alone."""
    plan = plan_in(tmp_path)
    small, large = {"rank": 4.0}, {"rank": 8.0}
    done(plan, "curve", 60.0, runs=(run(200, {50: 0.5, 100: 0.3, 200: 0.2}, **small),))
    trials = trial(0, [even(50, 0.45)], values=large), trial(1, [even(200, 0.15)], values=small)
    done(plan, "resident", 60.0, trials=trials)
    assert worths(plan) == []
    plan.answers_file.write_text(json.dumps(answers_to_train(plan, (50, 100, 200))))
    listed = plan.answers_again()
    seeds = {pair.seed or 0 for pair in listed}
    assert (len(listed), len(seeds)) == (2 * 2, 2)
    assert plan.space.job.train.seed not in seeds
    again = []
    for pair in listed:
        more = 0.02 if pair.seed == max(seeds) else 0.0
        losses = ((50, 0.4 + 0.8 * more),) if pair.values == large else ((50, 0.5 + more), (200, 0.2 + more))
        again.append(Run(pair.values, pair.stop_step, pair.stop_step, losses, 1.0, seed=pair.seed))
    done(plan, "again", 60.0, runs=(*again[::2], *again[1::2]))  # in the order in which they happened to end
    early, late = worths(plan)
    assert (early.stop_step, late.stop_step) == (50, 200)
    assert early.curve == pytest.approx((0.5, 0.52))
    assert early.resident == pytest.approx((0.4, 0.416))
    assert early.gained == pytest.approx(0.102)
    assert early.reach == pytest.approx(12.7062 * 0.002)  # differences of 0.1 and 0.104
    assert late.gained == late.reach == 0.0
    assert replace(early, curve=(0.5,), resident=(0.4,)).reach is None
    assert "all answers together: " in render(plan)


def test_separate_runs_are_held_against_the_trunks(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    pairs = plan.timed_pairs()
    runs = [Run(pair.values, pair.stop_step, pair.stop_step, ((pair.stop_step, 0.5),), 10.0) for pair in pairs]
    other = pairs[2]
    trials = [
        trial(
            number,
            [even(stop, 0.52 if (number, stop) == (other.configuration, other.stop_step) else 0.5) for stop in STOPS],
            values=values,
        )
        for number, values in enumerate(plan.configurations())
    ]
    done(plan, "separate", 100.0, runs=tuple(runs))
    assert greatest_difference(plan) is None
    done(plan, "pairs", 100.0, trials=tuple(trials))
    found = greatest_difference(plan)
    assert found is not None
    assert found[0] == 6
    assert found[1] == pytest.approx(0.02)


def test_runs_travel_whole() -> None:
    runs = [run(50, {25: 0.5, 50: 0.25}, rank=4.0)]
    assert runs_of(json.loads(json.dumps(runs_as_plain(runs)))) == runs


def test_table_shows_what_is_done_so_far(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    assert render(plan).strip().startswith("way")
    done(plan, "resident", 100.0, trials=(trial(0, [even(50, 0.5)]),))
    done(plan, "asha", 300.0, runs=(run(50, {50: 0.6}, rank=4),))
    text = render(plan)
    assert "runner search                 1 trials, 1 pairs  1:40" in text
    assert "Tune + ASHA, fresh processes  1 trials           5:00       3.0  " in text
    assert "after 1:40, 3.0 times as fast" in text


@pytest.mark.long
@pytest.mark.slow
def test_ways_run_and_separate_runs_end_as_the_trunks_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "runner.search.benchmark", "--folder", str(tmp_path / "made"), "--timed", "1"]
    command += ["--ways", "separate,asha,pairs", "-o", "trials=1", "-o", "stop_steps=[4,8]"]
    command += [
        "-o",
        "data.questions=100",
        "-o",
        "data.validation_questions=20",
        "-o",
        "space.lora.rank.choices=[8,16]",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "2 separate runs and the same pairs by trunks: losses at most " in finished.stdout
    apart = float(finished.stdout.partition("losses at most ")[2].split()[0])
    assert apart < 1e-4
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert again.stdout == finished.stdout
    assert again.stderr == ""
