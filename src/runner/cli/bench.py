"""``runner bench``: tokens a second and memory of the training step, by length and kernels, and beside TRL's.

Measuring is ``runner.train.bench``'s and ``runner.train.peer``'s, counting FLOPs ``runner.plan.flops``'s.
"""

import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from runner.cli.options import ClusterFile, JobFile, Overrides, named_cluster, named_job
from runner.cli.ticker import Ticker
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.config.cluster import Cluster
    from runner.config.job import Job
    from runner.plan import Geometry
    from runner.train.bench import Case, Row

LENGTHS = "1024,2048,4096,8192"
HEADINGS = ("case", "kernels", "form", "tokens/s", "x peer", "MFU", "peak GiB", "first step s", "loss")
WORDS = 3  # columns of words, aligned to the left
REASON = 100  # columns of a reason in the table; the JSON file has all of it


def bench(
    job: JobFile = None,
    override: Overrides = None,
    cluster: ClusterFile = None,
    lengths: Annotated[
        str, typer.Option("--lengths", metavar="N,...", help="Tokens of a document, each a case.")
    ] = LENGTHS,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", min=16, help="Tokens of a step, about.")] = 8192,
    mixed: Annotated[
        bool, typer.Option("--mixed/--no-mixed", help="Also documents of mixed lengths in buffers of the longest.")
    ] = True,
    kernels: Annotated[
        str | None,
        typer.Option(
            "--kernels", metavar="NAME,...", help="Values of train.kernels to compare; the job's when left out."
        ),
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="With kernels that give the same bits every time.")
    ] = False,
    peer: Annotated[
        bool, typer.Option("--peer", help="The same by TRL's SFTTrainer, which must be installed; on CUDA.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also where a step's time on the device goes; on CUDA.")
    ] = False,
    file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all rows as JSON.")] = None,
) -> None:
    """Measure the speed and memory of a job's training step.

    On random tokens: it needs no data, and keeps nothing.
    """
    settings, resources = named_job(job, override), named_cluster(cluster, None, None)
    asked = Asked(_lengths(lengths), tokens, mixed, _kernels(kernels, settings), peer, profile)
    if deterministic:
        train = settings.train.model_copy(update={"deterministic": True})
        settings = settings.model_copy(update={"train": train})
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise UserError(f"--json is {file}", "", "name a file in a folder that exists")
    from runner.cli.ready import reach_model

    reach_model(settings.model)
    with tempfile.TemporaryDirectory() as folder:
        report = _measured(settings, resources, asked, Path(folder))
    typer.echo(render(report))
    if file is not None:
        file.write_text(json.dumps(as_json(report), indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Asked:
    """What of the command line is about the cases."""

    lengths: tuple[int, ...]
    tokens: int
    mixed: bool
    kernels: tuple[str, ...]
    peer: bool
    profile: bool


@dataclass(frozen=True)
class Facts:
    """What was measured, on what, and how."""

    job: str
    device: str
    free_gib: float
    gpu_memory_gib: float | None  # the most that this process may take
    attention: str | None  # whose kernels written-out layers attend by; None on a CPU
    peak_tflops: float | None
    torch: str
    trl: str | None  # None: not asked for
    deterministic: bool
    discarded: int  # steps
    counted: int


@dataclass(frozen=True)
class Entry:
    """A row with what follows from it; None where that is not known."""

    row: "Row"
    flops_a_token: float
    x_peer: float | None
    mfu: float | None


@dataclass(frozen=True)
class Report:
    """Everything that was measured."""

    facts: Facts
    cases: "tuple[Case, ...]"
    entries: tuple[Entry, ...]


def _lengths(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and 16 <= int(word) <= 131072 for word in words):
        raise UserError(f"--lengths is {text}", "", f"give whole numbers from 16 to 131072, such as {LENGTHS}")
    return tuple(dict.fromkeys(int(word) for word in words))


def _kernels(text: str | None, job: "Job") -> tuple[str, ...]:
    from runner.config.job import Train

    known: tuple[str, ...] = get_args(Train.model_fields["kernels"].annotation)
    words = [job.train.kernels] if text is None else [word.strip() for word in text.split(",")]
    if not set(words) <= set(known):
        raise UserError(f"--kernels is {text}", "", f"choose among {', '.join(known)}")
    return tuple(dict.fromkeys(words))


def _measured(job: "Job", cluster: "Cluster", asked: Asked, folder: Path) -> Report:
    """Every case on all kernels, and by the peer where it is asked for; ``folder`` is for random weights."""
    import torch

    from runner.plan import limit_memory, read_geometry
    from runner.plan.flops import flops_a_token, read_windows
    from runner.train.bench import write_random
    from runner.train.peer import check_peer

    if asked.peer:
        check_peer(job)
    if asked.profile and not torch.cuda.is_available():
        raise UserError("the device's time is noted on CUDA only, and there is none", "--profile", "leave it out")
    loaded = job
    if job.model.weights == "random" and torch.cuda.is_available():
        loaded = write_random(job, folder)
    if cluster.gpu_memory_gib is not None and torch.cuda.is_available():
        limit_memory(torch.device("cuda"), cluster.gpu_memory_gib)
    facts, geometry, windows = _facts(job, cluster, asked), read_geometry(job), read_windows(job.model)
    cases = _cases(asked, geometry)
    flops = {case.name: flops_a_token(job, geometry, case.documents, windows) for case in cases}
    rows = _rows(_work(loaded, cases, asked, geometry))
    return Report(facts, cases, tuple(_entry(row, rows, flops[row.case], facts.peak_tflops) for row in rows))


def _facts(job: "Job", cluster: "Cluster", asked: Asked) -> Facts:
    from importlib import metadata

    import torch

    from runner.plan import present_device
    from runner.plan.flops import peak_tflops
    from runner.train.bench import MEASURED, WARM_UP

    device = present_device()
    return Facts(
        job=_described(job),
        device=device.name,
        free_gib=device.free_gib,
        gpu_memory_gib=cluster.gpu_memory_gib if device.kind == "cuda" else None,
        attention=device.attention if device.kind == "cuda" else None,
        peak_tflops=peak_tflops(device.name),
        torch=torch.__version__,
        trl=metadata.version("trl") if asked.peer else None,
        deterministic=job.train.deterministic,
        discarded=WARM_UP,
        counted=MEASURED,
    )


def _described(job: "Job") -> str:
    weights = ", random weights" if job.model.weights == "random" else ""
    return f"{job.method} of {job.model.id}{weights}" + (f", rank {job.lora.rank}" if job.lora else "")


def _cases(asked: Asked, geometry: "Geometry") -> "tuple[Case, ...]":
    """One for every length, and one of mixed lengths up to the largest that the model has positions for."""
    from runner.train.bench import equal_case, mixed_case

    cases = [equal_case(length, asked.tokens, geometry.vocabulary) for length in asked.lengths]
    possible = [case.length for case in cases if _takes(geometry, case.length)]
    if asked.mixed and possible:
        cases.append(mixed_case(max(possible), asked.tokens, geometry.vocabulary))
    return tuple(cases)


def _takes(geometry: "Geometry", length: int) -> bool:
    return geometry.positions == 0 or length <= geometry.positions


_Work = tuple[str, Callable[[], "Row"]]


def _work(job: "Job", cases: "Sequence[Case]", asked: Asked, geometry: "Geometry") -> list[_Work]:
    """What there is to measure, by name, in the table's order."""
    from runner.train.bench import run_case
    from runner.train.peer import KERNELS, run_peer, ways

    work: list[_Work] = []
    for case in cases:
        for name in asked.kernels:
            run = partial(run_case, job, case, name, geometry, profiled=asked.profile)
            work.append((f"{case.name}, {name}", run))
        if asked.peer and _takes(geometry, case.length):
            work += [(f"{case.name}, {KERNELS}, {way.form}", partial(run_peer, job, case, way)) for way in ways(case)]
    return work


def _rows(work: list[_Work]) -> "list[Row]":
    """The row of each; on standard error a line when it is there."""
    ticker, rows = Ticker(sys.stderr), list["Row"]()
    for number, (name, measure) in enumerate(work, start=1):
        told = f"{number}/{len(work)} {name}"
        ticker.show(f"{told} ...")
        row = measure()
        rows.append(row)
        ticker.say(f"{told}: {f'{row.figures.tokens_s:,.0f} tokens/s' if row.figures else row.why}")
    return rows


def _entry(row: "Row", rows: "Sequence[Row]", flops: float, peak_tflops: float | None) -> Entry:
    peer = next((other.figures for other in rows if other.reference and other.case == row.case), None)
    rate = row.figures.tokens_s if row.figures else None
    return Entry(
        row,
        flops,
        x_peer=rate / peer.tokens_s if rate and peer else None,
        mfu=rate * flops / (peak_tflops * 1e12) if rate and peak_tflops else None,
    )


def as_json(report: Report) -> dict[str, Any]:
    """Facts and rows; a row without figures has null in their places."""
    from runner.train.bench import Figures

    rows = []
    for entry in report.entries:
        values = dataclasses.asdict(entry.row)
        figures = values.pop("figures") or {field.name: None for field in dataclasses.fields(Figures)}
        derived = {"flops_a_token": entry.flops_a_token, "x_peer": entry.x_peer, "mfu": entry.mfu}
        rows.append({**values, **figures, **derived})
    return {**dataclasses.asdict(report.facts), "rows": rows}


def render(report: Report) -> str:
    """The report as lines for a terminal: what it was measured on, the table, and what its columns mean."""
    return "\n".join([*_head(report.facts), "", *_table(report.entries), "", *_profiles(report), *_notes(report)])


def _profiles(report: Report) -> list[str]:
    """Where the time of each profiled row goes, each followed by an empty line."""
    from runner.train.profiling import table

    lines: list[str] = []
    for row in (entry.row for entry in report.entries):
        if row.spent is not None and row.figures is not None:
            step_ms = 1000 * statistics.median(row.figures.step_s)
            lines += [
                f"{row.case}, {row.kernels}: {row.spent.kernels:,} kernels a step",
                *table(row.spent, step_ms),
                "",
            ]
    return lines


def _head(facts: Facts) -> list[str]:
    cap = "" if facts.gpu_memory_gib is None else f", memory cap {facts.gpu_memory_gib:g} GiB"
    attention = "" if facts.attention is None else f", attention of written-out layers by {facts.attention}"
    return [
        f"{facts.job}{', deterministic' if facts.deterministic else ''}: {facts.discarded} steps discarded, "
        f"median of the next {facts.counted}",
        f"on {facts.device} ({facts.free_gib:.1f} GiB free), torch {facts.torch}{cap}{attention}",
    ]


def _table(entries: Sequence[Entry]) -> list[str]:
    """Lines of the table; a reason for no figures takes their columns."""
    lines = [HEADINGS, *(_cells(entry) for entry in entries)]
    full = [cells for cells in lines if len(cells) == len(HEADINGS)]
    columns = range(len(HEADINGS))
    widths = [max(len(cells[column]) for cells in (lines if column < WORDS else full)) for column in columns]
    shown = []
    for cells in lines:
        padded = [
            cell.ljust(width) if column < WORDS else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=False))
        ]
        shown.append("  ".join(padded).rstrip())
    return shown


