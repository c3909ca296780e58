"""What a run must remember to go on as if it had never stopped, and how that lies on disk.

The folder protocol (atomic, checksummed) is in ``runner.runs.checkpoint``.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from runner.config.job import Job
from runner.errors import UserError
from runner.model.adapter import WEIGHTS_FILE, file_key, save_adapter, save_full
from runner.train.schedule import Horizon, Measured, full_horizon
from runner.train.strategies import Strategy, TrainingState

STATE_FILE = "state.json"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass(frozen=True)
class Passes:
    """How a step is shared out: with it, the order of its sums is the same."""

    device: str  # its kind
    ranks: int
    micro_batch: int  # buffers in a pass, the same on every rank


@dataclass(frozen=True)
class Progress:
    """Everything but tensors.  The order of the data follows from (seed, step), dropout from these and ``passes``."""

    step: int
    horizon: Horizon
    data_fingerprint: str
    validations: tuple[Measured, ...] = ()
    best: Measured | None = None
    tokens: int = 0
    plateau_step: int | None = None
    non_finite: int = field(default=0)
    passes: Passes | None = None  # of the steps before it was saved; None before any, and in old checkpoints

    @staticmethod
    def fresh(job: Job, data_fingerprint: str) -> "Progress":
        """Before the first step."""
        return Progress(0, full_horizon(job.train), data_fingerprint)

    def measured(self, measured: Measured) -> "Progress":
        """After a validation; the first of equal losses stays the best, one that is not finite never is."""
        better = math.isfinite(measured.loss) and (self.best is None or measured.loss < self.best.loss)
        return replace(self, validations=(*self.validations, measured), best=measured if better else self.best)


def write_state(directory: Path, progress: Progress, model: nn.Module, whole: TrainingState, base_id: str) -> None:
    """Fill ``directory`` with weights, optimizer moments and ``progress``; only safetensors and JSON.

    It can be gone on with under any strategy, and with any number of ranks.
    """
    from safetensors.torch import save_file

    write_weights(directory, model, whole.weights, base_id)
    moments = {f"exp_avg.{name}": t for name, t in whole.first.items()}
    moments |= {f"exp_avg_sq.{name}": t for name, t in whole.second.items()}
    save_file({name: t.contiguous() for name, t in moments.items()}, directory / OPTIMIZER_FILE)
    state = asdict(progress) | {"optimizer_steps": whole.steps_taken}
    (directory / STATE_FILE).write_text(json.dumps(state, indent=1) + "\n")


def write_weights(directory: Path, model: nn.Module, weights: Mapping[str, Tensor], base_id: str) -> None:
    """The float32 masters: PEFT's adapter files, or for a fully trained model the whole of it."""
    named = {name: tensor.detach().contiguous() for name, tensor in weights.items()}
    if hasattr(model, "peft_config"):
        save_adapter(model, named, directory, base_id=base_id)
    else:
        save_full(model, named, directory)


def read_state(directory: Path, model: nn.Module, optimizer: Strategy, data_fingerprint: str) -> Progress:
    """Put the checkpoint's tensors in place and return its progress.

    Raises ``UserError`` when it was made with other data than ``data_fingerprint`` names.
    """
    from safetensors.torch import load_file

    state: dict[str, Any] = json.loads((directory / STATE_FILE).read_text())
    if state["data_fingerprint"] != data_fingerprint:
        raise UserError(
            f"the checkpoint was trained on data {state['data_fingerprint']}, the job now reads {data_fingerprint}",
            str(directory),
            "restore the data, or start a new run with --name or --resume never",
        )
    stored = load_file(directory / (WEIGHTS_FILE if hasattr(model, "peft_config") else "model.safetensors"))
    moments = load_file(directory / OPTIMIZER_FILE)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    optimizer.adopt(
        TrainingState(
            weights={name: stored[file_key(name)] for name in names},
            first={name: moments[f"exp_avg.{name}"] for name in names},
            second={name: moments[f"exp_avg_sq.{name}"] for name in names},
            steps_taken=state.pop("optimizer_steps"),
        )
    )
    return _progress(state)


def read_passes(directory: Path) -> Passes | None:
    """How the steps before the checkpoint were shared out; None where it does not say."""
    return _passes(json.loads((directory / STATE_FILE).read_text()))


def _passes(state: dict[str, Any]) -> Passes | None:
    passes = state.get("passes")
    return None if passes is None else Passes(**passes)


def _progress(state: dict[str, Any]) -> Progress:
    best = state["best"]
    return Progress(
        **state
        | {
            "horizon": Horizon(**state["horizon"]),
            "validations": tuple(Measured(**measured) for measured in state["validations"]),
            "best": None if best is None else Measured(**best),
            "passes": _passes(state),
        }
    )
