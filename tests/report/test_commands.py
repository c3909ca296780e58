"""Command lines that go on from a run: typed as they stand they find it, whatever its folder is called."""

import shlex
from pathlib import Path

import pytest

from report_fakes import made_up_run, training
from runner.cli.options import RUNS
from runner.report import commands
from runner.report.commands import Command, again, command_lines, evaluate, next_commands, resume
from runner.report.style import Style


def test_a_run_in_the_usual_place_needs_no_storage_and_is_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert commands.RUNS == RUNS
    folder = made_up_run(tmp_path / RUNS, training(10)).folder
    assert evaluate(folder).text == "runner evaluate demo"
    assert resume(folder).text == "runner train runs/demo/job.yaml --resume must"
    assert again(folder).text == "runner train runs/demo/job.yaml --name demo-2"


def test_a_run_elsewhere_is_found_by_its_storage_with_spaces_or_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = made_up_run(tmp_path / "my runs", training(10)).folder
    assert shlex.split(evaluate(folder).text) == ["runner", "evaluate", "demo", "--storage", "my runs"]
    words = ["runner", "train", "my runs/demo/job.yaml", "--storage", "my runs", "--resume", "must"]
    assert shlex.split(resume(folder).text) == words
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    assert shlex.split(resume(folder).text)[2] == str(tmp_path / "my runs" / "demo" / "job.yaml")


def test_what_follows_depends_on_the_runs_state(tmp_path: Path) -> None:
    finished = made_up_run(tmp_path, training(10))
    verbs = [command.text.split()[1] for command in next_commands(finished, evaluated=False)]
    assert verbs == ["evaluate", "generate", "export"]
    assert next_commands(finished, evaluated=True) == next_commands(finished, evaluated=False)[1:]
    stopped = made_up_run(tmp_path, training(10), name="half", state="stopped")
    assert next_commands(stopped, evaluated=False) == (resume(stopped.folder),)


def test_a_run_with_the_longest_name_gets_a_free_one_that_is_allowed(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path, training(10), name="n" * 64).folder
    (tmp_path / f"{'n' * 60}-2").mkdir()
    assert again(folder).text.endswith(f"--name {'n' * 60}-3")


def test_lines_stand_below_each_other() -> None:
    style = Style(width=80, color=False, unicode=True)
    lines = command_lines([Command("runner runs", "all"), Command("runner show demo", "one")], style)
    assert lines == ("next", "  runner runs       all", "  runner show demo  one")
    assert command_lines([], style) == ()
