"""A search through Ray Tune over a base that is a formula: one at a time, two at a time, on several nodes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.config.cluster import Cluster
from runner.errors import Diverged, DoesNotFit, RunnerError, TrainingFailed
from runner.runs import read_state
from runner.runs.remote.viewing import view
from runner.search.driver import Follow, Request, SearchOutcome, search
from runner.search.folder import SearchFolder
from runner.search.journal import Journal, read_journal, study_in
from runner.search.proposals import study_of
from runner.search.records import Study
from runner.search.space import STOP_STEP, Space
from search_fakes import course, run, space, without_times

pytestmark = pytest.mark.slow


def watch(folder: SearchFolder, study: Callable[[], Study], ended: Callable[[], bool]) -> None:
    del folder, study, ended


def searched(
    found: Space,
    folder: Path,
    kind: str = "FakeTrainable",
    cluster: Cluster | None = None,
    storage: str | None = None,
    follow: Follow = watch,
) -> SearchOutcome:
    """The search as it is run by the driver, kept in ``folder`` where no ``storage`` is named."""
    import fake_trainable
    import ray.cloudpickle

    import search_fakes

    for module in (fake_trainable, search_fakes):  # the workers have no path to tests
        ray.cloudpickle.register_pickle_by_value(module)
    trainable = getattr(fake_trainable, kind)
    kept = storage or str(folder)
    return search(Request(found, cluster or Cluster(), kept, folder / "cache", False, trainable), follow=follow)


def loads(outcome: SearchOutcome) -> list[str]:
    return (outcome.folder.root / "loads.txt").read_text().split()


def test_one_at_a_time_tune_runs_the_course_on_one_base(tmp_path: Path) -> None:
    found = space(tmp_path, repeats=1)
    with Journal(tmp_path / "alone") as journal:
        expected = run(course(found, journal))
    outcome = searched(found, tmp_path)
    assert outcome.ending == "finished"
    assert without_times(outcome.study) == without_times(expected)
    assert len(loads(outcome)) == 1
    left = {path.name for path in outcome.folder.root.iterdir()}
    assert left >= {"best.yaml", "answer.json", "search.html", "journal.jsonl", "search.yaml", "job.yaml"}
    assert not left & {"ray", "live", "stop-requested"}


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    """A Ray that runs, with two nodes of one CPU each."""
    from ray.cluster_utils import Cluster as Raylets

    nodes = Raylets(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield Cluster(address=nodes.address)
    nodes.shutdown()


def test_two_at_a_time_every_stored_pair_is_right(tmp_path: Path, two_nodes: Cluster) -> None:
    found = space(tmp_path, concurrency=2, trials=14, scheduler="none")
    outcome = searched(found, tmp_path, "PairTrainable", two_nodes)
    stored = study_of(found.distributions, outcome.study.trials, "validation").trials
    assert len(stored) == 14 * 4
    for seen in stored:
        trial = outcome.study.trials[seen.user_attrs["trial"]]
        assert seen.value == {rung.stop_step: rung.loss for rung in trial.rungs}[seen.params[STOP_STEP]]
    events = read_journal(outcome.folder.journal_file)
    ends = [event["trial"] for event in events if event["kind"] == "end"]
    assert sorted(ends) == list(range(14))
    assert ends != sorted(ends), "no trial ended before one that began earlier"
    assert len(set(loads(outcome))) == 2


@pytest.mark.usefixtures("s3_port")
def test_kept_in_a_bucket_everything_lies_there_in_the_end(tmp_path: Path, two_nodes: Cluster) -> None:
    found, url = space(tmp_path, trials=3), "s3://bucket/searches"
    outcome = searched(found, tmp_path, cluster=two_nodes, storage=url)
    assert (outcome.ending, outcome.place) == ("finished", f"{url}/small")
    brought = view(url, tmp_path / "another-machine", "small") / "small"
    sent = {path.name for path in brought.iterdir()}
    assert sent >= {"best.yaml", "answer.json", "search.html", "journal.jsonl", "search.yaml", "job.yaml"}
    for name in ("journal.jsonl", "answer.json", "search.html"):
        assert (brought / name).read_bytes() == outcome.folder.inside(name).read_bytes()
    assert read_state(brought / "state.json") == read_state(outcome.folder.state_file)


def test_a_trial_whose_process_dies_is_run_again_and_none_is_lost(tmp_path: Path, two_nodes: Cluster) -> None:
    found = space(tmp_path, trials=5, concurrency=1)
    with Journal(tmp_path / "alone") as journal:
        expected = run(course(found, journal))
    outcome = searched(found, tmp_path, "DyingTrainable", two_nodes)
    assert (outcome.folder.root / "died").exists()
    assert len(set(loads(outcome))) == 2
    assert without_times(outcome.study) == without_times(expected)


@pytest.mark.long
def test_a_trial_whose_process_dies_too_often_keeps_what_it_measured(tmp_path: Path, two_nodes: Cluster) -> None:
    outcome = searched(space(tmp_path, trials=1, scheduler="none"), tmp_path, "FatalTrainable", two_nodes)
    (trial,) = outcome.study.trials
    assert (trial.ending, trial.why) == ("failed", "its process died 4 times")
    assert len(set(loads(outcome))) == 4
    assert [rung.stop_step for rung in trial.rungs] == [20]
    assert outcome.answer.best is not None


def test_the_time_budget_ends_the_search_with_an_answer_and_it_goes_on_later(
    tmp_path: Path, two_nodes: Cluster
) -> None:
    found = space(tmp_path, trials=1000, time_budget_minutes=0.6)
    outcome = searched(found, tmp_path, cluster=two_nodes)
    assert outcome.ending == "time budget"
    assert 0 < len(outcome.study.trials) < 1000
    assert outcome.answer.best is not None
    assert outcome.folder.best_file.is_file()
    state = read_state(outcome.folder.state_file)
    assert state is not None
    assert (state.state, state.reason) == ("stopped", "time budget")


def test_trials_spread_over_nodes_whose_cpus_they_fill(tmp_path: Path, two_nodes: Cluster) -> None:
    found = space(tmp_path, trials=6)
    outcome = searched(found, tmp_path, "PairTrainable", two_nodes)
    assert all(trial.ending for trial in outcome.study.trials)
    assert len(outcome.study.trials) == 6
    assert len(set(loads(outcome))) == 2


def test_trials_of_two_workers_follow_each_other_also_when_one_of_them_dies(tmp_path: Path, two_nodes: Cluster) -> None:
    """Each takes all that there is, so the next one starts only if the one before has left everything."""
    found = space(tmp_path, trials=5)
    with Journal(tmp_path / "alone") as journal:
        expected = run(course(found, journal))
    pairs = two_nodes.model_copy(update={"workers": 2})
    outcome = searched(found, tmp_path, "TogetherTrainable", pairs)
    assert (outcome.folder.root / "died").exists()
    assert len(set(loads(outcome))) == 4
    assert without_times(outcome.study) == without_times(expected)


@pytest.mark.parametrize(
    ("kind", "workers", "error", "ending", "told"),
    [
        ("HalfTrainable", 2, DoesNotFit, "infeasible", "the first did not fit: no memory"),
        ("DivergingTrainable", 1, Diverged, "diverged", "the first diverged: the loss is not finite"),
    ],
)
def test_a_search_that_measures_nothing_says_why_now_and_when_typed_again(
    tmp_path: Path, two_nodes: Cluster, kind: str, workers: int, error: type[RunnerError], ending: str, told: str
) -> None:
    """One of two workers without memory ends a trial for both."""
    found, cluster = space(tmp_path, trials=3), two_nodes.model_copy(update={"workers": workers})
    for _ in range(2):
        with pytest.raises(error, match=f"nothing was measured in 3 trials; {told}"):
            searched(found, tmp_path, kind, cluster)
    folder = SearchFolder(tmp_path / "small")
    state = read_state(folder.state_file)
    assert state is not None
    assert (state.state, state.step) == ("finished", 3)
    assert folder.page_file.is_file()
    assert [trial.ending for trial in study_in(read_journal(folder.journal_file)).trials] == [ending] * 3


@pytest.mark.parametrize("hindered", [False, True])
def test_a_search_that_fails_leaves_the_answer_of_what_it_measured(
    tmp_path: Path, two_nodes: Cluster, hindered: bool
) -> None:
    """Where the answer cannot be written, either, the first failure is told."""

    def follow(folder: SearchFolder, study: Callable[[], Study], ended: Callable[[], bool]) -> None:
        del study, ended
        if hindered:
            folder.best_file.mkdir()

    with pytest.raises(TrainingFailed, match=r"3 trials in a row failed.*no such kernel"):
        searched(space(tmp_path), tmp_path, "FailingTrainable", two_nodes, follow=follow)
    folder = SearchFolder(tmp_path / "small")
    state = read_state(folder.state_file)
    assert state is not None
    assert (state.state, "no such kernel" in state.reason) == ("failed", True)
    assert folder.best_file.is_file() == folder.page_file.is_file() == (not hindered)
