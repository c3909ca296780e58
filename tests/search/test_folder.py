"""The search's folder: started, gone on with, refused; and the job files that are its answer."""

from pathlib import Path

import pytest

from runner.config.load import load_job
from runner.config.load_search import load_search
from runner.errors import UserError
from runner.search.best import answer_job, write_answer_job
from runner.search.choice import best_trials
from runner.search.folder import SearchFolder, open_search
from runner.search.journal import Journal
from runner.search.space import space_of
from search_fakes import course, run, space


def test_a_new_search_writes_its_files_and_they_search_the_same(tmp_path: Path) -> None:
    found = space(tmp_path, override={"train.clip": 2.0}, trials=5)
    with open_search(tmp_path / "s", found, resume=False) as opened:
        assert not opened.finished
    folder = opened.folder
    assert {path.name for path in folder.root.iterdir()} >= {"search.yaml", "job.yaml", "journal.jsonl", "run.lock"}
    again = space_of(load_search(folder.search_file))
    assert again.job == found.job
    assert again.distributions == found.distributions
    assert again.search.trials == 5
    with open_search(tmp_path / "s", again, resume=True) as opened:
        assert opened.folder == folder


def test_an_unfinished_search_needs_resume_and_a_finished_one_does_not(tmp_path: Path) -> None:
    found = space(tmp_path)
    with pytest.raises(UserError, match="there is no search small to resume"):
        open_search(tmp_path, found, resume=True)
    with open_search(tmp_path, found, resume=False):
        pass
    with pytest.raises(UserError, match=r"is unfinished.*--resume"):
        open_search(tmp_path, found, resume=False)
    with open_search(tmp_path, found, resume=True) as opened:
        opened.record("finished", done=12, trials=12)
    for resume in (False, True):
        with open_search(tmp_path, found, resume=resume) as opened:
            assert opened.finished


def test_a_finished_search_goes_on_when_more_is_asked(tmp_path: Path) -> None:
    with open_search(tmp_path, space(tmp_path), resume=False) as opened:
        opened.record("finished", done=12, trials=12)
    more = space(tmp_path, trials=20, concurrency=2, time_budget_minutes=5)
    with pytest.raises(UserError, match=r"has trials to do.*--resume"):
        open_search(tmp_path, more, resume=False)
    with open_search(tmp_path, more, resume=True) as opened:
        assert not opened.finished


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"seed": 18}, "seed: 17 -> 18"),
        ({"stop_steps": [20, 40]}, "stop_steps"),
        ({"override": {"train.clip": 2.0}}, "job.train.clip: 1.0 -> 2.0"),
    ],
)
def test_another_search_under_the_name_is_refused(tmp_path: Path, changes: dict[str, object], part: str) -> None:
    with open_search(tmp_path, space(tmp_path), resume=False):
        pass
    with pytest.raises(UserError, match=part):
        open_search(tmp_path, space(tmp_path, **changes), resume=True)


def test_one_process_at_a_time_and_no_strangers(tmp_path: Path) -> None:
    found = space(tmp_path)
    with open_search(tmp_path, found, resume=False), pytest.raises(UserError, match="in use"):
        open_search(tmp_path, found, resume=True)
    (tmp_path / "other" / "small").mkdir(parents=True)
    (tmp_path / "other" / "small" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"holds letter.txt and no search.yaml"):
        open_search(tmp_path / "other", found, resume=False)


def test_an_answer_is_a_complete_job_that_says_where_it_came_from(tmp_path: Path) -> None:
    found = space(tmp_path, override={"stop.plateau": {"window": 5}})
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal))
    trial = best_trials(study, "validation")[0]
    rung = next(rung for rung in trial.rungs if rung.stop_step == 80)
    path = SearchFolder(tmp_path).best_file
    write_answer_job(path, found, study, trial, 80)
    job = load_job(path)
    assert job == answer_job(found, trial, 80, what="best")
    assert (job.name, job.train.steps, job.stop.plateau, job.evaluation.questions) == ("small-best", 80, None, 100)
    assert round(job.train.warmup * 80) == found.warmup(trial.values) == 5
    assert job.train.learning_rate == trial.values["train.learning_rate"]
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"trial {trial.number} of 12 ended, lora.rank {trial.values['lora.rank']}" in comments[0]
    assert f"At stop step 80 its held-out loss was {rung.loss:.6f}" in comments[1]
    assert comments[3] == f"#   runner train {path}"


def test_a_long_name_leaves_room_for_what_the_job_is(tmp_path: Path) -> None:
    found = space(tmp_path, name="n" * 64)
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal), rungs=1)
    assert answer_job(found, study.trials[0], 20, what="earliest").name == "n" * 55 + "-earliest"
