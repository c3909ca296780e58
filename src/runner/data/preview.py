"""Prepared documents as text with their parts marked, to see with one's own eyes what is learned.

Reads what ``prepare`` made; nothing is tokenised again.
"""

from runner.data.encoder import TextEncoder
from runner.data.prepare import PreparedData
from runner.data.shards import Document


def preview(prepared: PreparedData, encoder: TextEncoder, n: int) -> str:
    """The first ``n`` training documents, decoded; each part's head says its tokens and whether it is learned."""
    shown = min(n, prepared.train.documents)
    return "\n\n".join(_shown(number, prepared.train.document(number), encoder) for number in range(shown))


def _shown(number: int, document: Document, encoder: TextEncoder) -> str:
    ids = document.ids.tolist()
    answer_from = document.prompt_length + document.think_length
    parts = (
        ("prompt", "not learned", ids[: document.prompt_length]),
        ("think", "learned", ids[document.prompt_length : answer_from]),
        ("answer", "learned", ids[answer_from:]),
    )
    blocks = [f"=== document {number + 1}: question {document.question_id}, {len(ids):,} tokens"]
    for name, learned, tokens in parts:
        if tokens:
            blocks.append(f"--- {name}: {len(tokens):,} tokens, {learned}\n{encoder.decode(tokens)}")
    return "\n".join(blocks)
