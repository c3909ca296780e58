"""What a run's model can be asked: questions of its data, problems that leave room, answers at once by memory."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from conftest import tiny_qwen3, tiny_starcoder2
from finished_run import small_job
from runner.config.job import Job
from runner.data.template import prompt_text
from runner.errors import UserError
from runner.evaluation.generation import cache_bytes
from runner.model.adapter import causal_lm
from runner.model.tokenizer import Encoder
from runner.plan import present_device, read_positions
from runner.runs import RunFolder
from runner.train import asking
from runner.train.asking import answers_at_once, fitting, held_out_suite
from runner.train.inference import InferenceModel, load_for_inference


@pytest.fixture(scope="module")
def subject(small_run: RunFolder) -> InferenceModel:
    return load_for_inference(small_job(), small_run, "final", torch.device("cpu"))


def statements(file: Path, *, examples: str) -> Job:
    """A job whose data, in ``file``, are ten questions that show ``examples`` of (number, number + 2)."""
    statement = "Print the sum of two numbers.\n\nInput\n\nTwo integers.\n\nOutput\n\nTheir sum.\n\n"
    answer = "<think>\nadd\n</think>\n```python\nprint(sum(map(int, input().split())))\n```"
    rows = [
        {"id": str(n), "input": f"{statement}Version {n} {'abcdefghij'[n] * 60}.\n\n{examples.format(n, n + 2)}"}
        | {"output": answer}
        for n in range(10)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return small_job(data={"id": str(file), "max_length": 512, "validation_questions": 4})


def test_statements_with_examples_make_a_weak_suite_of_data_without_hidden_tests(tmp_path: Path, cache: Path) -> None:
    job = statements(tmp_path / "rows.jsonl", examples="Examples\n\nInput\n\n{0} 2\n\nOutput\n\n{1}\n")
    suite = held_out_suite(job, 3, cache=cache)
    assert suite.weak
    assert len(suite.problems) == 3
    assert all("Print the sum" in problem.statement for problem in suite.problems)


def test_statements_are_found_behind_what_the_tokenizer_puts_first(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "bos_ids", (1,))
    job = statements(tmp_path / "rows.jsonl", examples="Examples\n\nInput\n\n{0} 2\n\nOutput\n\n{1}\n")
    assert len(held_out_suite(job, 3, cache=cache).problems) == 3


def test_statements_without_examples_are_refused_with_what_to_do(tmp_path: Path, cache: Path) -> None:
    job = statements(tmp_path / "rows.jsonl", examples="Your code should pass: assert add({0}, 2) == {1}\n")
    with pytest.raises(UserError) as raised:
        held_out_suite(job, 3, cache=cache)
    assert raised.value.what == (
        "none of the 4 held-out questions shows an example to test answers by "
        "(4: no example could be read from the statement)"
    )
    assert raised.value.remedy == "name a suite with --suite"


def test_the_built_in_questions_have_hidden_tests_and_are_more_than_the_loss_was_measured_on(tmp_path: Path) -> None:
    suite = held_out_suite(small_job(data__validation_questions=4), 12, cache=tmp_path)
    assert not suite.weak
    assert len(suite.problems) == 12
    assert list(tmp_path.iterdir()) == []


def test_data_without_questions_are_refused(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text("".join(json.dumps({"text": f"{'abcdefghij'[n] * 40} {n} " * 4}) + "\n" for n in range(10)))
    job = small_job(
        data={
            "id": str(file),
            "format": "columns",
            "columns": {"prompt": None, "response": "text"},
            "max_length": 512,
            "validation_questions": 4,
        }
    )
    with pytest.raises(UserError, match="has no questions, only text"):
        held_out_suite(job, 3, cache=cache)


def test_problems_without_room_for_an_answer_are_left_out_and_counted(subject: InferenceModel) -> None:
    suite = held_out_suite(small_job(), 5, cache=Path())
    short, long = suite.problems[0], replace(suite.problems[1], statement="word " * 400)
    tokens = [len(ids) for ids in subject.encoder.encode([prompt_text(p.statement) for p in (short, long)])]
    mixed = replace(suite, problems=(short, long))
    positions = read_positions(subject.job.model)
    room = positions - tokens[1]
    kept, longest = fitting(mixed, subject, room)
    assert (kept, longest) == (mixed, positions)
    kept, longest = fitting(mixed, subject, room + 1)
    assert [problem.id for problem in kept.problems] == [short.id]
    assert kept.skipped == ((f"no room for an answer of {room + 1:,} tokens", 1),)
    assert tokens[0] + room + 1 <= longest < positions
    with pytest.raises(UserError, match=f"no problem leaves room for an answer of {positions:,} tokens"):
        fitting(mixed, subject, positions)


def test_what_the_tokenizer_puts_first_takes_its_room(subject: InferenceModel, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = held_out_suite(small_job(), 5, cache=Path())
    _, longest = fitting(suite, subject, 64)
    monkeypatch.setattr(Encoder, "bos_ids", (1, 2))
    encoder = Encoder(**{field.name: getattr(subject.encoder, field.name) for field in fields(Encoder)})
    assert fitting(suite, replace(subject, encoder=encoder), 64) == (suite, longest + 2)


def test_the_cache_takes_what_a_model_keeps_of_its_tokens() -> None:
    for lm in (tiny_starcoder2(), tiny_qwen3()):
        kept = lm(torch.ones(1, 24, dtype=torch.long), use_cache=True).past_key_values
        stored = sum(part.nbytes for layer in kept.layers for part in (layer.keys, layer.values))
        assert cache_bytes(lm, 24) == stored


def test_answers_at_once_follow_memory_and_never_outnumber_the_answers(
    subject: InferenceModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = cache_bytes(causal_lm(subject.model), 100)
    here = present_device()
    for free, answers, expected in ((1e6 * each, 5, 5), (1e6 * each, 500, 64), (7 * each, 500, 3), (each, 500, 1)):
        device = replace(here, free_gib=free / 2**30)
        monkeypatch.setattr(asking, "present_device", lambda device=device: device)
        assert answers_at_once(subject, 100, answers) == expected
