"""Running a job on Ray: starting it, its workers, stopping it, and its outcome.

The training itself knows nothing of Ray; it is ``runner.train``.
"""

from runner.distributed.launch import launch
from runner.distributed.outcome import Outcome

__all__ = ["Outcome", "launch"]
