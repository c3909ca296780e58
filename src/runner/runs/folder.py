"""The folder of one run: where each thing lies, and the promise that nothing lies outside.

Which folder a command works on is decided in ``opening``; contents belong to their writers.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from runner.config.job import RUN_NAME
from runner.errors import UserError

STOP_FILE = "stop-requested"  # in a run's folder, or a search's: its workers save and end


@dataclass(frozen=True)
class RunFolder:
    """``root`` is ``<storage>/<name>``, absolute; every path given out resolves inside it, or ``UserError``."""

    root: Path

    @classmethod
    def at(cls, storage: Path, name: str) -> "RunFolder":
        """The folder of the run ``name`` under ``storage``; neither has to exist.

        ``UserError`` on a name that is not ``[A-Za-z0-9][A-Za-z0-9._-]{0,63}`` or a folder that is a link elsewhere.
        """
        check_name(name)
        storage = storage.expanduser().resolve()
        root = storage / name
        if root.resolve() != root:
            raise _escape(root)
        return cls(root)

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def job_file(self) -> Path:
        """The resolved job."""
        return self.inside("job.yaml")

    @property
    def environment_file(self) -> Path:
        """Versions, devices, commit, fingerprints."""
        return self.inside("environment.json")

    @property
    def ledger_file(self) -> Path:
        """What became of every row and token of the data."""
        return self.inside("ledger.json")

    @property
    def state_file(self) -> Path:
        """Whether the run is new, running, finished, stopped or failed, and why."""
        return self.inside("state.json")

    @property
    def metrics_file(self) -> Path:
        """One record a line."""
        return self.inside("metrics.jsonl")

    @property
    def lock_file(self) -> Path:
        """Held by the process that works on the run."""
        return self.inside("run.lock")

    @property
    def checkpoints(self) -> Path:
        """One folder a checkpoint."""
        return self.inside("checkpoints")

    @property
    def best(self) -> Path:
        """The adapter (or model) with the lowest validation loss."""
        return self.inside("best")

    @property
    def final(self) -> Path:
        """The adapter (or model) after the last step."""
        return self.inside("final")

    @property
    def events(self) -> Path:
        """TensorBoard's event files."""
        return self.inside("tensorboard")

    @property
    def trackers_file(self) -> Path:
        """Identities of the run in MLflow and W&B, so that a resume goes on there."""
        return self.inside("trackers.json")

    @property
    def curve_file(self) -> Path:
        """The loss curve as SVG."""
        return self.inside("loss.svg")

    @property
    def evaluations(self) -> Path:
        """One folder an evaluation."""
        return self.inside("evaluations")

    @property
    def report_file(self) -> Path:
        """The page that tells the run."""
        return self.inside("report.html")

    def inside(self, *parts: str) -> Path:
        """``root`` joined with ``parts``; ``UserError`` if that leads out, by name or through a symbolic link."""
        path = self.root.joinpath(*parts)
        resolved = path.resolve()
        if resolved != path or not resolved.is_relative_to(self.root):
            raise _escape(path)
        return path


def check_name(name: str) -> None:
    """``UserError`` unless ``name`` can name a run."""
    if not re.fullmatch(RUN_NAME.strip("^$"), name):
        raise UserError(
            f"the run's name is {name!r}",
            "--name or the job's key name",
            "start with a letter or digit, then letters, digits, '.', '_' and '-', at most 64 in all",
        )


def _escape(path: Path) -> UserError:
    return UserError(
        f"{path} leads out of the run's folder, to {path.resolve()}",
        "",
        "remove the symbolic link, or give another folder with --storage",
    )
