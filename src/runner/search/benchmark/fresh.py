"""The ways that start a fresh process for each trial, by Ray Tune's and Optuna's own classes.

``python -m runner.search.benchmark.fresh FOLDER WAY`` does one of them, for ``runner.search.benchmark``.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runner.distributed.ray_session import nodes_here, ray_session
from runner.runs import JSON, MetricsLog, RunFolder, read_metrics
from runner.runs.durable import write_file
from runner.search.benchmark.plan import Pair, Plan, Run, Way, read_plan, runs_as_plain
from runner.search.records import Value
from runner.search.share import Share, share_out
from runner.search.space import STOP_STEP
from runner.search.worker import Place

LISTED: Mapping[Way, Callable[[Plan], tuple[Pair, ...]]] = {
    "separate": Plan.timed_pairs,
    "decay": lambda plan: (plan.longest_of_best(),),
    "again": Plan.answers_again,
}
"""The ways whose runs are given beforehand."""
ENDS_ONLY: tuple[Way, ...] = ("separate",)  # whose runs measure nothing on their way
AT_ONCE: tuple[Way, ...] = ("again",)  # which are not timed: as many runs at once as the cluster has room for
TRIAL_FILE = "trial.json"
SEED, DECAYED = "seed", "decayed"  # of a listed run, beside its values
REDUCTION_FACTOR = 3  # of Ray's ASHA, whose own rule lets more than one in so many go on as trials get better
LOSS_KEYS = {"validation": "loss", "think": "think_loss", "answer": "answer_loss"}


def main(folder: str, way: Way) -> None:
    """Do ``way`` and write its runs."""
    plan = read_plan(Path(folder))
    with ray_session(plan.cluster):
        search = plan.space.search.model_copy(update={"concurrency": "auto"} if way in AT_ONCE else {})
        share = share_out(search, plan.cluster, nodes_here())
        runs = _tuned(plan, way, share)
    write_file(plan.runs_file(way), json.dumps(runs_as_plain(runs), indent=1).encode())


def _tuned(plan: Plan, way: Way, share: Share) -> list[Run]:
    """Every trial of ``way``, run by Ray Tune."""
    from ray import tune

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    place = _place(plan, way, share)
    clock = _clock()
    resources = tune.PlacementGroupFactory([{"CPU": share.cpus, "GPU": share.gpus}])
    fixed = {"way": way, "root": str(plan.root), "place": json.dumps(vars(place))}
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(_trial, fixed=fixed), resources),
        param_space=_param_space(plan, way),
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            max_concurrent_trials=share.at_once,
            reuse_actors=False,
            time_budget_s=None if plan.minutes is None else 60.0 * plan.minutes,
            **_searching(plan, way),
        ),
        run_config=tune.RunConfig(name=f"ray-{way}", storage_path=str(plan.root), callbacks=[clock], verbose=0),
    )
    began = time.monotonic()
    tuner.fit()
    key = LOSS_KEYS[plan.space.search.objective]
    over = time.monotonic()
    ends = sorted((clock.ended.get(path.name, math.inf), path) for path in (plan.root / way).iterdir())
    runs = []
    for end, path in ends:  # where they ran one after the other; the last one may have been cut short
        runs.append(_run(path, key, seconds=min(end, over) - began, cut=end > over))
        began = min(end, over)
    return runs


def _param_space(plan: Plan, way: Way) -> dict[str, Any]:
    from ray import tune

    if way in LISTED:
        listed = [
            {**pair.values, STOP_STEP: pair.stop_step, SEED: pair.seed, DECAYED: pair.decayed}
            for pair in LISTED[way](plan)
        ]
        return {"pair": tune.grid_search(listed)}
    return {}


def _searching(plan: Plan, way: Way) -> dict[str, Any]:
    """What proposes and what stops: nothing where the runs are listed, else TPE and ASHA as they come."""
    from optuna.samplers import TPESampler
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    if way in LISTED:
        return {"num_samples": 1}
    search = plan.space.search
    space = {key: spread for key, spread in plan.space.distributions.items() if way == "asha" or key != STOP_STEP}
    stops = search.stop_steps
    return {
        "num_samples": search.trials,
        "search_alg": OptunaSearch(
            space, metric="loss", mode="min", sampler=TPESampler(seed=search.seed, multivariate=True)
        ),
        "scheduler": ASHAScheduler(
            time_attr="step", max_t=stops[-1], grace_period=stops[0], reduction_factor=REDUCTION_FACTOR
        ),
    }


def _trial(config: dict[str, Any], fixed: Mapping[str, str]) -> None:
    """One run in a process of its own: everything is loaded, trained, measured, and told to Tune."""
    import torch
    from ray import tune

    from runner.errors import Diverged
    from runner.search.worker import hold_to_share
    from runner.train.assembly import assemble
    from runner.train.loop import run_steps
    from runner.train.state import Progress
    from runner.train.world import World

    plan, place = read_plan(Path(fixed["root"])), Place(**json.loads(fixed["place"]))
    torch.set_num_threads(place.threads)
    hold_to_share(place)
    values: dict[str, Value] = dict(config.get("pair") or config)
    seed, decayed = values.pop(SEED, None), bool(values.pop(DECAYED, True))
    stop_step = int(values.pop(STOP_STEP, plan.space.search.stop_steps[-1]))
    pair = Pair(0, values, stop_step, None if seed is None else int(seed), decayed)
    job = plan.job_of(pair, every=stop_step if fixed["way"] in ENDS_ONLY else plan.validation_every)
    folder = RunFolder(plan.root / fixed["way"] / tune.get_context().get_trial_id())
    folder.root.mkdir(parents=True)
    told = {"values": values, "stop_step": stop_step, "seed": pair.seed, "decayed": decayed}
    (folder.root / TRIAL_FILE).write_text(json.dumps(told))
    reporter = TuneReporter(MetricsLog(folder.metrics_file), LOSS_KEYS[plan.space.search.objective])
    run = assemble(job, folder, World(), reporter, cache=Path(place.cache))
    try:
        run_steps(run, Progress.fresh(job, run.data.fingerprint))
    except Diverged:
        return  # what it has told so far is its result


class TuneReporter:
    """Keeps the records, and tells Ray Tune every held-out loss."""

    def __init__(self, log: MetricsLog, loss_key: str) -> None:
        self._log, self._loss_key = log, loss_key

    def record(self, record: Mapping[str, JSON]) -> None:
        """Keep it; a validation is told, and Tune may end the process then."""
        from ray import tune

        self._log.append(record)
        if record["kind"] == "validation":
            tune.report({"loss": record[self._loss_key], "step": record["step"]})

    def resumed(self, step: int) -> None:
        """Never: every run is new."""

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        """The folder is the record."""

    def stop_requested(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Nothing waits."""


