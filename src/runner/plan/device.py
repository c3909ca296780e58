"""The device that a job would train on here, as the plan sees it.

Nothing is allocated on it; a limit can be set.
"""

import torch

from runner.config.cores import usable_cores
from runner.errors import UserError
from runner.model.fused import attention_here
from runner.plan.available import available_bytes
from runner.plan.settings import Device

LEAST_CAPABILITY = (8, 0)  # bfloat16 and flash attention
NEEDED = "an NVIDIA GPU of the Ampere generation (RTX 30xx, A10, A100) or newer is needed"


def present_device() -> Device:
    """The current CUDA device with its free memory, or this machine's CPU with the memory available.

    A limit set by ``torch.cuda.set_per_process_memory_fraction`` counts as the card's size.
    Raises ``UserError`` for a card that is too old.
    """
    if not torch.cuda.is_available():
        return Device("cpu", f"the CPU ({usable_cores()} cores)", available_bytes() / 2**30)
    index = torch.cuda.current_device()
    if old := too_old(index):
        hide = "or hide it to train on the CPU (CUDA_VISIBLE_DEVICES=)"
        raise UserError(f"{torch.cuda.get_device_name(index)} has {old}", f"cuda:{index}", f"{NEEDED}, {hide}")
    free, total = torch.cuda.mem_get_info(index)
    allowed = torch.cuda.get_per_process_memory_fraction(index) * total - torch.cuda.memory_reserved(index)
    return Device("cuda", torch.cuda.get_device_name(index), min(free, allowed) / 2**30, attention_here(index))


def too_old(index: int) -> str | None:
    """The compute capability of CUDA device ``index``, in words, where it is below what training needs; else None."""
    major, minor = torch.cuda.get_device_capability(index)
    return f"compute capability {major}.{minor}" if (major, minor) < LEAST_CAPABILITY else None


def limit_memory(device: torch.device, gib: float) -> None:
    """Let this process take at most ``gib`` GiB of the CUDA ``device``, as if the card were that small."""
    index = torch.cuda.current_device() if device.index is None else device.index
    total = torch.cuda.get_device_properties(index).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * 2**30 / total), index)
