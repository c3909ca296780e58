"""One question asked on every machine of a Ray cluster, before anything is trained."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

ANSWER_S = 60.0  # for a process to start on a busy machine

Answer = TypeVar("Answer")


def ask_each(
    nodes: Sequence[dict[str, Any]], question: Callable[[str], Answer], about: str
) -> list[tuple[dict[str, Any], Answer]]:
    """The ``nodes``, as Ray lists them, that answer in time, each with what ``question(about)`` returns there.

    Machines that do not answer are left out: whether they are there at all is for Ray to say.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_retries=0)(question)
    there = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    asked = {ask.options(scheduling_strategy=each).remote(about): node for each, node in zip(there, nodes, strict=True)}
    answered, _ = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_S)
    found: list[tuple[dict[str, Any], Answer]] = []
    for answer in answered:
        try:
            found.append((asked[answer], ray.get(answer)))
        except ray.exceptions.RayError:  # the node went meanwhile
            continue
    return found