def _clock() -> Any:
    """A callback that notes when each trial ended."""
    from ray import tune

    class Clock(tune.Callback):  # type: ignore[misc]  # Ray ships no types
        def __init__(self) -> None:
            self.ended: dict[str, float] = {}

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            del iteration, trials, info
            self.ended[trial.trial_id] = time.monotonic()

    return Clock()


def _place(plan: Plan, way: Way, share: Share) -> Place:
    return Place(
        folder=str(plan.root / way),
        stop_file=str(plan.root / "never"),
        cache=str(plan.cache.expanduser().resolve()),
        threads=share.cpus,
        gpus=share.gpus,
        gpu_memory_gib=plan.cluster.gpu_memory_gib,
    )


def _run(folder: Path, loss_key: str, *, seconds: float, cut: bool) -> Run:
    """What the process of one trial left behind."""
    told = json.loads((folder / TRIAL_FILE).read_text())
    records = read_metrics(RunFolder(folder).metrics_file)
    steps = [int(str(record["step"])) for record in records if record["kind"] == "train"]
    losses = [
        (int(str(record["step"])), float(str(record[loss_key])))
        for record in records
        if record["kind"] == "validation" and record[loss_key] is not None
    ]
    trained = max(steps, default=0)
    return Run(told["values"], told["stop_step"], trained, tuple(losses), seconds, cut, told["seed"], told["decayed"])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])  # type: ignore[arg-type]  # written by the benchmark itself
