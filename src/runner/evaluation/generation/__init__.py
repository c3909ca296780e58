"""Answers of a causal language model in memory: many prompts at once, greedy or sampled, or one streamed.

Prompts come from, and answers are judged by, the rest of ``runner.evaluation``.
"""

from runner.evaluation.generation.answers import AnswerEncoder, Completion, complete, prompt_ids, stream
from runner.evaluation.generation.cache import cache_bytes
from runner.evaluation.generation.sampling import Sampling

__all__ = ["AnswerEncoder", "Completion", "Sampling", "cache_bytes", "complete", "prompt_ids", "stream"]
