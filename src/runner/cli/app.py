"""The program `runner`: its commands, and how errors and interrupts end it.

Each command is in a module of its own and imports what is heavy only when it is called.
"""

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from runner.cli import (
    bench,
    data,
    doctor,
    evaluate,
    export,
    fetch,
    generate,
    plan,
    report,
    runs,
    schema,
    search,
    submissions,
    submit,
    train,
)
from runner.errors import Interrupted, JobFileError, RunnerError, Stopped

INTERRUPTED = 130
FIRST_STEPS = """\
runner fine-tunes code models with QLoRA, from one job file. Three first things to type:

  runner train                             tune the built-in model on built-in questions, on the CPU
  runner plan                              what that takes: data, steps, memory, time
  runner doctor                            whether this machine is ready

All commands: runner --help"""

app = typer.Typer(
    name="runner",
    add_completion=False,
    rich_markup_mode=None,  # rich would take longer to import than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    train.train,
    search.search,
    plan.plan,
    bench.bench,
    data.data,
    fetch.fetch,
    evaluate.evaluate,
    report.compare,
    report.report,
    generate.generate,
    export.export,
    submit.submit,
    submissions.status,
    submissions.logs,
    submissions.stop,
    runs.runs,
    runs.show,
    doctor.doctor,
    schema.schema,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def first_steps(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="On an error show where in the program it arose.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Fine-tune code models with QLoRA on one GPU or a Ray cluster, from one job file."""
    del debug  # taken out by main(), so that it may stand anywhere in the line
    if version:
        from runner import __version__

        typer.echo(f"runner {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(FIRST_STEPS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that ``arguments`` (the command line when None) spell, and exit with its code.

    A ``RunnerError`` becomes one line ``error: what; where; remedy`` on standard error; ``--debug`` shows its
    traceback before that.  A job file's faults take one line each.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign is no reason to fail
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    code = _run([word for word in words if word != "--debug"], debug=debug)
    if code in (INTERRUPTED, Stopped.exit_code):
        from runner.distributed.ray_session import is_at_work

        if is_at_work():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    try:
        code = app(words, prog_name="runner", standalone_mode=False)
    except RunnerError as error:
        return _told(error, debug=debug)
    except TyperException as error:
        return _misspelt(error)
    if code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt; nothing was being trained
        return _line("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _told(error: RunnerError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    text = str(error)
    if isinstance(error, JobFileError) and len(error.faults) == 1:
        (text,) = error.faults
    resumable = isinstance(error, Stopped | Interrupted)
    return _line(text if resumable else f"error: {text}", error.exit_code)


def _misspelt(error: TyperException) -> int:
    """Wrong words on the command line: unknown commands and options, missing or impossible values."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "runner"
    said = " ".join(error.format_message().split()).rstrip(".")
    return _line(f"error: {said}; see {path} --help", 2)


def _line(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
