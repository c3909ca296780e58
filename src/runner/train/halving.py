"""What becomes of a step or a validation that finds no memory: again, with half as many buffers in each pass.

How many fit is ``runner.plan``'s to say; it cannot know what other programs take of the device meanwhile.
"""

from dataclasses import replace

from runner.train.assembly import Run
from runner.train.memory import out_of_memory


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
    return _smaller(run, fewer, step, text)


def with_equal_passes(run: Run, step: int) -> Run:
    """``run`` with as many buffers in a pass as the rank that has the fewest; every rank calls it after ``step``.

    A rank that found no memory in a step went on alone with fewer: the steps' losses are the same, but measurements
    are made of as many passes on every rank, and what is saved tells of one number.
    """
    rows, fewest = run.settings.micro_batch, run.world.least(run.settings.micro_batch)
    if fewest == rows:
        return run
    text = f"another worker ran out of memory with {rows} buffers in a pass: on from here with {fewest}"
    return _smaller(run, fewest, step, text)


def _smaller(run: Run, rows: int, step: int, text: str) -> Run:
    run.reporter.record({"kind": "event", "step": step, "name": "memory", "text": text})
    return replace(run, settings=replace(run.settings, micro_batch=rows))
