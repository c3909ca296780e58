"""`runner search` from words to the call of the driver, and from every ending to its lines and exit code."""

from pathlib import Path
from typing import Any

import pytest

import runner.search.driver
from runner import errors
from runner.cli.search import minutes
from runner.config.load import load_job
from runner.errors import UserError
from runner.search.conclusion import conclude
from runner.search.driver import Ending, Request, SearchOutcome
from runner.search.folder import open_search
from search_fakes import course, run
from search_fakes import space as fake_space
from typed import typed


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the driver was called with; it ends as ``ending`` says, after half of a search when that is a stop."""
    seen: dict[str, Any] = {"ending": "finished"}

    def search(request: Request, *, follow: object) -> SearchOutcome:
        seen.update(request=request, follow=follow)
        ending: Ending | Exception = seen["ending"]
        if isinstance(ending, Exception):
            raise ending
        with open_search(Path(request.storage), request.space, resume=request.resume) as opened:
            study = run(course(request.space, opened.journal), rungs=None if ending == "finished" else seen["rungs"])
            answer = conclude(opened.folder, request.space, study)
            return SearchOutcome(opened.folder, opened.place, request.space, study, answer, ending)

    monkeypatch.setattr(runner.search.driver, "search", search)
    monkeypatch.setattr("runner.cli.ready.data_to_train_on", lambda job: seen.update(prepared=job))
    monkeypatch.setattr("runner.distributed.ray_session.usable_cores", lambda: 8)
    return seen


def test_no_file_searches_the_demo_and_tells_what_to_type_next(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = typed(capsys, "search")
    assert code == 0
    request = searched["request"]
    assert request.space.job == load_job(None) == searched["prepared"]
    assert request.storage == "searches"
    assert not request.resume
    assert "demo  finished: 8 of 8 trials" in out
    assert "runner train searches/demo/best.yaml" in out
    assert load_job(tmp_path / "searches" / "demo" / "best.yaml").name == "demo-best"


def test_the_options_reach_the_driver(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path
) -> None:
    fake_space(tmp_path)
    profile = tmp_path / "cluster.yaml"
    profile.write_text("workers: 4\nmin_workers: 2\ngpu_memory_gib: 9.0\n")
    words = ["--trials", "3", "--concurrent", "2", "--time-budget", "1h30m", "--name", "mine", "--storage"]
    given = [str(tmp_path / "search.yaml"), *words, str(tmp_path / "kept"), "--cluster", str(profile)]
    code, _, said = typed(capsys, "search", *given, "-o", "train.clip=2.0", "-o", "seed=3")
    assert code == 0
    request = searched["request"]
    search = request.space.search
    assert (search.trials, search.concurrency, search.time_budget_minutes, search.name) == (3, 2, 90.0, "mine")
    assert (search.seed, request.space.job.train.clip) == (3, 2.0)
    assert (request.storage, request.cluster.gpu_memory_gib) == (str(tmp_path / "kept"), 9.0)
    assert request.cluster.workers == 4
    assert "warning: min_workers is not used: a trial trains on 4 workers" in said


def test_a_dry_run_shows_space_and_cost_and_starts_nothing(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_space(tmp_path)
    monkeypatch.chdir(tmp_path)
    overrides = ["-o", "train.decay=0.1", "-o", "reduction_factor=3"]
    code, out, _ = typed(capsys, "search", "search.yaml", "--dry-run", *overrides)
    assert (code, "request" in searched) == (0, False)
    assert "lora.rank              2, 4, 8" in out
    assert "train.learning_rate    0.001 to 0.03, on a logarithmic scale" in out
    # trunks of 18, 72 and 144, decays of 2, 4, 8 and 16: 12 x 20 + 4 x 142, and 4 + 8 for the best's other stop steps
    assert "trials: 12 to step 20, 4 to step 160; about 820 steps of 2,048 tokens = 5.1 runs" in out
    assert "48 runs, one for each configuration and stop step, would take 12 x 300 = 3,600 steps" in out
    assert "stop.plateau and evaluation are off in trials" in out
    assert [path.name for path in tmp_path.iterdir()] == ["search.yaml"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--trials", "1"), ("1 trial of", "none stopped early", "again with 2 more seeds\n", "then 2 repeats of")),
        (("-o", "scheduler=none"), ("none stopped early", "the best two again with 2 more seeds each")),
        (("-o", "repeats=0"), ("one in 2 goes on (ASHA), warm-up 5 steps\n",)),
        (("-o", "train.strategy=zero2"), ("trials train by ddp; zero2 is for the job that comes out",)),
    ],
)
def test_what_is_announced_is_what_is_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], told: tuple[str, ...]
) -> None:
    fake_space(tmp_path)
    code, out, _ = typed(capsys, "search", str(tmp_path / "search.yaml"), "--dry-run", "-o", "repeats=2", *words)
    assert code == 0
    assert [part for part in told if part not in out] == []


def test_workers_elsewhere_are_left_to_prepare_the_data(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path
) -> None:
    profile = tmp_path / "cluster.yaml"
    profile.write_text(f"address: head:6379\nstorage: {tmp_path / 'shared'}\n")
    assert typed(capsys, "search", "--cluster", str(profile))[0] == 0
    assert "prepared" not in searched
    assert searched["request"].storage == str(tmp_path / "shared")


@pytest.mark.parametrize(
    ("error", "code", "begins"),
    [
        (errors.UserError("w", "x", "r"), 2, "error: w; x; r"),
        (errors.DoesNotFit("w", "x", "r"), 3, "error: w; x; r"),
        (errors.TrainingFailed("w", "x", "r"), 4, "error: w; x; r"),
        (errors.Interrupted("ended at once", "x", "r"), 130, "ended at once; x; r"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_exit_code_and_one_line(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], error: Exception, code: int, begins: str
) -> None:
    searched["ending"] = error
    ended, _, said = typed(capsys, "search")
    assert ended == code
    assert said.strip() == begins


@pytest.mark.parametrize(("ending", "code"), [("SIGINT", 130), ("SIGTERM", 75), ("time budget", 0)])
def test_a_stopped_search_answers_from_what_it_has(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path, ending: str, code: int
) -> None:
    searched.update(ending=ending, rungs=5)
    ended, out, said = typed(capsys, "search", "--storage", str(tmp_path))
    assert ended == code
    assert f"runner train {tmp_path / 'demo' / 'best.yaml'}" in out
    assert ("go on with --resume" in said) == (code != 0)
    assert load_job(tmp_path / "demo" / "best.yaml").train.steps in (40, 80, 160)


def test_a_search_stopped_before_its_first_loss_says_so(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path
) -> None:
    searched.update(ending="SIGINT", rungs=0)
    code, out, _ = typed(capsys, "search", "--storage", str(tmp_path))
    assert code == 130
    assert "Nothing was measured" in out
    assert not (tmp_path / "demo" / "best.yaml").exists()


def test_a_retry_starts_a_search_and_goes_on_with_one_that_is_there(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path
) -> None:
    words = ("search", "--retry", "--storage", str(tmp_path))
    searched.update(ending="SIGTERM", rungs=5)
    assert typed(capsys, *words)[0] == 75
    assert not searched["request"].resume
    searched["ending"] = "finished"
    assert typed(capsys, *words)[0] == 0
    assert searched["request"].resume


def test_faults_of_a_search_file_end_before_anything_starts(
    capsys: pytest.CaptureFixture[str], searched: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("space: {lora.rnak: {choices: [1]}}\nstop_steps: [20, 10]\n")
    code, _, said = typed(capsys, "search", str(file))
    assert (code, "request" in searched) == (2, False)
    assert "did you mean lora.rank?" in said
    assert "its steps must rise" in said


@pytest.mark.parametrize(
    ("text", "expected"), [("2h", 120.0), ("90m", 90.0), ("1h30m", 90.0), ("45s", 0.75), ("1.5 h", 90.0), ("5min", 5.0)]
)
def test_a_time_is_read_in_its_units(text: str, expected: float) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["", "2", "h", "2d", "2h x", "-2h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="write it as 2h"):
        minutes(text)
