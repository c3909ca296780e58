"""The model card: what it says, and front matter that parses."""

from dataclasses import replace
from typing import Any, get_args

import yaml

from runner.config.job import Job
from runner.data.template import prompt_text
from runner.evaluation.results import Arm, ArmSummary, Asking, Estimate, Evaluation, SuiteFacts
from runner.report.card import CardFacts, Exported, Form, FormMeasure, Origin, form_rows, model_card
from runner.runs import Record

RECORDS: tuple[Record, ...] = (
    {"kind": "validation", "step": 0, "loss": 1.5, "think_loss": 1.75, "answer_loss": 1.0},
    {"kind": "passes", "step": 0, "format": "instruction", "solved": 1, "questions": 100},
    {"kind": "passes", "step": 0, "format": "native", "solved": 98, "questions": 100},
    {"kind": "validation", "step": 400, "loss": 0.75, "think_loss": 0.5, "answer_loss": 0.25},
    {"kind": "validation", "step": 500, "loss": 0.7, "think_loss": 0.4, "answer_loss": 0.2},
    {"kind": "passes", "step": 500, "format": "instruction", "solved": 80, "questions": 100},
)
MEASURES = (
    FormMeasure("adapter", 0.7, 47_000_000),
    FormMeasure("merged-nf4", 0.7013, 6_060_000_000),
    FormMeasure("merged-16bit", None, 6_060_000_000, "needs 6.1 GiB, 4.0 GiB are free"),
)


def starcoder_job(**changes: Any) -> Job:
    values: dict[str, Any] = {
        "name": "my-run",
        "model": {"id": "bigcode/starcoder2-3b"},
        "data": {"id": "nvidia/OpenCodeReasoning", "questions": 10000},
        "train": {"steps": 500},
    }
    return Job.model_validate({**values, **changes})


def facts(form: Form = "adapter", **changes: Any) -> CardFacts:
    origin = Origin("a" * 40, "bigcode-openrail-m", True, True, {"cc-by-4.0": 9000, "mit": 12})
    exported = Exported(form, "final", 500, "bfloat16", f"runner export my-run --form {form}")
    return replace(CardFacts(starcoder_job(), exported, origin, RECORDS, MEASURES), **changes)


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    values = yaml.safe_load(card.split("---\n")[1])
    assert isinstance(values, dict)
    return values


def evaluation() -> Evaluation:
    values: tuple[tuple[Arm, float], ...] = (("base", 0.125), ("tuned", 0.5))
    arms = tuple(
        ArmSummary(
            arm=name,
            samples=1,
            passed=(1, 0),
            pass_at={1: Estimate(value, value - 0.05, value + 0.05)},
            groups={},
            failures={},
            cut_share=0.0,
            mean_tokens=10.0,
            mean_trace_tokens=None,
        )
        for name, value in values
    )
    return Evaluation(
        run="my-run",
        model="bigcode/starcoder2-3b",
        weights="final",
        suite=SuiteFacts("HumanEval", "humaneval", "humaneval.jsonl", "0" * 16, 164, True, ()),
        asking=Asking(1, 0.0, 1.0, 2048, 17),
        isolation="bubblewrap",
        arms=arms,
        paired=None,
        verdict="Tuning solved more problems than it lost.",
        made="2026-01-01T00:00:00Z",
        seconds=1.0,
        device="CPU",
        command="runner evaluate my-run --suite humaneval.jsonl",
    )


def test_the_front_matter_of_an_adapter_says_what_the_hub_wants_to_know() -> None:
    assert front_matter(model_card(facts())) == {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["code", "reasoning", "qlora"],
        "base_model": "bigcode/starcoder2-3b",
        "base_model_relation": "adapter",
        "datasets": ["nvidia/OpenCodeReasoning"],
        "license": "bigcode-openrail-m",
    }


