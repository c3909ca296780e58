"""``runner search``: the search of the command line, run to its answer.

Searching is ``runner.search``'s; what a key of a search file means is in ``runner.config``.
"""

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runner.cli.options import CACHE, Address, ClusterFile, Overrides, Workers, named_cluster
from runner.cli.ready import make_ready
from runner.errors import Interrupted, Stopped, UserError

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.search.driver import SearchOutcome
    from runner.search.space import Space

SEARCHES = "searches"
UNITS_MINUTES = {"h": 60.0, "m": 1.0, "min": 1.0, "s": 1.0 / 60.0}


def search(
    search: Annotated[
        Path | None,
        typer.Argument(metavar="SEARCH", help="Search file; the built-in demo when left out.", show_default=False),
    ] = None,
    override: Overrides = None,
    trials: Annotated[int | None, typer.Option("--trials", metavar="N", min=1, help="Configurations tried.")] = None,
    concurrent: Annotated[
        int | None, typer.Option("--concurrent", metavar="N", min=1, help="Trials at once; from the machines if not.")
    ] = None,
    time_budget: Annotated[
        str | None, typer.Option("--time-budget", metavar="TIME", help="Time after which no more is trained: 2h, 90m.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search of this name.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Go on with the search of this name, or start it if there is none.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be tried, and end.")] = False,
    workers: Workers = None,
    cluster: ClusterFile = None,
    address: Address = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="FOLDER|URL", help=f"Where they are kept, also s3:// or gs://; {SEARCHES}/ if not."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the search's folder.")] = None,
) -> None:
    """Search rank, learning rate, stop step and other keys of a job.

    Each trial's loss is measured at every stop step as if the run ended there.
    """
    options = {"trials": trials, "concurrency": concurrent, "time_budget_minutes": minutes(time_budget), "name": name}
    space = _named_space(search, override or [], {key: value for key, value in options.items() if value is not None})
    profile = named_cluster(cluster, workers, storage, address=address, kept=SEARCHES)
    if profile.min_workers is not None:
        typer.echo(f"warning: min_workers is not used: a trial trains on {profile.workers} workers", err=True)
    typer.echo(f"{described(space)}\n")
    if dry_run:
        return
    from runner.distributed.ray_session import check_local_size
    from runner.distributed.signals import sigterm_stops

    check_local_size(profile)
    with sigterm_stops():
        make_ready(space.job, profile)
        _run(space, profile, resume=resume, retry=retry)


def _named_space(file: Path | None, overrides: list[str], options: "dict[str, str | int | float]") -> "Space":
    """The checked search of the command line; ``UserError`` for what is wrong with it."""
    from runner.config.load_search import load_search

    loaded = load_search(file, overrides, options)
    from runner.search.space import space_of

    return space_of(loaded)


def _run(space: "Space", profile: "Cluster", *, resume: bool, retry: bool) -> None:
    from runner.cli.searching import Searching
    from runner.search import driver
    from runner.search.bucket import is_kept

    resume = resume or (retry and is_kept(profile.storage, space.search.name))
    request = driver.Request(space, profile, profile.storage, CACHE, resume)
    outcome = driver.search(request, follow=Searching(space).follow)
    typer.echo("")
    typer.echo(concluded(outcome))
    if outcome.ending in ("SIGTERM", "SIGINT"):
        kind = Interrupted if outcome.ending == "SIGINT" else Stopped
        raise kind("stopped, everything measured is kept", outcome.place, "go on with --resume")


