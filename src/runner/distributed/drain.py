"""Whether the machine of a worker is about to be taken away, as spot machines and those of an emptied rack are.

Ray is asked by a thread of its own, so that one who trains never waits for the answer.  Saving and ending is the
loop's, which is asked to stop.
"""

import logging
import threading
from collections.abc import Callable, Collection

LOOK_S = 2.0  # between two looks; a machine that is taken away is announced some 30 s before
logger = logging.getLogger(__name__)


class Drain:
    """For a worker of Ray, of the machine on which it runs; ``draining`` gives the ids of those that are drained."""

    def __init__(self, node: str, draining: Callable[[], Collection[str]], *, look_s: float = LOOK_S) -> None:
        self._node, self._draining, self._look_s = node, draining, look_s
        self._announced, self._closed = threading.Event(), threading.Event()
        threading.Thread(target=self._look, name="drain", daemon=True).start()

    @classmethod
    def of_this_worker(cls) -> "Drain":
        """Asks the Ray cluster that this process belongs to."""
        import ray

        return cls(ray.get_runtime_context().get_node_id(), _draining_nodes)

    def announced(self) -> bool:
        """Whether Ray drains this machine, by its last answer; once it does it stays so.  Never waits."""
        return self._announced.is_set()

    def close(self) -> None:
        """Ask no more; a question that is under way is left alone."""
        self._closed.set()

    def _look(self) -> None:
        while not self._announced.is_set() and not self._closed.wait(self._look_s):
            try:
                drained = self._node in self._draining()
            except Exception as error:  # noqa: BLE001 - Ray's errors have no common class; it is asked again
                logger.debug("Ray does not say which machines are drained: %s", error)
                continue
            if drained:
                self._announced.set()


def _draining_nodes() -> Collection[str]:
    from ray._private.state import state

    nodes: Collection[str] = state.get_draining_nodes()
    return nodes
