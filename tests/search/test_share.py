"""How many trials run at once, and what each gets."""

from typing import Any

import pytest

from runner.config.cluster import Cluster
from runner.config.search import Search
from runner.errors import DoesNotFit
from runner.search.share import Share, share_out

CPU2 = {"CPU": 2.0}
BOX = {"CPU": 16.0, "GPU": 2.0}


def shared(nodes: list[dict[str, float]], cluster: dict[str, Any] | None = None, **search: Any) -> Share:
    return share_out(Search(stop_steps=(10,), **search), Cluster(**(cluster or {})), nodes)


@pytest.mark.parametrize(
    ("nodes", "search", "expected"),
    [
        ([CPU2], {}, Share(1, 2, 0.0)),
        ([CPU2, CPU2, {"CPU": 0.0}], {}, Share(2, 2, 0.0)),
        ([CPU2], {"concurrency": 2}, Share(2, 1, 0.0)),
        ([CPU2, {"CPU": 8.0}], {"concurrency": 5}, Share(5, 2, 0.0)),
        ([BOX], {}, Share(2, 8, 1.0)),
        ([BOX, BOX, CPU2], {}, Share(4, 8, 1.0)),
        ([BOX], {"gpus_per_trial": 0.5}, Share(4, 4, 0.5)),
        ([BOX], {"gpus_per_trial": 1 / 3}, Share(6, 2, 1 / 3)),
        ([BOX], {"gpus_per_trial": 0.6}, Share(2, 8, 0.6)),
        ([BOX], {"concurrency": 1}, Share(1, 8, 1.0)),
        ([BOX], {"gpus_per_trial": 0.0}, Share(1, 16, 0.0)),
        ([{"CPU": 1.0, "GPU": 4.0}], {}, Share(1, 1, 1.0)),
    ],
)
def test_trials_fill_what_there_is(nodes: list[dict[str, float]], search: dict[str, Any], expected: Share) -> None:
    assert shared(nodes, **search) == expected


def test_the_cluster_file_says_what_a_trial_gets() -> None:
    assert shared([BOX], {"cpus_per_worker": 4}) == Share(2, 4, 1.0)
    assert shared([BOX], {"gpus_per_worker": 0, "cpus_per_worker": 4}) == Share(4, 4, 0.0)


@pytest.mark.parametrize(
    ("nodes", "cluster", "search", "expected"),
    [
        ([CPU2], {"workers": 2}, {}, Share(1, 1, 0.0, 2)),
        ([CPU2, CPU2], {"workers": 2}, {}, Share(1, 2, 0.0, 2)),
        ([CPU2, CPU2], {"workers": 2}, {"concurrency": 2}, Share(2, 1, 0.0, 2)),
        ([BOX], {"workers": 2}, {}, Share(1, 8, 1.0, 2)),
        ([BOX, BOX, BOX], {"workers": 4, "cpus_per_worker": 2}, {}, Share(1, 2, 1.0, 4)),
        ([BOX, BOX], {"workers": 2, "gpus_per_worker": 0, "cpus_per_worker": 8}, {}, Share(2, 8, 0.0, 2)),
    ],
)
def test_workers_of_a_trial_each_have_their_part(
    nodes: list[dict[str, float]], cluster: dict[str, Any], search: dict[str, Any], expected: Share
) -> None:
    assert shared(nodes, cluster, **search) == expected


@pytest.mark.parametrize(
    ("nodes", "cluster", "search", "part"),
    [
        ([CPU2], {"workers": 3}, {}, "1 trials of 3 workers of 1 CPUs are asked and Ray has 2 CPUs"),
        ([CPU2], {"workers": 2}, {"concurrency": 2}, "2 trials of 2 workers of 1 CPUs are asked"),
        ([BOX], {"workers": 3}, {}, "1 trials of 3 workers of 1 GPUs"),
        ([BOX], {"workers": 2}, {"gpus_per_trial": 0.5}, "2 workers of a trial with 0.5 GPUs each would share one"),
    ],
)
def test_more_workers_than_there_is_room_for_do_not_fit(
    nodes: list[dict[str, float]], cluster: dict[str, Any], search: dict[str, Any], part: str
) -> None:
    with pytest.raises(DoesNotFit, match=part):
        shared(nodes, cluster, **search)


@pytest.mark.parametrize(
    ("nodes", "search", "part"),
    [
        ([CPU2], {"concurrency": 3}, "3 trials of 1 CPUs are asked and Ray has 2 CPUs"),
        ([CPU2], {"gpus_per_trial": 1.0}, "1 trials of 1 GPUs and 1 CPUs are asked and Ray has 0 GPUs"),
        ([BOX], {"concurrency": 3}, "3 trials of 1 GPUs"),
    ],
)
def test_more_than_there_is_does_not_fit(nodes: list[dict[str, float]], search: dict[str, Any], part: str) -> None:
    with pytest.raises(DoesNotFit, match=part):
        shared(nodes, **search)
