"""Questions and answers as packed, tokenised, cached training data.

The job file's data section goes in, fixed-size buffers come out; models and training are left to others.
"""

from runner.data.encoder import TextEncoder
from runner.data.ledger import Ledger, render
from runner.data.order import packs_of_step
from runner.data.prepare import PreparedData, prepare
from runner.data.preview import preview
from runner.data.progress import Progress
from runner.data.shards import Pack, PackedSplit
from runner.data.template import THINK_CLOSE, THINK_OPEN, prompt_text

__all__ = [
    "THINK_CLOSE",
    "THINK_OPEN",
    "Ledger",
    "Pack",
    "PackedSplit",
    "PreparedData",
    "Progress",
    "TextEncoder",
    "packs_of_step",
    "prepare",
    "preview",
    "prompt_text",
    "render",
]
