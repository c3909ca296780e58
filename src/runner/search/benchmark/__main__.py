"""``python -m runner.search.benchmark``: does the ways that are not done yet, one after the other, and shows the table.

What they are is in ``plan``.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from runner.config.load_search import load_search
from runner.errors import RunnerError, TrainingFailed, UserError
from runner.runs.durable import write_file
from runner.search.benchmark.figures import answers_to_train, best_values
from runner.search.benchmark.plan import WAYS, Options, Plan, Way, demo_overrides, make_plan
from runner.search.benchmark.table import render
from runner.train.assembly import load_data

TIMED_WAYS = "separate,asha,curve,resident,decay"


def benchmark(
    search: Annotated[
        Path | None, typer.Argument(metavar="SEARCH", help="Search file; the demo in 24 x 8 pairs when left out.")
    ] = None,
    override: Annotated[
        list[str] | None, typer.Option("--override", "-o", metavar="KEY=VALUE", help="As of runner search.")
    ] = None,
    ways: Annotated[
        str, typer.Option("--ways", metavar="NAME,...", help=f"Of {', '.join(WAYS)}; those done are not done again.")
    ] = TIMED_WAYS,
    timed: Annotated[
        int, typer.Option("--timed", metavar="N", min=1, help="Separate runs timed for each stop step.")
    ] = 2,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="Most minutes of a way; what it has by then counts.")
    ] = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", min=1, help="Seeds with which the answers are trained again.")
    ] = 2,
    at: Annotated[
        list[int] | None,
        typer.Option("--at", metavar="STEP", help="Stop step whose answers are; repeatable, else all."),
    ] = None,
    cluster: Annotated[Path | None, typer.Option("--cluster", metavar="FILE", help="Scaling profile.")] = None,
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where all of it is kept.")] = Path(
        "searches/benchmark"
    ),
) -> None:
    """Compare runner search with the ways in which people search with Ray Tune."""
    try:
        chosen = _ways(ways)
        overrides = demo_overrides(override or ()) if search is None else list(override or ())
        loaded = load_search(search, overrides)
        options = Options(cluster, Path("~/.cache/runner"), timed, minutes, seeds)
        plan = make_plan(folder.resolve(), loaded, options)
        again_at = _stop_steps(plan, at or plan.space.search.stop_steps)
        missing = [way for way in chosen if not plan.wall_file(way).is_file()]
        if missing:
            load_data(plan.space.job, cache=plan.cache.expanduser())  # prepared once, for all ways alike
        for way in missing:
            typer.echo(f"{way} ...", err=True)
            _do(plan, way, again_at)
        typer.echo(render(plan))
    except RunnerError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None


def _ways(text: str) -> list[Way]:
    known = {str(way): way for way in get_args(Way)}
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"--ways names {unknown[0]!r}", "", f"name some of {', '.join(known)}")
    return [way for name, way in known.items() if name in names]


def _stop_steps(plan: Plan, chosen: Sequence[int]) -> Sequence[int]:
    known = plan.space.search.stop_steps
    if unknown := [step for step in chosen if step not in known]:
        raise UserError(f"--at names {unknown[0]}", "", f"name some of {', '.join(map(str, known))}")
    return chosen


def _do(plan: Plan, way: Way, again_at: Sequence[int]) -> None:
    """Do ``way`` in a process of its own, from its start, and note how long that took."""
    for left in (plan.root / way, plan.root / f"ray-{way}", plan.root / "searches" / way):
        shutil.rmtree(left, ignore_errors=True)  # of a call that was cut short
    if way == "decay":
        write_file(plan.best_file, json.dumps(best_values(plan)).encode())
    if way == "again":
        write_file(plan.answers_file, json.dumps(answers_to_train(plan, again_at)).encode())
    if way in ("resident", "pairs"):
        command = ["runner", "search", str(plan.search_file), "--storage", str(plan.root / "searches"), "--name", way]
        command += [] if plan.cluster_file is None else ["--cluster", str(plan.cluster_file)]
        command += [] if plan.minutes is None else ["--time-budget", f"{round(60 * plan.minutes)}s"]
        command += ["-o", "scheduler=none", "-o", "sampler=random"] if way == "pairs" else []
    else:
        command = ["runner.search.benchmark.fresh", str(plan.root), way]
    log = plan.root / f"{way}.log"
    began = time.monotonic()
    with log.open("w") as stream:
        done = subprocess.run([sys.executable, "-m", *command], stdout=stream, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise TrainingFailed(f"{way} ended with exit code {done.returncode}", str(log), "see what it says there")
    write_file(plan.wall_file(way), json.dumps({"seconds": seconds}).encode())


if __name__ == "__main__":
    typer.run(benchmark)
