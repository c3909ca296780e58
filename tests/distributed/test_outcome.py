"""How an end travels from the workers to the one who launched them."""

import pickle
from pathlib import Path

import pytest
import torch

from runner import errors
from runner.config.job import Job
from runner.distributed.outcome import Outcome, read_outcome, write_error, write_result
from runner.distributed.worker import TRACE_FILE, _told
from runner.errors import DoesNotFit, RunnerError, TrainingFailed
from runner.runs import RunFolder
from runner.train.result import Result
from runner.train.schedule import Measured

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, RunnerError)]
THREE_PARTS = [kind for kind in KINDS if kind is not errors.JobFileError]


@pytest.mark.parametrize("kind", THREE_PARTS)
def test_an_error_arrives_as_its_own_kind_with_its_parts(kind: type[RunnerError], tmp_path: Path) -> None:
    write_error(tmp_path, "a", kind("what", "where", "remedy"))
    arrived = read_outcome(tmp_path, "a")
    assert type(arrived) is kind
    assert str(arrived) == "what; where; remedy"


@pytest.mark.parametrize("kind", KINDS)
def test_errors_survive_pickling(kind: type[RunnerError]) -> None:
    error = errors.JobFileError("a.yaml", ("one", "two")) if kind is errors.JobFileError else kind("a", "b", "c")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)


def test_a_result_arrives_whole(tmp_path: Path) -> None:
    best = Measured(80, 0.5)
    write_result(tmp_path, "a", Result("plateau", 100, best, best, 80, tmp_path))
    assert read_outcome(tmp_path, "a") == Outcome(tmp_path, "plateau", 100, best, 80)


def test_the_outcome_of_another_launch_is_not_taken_for_this_one(tmp_path: Path) -> None:
    write_result(tmp_path, "before", Result("finished", 1, None, None, None, tmp_path))
    assert read_outcome(tmp_path, "now") is None
    assert read_outcome(tmp_path / "nowhere", "now") is None
    (tmp_path / "outcome.json").write_text('{"launch": "no')
    assert read_outcome(tmp_path, "now") is None


def test_a_gpu_out_of_memory_names_the_keys_to_turn(tmp_path: Path) -> None:
    told = _told(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), Job(), RunFolder(tmp_path))
    assert isinstance(told, DoesNotFit)
    assert "train.micro_batch" in str(told)
    assert told.exit_code == 3


def test_a_programming_mistake_keeps_its_traceback_in_the_run(tmp_path: Path) -> None:
    try:
        [][1]
    except IndexError as error:
        told = _told(error, Job(), RunFolder(tmp_path.resolve()))
    assert isinstance(told, TrainingFailed)
    assert "IndexError" in (tmp_path / TRACE_FILE).read_text()
