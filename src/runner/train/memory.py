"""What becomes of a step or a validation that finds no memory: again, with half as many buffers in each pass.

How many fit is ``runner.plan``'s to say; it cannot know what other programs take of the device meanwhile.
"""

from dataclasses import replace

import torch

from runner.errors import DoesNotFit
from runner.train.assembly import Run


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether ``error`` says that an allocation failed; on a CPU torch has no class for it."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)


def with_smaller_passes(run: Run, step: int, what: str, error: RuntimeError) -> Run:
    """``run`` with half as many buffers in a pass, which is told; ``what`` has failed by ``error`` and moved nothing.

    The loss stays the same but for the order of sums, and for dropout, which is drawn for a pass.  Raises
    ``DoesNotFit`` where a pass is one buffer, and under DeepSpeed, whose ranks make all passes together.
    """
    rows = run.settings.micro_batch
    if rows == 1 or run.job.train.strategy != "ddp":
        raise DoesNotFit(
            f"out of memory in {what} ({str(error).splitlines()[0]})",
            f"{rows} buffers of data.max_length {run.job.data.max_length} in a pass",
            "lower data.max_length, or set model.resident to nf4; the same command then goes on",
        )
    fewer = rows // 2
    text = f"out of memory in {what} with {rows} buffers in a pass: taken again, and on from here, with {fewer}"
    run.reporter.record({"kind": "event", "step": step, "name": "memory", "text": text})
    return replace(run, settings=replace(run.settings, micro_batch=fewer))


def forget_failed_pass() -> None:
    """Give back what a failed pass left; to be called when nothing refers to its error any more."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
