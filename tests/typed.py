"""A command line run in this process as it is typed: what it ended with, what it said."""

from collections.abc import Sequence

import pytest
import typer
from typer.testing import CliRunner

from runner.cli import main


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``runner`` with ``words``, through its real entry."""
    with pytest.raises(SystemExit) as end:
        main(words)
    shown = capsys.readouterr()
    assert isinstance(end.value.code, int)
    return end.value.code, shown.out, shown.err


def output_of(app: typer.Typer, words: Sequence[str], *, asked: str | None = None) -> str:
    """Standard output of ``app`` with ``words``, asked on standard input; its own error where it raises one."""
    result = CliRunner().invoke(app, words, input=asked)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout
