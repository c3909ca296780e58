"""Whether the machine of a worker is about to be taken away, as spot machines and those of an emptied rack are.

Saving and ending is the loop's, which is asked to stop.
"""

import time

LOOK_S = 2.0  # between two looks; a machine that is taken away is announced some 30 s before


class Drain:
    """For a worker of Ray, of the machine on which it runs."""

    def __init__(self) -> None:
        import ray

        self._node = ray.get_runtime_context().get_node_id()
        self._looked = 0.0
        self._announced = False

    def announced(self) -> bool:
        """Whether Ray drains this machine; once it does it stays so."""
        now = time.monotonic()
        if not self._announced and now - self._looked > LOOK_S:
            from ray._private.state import state

            self._looked = now
            self._announced = self._node in state.get_draining_nodes()
        return self._announced