def described(space: "Space") -> str:
    """What is searched and what it takes, with the formulas; nothing is measured for it."""
    from runner.search.legs import leg_ends
    from runner.search.wording import counted

    search, job = space.search, space.job
    lines = [
        f"search {search.name}: {counted(search.trials, 'trial')} of {job.method} of {job.model.id} on {job.data.id}"
    ]
    lines += [f"  {key:<22} {_range(values)}" for key, values in search.space.items()]
    lines.append(f"  {'stop step':<22} {', '.join(f'{stop:,}' for stop in search.stop_steps)}")
    first = {key: _first(values) for key, values in search.space.items()}
    sampler = "TPE" if search.sampler == "tpe" else "random choice"
    halved = len(leg_ends(search)) > 1 and search.trials > 1
    early = f"one in {search.reduction_factor} goes on (ASHA)" if halved else "none stopped early"
    told = [sampler, early, f"warm-up {space.warmup(first):,} steps"]
    if search.repeats:
        seeds = counted(search.repeats, "more seed")
        told.append(f"again with {seeds}" if search.trials == 1 else f"the best two again with {seeds} each")
    lines.append(f"  {', '.join(told)}")
    if job.stop.plateau is not None or job.evaluation.questions:
        lines.append("  stop.plateau and evaluation are off in trials")
    if job.train.strategy != "ddp":
        lines.append(f"  trials train by ddp; {job.train.strategy} is for the job that comes out")
    return "\n".join([*lines, "", *_cost(space, first)])


def _cost(space: "Space", first: "dict[str, str | int | float | bool]") -> list[str]:
    """Steps with their formulas, for the first value of every range."""
    from runner.search.legs import repeats_of
    from runner.search.wording import counted

    search, tokens, last = space.search, space.job.train.tokens_per_step, space.search.stop_steps[-1]
    expected, runs = space.expected_steps(first), search.trials * len(search.stop_steps)
    reached = ", ".join(f"{count:,} to step {stop:,}" for stop, count in space.reached().items())
    lines = [
        f"trials: {reached}; about {expected:,} steps of {tokens:,} tokens = {expected / last:.1f} runs of {last:,}",
        f"{runs:,} runs, one for each configuration and stop step, would take "
        f"{search.trials:,} x {sum(search.stop_steps):,} = {search.trials * sum(search.stop_steps):,} steps",
    ]
    if search.repeats:
        lines.append(f"then {counted(repeats_of(search), 'repeat')} of at most {last:,} steps")
    if search.time_budget_minutes is not None:
        lines.append(f"no step is trained after {search.time_budget_minutes:g} minutes")
    return lines


def concluded(outcome: "SearchOutcome") -> str:
    """What the search found, where it lies, and what to type next."""
    from runner.report.commands import typed
    from runner.search.conclusion import next_commands

    folder, answer, search = outcome.folder, outcome.answer, outcome.space.search
    ended = sum(trial.ending is not None for trial in outcome.study.trials)
    before = " before" if outcome.finished_before else ""
    lines = [f"{search.name}  {_ending(outcome)}{before}: {ended} of {search.trials} trials", "", answer.verdict]
    lines += [f"  {remark}" for remark in answer.remarks]
    lines += ["", f"the page  {shlex.quote(typed(folder.page_file))}", f"all files {shlex.quote(typed(folder.root))}"]
    lines += [f"kept in   {outcome.place}"] if outcome.place != str(folder.root) else []
    commands = next_commands(folder)
    widest = max((len(command.text) for command in commands), default=0)
    return "\n".join([*lines, *(f"next      {command.text:{widest}}  {command.effect}" for command in commands)])


def _ending(outcome: "SearchOutcome") -> str:
    words = {"finished": "finished", "time budget": "ended by its time budget"}
    return words.get(outcome.ending, "stopped")


def _range(values: object) -> str:
    from runner.config.search import Range

    assert isinstance(values, Range)
    if values.choices is not None:
        return ", ".join("null" if choice is None else str(choice) for choice in values.choices)
    spread = ", on a logarithmic scale" if values.log else "" if values.step is None else f" in steps of {values.step}"
    return f"{values.low} to {values.high}{spread}"


def _first(values: object) -> "str | int | float | bool":
    """A value of the range, as a trial has it."""
    from runner.config.search import Range
    from runner.search.space import labels

    assert isinstance(values, Range)
    value = next(iter(labels(values)), None) if values.choices is not None else values.low
    assert value is not None
    return value


def minutes(text: str | None) -> float | None:
    """Minutes that ``text`` names (``2h``, ``90m``, ``1h30m``, ``45s``); ``UserError`` for what is no time."""
    if text is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(h|min|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != re.sub(r"\s", "", text):
        raise UserError(f"the time budget is {text!r}", "--time-budget", "write it as 2h, 90m, 1h30m or 45s")
    return sum(float(number) * UNITS_MINUTES[unit] for number, unit in parts)