def test_a_merged_model_is_one_of_transformers() -> None:
    merged = front_matter(model_card(facts("merged-nf4")))
    assert (merged["library_name"], merged["base_model_relation"]) == ("transformers", "merge")
    full = facts("full", job=starcoder_job(lora=None, model={"id": "bigcode/starcoder2-3b", "quantization": "none"}))
    assert front_matter(model_card(full))["base_model_relation"] == "finetune"
    assert front_matter(model_card(full))["tags"][-1] == "full"


def test_what_is_not_on_the_hub_is_no_link_there() -> None:
    origin = Origin(None, "", False, False, {})
    values = front_matter(model_card(facts(origin=origin)))
    assert values.keys() == {"library_name", "pipeline_tag", "tags"}
    card = model_card(facts(origin=origin, job=starcoder_job(model={"id": "/models/tiny"})))
    assert "No licence is stated beside the base" in card
    assert "none is recorded" in card
    assert "from_pretrained('/models/tiny', quantization_config=nf4)" in card


def test_restrictions_and_licences_of_the_data_are_told() -> None:
    card = model_card(facts())
    assert "OpenRAIL-M" in card
    assert "use restrictions" in card
    assert "pass on" in card
    assert "`cc-by-4.0` (9,000 rows), `mit` (12 rows)" in card


def test_losses_before_and_after_are_those_of_the_exported_step() -> None:
    card = model_card(facts())
    assert "| validation loss | 1.5000 | 0.7000 |" in card
    assert "| of the reasoning | 1.7500 | 0.4000 |" in card
    assert "| held-out questions solved | 1 of 100 | 80 of 100 |" in card
    best = model_card(facts(exported=Exported("adapter", "best", 400, "float32", "runner export my-run")))
    assert "| validation loss | 1.5000 | 0.7500 |" in best
    assert "the best weights, after step 400 of 500" in best
    assert "Before and after" not in model_card(facts(records=()))


def test_forms_are_told_with_their_difference_to_as_trained() -> None:
    same = (FormMeasure("adapter", 0.7, 1), FormMeasure("merged-nf4", 0.69999, 1))
    assert form_rows(same)[1][3] == "+0.0000"
    assert form_rows(MEASURES) == [
        ("adapter", "0.7000", "47.0", ""),
        ("merged-nf4", "0.7013", "6,060.0", "+0.0013"),
        ("merged-16bit", "not measured", "6,060.0", "needs 6.1 GiB, 4.0 GiB are free"),
    ]
    assert "| merged-nf4 | 0.7013 | 6,060.0 | +0.0013 |" in model_card(facts())
    assert "## Forms" not in model_card(facts(measures=()))


def test_evaluations_are_told_with_intervals_and_their_weakness() -> None:
    card = model_card(facts(evaluations=(evaluation(),)))
    assert "**HumanEval**, 164 problems, 1 answer each, greedy, at most 2,048 tokens." in card
    assert "| base | 12.5 % (7.5 to 17.5) |" in card
    assert "| tuned | 50.0 % (45.0 to 55.0) |" in card
    assert "Tuning solved more problems than it lost. The tests are only the examples" in card
    assert "`runner evaluate my-run --suite humaneval.jsonl`" in card


def test_the_code_of_the_card_compiles_and_names_base_and_revision() -> None:
    for form in get_args(Form):
        card = model_card(facts(form))
        code = card.partition("```python\n")[2].partition("```")[0]
        compile(code, "card", "exec")
        if form == "adapter":
            assert f"'bigcode/starcoder2-3b', revision='{'a' * 40}', quantization_config=nf4" in code
    embedded = model_card(facts(job=starcoder_job(model={"id": "builtin:tiny-starcoder2"})))
    assert "from_pretrained(locate('builtin:tiny-starcoder2')" in embedded
    plain = starcoder_job(model={"id": "bigcode/starcoder2-3b", "quantization": "none"})
    assert "BitsAndBytes" not in model_card(facts(job=plain))
    assert "vllm serve FOLDER" in model_card(facts("merged-16bit"))


def test_the_prompt_and_the_command_stand_in_the_card() -> None:
    card = model_card(facts())
    assert prompt_text("QUESTION") in card
    assert card.endswith("```sh\nrunner export my-run --form adapter\n```\n")
