"""Cards of a page: the data a run learned from, how its answers were measured, what it ran on.

The numbers come from the ledger, the evaluation and environment.json; a missing one is said to be missing.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from runner.data.ledger import Ledger
from runner.evaluation.results import Evaluation
from runner.report.wording import counted, duration, listed
from runner.runs import JSON, LoadedRun

Fact = tuple[str, str]
ISOLATION = {
    "bubblewrap": "each program in a box of its own (bubblewrap): no network, no files but its own, limits of time, "
    "memory and processes; the verdict is formed outside of it",
    "none": "NOT ISOLATED: programs ran with limits only, so they could reach files and network",
}
FOLDED_ORIGINS = 8


def card(facts: Iterable[Fact]) -> str:
    """Facts as a list of what and how much."""
    rows = "".join(f"<dt>{escape(what)}</dt><dd>{escape(told)}</dd>" for what, told in facts if told)
    return f'<dl class="card">{rows}</dl>'


def data_card(run: LoadedRun, ledger: Ledger | None) -> str:
    """What was learned from: source, rows kept and dropped and why, licences, fingerprint."""
    return card([*_source(run), *(_counted(ledger) if ledger else _uncounted())])


def _source(run: LoadedRun) -> Iterator[Fact]:
    data = _section(run.job, "data")
    where = [str(data[key]) for key in ("config", "split") if data.get(key)]
    yield "source", " ".join([str(data.get("id", "unknown")), *where])
    yield "revision", str(data.get("revision") or "")
    yield "format", str(data.get("format", ""))
    fingerprints = environment(run).get("fingerprints")
    if isinstance(fingerprints, Mapping):
        yield "fingerprint", ", ".join(f"{name} {value}" for name, value in fingerprints.items())


def _uncounted() -> Iterator[Fact]:
    yield "rows", "not known here: the prepared data is not in the cache; runner data JOB counts it again"


def _counted(ledger: Ledger) -> Iterator[Fact]:
    for name, split in (("training", ledger.train), ("held out", ledger.validation)):
        yield (
            name,
            f"{counted(split.questions, 'question')}, {counted(split.rows, 'row')}, {split.tokens:,} tokens "
            f"({split.answer_tokens:,} learned, {split.think_tokens:,} of them thinking)",
        )
    kept = ledger.train.rows + ledger.validation.rows
    yield "rows kept", f"{kept:,} of {ledger.rows_read:,} read"
    dropped = [f"{count:,} {reason}" for reason, count in sorted(ledger.dropped.items(), key=lambda each: -each[1])]
    yield "rows dropped", ", ".join(dropped) or "none"
    yield "shared questions", f"{ledger.shared_questions:,} stand in training and held out alike"
    if ledger.merged_statements:
        yield "near-identical", f"{ledger.merged_statements:,} statements counted as another's"
    yield "unreadable", "" if not ledger.quarantined else counted(len(ledger.quarantined), "row") + " set aside"
    for column in ("licence", "source", "difficulty", "judgement"):
        yield f"rows by {column}", _origins(ledger.origins.get(column, {}))
    yield "notes", " ".join(ledger.notes)


def _origins(values: Mapping[str, int]) -> str:
    if not set(values) - {""}:
        return ""
    most = sorted(values.items(), key=lambda each: (-each[1], each[0]))
    told = [f"{name or '(none)'} {count:,}" for name, count in most[:FOLDED_ORIGINS]]
    return ", ".join([*told, *([f"and {len(most) - FOLDED_ORIGINS} more"] if len(most) > FOLDED_ORIGINS else [])])


def measured_card(evaluation: Evaluation) -> str:
    """How the answers were drawn and judged."""
    asking, suite = evaluation.asking, evaluation.suite
    sampling = "greedy" if asking.temperature == 0 else f"temperature {asking.temperature:g}, top-p {asking.top_p:g}"
    skipped = listed([f"{count:,} {why}" for why, count in suite.skipped])
    weak = "weak: only the examples that each statement shows, so a wrong program may pass" if suite.weak else ""
    return card(
        [
            ("suite", f"{suite.name} ({suite.format}), {counted(suite.problems, 'problem')}, {suite.source}"),
            ("fingerprint", suite.fingerprint),
            ("left out", skipped),
            ("tests", weak),
            ("model", f"{evaluation.model}, {evaluation.weights} weights of {evaluation.run}"),
            ("asked", f"{counted(asking.samples, 'answer')} a problem, {sampling}, seed {asking.seed}"),
            ("cap", f"{asking.max_new_tokens:,} tokens"),
            ("programs", ISOLATION[evaluation.isolation]),
            ("intervals", "95 %: Wilson's for one answer a problem, else a bootstrap over problems"),
            ("made", f"{evaluation.made}, in {duration(evaluation.seconds)}, on {evaluation.device}"),
        ]
    )


def machine_card(run: LoadedRun) -> str:
    """Versions, devices and commit that the run was trained with."""
    found = environment(run)
    versions = found.get("versions")
    known = dict(versions) if isinstance(versions, Mapping) else {}
    devices = found.get("devices")
    return card(
        [
            ("devices", ", ".join(map(str, devices)) if isinstance(devices, list) else ""),
            ("versions", ", ".join(f"{name} {version}" for name, version in sorted(known.items()))),
            ("python", str(found.get("python", ""))),
            ("platform", str(found.get("platform", ""))),
            ("commit", str(found.get("commit") or "")),
        ]
    )


def environment(run: LoadedRun) -> Mapping[str, JSON]:
    """What environment.json holds; empty where there is none that can be read."""
    try:
        found: Any = json.loads(run.folder.environment_file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _section(job: Mapping[str, JSON], name: str) -> Mapping[str, JSON]:
    found = job.get(name)
    return found if isinstance(found, Mapping) else {}
