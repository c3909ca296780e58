"""Decoder layers written out for speed: fewer passes over memory, nothing kept that is cheap to compute again.

``layer`` is the place to begin to read.
"""

from runner.model.fused.attention import Attention, attention_here
from runner.model.fused.borders import Documents
from runner.model.fused.install import (
    fuse_layers,
    fused_layers,
    fused_states,
    transformers_layers,
    why_not_fused,
    why_not_written_for,
)
from runner.model.fused.layer import Kept

__all__ = [
    "Attention",
    "Documents",
    "Kept",
    "attention_here",
    "fuse_layers",
    "fused_layers",
    "fused_states",
    "transformers_layers",
    "why_not_fused",
    "why_not_written_for",
]
