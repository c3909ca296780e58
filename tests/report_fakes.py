"""Runs and evaluations made up by hand, for what is told of them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runner.data.ledger import Ledger, SplitCount
from runner.evaluation.results import Arm, ArmSummary, Asked, Asking, Estimate, Evaluation, Graded, Paired, SuiteFacts
from runner.report.evaluated import Evaluated
from runner.runs import JSON, JobRecord, LoadedRun, MetricsLog, Record, load_run, open_run
from runner.runs.state import State

JOB: Mapping[str, JSON] = {
    "name": "demo",
    "data": {"id": "some/questions", "config": None, "split": "train", "format": "open-code-reasoning"},
    "lora": {"rank": 16},
    "train": {"steps": 800, "learning_rate": 0.003},
}
FINGERPRINT = "0123456789abcdef"
KINDS = {"newly": (False, True), "lost": (True, False), "both": (True, True), "neither": (False, False)}


def training(steps: int, *, gain: float = 4.0) -> list[Record]:
    """Steps and validations of a run, its plateau at two thirds."""
    found: list[Record] = [{"kind": "validation", "step": 0, "loss": 4.0, "think_loss": 3.0, "answer_loss": 5.0}]
    for step in range(1, steps + 1):
        loss = 1 + gain / step
        rate = 1e-3 if step < 2 * steps // 3 else 1e-4
        record: dict[str, JSON] = {
            "kind": "train",
            "step": step,
            "loss": loss,
            "think_loss": loss,
            "answer_loss": loss + 0.1,
            "tokens_per_s": 1.0 if step < 3 else 2000.0,
            "seconds": 0.25,
            "peak_gib": 1.5,
            "tokens": 512 * step,
            "learning_rate": rate,
        }
        found.append(record)
        if step % 100 == 0:
            found.append({"kind": "validation", "step": step, "loss": loss, "think_loss": loss, "answer_loss": loss})
    found.append({"kind": "event", "step": 2 * steps // 3, "name": "plateau", "text": "plateau: 50 steps gained <0.01"})
    return found


def made_up_run(
    storage: Path,
    records: Sequence[Record],
    *,
    name: str = "demo",
    state: State = "finished",
    job: Mapping[str, JSON] = JOB,
    data: str = "f" * 32,
) -> LoadedRun:
    """A run with these records, as its folder tells it."""
    with open_run(storage, name, job=JobRecord({**job, "name": name}, "h"), resume="auto") as opened:
        with MetricsLog(opened.folder.metrics_file) as log:
            for record in records:
                log.append(record)
        last = max((step for record in records if isinstance(step := record.get("step"), int)), default=0)
        opened.record(state, step=last, steps=800, reason="" if state == "running" else state)
        environment = {"devices": ["a card"], "versions": {"torch": "2.13"}, "fingerprints": {"data": data}}
        opened.folder.environment_file.write_text(json.dumps(environment))
    return load_run(storage, name)


def graded(problem: str, arm: Arm, passed: bool, **changes: Any) -> Graded:
    """One answer; ``changes`` are fields of ``Graded``."""
    outcome = "passed" if passed else "wrong answer"
    text = f"<think>\nthought of {problem} by {arm}\n</think>\n\n```python\ndef solve():\n    return 1\n```"
    code = "def solve():\n    return 1\n"
    plain = Graded(problem, arm, 0, outcome, "" if passed else "gave 1, expected 2", 40, 12, False, text, code)
    return replace(plain, **changes)


def made_up_evaluation(
    counts: Mapping[str, int],
    *,
    suite: str = "held-out",
    weak: bool = False,
    seed: int = 17,
    made: str = "2026-01-01T00:00:00+00:00",
    **changes: Any,
) -> Evaluated:
    """So many problems of each of ``KINDS``, asked once; ``changes`` are fields of every answer."""
    solved = [KINDS[kind] for kind, count in counts.items() for _ in range(count)]
    names = [f"{suite}/{number}" for number in range(len(solved))]
    problems = tuple(
        Asked(name, f"group-{n % 2}", f"Statement of {name}.", "solve() == 2") for n, name in enumerate(names)
    )
    arms: tuple[Arm, Arm] = ("base", "tuned")
    answers = tuple(
        graded(name, arm, passed, **changes)
        for name, pair in zip(names, solved, strict=True)
        for arm, passed in zip(arms, pair, strict=True)
    )
    base, tuned = (_summary(arm, [pair[place] for pair in solved]) for place, arm in enumerate(arms))
    cells = Counter(solved)
    difference = Estimate(tuned.pass_at[1].value - base.pass_at[1].value, -0.1, 0.9)
    paired = Paired(
        "base",
        "tuned",
        cells[True, True],
        cells[True, False],
        cells[False, True],
        cells[False, False],
        difference,
        0.04,
    )
    evaluation = Evaluation(
        run="demo",
        model="some/base",
        weights="final",
        suite=SuiteFacts(
            suite, "held-out", "some/questions", "0123456789abcdef", len(solved), weak, ((("too long", 2)),)
        ),
        asking=Asking(1, 0.0, 1.0, 192, seed),
        isolation="bubblewrap",
        arms=(base, tuned),
        paired=paired,
        verdict=f"On {suite} the tuned model is better: {paired.only_second} newly solved, {paired.only_first} lost.",
        made=made,
        seconds=61.0,
        device="a card",
        command=f"runner evaluate demo --suite {suite}",
    )
    return Evaluated(evaluation, answers, problems)


def _summary(arm: Arm, passed: Sequence[bool]) -> ArmSummary:
    share = sum(passed) / len(passed)
    found = Estimate(share, max(share - 0.1, 0.0), min(share + 0.1, 1.0))
    failures = {"wrong answer": len(passed) - sum(passed)} if not all(passed) else {}
    groups = {"group-0": found, "group-1": found}
    return ArmSummary(arm, 1, tuple(map(int, passed)), {1: found}, groups, failures, 0.0, 40.0, 12.0)


def made_up_ledger() -> Ledger:
    """Rows kept and dropped of two licences."""
    train, validation = SplitCount(90, 90, 9000, 4000, 6000, 20, 0.9), SplitCount(10, 10, 1000, 400, 700, 3, 0.8)
    return Ledger(
        source="some/questions split train",
        max_length=256,
        rows_read=130,
        statements=110,
        questions_found=105,
        merged_statements=5,
        largest_group=2,
        shared_questions=0,
        train=train,
        validation=validation,
        dropped={"too long": 21, "no code": 9},
        rows_encoded=121,
        tokens_encoded=12000,
        lengths=(),
        lost=(),
        origins={"licence": {"mit": 60, "apache-2.0": 40}, "source": {"": 100}},
        quarantined=(),
        notes=("two shards were absent",),
    )
