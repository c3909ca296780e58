"""When a run counts the questions that its model solves."""

from types import SimpleNamespace
from typing import Any

import pytest
from test_loop import Recorder, small_job

from runner.evaluation.passes import PassCount
from runner.train import passes
from runner.train.world import World

DATA: Any = SimpleNamespace(validation_ids=("one", "two"))
NOTHING: Any = None


def recorded(model: str, *, questions: int = 2) -> list[dict[str, Any]]:
    job = small_job(model__id=model, evaluation={"questions": questions})
    recorder = Recorder()
    passes.record_passes(NOTHING, NOTHING, DATA, job, World(), recorder, step=0)
    return [dict(record) for record in recorder.records]


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The questions of each count; nothing is run."""
    made: list[tuple[str, ...]] = []

    def count(_model: object, _encoder: object, ids: tuple[str, ...], **_: object) -> PassCount:
        made.append(ids)
        return PassCount(0, len(ids), {}, {}, "none")

    monkeypatch.setattr(passes, "count_passes", count)
    return made


def test_another_models_programs_are_run_in_a_sandbox_or_not_at_all(
    counts: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "sandbox_works", lambda: "bubblewrap (bwrap) is not installed")
    (told,) = recorded("bigcode/starcoder2-3b")
    assert counts == []
    assert (told["kind"], told["name"]) == ("event", "passes")
    assert "not counted: what the model writes may not run without a sandbox" in told["text"]
    assert "bwrap) is not installed; install it (apt-get install bubblewrap" in told["text"]
    monkeypatch.setattr(passes, "sandbox_works", lambda: None)
    assert [record["kind"] for record in recorded("bigcode/starcoder2-3b")] == ["passes", "passes"]


def test_the_embedded_model_is_counted_everywhere_and_nobody_who_did_not_ask(
    counts: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "sandbox_works", lambda: "bubblewrap (bwrap) is not installed")
    assert [record["format"] for record in recorded("builtin:tiny-starcoder2")] == ["instruction", "native"]
    assert counts == [("one", "two")] * 2
    assert recorded("bigcode/starcoder2-3b", questions=0) == []
