"""The training of one job: its step, its loop, its resume; it knows nothing of Ray or of the command line."""

from runner.train.loop import train
from runner.train.reporter import FileReporter, Reporter, SilentReporter
from runner.train.result import Ending, Result
from runner.train.world import World

__all__ = ["Ending", "FileReporter", "Reporter", "Result", "SilentReporter", "World", "train"]