def _cells(entry: Entry) -> tuple[str, ...]:
    row, figures = entry.row, entry.row.figures
    words = (row.case, row.kernels, row.form or "-")
    if figures is None:
        return (*words, row.why if len(row.why) <= REASON else f"{row.why[: REASON - 3]}...")
    return (
        *words,
        f"{figures.tokens_s:,.0f}",
        "-" if entry.x_peer is None else f"{entry.x_peer:.2f}",
        "-" if entry.mfu is None else f"{entry.mfu:.1%}",
        f"{figures.peak_gib:.2f}",
        f"{figures.first_step_s:.1f}",
        f"{figures.loss:.4f}",
    )


def _notes(report: Report) -> list[str]:
    """What a column means, where its name does not say it."""
    facts = report.facts
    lines = ["tokens/s: of documents, padding not counted"]
    lines += [_mixture(case) for case in report.cases if case.mixed]
    giga = [entry.flops_a_token / 1e9 for entry in report.entries]
    counted = f"{min(giga):.3g} to {max(giga):.3g} GFLOP a token, recomputation not counted"
    of = f"of {facts.peak_tflops:g} TFLOP/s" if facts.peak_tflops else "and no peak is known of this device"
    lines.append(f"MFU: {counted}, {of}")
    if facts.trl is not None:
        cap = "" if facts.gpu_memory_gib is None else ", without the memory cap"
        lines.append(f"x peer: beside TRL {facts.trl} as it comes (checkpointing; mixed: padded rows){cap}")
    if facts.attention is None:
        lines.append("peak GiB: the most that this process has held so far")
    return lines


def _mixture(case: "Case") -> str:
    filled = case.tokens / (len(case.packs) * case.length)
    return (
        f"mixed: {len(case.documents)} documents of {min(case.documents):,} to {max(case.documents):,} tokens, "
        f"{filled:.1%} of the buffers filled"
    )
