"""The base model, its 4-bit rounding, its adapter and its attention over packed buffers.

Knows nothing of data files or of the training loop.
"""
