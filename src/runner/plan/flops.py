"""The arithmetic of a training step a token, and what a card could do at best.

What a form computes again in the backward pass is not counted: the same step is worth the same in every form.
Nothing is measured here.
"""

import re
from collections.abc import Sequence
from typing import Any

from runner.config.job import Job, Model
from runner.model.base import load_config
from runner.plan.geometry import Geometry

ATTENTION_PASSES = 3.5  # forward once; backward five products for its two, as flash kernels compute them
PEAKS_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40S": 362.0, "RTX 4090": 165.0, "RTX 3090": 71.0}
OTHER_CARDS = r"(?:NVL|PCIe|Ti|D|Laptop)"  # what follows the name of a card with another peak


def flops_a_token(job: Job, geometry: Geometry, documents: Sequence[int], windows: Sequence[int | None]) -> float:
    """FLOPs a token of a training step on ``documents`` (their lengths, tokens), forwards and backwards.

    A frozen weight takes 4 (a product and its input's gradient), a trained one 6 (its own gradient besides), and the
    output head counts for every token.  ``windows`` are the layers' sliding windows, tokens.
    """
    head = geometry.hidden * geometry.vocabulary
    frozen, trained = (0, geometry.linear + head) if job.lora is None else (geometry.linear + head, geometry.trainable)
    attended = sum(mean_attended(documents, window) for window in windows)
    return 4.0 * frozen + 6.0 * trained + ATTENTION_PASSES * 4.0 * geometry.heads_width * attended


def mean_attended(documents: Sequence[int], window: int | None) -> float:
    """Tokens that a token attends to, itself counted, on average over the tokens of all ``documents``."""
    return sum(_attended(length, window) for length in documents) / sum(documents)


def _attended(length: int, window: int | None) -> int:
    """The sum of min(position, window) over the positions 1 to ``length``."""
    if window is None or window >= length:
        return length * (length + 1) // 2
    return window * (window + 1) // 2 + (length - window) * window


def read_windows(model: Model) -> tuple[int | None, ...]:
    """The sliding window of each layer of ``model``, tokens, the token itself counted; None: it sees all before it."""
    config: Any = load_config(model)
    window: int | None = getattr(config, "sliding_window", None)
    layers = int(config.num_hidden_layers)
    kinds: Sequence[str] = getattr(config, "layer_types", None) or ["sliding_attention"] * layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def peak_tflops(device_name: str) -> float | None:
    """The dense 16-bit peak of a card with float32 sums, TFLOP/s, from its vendor's data sheet; None where unknown.

    H100 and H200 are the SXM modules, A100 every module.  Sources: the data sheets of NVIDIA H100, H200, A100 and
    L40S (half of what they tell with sparsity), and the white papers of the Ada and Ampere GA102 architectures.
    """
    if re.search(r"\bMIG\b", device_name):
        return None
    for name, peak in PEAKS_TFLOPS.items():
        if re.search(rf"\b{name}\b(?! {OTHER_CARDS}\b)", device_name):
            return peak
    return None
