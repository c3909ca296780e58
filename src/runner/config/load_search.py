"""A search from its file and the command line: its ranges held against the limits of the job's own keys.

What the keys mean is in ``search`` and ``job``; whether the stop steps suit the schedule is asked in ``runner.search``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from runner.config.document import Document, KeyPath, Value, read_document, read_value
from runner.config.faults import check, shown
from runner.config.job import Job
from runner.config.keys import Node, known_keys, nearest_key
from runner.config.load import demo_file
from runner.config.overrides import apply_overrides, set_value
from runner.config.search import Choice, Range, Search
from runner.errors import JobFileError

DEMO = "demo.yaml"
OTHER_QUESTIONS = "it changes the held-out questions, and losses on other questions cannot be compared"
NOT_TRAINED = "it does not change what is trained"
NOT_SEARCHED = {
    "train.steps": "stop_steps says which are tried",
    "train.seed": "the best of several seeds is luck; repeats tells the noise",
    "train.strategy": "a trial's workers train together by ddp; give it to the job that comes out",
    **dict.fromkeys(("name", "track", "stop", "validation", "checkpoint", "evaluation"), NOT_TRAINED),
    **dict.fromkeys(
        (
            "data.id",
            "data.revision",
            "data.config",
            "data.split",
            "data.format",
            "data.columns",
            "data.max_length",
            "data.over_length",
            "data.validation_questions",
            "data.validation_split",
            "data.seed",
        ),
        OTHER_QUESTIONS,
    ),
}


@dataclass(frozen=True)
class LoadedSearch:
    """A sound search, and the job that its trials vary."""

    search: Search
    job: Job


def load_search(
    file: Path | None, overrides: Sequence[str] = (), options: Mapping[str, Value] | None = None
) -> LoadedSearch:
    """The search of ``file`` (the built-in demo when None) with ``-o`` overrides and command-line ``options``.

    An override's key is one of the search, one of the job (then set for every trial) or ``space.lora.rank``.  Raises
    ``UserError`` when a file cannot be read and ``JobFileError`` with every fault of the search and its job.
    """
    file = demo_search_file() if file is None else file
    document = read_document(file)
    for override in overrides:
        document = document if _is_of_job(override) else _overridden(document, override)
    for key, value in (options or {}).items():
        document = set_value(document, key, value, f"--{key.replace('_', '-')}")
    faults: list[str] = []
    search = _checked(Search, _without(document, "space"), faults)
    job_document = _job_document(document, overrides, file.parent)
    job = _checked(Job, job_document, faults)
    ranges = _ranges(document, job_document if job is not None else None, faults)
    if search is not None and "train.warmup" in ranges and search.warmup_steps is not None:
        faults.append(f"{document.name}: space.train.warmup is not used: warmup_steps fixes it; leave one of them out")
    if faults or search is None or job is None:
        raise JobFileError(document.name, tuple(dict.fromkeys(faults)))
    return LoadedSearch(search.model_copy(update={"space": ranges}), job)


def demo_search_file() -> Path:
    """The demo's search file: the checkout's ``search/demo.yaml``, or its copy in an installed package."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "search" / DEMO
    return checkout if checkout.is_file() else package / "search" / DEMO


def _is_of_job(override: str) -> bool:
    first = override.partition("=")[0].partition(".")[0].strip()
    return first in Job.model_fields and first not in Search.model_fields


def _overridden(document: Document, override: str) -> Document:
    """``document`` with one override; after ``space.`` comes a job's key, whose dots part no sections here."""
    path, equals, text = override.partition("=")
    parts = path.strip().split(".")
    if parts[0] != "space" or len(parts) < 2 or not equals:
        return apply_overrides(document, [override])
    place = f"-o {path.strip()}"
    try:
        value = read_value(text, place)
    except JobFileError as error:
        return replace(document, faults=(*document.faults, *error.faults))
    part = parts.pop() if parts[-1] in Range.model_fields else None
    key = ".".join(parts[1:])
    ranges = document.values.get("space")
    space = dict(ranges) if isinstance(ranges, Mapping) else {}
    before = space.get(key)
    old = before if isinstance(before, Mapping) else {}
    space[key] = value if part is None else {**old, part: value}
    places = {**document.places, ("space", key): place, ("space", key, part or ""): place}
    return replace(document, values={**document.values, "space": space}, places=places)


def _job_document(document: Document, overrides: Sequence[str], folder: Path) -> Document:
    """The base job's document with the search's overrides, then those of the command line."""
    named = document.values.get("job")
    job = read_document(folder / Path(named).expanduser() if isinstance(named, str) and named else demo_file())
    override = document.values.get("override")
    for path, value in _leaves(override) if isinstance(override, Mapping) else ():
        job = set_value(job, ".".join(path), value, document.places.get(("override", *path), document.name))
    return apply_overrides(job, [override for override in overrides if _is_of_job(override)])


