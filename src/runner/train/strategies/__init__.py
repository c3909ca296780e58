"""How workers share out a step: everything on each (ddp), or parts of it by DeepSpeed (zero2, zero3)."""

from runner.train.strategies.engine import EngineModel
from runner.train.strategies.strategy import Strategy, TrainingState
from runner.train.strategies.zero import loading, start_zero

__all__ = ["EngineModel", "Strategy", "TrainingState", "loading", "start_zero"]
