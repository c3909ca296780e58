"""Search files: ranges held against the job's own limits, overrides of both, every fault told with its place."""

import json
import tomllib
from pathlib import Path

import pytest

from runner.config.job import Job
from runner.config.keys import known_keys
from runner.config.load import load_job
from runner.config.load_search import NOT_SEARCHED, demo_search_file, load_search
from runner.errors import JobFileError, UserError

ROOT = Path(__file__).parents[2]
SEARCHES = sorted((ROOT / "search").glob("*.yaml"))
SOUND = """\
name: mine
space:
  lora.rank: {choices: [4, 8]}
stop_steps: [20, 40]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "search.yaml"
    file.write_text(text)
    return file


def faults(file: Path, *overrides: str) -> str:
    with pytest.raises(JobFileError) as raised:
        load_search(file, overrides)
    return "\n".join(raised.value.faults)


def test_the_shipped_searches_load_and_say_what_they_do_and_need() -> None:
    assert {file.stem for file in SEARCHES} >= {"demo", "starcoder2-3b"}
    for file in SEARCHES:
        loaded = load_search(file)
        assert {"lora.rank", "train.learning_rate"} <= set(loaded.search.space)
        does, needs = file.read_text().splitlines()[:2]
        assert does.startswith("# ")
        assert does.endswith(".")
        assert needs.startswith("# Needs ")


def test_no_file_is_the_demo_which_an_installed_package_holds_too() -> None:
    assert load_search(None).job == load_job(None)
    assert demo_search_file().read_bytes() == (ROOT / "search" / "demo.yaml").read_bytes()
    included = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert included["force-include"]["search/demo.yaml"] == "runner/search/demo.yaml"


def test_the_job_is_looked_for_beside_the_search_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("name: base\nlora: {alpha: 7}\n")
    loaded = load_search(written(tmp_path, SOUND + "job: base.yaml\n"))
    assert loaded.job.name == "base"
    assert loaded.job.lora is not None
    assert loaded.job.lora.alpha == 7
    with pytest.raises(UserError, match=r"gone\.yaml does not exist"):
        load_search(written(tmp_path, SOUND + "job: gone.yaml\n"))


def test_overrides_reach_the_job_the_search_and_the_space(tmp_path: Path) -> None:
    file = written(tmp_path, SOUND + "override: {train.clip: 2.0, data: {questions: 50}}\n")
    given = ["train.seed=3", "trials=5", "space.lora.rank.choices=[2]", "space.train.decay={low: 0.1, high: 0.2}"]
    loaded = load_search(file, given, {"name": "other", "concurrency": 2})
    assert (loaded.job.train.clip, loaded.job.data.questions, loaded.job.train.seed) == (2.0, 50, 3)
    assert (loaded.search.trials, loaded.search.name, loaded.search.concurrency) == (5, "other", 2)
    assert loaded.search.space["lora.rank"].choices == (2,)
    assert (loaded.search.space["train.decay"].low, loaded.search.space["train.decay"].high) == (0.1, 0.2)


def test_every_fault_is_told_at_once_with_its_place(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """\
name: a/b
override: {train.lerning_rate: 1}
space:
  lora.rank: {choices: [0, 4.5, 8]}
  lora.rankk: {low: 1, high: 2}
  train.learning_rate: {low: 1e-3, high: 0.5}
  train.decay: {low: 0.2, high: 0.1}
  lora.targets: {low: 1, high: 2}
  train: {low: 1, high: 2}
stop_steps: [40, 20]
trial: 3
""",
    )
    told = faults(file)
    for part in (
        ":1: name is",
        ":2: train.lerning_rate is no known key; did you mean train.learning_rate?",
        ":5: space.lora.rankk is no key of a job; did you mean lora.rank?",
        ":7: space.train.decay.low is 0.2 and high is 0.1; low must be below high",
        ":8: space.lora.targets has low and high, and lora.targets is no number; give choices",
        ":9: space.train is a section",
        ":10: stop_steps is [40, 20]; its steps must rise",
        ":11: trial is no known key; did you mean trials?",
    ):
        assert part in told, part
    sound_job = faults(file, "override={}")  # only with it can ranges be held against the job
    for part in (
        ":4: lora.rank is 0; it must be a whole number from 1 to 1,024",
        ":4: lora.rank is 4.5; it must be a whole number",
        ":6: train.learning_rate is 0.5; it must be a number above 0 and below 0.1",
    ):
        assert part in sound_job, part


@pytest.mark.parametrize(
    ("space", "part"),
    [
        ("{}", "space names no key"),
        ("{lora.rank: 3}", "space.lora.rank is 3; it must be a section"),
        ("{lora.rank: {choices: [4, 4]}}", "choices names a value twice"),
        ("{lora.rank: {choices: [4], low: 1}}", "choices and low are both given"),
        ("{lora.rank: {low: 1}}", "low and high are not both given"),
        ("{lora.rank: {low: 1, high: 8, step: 0.5}}", "lora.rank is a whole number, so it must be one"),
        ("{lora.rank: {low: 1, high: 8, setp: 2}}", "did you mean step?"),
        ("{train.weight_decay: {low: 0, high: 0.1, log: true}}", "log is true; low must be above 0"),
        ("{train.tokens_per_step: {low: 2048, high: 4096}}", "2049; it must be a multiple of"),
        ("{lora.rank: {choices: [4]}, lora.alpha: {choices: [8.0]}}", "only while alpha is held"),
        ("{data.seed: {choices: [1, 2]}}", "losses on other questions cannot be compared"),
        ("{stop.plateau.window: {choices: [1, 2]}}", "does not change what is trained"),
        ("{train.steps: {low: 10, high: 20}}", "stop_steps says which are tried"),
        ("{train.seed: {choices: [1, 2]}}", "repeats tells the noise"),
        ("{train.strategy: {choices: [ddp, zero2]}}", "a trial's workers train together by ddp"),
    ],
)
def test_a_range_that_cannot_be_searched_is_refused_with_the_reason(tmp_path: Path, space: str, part: str) -> None:
    assert part in faults(written(tmp_path, f"space: {space}\nstop_steps: [20]\n"))


def test_whole_numbers_in_steps_and_choices_of_every_kind_are_taken(tmp_path: Path) -> None:
    space = {
        "train.tokens_per_step": {"low": 2048, "high": 8192, "step": 2048},
        "train.clip": {"choices": [None, 1.0]},
        "lora.targets": {"choices": ["all-linear", ["q_proj", "v_proj"]]},
        "data.questions": {"choices": [100, 1000]},
    }
    loaded = load_search(written(tmp_path, json.dumps({"space": space, "stop_steps": [20]})))
    assert set(loaded.search.space) == set(space)


def test_a_fixed_warm_up_and_a_searched_one_exclude_each_other(tmp_path: Path) -> None:
    text = "space: {train.warmup: {low: 0.01, high: 0.1}}\nstop_steps: [20]\nwarmup_steps: 3\n"
    assert "space.train.warmup is not used" in faults(written(tmp_path, text))


def test_keys_that_are_not_searched_are_keys_of_a_job() -> None:
    assert NOT_SEARCHED.keys() <= known_keys(Job).keys()
