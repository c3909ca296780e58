"""The search's folder: started, gone on with, refused; and the job files that are its answer."""

import errno
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from disks import fill, mounted
from runner.config.cluster import Cluster
from runner.config.load import load_job
from runner.config.load_search import load_search
from runner.errors import DoesNotFit, UserError
from runner.search.best import answer_job, write_answer_job
from runner.search.choice import best_trials
from runner.search.driver import Request, search
from runner.search.folder import SearchFolder, open_search
from runner.search.journal import Journal
from runner.search.pairs import pairs_of
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


PATHS = [name for name, value in vars(SearchFolder).items() if isinstance(value, property)]


@pytest.mark.parametrize("name", PATHS)
def test_no_path_of_a_search_may_be_a_link_that_leads_out(tmp_path: Path, name: str) -> None:
    assert len(PATHS) > 8
    folder = SearchFolder(tmp_path / "s")
    folder.root.mkdir()
    getattr(folder, name).symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match="leads out of the run's folder, to "):
        getattr(folder, name)


@pytest.mark.parametrize("name", ["search.yaml", "run.lock", "state.json", "job.yaml", "journal.jsonl"])
def test_a_search_opens_nothing_through_a_link(tmp_path: Path, name: str) -> None:
    found, outside = space(tmp_path), tmp_path / "outside"
    with open_search(tmp_path, found, resume=False) as opened:
        path = opened.folder.root / name
    path.rename(outside)
    path.symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(UserError, match="leads out of the run's folder"):
        open_search(tmp_path, found, resume=True)
    assert outside.read_bytes() == before


@pytest.mark.parametrize("name", ["stop-requested", "error.log", "live", "ray"])
def test_a_search_starts_nothing_that_writes_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("runner.search.driver.ray_session", lambda _: pytest.fail("Ray is started"))
    found, outside = space(tmp_path), tmp_path / "outside"
    outside.mkdir()
    (outside / "letter.txt").write_text("dear")
    with open_search(tmp_path, found, resume=False) as opened:
        (opened.folder.root / name).symlink_to(outside)
    request = Request(found, Cluster(), str(tmp_path), tmp_path / "cache", resume=True)
    with pytest.raises(UserError, match="leads out of the run's folder"):
        search(request, follow=lambda *_: None)
    assert (outside / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(("storage", "why"), [("/proc/x", "No such file"), ("x" * 300, "File name too long")])
def test_a_place_that_takes_no_folder_is_told_in_one_line(tmp_path: Path, storage: str, why: str) -> None:
    with pytest.raises(UserError, match=rf"the search's folder cannot be made or written to \({why}") as raised:
        open_search(Path(storage), space(tmp_path), resume=False)
    assert "\n" not in str(raised.value)


def test_a_disk_that_takes_nothing_any_more_is_told_in_one_line(tmp_path: Path) -> None:
    found = space(tmp_path)
    with mounted(tmp_path / "disk", "size=1m") as disk:
        with open_search(disk, found, resume=False) as opened:
            fill(disk)
            with pytest.raises(DoesNotFit, match="the disk is full"):
                opened.record("finished", done=12, trials=12)
        with pytest.raises(DoesNotFit, match="the disk is full"):
            open_search(disk, found, resume=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(UserError, match=r"cannot be made or written to \(Read-only file system\)"):
            open_search(disk, found, resume=True)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 3),
        (RuntimeError("Tune failed:\n[Errno 28] No space left on device"), 3),
        (RuntimeError("Tune failed:\nan actor died"), 4),
    ],
)
def test_a_journal_that_finds_no_room_ends_the_search_as_a_full_disk(
    tmp_path: Path, error: Exception, code: int
) -> None:
    from runner.search.tuning import _failed

    told = _failed(error, str(tmp_path))
    assert told.exit_code == code
    assert str(told).startswith("the disk is full" if code == 3 else "Ray Tune failed (an actor died)")


def test_an_answer_is_a_complete_job_that_says_where_it_came_from(tmp_path: Path) -> None:
    found = space(tmp_path, override={"stop.plateau": {"window": 5}})
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal))
    trial = best_trials(study, "validation")[0]
    pair = next(pair for pair in pairs_of(study, "validation") if (pair.trial, pair.stop_step) == (trial.number, 80))
    path = SearchFolder(tmp_path).best_file
    write_answer_job(path, found, study, pair)
    job = load_job(path)
    assert job == answer_job(found, pair, what="best")
    assert job.train.schedule == "warmup-stable-decay"
    assert (job.name, job.train.steps, job.stop.plateau, job.evaluation.questions) == ("small-best", 80, None, 100)
    assert round(job.train.warmup * 80) == found.warmup(trial.values) == 5
    assert job.train.learning_rate == trial.values["train.learning_rate"]
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"trial {trial.number} of 12 ended, lora.rank {trial.values['lora.rank']}" in comments[0]
    assert f"At stop step 80 its held-out loss was {pair.loss:.6f}" in comments[1]
    assert comments[3] == f"#   runner train {path}"
    write_answer_job(path, found, study, replace(pair, decayed=False))
    assert load_job(path).train == job.train.model_copy(update={"schedule": "constant"})
    assert "no decay, which gave more at this step" in path.read_text()


def test_a_long_name_leaves_room_for_what_the_job_is(tmp_path: Path) -> None:
    found = space(tmp_path, name="n" * 64)
    with Journal(tmp_path / "j") as journal:
        study = run(course(found, journal), rungs=1)
    (pair,) = pairs_of(study, "validation")
    assert answer_job(found, pair, what="earliest").name == "n" * 55 + "-earliest"
