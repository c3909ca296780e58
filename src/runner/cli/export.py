"""``runner export``: a run's weights as others load them, each form with what it costs in loss.

Measuring and writing are ``runner.train.exporting``'s, the card's text ``runner.report.card``'s.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from runner.cli.options import CACHE, Storage, kept_in
from runner.errors import UserError

if TYPE_CHECKING:
    from runner.data import PreparedData
    from runner.report.card import CardFacts, Exported, Form, FormMeasure
    from runner.runs import LoadedRun, RunFolder
    from runner.train.exporting import Subject

Asked: TypeAlias = Literal["adapter", "full", "merged-nf4", "merged-16bit", "gguf"]
DType: TypeAlias = Literal["bfloat16", "float16", "float32"]

EXPORTS = "export"  # in the run's folder
GGUF_TYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
GGUF_EFFECT = "merged-16bit for llama.cpp, with the line that converts it"


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, as `runner runs` lists them.")],
    form: Annotated[
        Asked | None,
        typer.Option(help="What to write; when left out the weights as trained: adapter, or full for lora null."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Where; RUN/export/FORM when left out.")
    ] = None,
    weights: Annotated[Literal["final", "best"], typer.Option(help="Which of the run's weights.")] = "final",
    dtype: Annotated[DType, typer.Option(help="Type that merged weights are rounded to, once.")] = "bfloat16",
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure the held-out loss of every form.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in FOLDER.")] = False,
    storage: Storage = None,
) -> None:
    """Write a run's weights for others to load, and show what each form costs.

    Forms: the adapter, merged into the base as trained (NF4), merged into the original base, a hand-off to GGUF.
    """
    from runner.runs import load_run

    loaded = load_run(kept_in(storage, run=run, with_folders=(weights,)), run)
    subject = _subject(loaded, weights, dtype)
    request = Request(form or subject.forms[0], to, force, _words(loaded.folder, weights, dtype))
    target = _target(subject, request)
    data = _data(subject) if measure else None
    measures = _measured(subject, data) if data is not None else ()
    _write(subject, request, target, _facts(subject, loaded, request, measures, data))
    _tell(subject, request, target)


@dataclass(frozen=True)
class Request:
    """What was asked for; ``words`` is the command line that asks it again, but for ``--form`` and ``--to``."""

    asked: Asked
    to: Path | None
    force: bool
    words: tuple[str, ...]

    @property
    def form(self) -> "Form":
        """The form that is written."""
        return "merged-16bit" if self.asked == "gguf" else self.asked

    def command(self, form: str | None = None) -> str:
        """The line to type for ``form``, or for this request."""
        place = ["--to", str(self.to)] if self.to is not None and form is None else []
        return shlex.join([*self.words, "--form", form or self.asked, *place])


def _words(folder: "RunFolder", weights: str, dtype: str) -> tuple[str, ...]:
    """The command line without its form, and without what is the default."""
    from runner.report.commands import storage_words

    given = (("--weights", weights, "final"), ("--dtype", dtype, "bfloat16"))
    changed = [word for option, value, default in given if value != default for word in (option, value)]
    return ("runner", "export", folder.name, *changed, *storage_words(folder))


def _subject(loaded: "LoadedRun", weights: Literal["final", "best"], dtype: DType) -> "Subject":
    import torch

    from runner.config.load import load_job
    from runner.train.exporting import Subject
    from runner.train.world import best_device

    types = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    subject = Subject(load_job(loaded.folder.job_file), loaded.folder, weights, types[dtype], best_device())
    _ = subject.step  # told at once where the weights are missing or damaged
    return subject


def _target(subject: "Subject", request: Request) -> Path:
    """The folder to write; ``UserError`` when something lies there that may not be replaced."""
    from runner.train.exporting import check_form, is_export

    check_form(subject, request.form)
    target = request.to.expanduser().resolve() if request.to else subject.folder.inside(EXPORTS, request.form)
    if target.is_dir() and not any(target.iterdir()):
        return target
    if not target.exists() or (request.force and is_export(target)) or _is_there(subject, request, target):
        return target
    remedy = "give --force to replace it, or another folder with --to"
    if request.force:
        remedy = "--force replaces earlier exports only; give another folder with --to"
    raise UserError(f"{target} exists and is not empty", "--to" if request.to else "", remedy)


def _is_there(subject: "Subject", request: Request, target: Path) -> bool:
    """Whether a hand-off finds the model it needs, from an export before."""
    from runner.train.exporting import holds_form

    return request.asked == "gguf" and not request.force and holds_form(subject, request.form, target)


def _data(subject: "Subject") -> "PreparedData":
    from runner.cli.ticker import Ticker
    from runner.data import prepare
    from runner.model.tokenizer import load_encoder
    from runner.train.inference import as_trained

    job = as_trained(subject.job, subject.folder)
    try:
        return prepare(job.data, load_encoder(job.model), cache=CACHE.expanduser(), progress=Ticker(sys.stderr))
    except UserError as error:
        raise UserError(
            error.what, error.where, f"{error.remedy}; or leave out the losses with --no-measure"
        ) from error


def _measured(subject: "Subject", data: "PreparedData") -> "tuple[FormMeasure, ...]":
    """The forms with their losses, shown as a table."""
    from runner.cli.ticker import Ticker
    from runner.train.exporting import measure_forms

    measures = measure_forms(subject, data.validation, show=Ticker(sys.stderr).update)
    typer.echo(_table(measures))
    typer.echo(f"loss in nats a token, {data.validation.documents:,} held-out documents; weights in MB\n")
    return measures


def _table(measures: "Sequence[FormMeasure]") -> str:
    from runner.report.card import FORM_HEADINGS, form_rows
    from runner.report.layout import in_columns

    return "\n".join(in_columns([FORM_HEADINGS, *form_rows(measures)]))


def _facts(
    subject: "Subject",
    loaded: "LoadedRun",
    request: Request,
    measures: "Sequence[FormMeasure]",
    data: "PreparedData | None",
) -> "CardFacts":
    from runner.evaluation.results import evaluations_in, read_evaluation
    from runner.report.card import CardFacts
    from runner.train.exporting import origin_of

    evaluations = [read_evaluation(folder) for folder in evaluations_in(loaded.folder.evaluations)]
    licences = data.ledger.origins.get("licence", {}) if data is not None else {}
    return CardFacts(
        job=subject.job,
        exported=_exported(subject, request),
        origin=origin_of(subject, licences),
        records=loaded.records,
        measures=measures,
        evaluations=[found for found in evaluations if found.weights == subject.weights],
    )


def _exported(subject: "Subject", request: Request) -> "Exported":
    from runner.report.card import Exported

    dtype = "float32" if request.form in ("adapter", "full") else str(subject.dtype).removeprefix("torch.")
    return Exported(request.form, subject.weights, subject.step, dtype, request.command())


def _write(subject: "Subject", request: Request, target: Path, facts: "CardFacts") -> None:
    from runner.cli.ticker import Ticker
    from runner.report.card import model_card
    from runner.train.exporting import write_form

    if _is_there(subject, request, target):
        typer.echo(f"{request.form} is there from an export before: {target}")
        return
    write_form(subject, request.form, target, card=model_card(facts), show=Ticker(sys.stderr).update)
    typer.echo(f"{request.form}: {target}")
    typer.echo(f"  {', '.join(sorted(path.name for path in target.iterdir()))}")


def _tell(subject: "Subject", request: Request, target: Path) -> None:
    """What else there is to know of the weights, and what to type next."""
    from runner.report import Command, style_of
    from runner.report.card import WHAT
    from runner.report.commands import command_lines
    from runner.train.exporting import stored_dtype

    rounding = request.form.startswith("merged") and subject.dtype.itemsize < 4
    if rounding and stored_dtype(subject) == "float32":
        typer.echo("the base is stored in float32: --dtype float32 rounds nothing, at twice the size")
    if request.asked == "gguf":
        typer.echo(_hand_off(subject, target))
        return
    others = [(other, WHAT[other]) for other in subject.forms if other != request.form]
    lines = [Command(request.command(name), effect) for name, effect in [*others, ("gguf", GGUF_EFFECT)]]
    typer.echo("\n" + "\n".join(command_lines(lines, style_of(sys.stdout))))


def _hand_off(subject: "Subject", target: Path) -> str:
    """The lines that make a GGUF file of a merged model, in a checkout of llama.cpp."""
    name = target.parent / f"{subject.folder.name}.gguf"
    kind = GGUF_TYPES[str(subject.dtype).removeprefix("torch.")]
    smaller = target.parent / f"{subject.folder.name}-Q4_K_M.gguf"
    convert = ["python", "convert_hf_to_gguf.py", str(target), "--outfile", str(name), "--outtype", kind]
    lines = [
        "\nin a checkout of llama.cpp (https://github.com/ggml-org/llama.cpp)",
        f"  {shlex.join(convert)}",
        f"  {shlex.join(['llama-quantize', str(name), str(smaller), 'Q4_K_M'])}    in 4 bits",
    ]
    if subject.job.model.id.startswith("builtin:"):
        lines.append("the converter knows tokenizers by name, and not the embedded base's own: it will refuse this one")
    return "\n".join(lines)
