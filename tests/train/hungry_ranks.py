"""One of two ranks of small jobs of which the second finds no memory here and there; run as a script."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from test_loop import Recorder
from test_out_of_memory import job, make_hungry, told, trained, validations

from runner.plan import Settings, settle
from runner.runs import RunFolder
from runner.train import assembly
from runner.train.assembly import assemble
from runner.train.world import World

MISSES = ("nothing", "a step", "a validation", "room for all")


class Ears(Recorder):
    """On a rank that need not wait for the one that writes."""

    def saved(self, step: int, checkpoint: Path, validation_loss: float | None) -> None:
        del step, checkpoint, validation_loss


def ran(missed: str, root: Path, cache: Path, world: World) -> dict[str, Any]:
    """What this rank recorded of a run in which the second rank ``missed`` memory, and its first passes' buffers."""
    recorder, folder = Ears(), RunFolder(root / missed)
    folder.root.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        if (missed, world.rank) == ("room for all", 1):
            patch.setattr(assembly, "settle", least_room)
        run = assemble(job(4), folder, world, recorder, cache=cache)
    if missed in ("a step", "a validation") and world.rank == 1:
        make_hungry(run, recorder, most=1, training=missed == "a step")
    trained(run)
    losses = {str(step): loss for step, loss in recorder.losses().items()}
    measured = {"losses": losses, "validations": validations(recorder)}
    return {"rows": run.settings.micro_batch, "told": told(recorder), **measured}


def least_room(*given: Any, **named: Any) -> Settings:
    """As ``settle`` where there is room for one buffer in a pass."""
    return replace(settle(*given, **named), micro_batch=1)


def main(root: Path, cache: Path, port: str, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    world = World(rank, 2, torch.device("cpu"))
    found = {missed: ran(missed, root, cache, world) for missed in MISSES}
    (root / f"rank-{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
