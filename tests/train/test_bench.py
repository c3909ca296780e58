"""Cases of random tokens, their steps on the CPU, and the peer's process from its task to its row."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runner.config.job import Job, Lora, Model, Train
from runner.config.load import load_job
from runner.errors import UserError
from runner.model.fused import Kept
from runner.plan import Device, Settings, read_geometry
from runner.train import bench, peer
from runner.train.batches import learned_tokens
from runner.train.bench import Case, equal_case, form_of, mixed_case, run_case, write_random

VOCABULARY = 1280
JOB = load_job(None)


@pytest.mark.parametrize(("length", "tokens", "buffers"), [(128, 512, 4), (100, 256, 2), (512, 100, 1)])
def test_equal_documents_fill_their_buffers(length: int, tokens: int, buffers: int) -> None:
    case = equal_case(length, tokens, VOCABULARY)
    assert case.documents == (length,) * buffers
    for pack in case.packs:
        assert pack.lengths == (length,)
        assert pack.positions.tolist() == list(range(length))
        assert learned_tokens(pack) == length - math.ceil(0.05 * length)
        assert 0 <= pack.ids.min() <= pack.ids.max() < VOCABULARY


@pytest.mark.parametrize(("length", "tokens", "buffers"), [(4096, 8192, 2), (8192, 8192, 1), (64, 128, 2)])
def test_mixed_documents_are_packed_as_a_jobs_are(length: int, tokens: int, buffers: int) -> None:
    case = mixed_case(length, tokens, VOCABULARY)
    assert len(case.packs) == buffers
    assert all(64 <= size <= length for size in case.documents)
    assert 0.95 < case.tokens / (buffers * length) <= 1.0
    inside = 0
    for pack in case.packs:
        assert sum(pack.lengths) == length
        starts = np.flatnonzero(pack.positions == 0)
        assert starts.tolist() == np.cumsum([0, *pack.lengths[:-1]]).tolist()
        inside += int(np.count_nonzero(pack.parts))
    assert inside == sum(size - math.ceil(0.05 * size) for size in case.documents)
    if length > 64:
        assert len(set(case.documents)) > buffers


def test_a_case_is_the_same_every_time() -> None:
    one, other = (mixed_case(512, 2048, VOCABULARY) for _ in range(2))
    assert one.documents == other.documents
    assert all((a.ids == b.ids).all() for a, b in zip(one.packs, other.packs, strict=True))


def settings(**changes: Any) -> Settings:
    values = {"residency": "dequantized", "micro_batch": 4, "recompute": "none", "compiled": False}
    return Settings(**{**values, "activation_budget": 1.0, **changes})


def test_a_form_is_told_in_a_few_words() -> None:
    kept: tuple[Kept, ...] = ("all",) * 24 + ("attention",) * 6
    assert form_of(settings(fused=kept), 4) == "written out, 24 all + 6 attention"
    assert form_of(settings(compiled=True, activation_budget=0.5), 4) == "compiled 50 %"
    assert form_of(settings(recompute="layers", residency="nf4"), 9) == "recomputed, nf4, 3 passes"
    assert form_of(settings(), 4) == "as transformers has them"


def test_forms_of_one_case_give_the_same_loss_in_one_pass_and_in_several() -> None:
    case, geometry = equal_case(32, 128, VOCABULARY), read_geometry(JOB)
    split = JOB.model_copy(update={"train": JOB.train.model_copy(update={"micro_batch": 2})})
    rows = [
        run_case(JOB, case, "transformers", geometry),
        run_case(JOB, case, "fused", geometry),
        run_case(split, case, "auto", geometry),
    ]
    losses = []
    for row in rows:
        assert row.figures is not None
        assert (row.case, row.why, len(row.figures.step_s)) == ("4 x 32", "", 8)
        assert row.figures.tokens_s == pytest.approx(128 / np.median(row.figures.step_s))
        assert row.figures.first_step_s > 0.0
        losses.append(row.figures.loss)
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-4)
    assert [row.form for row in rows] == [
        "as transformers has them",
        "written out, 5 all",
        "as transformers has them, 2 passes",
    ]


def test_a_case_that_runs_out_of_memory_or_cannot_be_gives_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = read_geometry(JOB)
    row = run_case(JOB, equal_case(4096, 4096, VOCABULARY), "auto", geometry)
    assert (row.figures, row.why) == (None, "data.max_length is 4096 and the model has 2048 positions")

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 GiB.")

    monkeypatch.setattr(bench, "build_model", exhausted)
    row = run_case(JOB, equal_case(32, 64, VOCABULARY), "auto", geometry)
    assert (row.figures, row.form) == (None, "as transformers has them")
    assert row.why == "CUDA out of memory. Tried to allocate 9 GiB."

    monkeypatch.setattr(bench, "present_device", lambda: Device("cuda", "a card", 0.001))
    row = run_case(JOB, equal_case(32, 64, VOCABULARY), "compiled", geometry)
    assert row.why.startswith("the job needs at least ")
    assert row.why.endswith("GiB and a card has 0.0 GiB free")


def test_random_weights_are_written_once_and_loaded_from_there(tmp_path: Path) -> None:
    random = Job(model=Model(weights="random"), lora=Lora(rank=4), train=Train(tokens_per_step=4096))
    job = write_random(random, tmp_path)
    assert (job.model.id, job.model.weights) == (str(tmp_path), "pretrained")
    row = run_case(job, equal_case(32, 64, VOCABULARY), "auto", read_geometry(job))
    assert row.figures is not None
    assert row.figures.loss == pytest.approx(math.log(VOCABULARY), rel=0.05)


FIGURES = {"tokens_s": 5.0, "peak_gib": 1.5, "first_step_s": 2.0, "loss": 7.0, "step_s": [1.0, 2.0]}
CASE = equal_case(32, 64, VOCABULARY)


def fake_peer(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(peer, "command", lambda task: [sys.executable, "-c", script, task])


def test_the_peers_last_line_becomes_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = f"import sys; open({str(tmp_path / 'task')!r}, 'w').write(sys.argv[1])\n"
    fake_peer(monkeypatch, script + f"print('trained'); print({json.dumps(FIGURES)!r})")
    default, other = (peer.run_peer(JOB, CASE, way) for way in peer.ways(CASE))
    assert default.figures is not None
    assert default.figures.step_s == (1.0, 2.0)
    assert (default.kernels, default.form, default.reference) == ("TRL", "checkpointing", True)
    assert (other.form, other.reference) == ("no checkpointing", False)
    task = json.loads((tmp_path / "task").read_text())
    assert (task["documents"], task["rows"]) == ([32, 32], 2)
    assert task["way"] == {"form": "no checkpointing", "packing": False, "checkpointing": False}
    sent = Job.model_validate(task["job"])
    assert (sent.data.max_length, sent.train.tokens_per_step, sent.lora) == (32, 64, JOB.lora)


def test_mixed_documents_are_padded_or_packed_by_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "import json, sys; figures = " + repr(FIGURES) + "; task = json.loads(sys.argv[1])\n"
    fake_peer(monkeypatch, script + "print(json.dumps({**figures, 'loss': task['rows']}))")
    case: Case = mixed_case(512, 1024, VOCABULARY)
    padded, packed = (peer.run_peer(JOB, case, way) for way in peer.ways(case))
    assert padded.figures is not None
    assert packed.figures is not None
    assert (padded.figures.loss, packed.figures.loss) == (len(case.documents), 2)
    assert (padded.form, packed.form) == ("padded rows, checkpointing", "packed, checkpointing")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (
            "import sys; print('a\\ntorch.OutOfMemoryError: no', file=sys.stderr); sys.exit(1)",
            "torch.OutOfMemoryError: no",
        ),
        ("import os; os._exit(9)", "ended with code 9"),
        ("print('no figures')", "ended without figures"),
        ("pass", "ended without figures"),
        ("print('{}')", "ended without figures"),
        ("import time; time.sleep(60)", "no figures within 0 minutes"),
    ],
)
def test_a_peer_that_fails_becomes_a_row_that_says_why(monkeypatch: pytest.MonkeyPatch, script: str, why: str) -> None:
    if "sleep" in script:
        monkeypatch.setattr(peer, "TIMEOUT_S", 1.0)
    fake_peer(monkeypatch, script)
    row = peer.run_peer(JOB, CASE, peer.EQUAL[0])
    assert (row.figures, row.why) == (None, why)


def test_the_peer_is_started_as_a_module_and_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert peer.command("{}") == [sys.executable, "-m", "runner.train.peer", "{}"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert peer.surroundings()["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_peer_that_cannot_be_measured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="measured on CUDA only"):
        peer.check_peer(JOB)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install trl"):
        peer.check_peer(JOB)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    peer.check_peer(JOB)
    with pytest.raises(UserError, match="lora is null"):
        peer.check_peer(JOB.model_copy(update={"lora": None}))
