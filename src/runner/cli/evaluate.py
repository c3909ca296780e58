"""``runner evaluate``: what a run's model can do, before and after, on the problems that are named.

Evaluating is ``runner.evaluation``'s, showing it ``runner.report``'s.
"""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from runner.cli.options import CACHE, Storage, kept_in
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.cli.ticker import Ticker
    from runner.config.job import Job
    from runner.evaluation.evaluate import Limits
    from runner.evaluation.problems import Suite
    from runner.evaluation.results import Asking
    from runner.runs import RunFolder
    from runner.train.inference import Weights

HELD_OUT = "held-out"
QUESTIONS = 200  # held-out questions asked where no limit is given
SHOWN_FAILURES = 10


@dataclass(frozen=True)
class Wish:
    """What the command line asks, as far as it says."""

    suites: tuple[str, ...]
    limit: int | None
    split: str | None
    weights: "Weights"
    max_new_tokens: int | None
    batch: int | None


def evaluate(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Name of a run.", show_default=False)] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="FILE", help=f"Problems in JSONL, or {HELD_OUT}, which is asked if none is."),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Problems asked of a suite.")] = None,
    split: Annotated[str | None, typer.Option("--split", metavar="NAME", help="Split of MBPP: test, train.")] = None,
    samples: Annotated[int, typer.Option("--samples", metavar="N", min=1, help="Answers to each problem.")] = 1,
    temperature: Annotated[
        float | None, typer.Option("--temperature", min=0.0, help="0 is greedy; 0.8 where there are several samples.")
    ] = None,
    top_p: Annotated[float, typer.Option("--top-p", min=0.01, max=1.0, help="Share of probability drawn from.")] = 0.95,
    max_new_tokens: Annotated[
        int | None, typer.Option("--max-new-tokens", metavar="N", min=1, help="Longest answer; data.max_length if not.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of the draws.")] = 17,
    weights: Annotated[Literal["final", "best"], typer.Option(help="Which weights of the run.")] = "final",
    batch: Annotated[int | None, typer.Option("--batch", metavar="N", min=1, help="Answers at once.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, help="Seconds of a program.")] = 8.0,
    reference: Annotated[
        Path | None, typer.Option("--reference", metavar="FILE", help="Score the reference solutions of a suite.")
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-no-sandbox", help="Run programs with limits only; the results say so.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Ask a run's base and its tuned model the same problems, run their programs, and compare.

    Programs run under bubblewrap, without network.  --reference FILE needs no run: it scores a suite's own solutions.
    """
    from runner.cli.ticker import Ticker
    from runner.evaluation.evaluate import Limits
    from runner.evaluation.results import Asking
    from runner.evaluation.sandbox import check_sandbox

    if not unsafe:
        check_sandbox()
    limits = Limits(batch or 1, timeout, "none" if unsafe else "bubblewrap")
    ticker = Ticker(sys.stderr)
    if reference is not None:
        _score_references(reference, limit, split, limits, ticker)
        return
    if run is None:
        raise UserError("no run is named", "runner evaluate RUN", "runner runs lists them; --reference FILE needs none")
    drawn = (0.8 if samples > 1 else 0.0) if temperature is None else temperature
    asking = Asking(samples, drawn, top_p if drawn else 1.0, max_new_tokens or 0, seed)
    wish = Wish(tuple(suite or (HELD_OUT,)), limit, split, weights, max_new_tokens, batch)
    _evaluate(run, kept_in(storage, run=run, with_folders=(weights,)), wish, asking, limits, ticker)


def _evaluate(run: str, storage: Path, wish: Wish, asking: "Asking", limits: "Limits", ticker: "Ticker") -> None:
    """Every suite in turn; what is found is kept as soon as a suite is done."""
    from dataclasses import replace

    from runner.cli.report import write_report
    from runner.config.load import load_job
    from runner.evaluation.evaluate import About, evaluate
    from runner.evaluation.results import write_evaluation
    from runner.plan import present_device
    from runner.report import style_of
    from runner.report.evaluation_summary import summary_of
    from runner.runs import load_run
    from runner.train.asking import answers_at_once, fitting
    from runner.train.inference import load_for_inference
    from runner.train.world import best_device

    folder = load_run(storage, run).folder
    job = load_job(folder.job_file)
    suites = list(_suites(job, wish))
    ticker.show(f"loading {job.model.id} and the {wish.weights} weights of {run}")
    subject = load_for_inference(job, folder, wish.weights, best_device())
    ticker.clear()
    for suite in suites:
        asking = replace(asking, max_new_tokens=wish.max_new_tokens or job.data.max_length)
        suite, longest = fitting(suite, subject, asking.max_new_tokens)
        answers = len(suite.problems) * asking.samples
        chosen = replace(limits, batch=wish.batch or answers_at_once(subject, longest, answers))
        about = About(run, job.model.id, wish.weights, present_device().name, shlex.join(["runner", *sys.argv[1:]]))
        found = evaluate(subject, suite, asking, chosen, about, ticker)
        kept = folder.inside(folder.evaluations.name, evaluation_name(suite.name, asking.samples, wish.weights))
        write_evaluation(kept, found.evaluation, found.answers, found.asked)
        typer.echo(f"{summary_of(found.evaluation, style_of(sys.stdout))}\n")
        typer.echo(f"in {kept}{_sent(folder, kept.name)}")
    typer.echo(f"page {write_report(folder)}")


def _sent(folder: "RunFolder", name: str) -> str:
    """Where else an evaluation is now, if its run is kept in a bucket; a bucket that does not take it is warned of."""
    from runner.runs.remote.evaluations import send_evaluation
    from runner.runs.remote.faults import StorageFault

    try:
        place = send_evaluation(folder, name)
    except StorageFault as fault:
        typer.echo(f"warning: on this machine only, for {fault}", err=True)
        return ""
    return f" and {place}" if place is not None else ""


def evaluation_name(suite: str, samples: int, weights: str) -> str:
    """The folder of an evaluation: of the same suite, samples and weights there is one, the newest."""
    return suite + ("" if samples == 1 else f"-x{samples}") + ("" if weights == "final" else f"-{weights}")


def _suites(job: "Job", wish: Wish) -> "Iterator[Suite]":
    from runner.evaluation.suites import read_suite
    from runner.train.asking import held_out_suite

    for name in wish.suites:
        if name == HELD_OUT:
            yield held_out_suite(job, wish.limit or QUESTIONS, cache=CACHE.expanduser())
        else:
            yield read_suite(Path(name).expanduser(), limit=wish.limit, split=wish.split)


def _score_references(file: Path, limit: int | None, split: str | None, limits: "Limits", ticker: "Ticker") -> None:
    """Run the reference solutions of ``file``; ``UserError`` if one fails, for then no score of the suite counts."""
    from runner.evaluation.evaluate import grade_references
    from runner.evaluation.suites import read_suite

    suite = read_suite(file.expanduser(), limit=limit, split=split)
    judged = grade_references(suite, limits, ticker)
    failed = [(problem, verdict) for problem, verdict in judged if not verdict.passed]
    typer.echo(f"{suite.name}, {suite.format}, {len(suite.problems):,} problems of {suite.source}")
    for reason, count in suite.skipped:
        typer.echo(f"  left out: {count:,} {reason}")
    typer.echo(f"reference solutions: {len(judged) - len(failed):,} of {len(judged):,} pass")
    for problem, verdict in failed[:SHOWN_FAILURES]:
        typer.echo(f"  {problem.id}: {verdict.outcome}; {verdict.detail}")
    if failed:
        raise UserError(
            f"{len(failed):,} of {len(judged):,} reference solutions fail", str(file), "mend the suite before using it"
        )
