"""The space: what Optuna samples, values put into the job, and stop steps that suit the schedule."""

from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from runner.errors import JobFileError, UserError
from runner.plan import Device
from runner.search.costs import Costs, with_rank
from runner.search.journal import Journal
from runner.train.schedule import full_horizon, warmup_steps
from search_fakes import course, space


@pytest.mark.filterwarnings("error")  # Optuna corrects a range itself, and says so on the terminal
def test_ranges_become_distributions_of_the_keys_own_type(tmp_path: Path) -> None:
    found = space(
        tmp_path,
        space={
            "lora.rank": {"low": 2, "high": 9, "step": 3},
            "train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
            "train.weight_decay": {"low": 0, "high": 1},
            "train.clip": {"choices": [None, 1.0]},
        },
    ).distributions
    assert found == {
        "lora.rank": IntDistribution(2, 8, step=3),
        "train.learning_rate": FloatDistribution(1e-3, 1e-2, log=True),
        "train.weight_decay": FloatDistribution(0.0, 1.0),
        "train.clip": CategoricalDistribution(("null", 1.0)),
        "stop_step": CategoricalDistribution((20, 40, 80, 160)),
    }


def test_choices_that_are_no_plain_values_reach_the_job_as_themselves(tmp_path: Path) -> None:
    ranges = {"train.clip": {"choices": [None, 1.0]}, "lora.targets": {"choices": ["all-linear", ["q_proj"]]}}
    found = space(tmp_path, space=ranges)
    job = found.configured({"train.clip": "null", "lora.targets": "[q_proj]"})
    assert job.train.clip is None
    assert job.lora is not None
    assert job.lora.targets == ("q_proj",)


def test_every_stop_step_has_the_same_warm_up_and_its_own_decay(tmp_path: Path) -> None:
    found = space(tmp_path, override={"train.warmup": 0.05, "train.decay": 0.2, "stop.plateau": {"window": 9}})
    values = {"lora.rank": 4, "train.learning_rate": 2e-3}
    jobs = [found.ending_at(values, stop) for stop in found.search.stop_steps]
    assert [warmup_steps(job.train) for job in jobs] == [8, 8, 8, 8]  # 0.05 x 160
    assert [job.train.steps - full_horizon(job.train).decay_start for job in jobs] == [4, 8, 16, 32]
    assert [job.train.steps for job in jobs] == [20, 40, 80, 160]
    assert {(job.lora.rank if job.lora else 0, job.train.learning_rate) for job in jobs} == {(4, 2e-3)}
    assert [job.stop.plateau for job in jobs] == [None] * 4
    assert [job.validation.every for job in jobs] == [20, 40, 80, 100]
    assert found.pass_steps(values, (20, 40, 80, 160)) == 128 + 4 + 8 + 16 + 32
    assert found.pass_steps(values, (80,)) == 80


def test_the_steps_of_a_search_are_told_beforehand(tmp_path: Path) -> None:
    values = {"lora.rank": 4, "train.learning_rate": 2e-3}
    found = space(tmp_path, override={"train.warmup": 0.05, "train.decay": 0.2}, reduction_factor=3)
    assert found.reached() == {20: 12, 160: 4}
    # the trunk is at 16 and 128, and the best measures 40 and 80 in the end, by their branches alone
    assert found.expected_steps(values) == 12 * 20 + 4 * (112 + 32) + 8 + 16
    (tmp_path / "48").mkdir()
    more = space(tmp_path / "48", override={"train.warmup": 0.05, "train.decay": 0.2}, reduction_factor=3, trials=48)
    assert more.reached() == {20: 46, 160: 15 + 2}  # two are drawn close to the best and go there at once
    assert more.expected_steps(values) == 46 * 20 + 15 * (112 + 32) + 2 * 160 + 8 + 16
    none = space(tmp_path, override={"train.warmup": 0.05, "train.decay": 0.2}, scheduler="none")
    assert none.expected_steps(values) == 12 * (128 + 4 + 8 + 16 + 32)


def test_a_trial_counts_no_solved_questions_but_its_answer_does(tmp_path: Path) -> None:
    found = space(tmp_path)
    values = {"lora.rank": 4, "train.learning_rate": 2e-3}
    assert found.job.evaluation.questions == 100
    assert found.trial_job(values).evaluation.questions == 0
    assert found.ending_at(values, 40).evaluation.questions == 100


def test_the_warm_up_follows_a_searched_part(tmp_path: Path) -> None:
    found = space(tmp_path, space={"train.warmup": {"low": 0.01, "high": 0.05}})
    assert [found.warmup({"train.warmup": part}) for part in (0.01, 0.05)] == [2, 8]
    assert space(tmp_path, warmup_steps=5).warmup({"lora.rank": 4, "train.learning_rate": 1e-3}) == 5


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"warmup_steps": 18}, "stop_steps has 20: a warm-up of 18 steps and a decay of 30% do not fit"),
        ({"space": {"train.decay": {"low": 0.1, "high": 0.9}}}, "stop_steps has 20"),
        ({"override": {"lora": None, "model.quantization": "none"}}, "lora is null"),
    ],
)
def test_what_no_trial_could_train_is_refused(tmp_path: Path, changes: dict[str, object], part: str) -> None:
    changes.setdefault("space", {"train.learning_rate": {"low": 1e-3, "high": 1e-2}})
    with pytest.raises(JobFileError, match=part):
        space(tmp_path, **changes)


def test_values_that_exclude_each_other_are_told(tmp_path: Path) -> None:
    found = space(
        tmp_path, space={"train.schedule": {"choices": ["cosine", "constant"]}, "train.clip": {"choices": [1]}}
    )
    assert found.pass_steps({"train.schedule": "constant", "train.clip": 1}, found.search.stop_steps) == 160
    with pytest.raises(UserError, match=r"lora\.rank"):
        found.configured({"lora.rank": 0})


def test_what_does_not_fit_is_told_and_the_rank_that_fits_is_found(tmp_path: Path) -> None:
    small, job = Costs(Device("cuda", "a small card", 0.1)), space(tmp_path).job
    assert small.why_unfit(with_rank(job, 256)) == ""
    assert "and a small card has 0.1 GiB free" in small.why_unfit(with_rank(job, 1024))
    assert [small.largest_fitting(job, rank) for rank in (256, 1000, 1024)] == [256, 250, 256]
    assert Costs(Device("cuda", "none", 0.0)).largest_fitting(job, 1024) == 1


def test_every_trial_that_fits_finds_adapters_of_its_rank(tmp_path: Path) -> None:
    found = space(tmp_path, space={"lora.rank": {"low": 8, "high": 1024}}, trials=24, scheduler="none")
    small = Device("cuda", "a small card", 0.1)
    fits = Costs(small).largest_fitting(found.job, 1024)
    with Journal(tmp_path / "journal") as journal:
        running, ranks = course(found, journal, small), []
        while not isinstance(task := running.next(), str):
            lora = task.job["lora"]
            assert isinstance(lora, dict)
            assert int(str(lora["rank"])) <= task.largest_rank
            ranks.append(int(str(lora["rank"])))
            running.ended(task, "diverged", "it is enough that it began")
    assert max(ranks) > fits, "one lies between what was asked of the plan and what does not fit"
    assert min(ranks) < fits


def test_a_larger_rank_costs_more_arithmetic(tmp_path: Path) -> None:
    costs, found = Costs(Device("cpu", "a CPU", 8.0)), space(tmp_path)
    flops = [costs.token_flops(found.configured({"lora.rank": rank})) for rank in (2, 8)]
    assert 1.0 < flops[1] / flops[0] < 2.0
