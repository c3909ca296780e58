"""The record of runs: folders, locks, checkpoints, metrics, state, environment, trackers.

What is trained and what the records mean lie with their writers; nothing here imports torch.
"""

from runner.runs.attempt import Attempt, StaleAttempt
from runner.runs.checkpoint import CheckpointStore, FoundCheckpoint, Skipped, publish_folder, recover_folder
from runner.runs.durable import JSON
from runner.runs.environment import Environment, describe, package_versions, record_environment
from runner.runs.folder import STOP_FILE, RunFolder
from runner.runs.listing import LoadedRun, RunSummary, list_runs, load_run
from runner.runs.lock import RunInUse, RunLock
from runner.runs.manifest import Damaged, Manifest, verified
from runner.runs.metrics import MetricsLog, Record, read_metrics
from runner.runs.opening import JobRecord, OpenRun, Resume, open_run, read_job
from runner.runs.state import RunState, read_state
from runner.runs.trackers import Tracker, check_trackers, open_trackers

__all__ = [
    "JSON",
    "STOP_FILE",
    "Attempt",
    "CheckpointStore",
    "Damaged",
    "Environment",
    "FoundCheckpoint",
    "JobRecord",
    "LoadedRun",
    "Manifest",
    "MetricsLog",
    "OpenRun",
    "Record",
    "Resume",
    "RunFolder",
    "RunInUse",
    "RunLock",
    "RunState",
    "RunSummary",
    "Skipped",
    "StaleAttempt",
    "Tracker",
    "check_trackers",
    "describe",
    "list_runs",
    "load_run",
    "open_run",
    "open_trackers",
    "package_versions",
    "publish_folder",
    "read_job",
    "read_metrics",
    "read_state",
    "record_environment",
    "recover_folder",
    "verified",
]
