"""What an allocation that failed looks like, and how a run is told that it ends by one.

What becomes of a step that finds no memory is ``halving``'s.
"""

import torch

from runner.errors import DoesNotFit


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that an allocation failed; on a CPU torch has no class for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def out_of_memory(what: str, error: BaseException, where: str, turn: str) -> DoesNotFit:
    """The end of a run whose ``what`` found no memory at ``where``; ``turn`` says which key to turn, and how."""
    line = (str(error) or type(error).__name__).splitlines()[0]
    return DoesNotFit(
        f"out of memory in {what} ({line})",
        where,
        f"{turn} in a run of another --name, or free memory and run the same command to go on",
    )


def forget_failed_pass() -> None:
    """Give back what a failed pass left; to be called when nothing refers to its error any more."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
