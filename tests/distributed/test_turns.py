"""Training that Ray itself fails at is begun again; workers that failed too often are not."""

from dataclasses import dataclass, field

import pytest
from ray.exceptions import ActorUnavailableError
from ray.train import ControllerError, WorkerGroupError

from runner.distributed.launch import fit_in_turns


@dataclass
class Trainers:
    """Each one made meets the next of ``errors``, the others none."""

    errors: list[Exception]
    turns: list[int] = field(default_factory=list)
    fitted: int = 0

    def another(self, turn: int) -> "Trainers":
        self.turns.append(turn)
        return self

    def fit(self) -> None:
        self.fitted += 1
        if self.errors:
            raise self.errors.pop(0)


LOST = ActorUnavailableError("the node is lost", None)


@pytest.mark.parametrize("error", [LOST, ControllerError(LOST)], ids=["actor", "controller"])
def test_what_ray_fails_at_is_begun_again_under_another_name(error: Exception) -> None:
    trainers = Trainers([error, error])
    fit_in_turns(trainers, trainers.another, 3)
    assert (trainers.fitted, trainers.turns) == (3, [1, 2])


def test_it_is_begun_again_as_often_as_workers_are() -> None:
    trainers = Trainers([LOST] * 9)
    with pytest.raises(ActorUnavailableError):
        fit_in_turns(trainers, trainers.another, 3)
    assert (trainers.fitted, trainers.turns) == (4, [1, 2, 3])


@pytest.mark.parametrize("error", [WorkerGroupError("died", {}), ValueError("a mistake")], ids=["workers", "mistake"])
def test_workers_that_failed_and_mistakes_are_told_at_once(error: Exception) -> None:
    trainers = Trainers([error])
    with pytest.raises(type(error)):
        fit_in_turns(trainers, trainers.another, 3)
    assert (trainers.fitted, trainers.turns) == (1, [])
