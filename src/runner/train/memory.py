"""What becomes of a step or a validation that finds no memory: again, with half as many buffers in each pass.

How many fit is ``runner.plan``'s to say; it cannot know what other programs take of the device meanwhile.
"""

from dataclasses import replace

import torch

from runner.errors import DoesNotFit
from runner.train.assembly import Run


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


def with_smaller_passes(run: Run, step: int, what: str, error: RuntimeError, *, ids: str = "") -> Run:
    """``run`` with half as many buffers in a pass, which is told; ``what`` has failed by ``error`` and moved nothing.

    The loss stays the same but for the order of sums, and for dropout, which is drawn for a pass.  Raises
    ``DoesNotFit``, which names ``ids``, where a pass is one buffer, and under DeepSpeed, whose ranks make all passes
    together.
    """
    rows = run.settings.micro_batch
    if rows == 1 or run.job.train.strategy != "ddp":
        where = f"{rows} buffers of data.max_length {run.job.data.max_length} in a pass"
        one = "lower data.max_length, or set model.resident to nf4,"
        turn = one if rows == 1 else f"set train.micro_batch to {rows // 2}"
        raise out_of_memory(what, error, f"{where}, {ids}" if ids else where, turn)
    fewer = rows // 2
    text = f"out of memory in {what} with {rows} buffers in a pass: taken again, and on from here, with {fewer}"
    run.reporter.record({"kind": "event", "step": step, "name": "memory", "text": text})
    return replace(run, settings=replace(run.settings, micro_batch=fewer))


def forget_failed_pass() -> None:
    """Give back what a failed pass left; to be called when nothing refers to its error any more."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
