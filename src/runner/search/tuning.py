"""Ray Tune at work for a course: its searcher asks what comes next, its scheduler tells what was measured.

What is decided is ``course``'s; nothing that Tune keeps is ever read back.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

import runner.errors
from runner.config.disk import is_full_disk
from runner.distributed.ray_session import RAY_THREAD
from runner.errors import RunnerError, TrainingFailed
from runner.plan import Device, present_device
from runner.runs.full_disk import full_disk
from runner.search.course import Course, Task, task_as_plain, task_of
from runner.search.journal import rung_in
from runner.search.share import Share
from runner.search.trainable import REPORT, SearchTrainable
from runner.search.worker import Place, Report, hold_to_share, report_of

RESTARTS = 3  # times that the process of a trial may die
PATIENCE_S = 10.0  # whoever sent the signal kills after 30 s, as a rule; what is measured is in the journal
QUIET = logging.CRITICAL + 1


@dataclass(frozen=True)
class Setting:
    """Where trials run and what ends the search early."""

    place: Place
    share: Share
    deadline: float | None  # on time.monotonic()
    trainable: type[SearchTrainable] = SearchTrainable


def tune_course(course: Course, setting: Setting, watch: Callable[[], None]) -> None:
    """Run ``course`` to its end, to a request to stop, or to the deadline; ``watch`` is called while it runs.

    Tune works in a thread, so that this one, the main one, can answer signals; what ``watch`` raises ends the wait.
    It is not waited for longer than ``PATIENCE_S`` after a request to stop: a signal to the whole process group ends
    Ray too, and Tune then hangs.  Raises the ``RunnerError`` that ended the course, if one did.
    """
    errors: list[BaseException] = []
    tuning = threading.Thread(target=_fit, args=(course, setting, errors), name=RAY_THREAD, daemon=True)
    tuning.start()
    stop_file, stopping_since = Path(setting.place.stop_file), None
    while tuning.is_alive():
        tuning.join(timeout=0.2)
        watch()
        if stopping_since is None and stop_file.exists():
            stopping_since = time.monotonic()
        if stopping_since is not None and time.monotonic() - stopping_since > PATIENCE_S:
            break
    if course.failure is not None:
        raise course.failure
    if errors:
        error = errors[0]
        if isinstance(error, RunnerError):
            raise error
        if stopping_since is not None:
            return
        raise _failed(error, setting.place.folder)


def _failed(error: BaseException, folder: str) -> RunnerError:
    """What ended Tune, told in its last line; a full disk, as where the journal finds no room, as such."""
    if is_full_disk(error):
        return full_disk(error, Path(folder))
    line = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return TrainingFailed(f"Ray Tune failed ({line.strip()})", folder, "run it again with --resume")


def device_of_trials(place: Place) -> Device:
    """The device as a trial finds it before anything is loaded; on a GPU asked by a process that then ends."""
    if place.gpus <= 0:
        return Device("cpu", "the CPU", math.inf)  # a trial looks itself, where it is
    asked = ray.remote(num_gpus=place.gpus, num_cpus=1, max_calls=1)(_found_device)
    found: Device = ray.get(asked.remote(place))
    return found


def _found_device(place: Place) -> Device:
    hold_to_share(place)
    return present_device()


def _fit(course: Course, setting: Setting, errors: list[BaseException]) -> None:
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_PRINT_ALL_TRIAL_ERRORS"] = "0"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints a table even where nothing is to be printed
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "86400"  # its own record is never read
    logging.getLogger("ray.tune").setLevel(QUIET)
    try:
        tune.Tuner(
            setting.trainable,
            tune_config=tune.TuneConfig(
                search_alg=_Searcher(course, setting, errors),
                scheduler=_Scheduler(course, errors),
                num_samples=-1,
                max_concurrent_trials=setting.share.at_once,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"{_task(trial).name}-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(Path(setting.place.folder, "ray")),
                stop=_Stopper(course, setting),
                failure_config=tune.FailureConfig(max_failures=RESTARTS),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                verbose=0,
            ),
        ).fit()
    except Exception as error:  # noqa: BLE001 - Ray's errors have no common class; it is told by ``tune_course``
        errors.append(error)


class _Unkept:
    """What Tune writes down as text instead of an object: it would pickle the journal's open file with it."""

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (type(self).__name__,)

    def __deepcopy__(self, memo: object) -> "_Unkept":
        del memo
        return self


class _Searcher(_Unkept, Searcher):  # type: ignore[misc]  # Ray ships no types
    """Hands the course's tasks to Tune."""

    def __init__(self, course: Course, setting: Setting, errors: list[BaseException]) -> None:
        super().__init__(metric=None, mode=None)
        self._course, self._setting, self._errors = course, setting, errors
        self._tasks: dict[str, Task] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next task, ``FINISHED``, or None to ask again later."""
        try:
            task = self._course.next()
        except Exception as error:
            self._errors.append(error)  # Tune would make text of it
            raise
        if isinstance(task, str):
            return str(Searcher.FINISHED) if task == "over" else None
        self._tasks[trial_id] = task
        share, place = self._setting.share, self._setting.place
        plain = {"task": json.dumps(task_as_plain(task)), "place": json.dumps(asdict(place))}
        return {**plain, "cpus": share.cpus, "gpus": share.gpus}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A task whose process died too often ends here; the others have told their end themselves."""
        del result
        task = self._tasks.pop(trial_id)
        if error and self._course.is_running(task):
            self._course.ended(task, "failed", f"its process died {RESTARTS + 1} times")

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the journal has everything."""


class _Scheduler(_Unkept, FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Tells the course what came out, and lets trials go on or end as it says."""

    def __init__(self, course: Course, errors: list[BaseException]) -> None:
        super().__init__()
        self._course, self._errors = course, errors

    def on_trial_result(self, tune_controller: object, trial: Any, result: dict[str, Any]) -> str:
        """One report of a trial."""
        del tune_controller
        try:
            goes_on = self._told(_task(trial), report_of(json.loads(result[REPORT])))
        except Exception as error:
            self._errors.append(error)  # Tune would make text of it
            raise
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)

    def _told(self, task: Task, report: Report) -> bool:
        course = self._course
        if report.kind == "cut" or not course.is_running(task):
            return False
        if report.kind == "end":
            assert report.ending is not None
            course.ended(task, report.ending, report.why, _error(report))
            return False
        if not course.based(report.base_loss, report.question_tokens):
            course.ended(task, "failed", "its held-out questions or their tokens are not those of the other trials")
            return False
        assert report.rung is not None
        return course.measured(task, rung_in(report.rung))


class _Stopper(_Unkept, tune.Stopper):  # type: ignore[misc]  # Ray ships no types
    """Ends everything on a request, at the deadline, or when the course cannot go on."""

    def __init__(self, course: Course, setting: Setting) -> None:
        self._course, self._setting = course, setting
        self._stop_file = Path(setting.place.stop_file)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Single trials end by the scheduler alone."""
        del trial_id, result
        return False

    def stop_all(self) -> bool:
        """Whether no step is to be trained any more; the processes learn it from the stop file."""
        deadline = self._setting.deadline
        if deadline is not None and time.monotonic() > deadline:
            self._stop_file.touch()
        return self._course.failure is not None or self._stop_file.exists()


def _task(trial: Any) -> Task:
    return task_of(json.loads(trial.config["task"]))


def _error(report: Report) -> RunnerError | None:
    if report.error is None:
        return None
    kind, *parts = report.error
    found: type[RunnerError] = getattr(runner.errors, kind, TrainingFailed)
    return found(*parts)
