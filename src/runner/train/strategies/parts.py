"""Which part of a flattened parameter a rank holds when parameters are shared out."""

import torch.nn.functional as F
from torch import Tensor


def part_of(whole: Tensor, size: int, rank: int) -> Tensor:
    """Elements ``rank * size`` to ``(rank + 1) * size`` of ``whole`` flattened, zeros past its end; ``(size,)``."""
    flat = whole.flatten()[rank * size : (rank + 1) * size]
    return F.pad(flat, (0, size - flat.numel()))
