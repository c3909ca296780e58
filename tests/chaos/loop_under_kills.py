"""The training loop alone, killed with SIGKILL again and again and gone on with, from a process that has all imported.

``python loop_under_kills.py FOLDER KILLS SEED`` prints a verdict in JSON.  Each life is a fork, so it costs no imports;
the parent computes nothing, for threads of its own would be lost in its children.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import bitsandbytes  # noqa: F401 - imported here so that no life has to
import peft  # noqa: F401
import torch
import transformers.models.starcoder2.modeling_starcoder2  # noqa: F401

from runner.config.job import Job
from runner.runs import JSON, MetricsLog, RunFolder, read_metrics
from runner.runs.trackers import open_trackers
from runner.train.loop import train
from runner.train.reporter import FileReporter
from runner.train.world import World
from went_on import kept_step, went_on_from

STEPS = 24
KILLS_A_RUN = 10
JOB = Job.model_validate(
    {
        "name": "chaos",
        "model": {"id": "builtin:tiny-starcoder2", "weights": "random", "quantization": "nf4"},
        "data": {"id": "builtin:questions", "questions": 60, "max_length": 256, "validation_questions": 4},
        "lora": {"rank": 4, "dropout": 0.1},
        "train": {"tokens_per_step": 512, "micro_batch": 1, "steps": STEPS, "learning_rate": 5e-3},
        "validation": {"every": 8},
        "checkpoint": {"every": 3, "keep": 2},
        "evaluation": {"questions": 0},
        "track": (),
    }
)


@dataclass
class Verdict:
    """What many killed runs came to beside one that was left alone."""

    kills: int = 0
    in_saves: int = 0  # of them, those that left an unfinished checkpoint behind
    runs: int = 0
    identical: int = 0  # runs with all losses and the final weights of the one left alone, to the bit
    steps: int = 0  # trained in all, those that were trained again counted
    lost: int = 0  # steps that a kill undid: trained, and not in the checkpoint that was gone on from
    beyond_a_checkpoint: int = 0  # of them, those that a kill at the worst moment cannot explain
    elsewhere: int = 0  # starts that went on from another step than that of the newest whole checkpoint
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


def life(root: Path, cache: Path) -> None:
    """Train to the end, or until killed."""
    torch.set_num_threads(1)
    folder = RunFolder(root)
    reporter = FileReporter(
        MetricsLog(folder.metrics_file), lambda step: open_trackers((), folder, step=step), root / "stop"
    )
    train(JOB, folder, World(device=torch.device("cpu")), reporter, cache=cache)
    reporter.close()


def begun(root: Path, cache: Path) -> int:
    """A life in a child, whose number is returned."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(root.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            life(root, cache)
            code = 0
        finally:
            os._exit(code)
    return child


def whole(root: Path, cache: Path) -> float:
    """Seconds of a life that is left alone."""
    started = time.monotonic()
    _, status = os.waitpid(begun(root, cache), 0)
    assert os.waitstatus_to_exitcode(status) == 0, root.with_suffix(".log").read_text()
    return time.monotonic() - started


def result(root: Path) -> tuple[dict[int, JSON], str]:
    """Losses by step, and the hash of the final weights."""
    losses = {int(str(r["step"])): r["loss"] for r in read_metrics(root / "metrics.jsonl") if r["kind"] == "train"}
    return losses, hashlib.sha256((root / "final" / "adapter_model.safetensors").read_bytes()).hexdigest()


def trained(root: Path) -> int:
    """The last step in the record."""
    return max((int(str(r["step"])) for r in read_metrics(root / "metrics.jsonl") if r["kind"] == "train"), default=0)


def killed(root: Path, cache: Path, after_s: float, verdict: Verdict) -> bool:
    """One life that is killed ``after_s`` seconds after its start; False when it had ended by then."""
    before, starts = kept_step(root), went_on_from(root)
    child = begun(root, cache)
    deadline = time.monotonic() + after_s
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.001)
    else:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        assert os.waitstatus_to_exitcode(status) == 0, root.with_suffix(".log").read_text()
        verdict.steps += STEPS - before  # it had ended by then
        return False
    reached, kept = max(trained(root), before), kept_step(root)
    verdict.kills += 1
    verdict.in_saves += any(".tmp-" in path.name for path in root.rglob("*.tmp-*"))
    verdict.steps += reached - before
    verdict.lost += max(0, reached - kept)
    verdict.beyond_a_checkpoint += max(0, reached - kept - JOB.checkpoint.every)
    verdict.elsewhere += (now := went_on_from(root)) != starts and now[-1:] != [before]
    return True


def main(root: Path, kills: int, seed: int) -> None:
    """Runs that are each killed ten times and then left alone, until so many kills have been made."""
    started, chooser, cache = time.monotonic(), random.Random(seed), root / "cache"
    (root / "alone").mkdir(parents=True)
    whole(root / "alone", cache)  # prepares the data
    shutil.rmtree(root / "alone")
    (root / "alone").mkdir()
    seconds = whole(root / "alone", cache)
    expected, verdict = result(root / "alone"), Verdict()
    while verdict.kills < kills:
        place = root / f"run-{verdict.runs}"
        place.mkdir()
        wanted = min(KILLS_A_RUN, kills - verdict.kills)
        made = 0
        while made < wanted and killed(place, cache, chooser.uniform(0.0, 0.6 * seconds), verdict):
            made += 1
        kept = kept_step(place)
        verdict.steps += STEPS - kept
        whole(place, cache)
        verdict.elsewhere += went_on_from(place)[-1:] != ([kept] if kept else [])
        verdict.runs += 1
        found = result(place)
        verdict.identical += found == expected
        if found != expected:
            verdict.differences.append(f"{place.name}: {[s for s in expected[0] if found[0].get(s) != expected[0][s]]}")
        shutil.rmtree(place)
    verdict.seconds = time.monotonic() - started
    print(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
