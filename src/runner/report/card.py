"""The model card that goes with exported weights: README.md, with the front matter that the Hugging Face hub reads.

Pure text from values; they are gathered, and the weights written, by ``runner export``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from runner.config.job import Job
from runner.data.template import prompt_text
from runner.evaluation.results import ArmSummary, Estimate, Evaluation
from runner.report.curve import losses, of_kind
from runner.report.licences import base_licence_text
from runner.runs import Record

Form: TypeAlias = Literal["adapter", "full", "merged-nf4", "merged-16bit"]
"""adapter: PEFT's files, loaded on the base.  full: a fully trained model as it was saved.  merged-nf4: the adapter
folded into the base as it was trained on, rounded to NF4 and unpacked.  merged-16bit: folded into the original
base; of a fully trained model, that model in 16 bits."""

WHAT: Mapping[Form, str] = {
    "adapter": "the adapter, to be loaded on its base",
    "full": "the trained model as it was saved, float32",
    "merged-nf4": "the adapter merged into the base as it was trained on (rounded to NF4, unpacked)",
    "merged-16bit": "merged into the original base, without rounding to NF4",
}
FORM_HEADINGS = ("form", "validation loss", "MB", "to as trained")
_NATIVE = "base, in its own format"


@dataclass(frozen=True)
class FormMeasure:
    """One form: its ``loss`` on the run's held-out buffers, nats a token, and the bytes of its weights.

    ``loss`` is None where it was not measured; ``why`` then says why not.
    """

    form: Form
    loss: float | None
    bytes: int
    why: str = ""


@dataclass(frozen=True)
class Origin:
    """Where the base and the data come from: licences as stated, and whether their ids are the hub's.

    ``data_licences`` counts kept rows by licence, empty where none is known.
    """

    revision: str | None
    licence: str
    base_on_hub: bool
    data_on_hub: bool
    data_licences: Mapping[str, int]


@dataclass(frozen=True)
class Exported:
    """What lies beside the card: the form of which weights, after which step, in which type, made by which command."""

    form: Form
    weights: str
    step: int
    dtype: str
    command: str


@dataclass(frozen=True)
class CardFacts:
    """Everything a card tells."""

    job: Job
    exported: Exported
    origin: Origin
    records: Sequence[Record]
    measures: Sequence[FormMeasure] = ()
    evaluations: Sequence[Evaluation] = ()


def model_card(facts: CardFacts) -> str:
    """The README.md of exported weights; sections that nothing is known for are left out."""
    parts = (
        _front_matter(facts),
        _heading(facts),
        _licence(facts.origin, facts.job),
        _training(facts),
        _results(facts),
        _forms(facts.measures),
        _evaluations(facts.evaluations),
        _usage(facts),
        f"## Made by\n\n```sh\n{facts.exported.command}\n```",
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def form_rows(measures: Sequence[FormMeasure]) -> list[tuple[str, str, str, str]]:
    """Form, validation loss, MB and difference to the first form (as trained), as text, a row each."""
    first = measures[0].loss if measures else None
    rows: list[tuple[str, str, str, str]] = []
    for measure in measures:
        loss = "not measured" if measure.loss is None else f"{measure.loss:.4f}"
        known = measure.loss is not None and first is not None and measure is not measures[0]
        difference = f"{round((measure.loss or 0.0) - (first or 0.0), 4) + 0.0:+.4f}" if known else measure.why
        rows.append((measure.form, loss, f"{measure.bytes / 1e6:,.1f}", difference))
    return rows


def _front_matter(facts: CardFacts) -> str:
    import yaml

    origin, form = facts.origin, facts.exported.form
    values: dict[str, Any] = {
        "library_name": "peft" if form == "adapter" else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", "reasoning", facts.job.method],
    }
    if origin.base_on_hub:
        values["base_model"] = facts.job.model.id
        values["base_model_relation"] = {"adapter": "adapter", "full": "finetune"}.get(form, "merge")
    if origin.data_on_hub:
        values["datasets"] = [facts.job.data.id]
    if origin.licence:
        values["license"] = origin.licence
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---"


def _heading(facts: CardFacts) -> str:
    job, exported = facts.job, facts.exported
    what = {"qlora": "QLoRA", "lora": "LoRA", "full": "full fine-tuning"}[job.method]
    revision = f" (revision `{facts.origin.revision}`)" if facts.origin.revision else ""
    form = WHAT[exported.form] if job.lora else f"every parameter was trained; weights in {exported.dtype}"
    return (
        f"# {job.name}\n\n`{job.model.id}`{revision}, tuned with {what} on `{job.data.id}` to think before it answers "
        f"with a program.\n\nThis folder holds {form}: the {exported.weights} weights, after step {exported.step:,} "
        f"of {job.train.steps:,}, {exported.dtype}."
    )


def _licence(origin: Origin, job: Job) -> str:
    counted = ", ".join(f"`{name}` ({count:,} rows)" for name, count in origin.data_licences.items() if name)
    data = counted or "none is recorded in its rows; see its own page"
    return f"## Licence\n\nBase: {base_licence_text(origin.licence)}\n\nData, `{job.data.id}`: {data}."


def _training(facts: CardFacts) -> str:
    job = facts.job
    rows = [
        ("base", f"{job.model.id}, {'NF4, 4 bits' if job.model.quantization == 'nf4' else '16 bits'}"),
        ("adapter", f"rank {job.lora.rank}, alpha {job.lora.alpha:g}, targets {_targets(job)}" if job.lora else "none"),
        ("questions", "all" if job.data.questions is None else f"{job.data.questions:,}"),
        ("longest document", f"{job.data.max_length:,} tokens"),
        ("steps", f"{job.train.steps:,} of {job.train.tokens_per_step:,} tokens"),
        ("learning rate", f"{job.train.learning_rate:g}, {job.train.schedule}"),
        ("seed", str(job.train.seed)),
    ]
    return f"## Training\n\n{_table(('', ''), rows)}"


def _targets(job: Job) -> str:
    assert job.lora is not None
    return job.lora.targets if isinstance(job.lora.targets, str) else ", ".join(job.lora.targets)


def _results(facts: CardFacts) -> str:
    """Validation loss and questions solved, before training and after."""
    rows = []
    for key, name in (("loss", "validation loss"), ("think_loss", "of the reasoning"), ("answer_loss", "of the code")):
        points = losses(facts.records, "validation", key)
        if len(points) > 1:
            here = dict(points).get(facts.exported.step, points[-1][1])
            rows.append((name, f"{points[0][1]:.4f}", f"{here:.4f}"))
    counts = [r for r in of_kind(facts.records, "passes") if r.get("format", "instruction") == "instruction"]
    if len(counts) > 1:
        solved = [f"{record.get('solved')} of {record.get('questions')}" for record in (counts[0], counts[-1])]
        rows.append(("held-out questions solved", solved[0], solved[1]))
    if not rows:
        return ""
    note = "Losses are in nats a token, on questions held out of training."
    return f"## Before and after\n\n{_table(('', 'before', 'after'), rows)}\n\n{note}"


def _forms(measures: Sequence[FormMeasure]) -> str:
    """The forms beside each other; empty when none was measured."""
    if not any(measure.loss is not None for measure in measures):
        return ""
    table = _table(FORM_HEADINGS, form_rows(measures))
    told = [f"- {measure.form}: {WHAT[measure.form]}" for measure in measures]
    return f"## Forms\n\n{table}\n\n" + "\n".join(told)


def _evaluations(evaluations: Sequence[Evaluation]) -> str:
    if not evaluations:
        return ""
    return "## Evaluations\n\n" + "\n\n".join(_evaluation(evaluation) for evaluation in evaluations)


def _evaluation(evaluation: Evaluation) -> str:
    suite, asking = evaluation.suite, evaluation.asking
    drawn = "greedy" if asking.temperature == 0 else f"temperature {asking.temperature:g}, top-p {asking.top_p:g}"
    weak = " The tests are only the examples that the statements show, so passing them means little." * suite.weak
    each = "1 answer" if asking.samples == 1 else f"{asking.samples} answers"
    ks = sorted({k for arm in evaluation.arms for k in arm.pass_at})
    rows = [(_arm(arm), *(_estimate(arm.pass_at.get(k)) for k in ks)) for arm in evaluation.arms]
    table = _table(("", *(f"pass@{k}, 95 % interval" for k in ks)), rows)
    return (
        f"**{suite.name}**, {suite.problems:,} problems, {each} each, "
        f"{drawn}, at most {asking.max_new_tokens:,} tokens. {evaluation.verdict}{weak}\n\n{table}\n\n"
        f"Of the {evaluation.weights} weights: `{evaluation.command}`"
    )


def _arm(arm: ArmSummary) -> str:
    return _NATIVE if arm.arm == "native" else arm.arm


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"


def _usage(facts: CardFacts) -> str:
    code = _adapter_code(facts) if facts.exported.form == "adapter" else _model_code()
    served = "" if facts.exported.form == "adapter" else "\n\nOr serve it: `vllm serve FOLDER`."
    return (
        f"## Use\n\n`FOLDER` is this folder.\n\n```python\n{code}\n```{served}\n\n"
        "It was trained on this prompt, and expects it to the letter, the last line break included; the question goes "
        f"where `QUESTION` stands:\n\n````text\n{prompt_text('QUESTION')}````\n\n"
        "The answer begins with its thoughts, closes them with `</think>`, and ends with one fenced block of Python. "
        "Run programs that a model wrote in a sandbox only."
    )


def _adapter_code(facts: CardFacts) -> str:
    origin, job = facts.origin, facts.job
    embedded = job.model.id.startswith("builtin:")
    arguments = [f"locate({job.model.id!r})" if embedded else repr(job.model.id)]
    imports = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    if origin.revision:
        arguments.append(f"revision={origin.revision!r}")
    tokenizer = ", ".join(arguments)
    lines = ["from peft import PeftModel"]
    if job.model.quantization == "nf4":
        imports = ["from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig"]
        lines = ["import torch", *lines]
        arguments.append("quantization_config=nf4")
        setting = (
            "nf4 = BitsAndBytesConfig(\n    load_in_4bit=True,\n    bnb_4bit_quant_type='nf4',\n"
            "    bnb_4bit_use_double_quant=True,\n    bnb_4bit_compute_dtype=torch.bfloat16,\n)"
        )
    else:
        setting = ""
        arguments.append("dtype='auto'")
    lines += [*imports, *(["from runner.model.source import locate"] if embedded else [])]
    lines += ["", *([setting] if setting else [])]
    lines += [
        f"tokenizer = AutoTokenizer.from_pretrained({tokenizer})",
        f"base = AutoModelForCausalLM.from_pretrained({', '.join(arguments)})",
        "model = PeftModel.from_pretrained(base, 'FOLDER')",
    ]
    return "\n".join(lines)


def _model_code() -> str:
    return (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        "tokenizer = AutoTokenizer.from_pretrained('FOLDER')\n"
        "model = AutoModelForCausalLM.from_pretrained('FOLDER', dtype='auto')"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
