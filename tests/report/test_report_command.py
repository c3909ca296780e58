"""``runner report`` and ``runner compare`` from the command line to the files that they write."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from report_fakes import made_up_evaluation, made_up_run, training
from runner.cli.report import compare, report
from runner.errors import UserError
from runner.evaluation.results import write_evaluation
from runner.search.folder import open_search
from search_fakes import course, run, space

app = typer.Typer()
app.command()(report)
app.command()(compare)


def run_in(storage: Path, name: str = "demo") -> Path:
    found = made_up_evaluation({"newly": 3, "both": 3})
    run = made_up_run(storage, training(40), name=name)
    write_evaluation(run.folder.root / "evaluations" / "held-out", found.evaluation, found.answers, found.problems)
    return run.folder.root


def asked(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_report_writes_the_page_into_the_run(tmp_path: Path) -> None:
    folder = run_in(tmp_path)
    assert asked("report", "demo", "--storage", str(tmp_path)) == f"page {folder / 'report.html'}\n"
    page = (folder / "report.html").read_text()
    assert "On held-out the tuned model is better" in page
    assert "--name demo-2" in page
    assert (folder / "report-plots" / "held-out-pass.svg").is_file()


def test_a_run_made_again_gets_a_name_that_is_free(tmp_path: Path) -> None:
    for name in ("demo", "demo-2"):
        run_in(tmp_path, name)
    asked("report", "demo", "--storage", str(tmp_path))
    assert "--name demo-3" in (tmp_path / "demo" / "report.html").read_text()


def test_report_goes_where_it_is_told(tmp_path: Path) -> None:
    run_in(tmp_path / "runs")
    page = tmp_path / "there.html"
    asked("report", "demo", "--storage", str(tmp_path / "runs"), "--output", str(page))
    assert page.is_file()
    assert (tmp_path / "there-plots" / "loss.svg").is_file()
    with pytest.raises(UserError, match="--output"):
        report("demo", str(tmp_path / "runs"), tmp_path / "missing" / "page.html")


def test_a_name_that_nothing_has_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run and no search nothing"):
        report("nothing", str(tmp_path))


def test_compare_writes_one_page_of_all_runs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_in(tmp_path, name)
    page = tmp_path / "compare-one-two.html"
    assert asked("compare", "one", "two", "one", "--storage", str(tmp_path)) == f"page {page}\n"
    assert "no difference between one and two can be detected" in page.read_text()
    with pytest.raises(UserError, match="there is no run three"):
        compare(["one", "three"], str(tmp_path))


def test_report_of_a_search_makes_its_page_again_from_the_journal(tmp_path: Path) -> None:
    found = space(tmp_path, trials=3)
    with open_search(tmp_path / "searches", found, resume=False) as opened:
        run(course(found, opened.journal))
    folder = opened.folder
    assert not folder.page_file.exists()
    told = asked("report", "small", "--storage", str(tmp_path / "searches"))
    assert told == f"page {folder.page_file}\n"
    page = folder.page_file.read_bytes()
    assert b"search small" in page
    copy = tmp_path / "copy.html"
    asked("report", "small", "--storage", str(tmp_path / "searches"), "--output", str(copy))
    assert copy.read_bytes() == page
    assert (tmp_path / "copy-plots" / "history.svg").read_bytes() == (
        folder.root / "search-plots" / "history.svg"
    ).read_bytes()