def _leaves(values: Mapping[str, Value]) -> list[tuple[tuple[str, ...], Value]]:
    """What is not itself a mapping, and the keys that lead to it."""
    found: list[tuple[tuple[str, ...], Value]] = []
    for key, value in values.items():
        inner = _leaves(value) if isinstance(value, Mapping) else [((), value)]
        found += [((key, *path), leaf) for path, leaf in inner]
    return found


def _ranges(document: Document, job: Document | None, faults: list[str]) -> dict[str, Range]:
    """The ranges that are sound; what is wrong with others is added to ``faults``."""
    space = document.values.get("space")
    if not isinstance(space, Mapping) or not space:
        faults.append(f"{document.name}: space names no key; write at least one, as lora.rank: {{choices: [8, 16]}}")
        return {}
    sound: dict[str, Range] = {}
    for key, value in space.items():
        where = document.places.get(("space", key), document.name)
        if told := _not_a_key(key, space):
            faults.append(f"{where}: space.{key} {told}")
        elif not isinstance(value, Mapping):
            faults.append(f"{where}: space.{key} is {shown(value)}; it must be a section: choices, or low and high")
        elif (checked := _checked(Range, _part(document, key, value), faults, f"space.{key}.")) is not None:
            before = len(faults)
            _hold_against_job(key, checked, job, document, faults)
            if len(faults) == before:
                sound[key] = checked
    return sound


def _not_a_key(key: str, space: Mapping[str, Value]) -> str:
    """Why ``key`` cannot be searched; empty when it can."""
    known = known_keys(Job)
    if key not in known:
        near = nearest_key(Job, key)
        return "is no key of a job" + (f"; did you mean {near}?" if near else "")
    for name in (key, key.partition(".")[0], ".".join(key.split(".")[:2])):
        if name in NOT_SEARCHED:
            return f"cannot be searched: {NOT_SEARCHED[name]}"
    if any(other.startswith(f"{key}.") for other in known):
        return f"is a section; name a key in it, as {next(o for o in known if o.startswith(f'{key}.'))}"
    if key == "lora.alpha" and "lora.rank" in space:
        return (
            "cannot be searched together with lora.rank: the best learning rate is the same for every rank only "
            "while alpha is held; remove one of them"
        )
    return ""


def _hold_against_job(key: str, values: Range, job: Document | None, document: Document, faults: list[str]) -> None:
    """Ends or every choice set in the job: its own checks tell what is not allowed there."""
    kind = number_kind(key)
    where = document.places.get(("space", key), document.name)
    if values.choices is None and kind is None:
        faults.append(f"{where}: space.{key} has low and high, and {key} is no number; give choices")
        return
    if kind == "integer" and isinstance(values.step, float):
        faults.append(f"{where}: space.{key}.step is {shown(values.step)}; {key} is a whole number, so it must be one")
    if job is None:
        return
    tried: list[tuple[str, Choice]] = [("choices", choice) for choice in values.choices or ()]
    if values.low is not None and values.high is not None:
        second = min(values.low + (values.step or 1), values.high)  # a rule such as "a multiple of" shows there
        tried = [("low", values.low), ("high", values.high)]
        tried += [("low", second)] if kind == "integer" else []
    for name, value in tried:
        place = document.places.get(("space", key, name), where)
        _checked(Job, set_value(job, key, value, place), faults)


def number_kind(key: str) -> str | None:
    """``integer`` or ``number`` for a key of the job that takes one; None for the others."""
    node: Node = known_keys(Job)[key]
    kinds = [option.get("type") for option in node.get("anyOf", [node])]
    return next((str(kind) for kind in kinds if kind in ("integer", "number")), None)


def _checked(model: type[Any], document: Document, faults: list[str], prefix: str = "") -> Any:
    """A sound ``model``, or None with its faults added, the key in each preceded by ``prefix``."""
    assert issubclass(model, BaseModel)
    try:
        return check(model, document)
    except JobFileError as error:
        for fault in error.faults:
            place, colon, text = fault.partition(": ")
            faults.append(f"{place}{colon}{prefix}{text}")
        return None


def _part(document: Document, key: str, value: Mapping[str, Value]) -> Document:
    """One range as a document of its own; a fault without a place of its own is told at the range's."""
    start: KeyPath = ("space", key)
    places = {path[2:]: where for path, where in document.places.items() if path[:2] == start and len(path) > 2}
    return Document(document.places.get(start, document.name), value, places)


def _without(document: Document, key: str) -> Document:
    values = {name: value for name, value in document.values.items() if name != key}
    return replace(document, values=values)
