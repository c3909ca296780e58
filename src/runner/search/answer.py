"""The answer of a search: what it found, the sentence that says it, and both as plain values.

The arithmetic is in ``findings``, the words in ``verdict``; job files are written by ``best``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from optuna.distributions import BaseDistribution

from runner.config.search import Objective
from runner.runs import JSON
from runner.search.findings import Asked, Behind, Findings, find
from runner.search.importance import METHOD
from runner.search.lost import of_lost_repeats
from runner.search.noise import Noise
from runner.search.pairs import Difference, Pair
from runner.search.records import Study
from runner.search.verdict import remarks, verdict

Tolerance = float | Literal["auto"]


@dataclass(frozen=True)
class Answer(Findings):
    """What a study shows, said in one sentence and some remarks."""

    verdict: str
    remarks: tuple[str, ...]


def answer_of(
    study: Study,
    *,
    objective: Objective,
    stop_steps: tuple[int, ...],
    tolerance: Tolerance,
    distributions: Mapping[str, BaseDistribution],
) -> Answer:
    """The answer of ``study``, at any time, also when nothing is measured; the same study gives the same answer.

    ``tolerance`` auto is twice the standard error of the paired difference.  ``distributions`` are those of every
    searched key and of the stop step, as ``Space.distributions`` has them.
    """
    asked = Asked(objective, stop_steps, None if tolerance == "auto" else tolerance, distributions)
    found = find(study, asked)
    return Answer(**vars(found), verdict=verdict(found), remarks=(*remarks(found), *of_lost_repeats(study, found)))


def as_json(answer: Answer) -> dict[str, JSON]:
    """The answer as plain values that JSON can hold; differences are from the best, times in minutes."""
    return {
        "verdict": answer.verdict,
        "remarks": list(answer.remarks),
        "objective": answer.objective,
        "base_loss": answer.base_loss,
        "questions": answer.questions,
        "trials": dict(answer.endings),
        "best": _pair(answer.best),
        "earliest": _pair(answer.earliest),
        "earliest_apart": _difference(answer.earliest_apart),
        "tolerance": "auto" if answer.tolerance is None else answer.tolerance,
        "rival": None if answer.rival is None else _behind(answer.rival),
        "by_stop_step": [_behind(each) for each in answer.by_stop_step],
        "noise": _noise(answer.noise),
        "importance": _importance(answer),
        "edges": dict(answer.edges),
        "decays": [{"stop_step": each.stop_step, "nats": each.nats} for each in answer.decays],
        "front": [_pair(pair) for pair in answer.front],
        "pairs": [_pair(pair) for pair in answer.pairs],
    }


def _pair(pair: Pair | None) -> dict[str, JSON] | None:
    if pair is None:
        return None
    return {
        "trial": pair.trial,
        "values": dict(pair.values),
        "stop_step": pair.stop_step,
        "decayed": pair.decayed,
        "loss": pair.loss,
        "minutes": pair.minutes,
    }


def _behind(behind: Behind) -> dict[str, JSON]:
    return {**(_pair(behind.pair) or {}), "apart": _difference(behind.apart)}


def _difference(apart: Difference | None) -> dict[str, JSON] | None:
    return None if apart is None else {"nats": apart.nats, "standard_error": apart.standard_error}


def _noise(noise: Noise | None) -> dict[str, JSON] | None:
    if noise is None:
        return None
    seeds: list[JSON] = [
        {"trial": group.trial, "stop_step": group.stop_step, "losses": list(group.losses), "mean": group.mean}
        for group in noise.seeds
    ]
    return {"deviation": noise.deviation, "band": noise.band, "degrees": noise.degrees, "seeds": seeds}


def _importance(answer: Answer) -> dict[str, JSON] | None:
    if answer.importance is None:
        return None
    return {"method": METHOD, "shares": {each.key: each.share for each in answer.importance}}
