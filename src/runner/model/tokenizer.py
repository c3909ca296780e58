"""The tokenizer of a base model, as the rest of the program needs it: text to ids and back.

Which text is encoded, and what is learned of it, is decided in ``runner.data``.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

from runner.config.job import Model
from runner.errors import UserError
from runner.model.source import locate, not_loaded

FIM_PAD = "<fim_pad>"  # StarCoder2 has no padding token of its own; this one never stands in a document


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with the special ids settled; special tokens that stand in a text are encoded as text."""

    tokenizer: Any
    eos_id: int
    pad_id: int
    vocabulary: int

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.tokenizer.backend_tokenizer.encode_special_tokens = True  # which tokenizers 0.23.3 forgets when pickled

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when the text-to-ids mapping changes."""
        backend: str = self.tokenizer.backend_tokenizer.to_str()
        first = f"|{self.bos_ids}" if self.bos_ids else ""
        return hashlib.sha256(f"{backend}|{self.eos_id}|{self.pad_id}{first}".encode()).hexdigest()[:16]

    @cached_property
    def bos_ids(self) -> tuple[int, ...]:
        """What the tokenizer itself puts before a text, as the model learned it: mostly one id or none."""
        encoding = self.tokenizer.backend_tokenizer.encode("a")
        marked = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return tuple(token for token, _ in takewhile(lambda pair: pair[1], marked))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, with no special token added."""
        if not texts:
            return []
        encodings = self.tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, special tokens shown."""
        return str(self.tokenizer.backend_tokenizer.decode(list(ids), skip_special_tokens=False))


def load_encoder(model: Model) -> Encoder:
    """The tokenizer of ``model``.

    Raises ``UserError`` when it has no fast implementation, no end-of-sequence token, or cannot be found.
    """
    from transformers import AutoTokenizer

    where = f"model.id {model.id}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tokenizer = AutoTokenizer.from_pretrained(
                locate(model.id), revision=model.revision, trust_remote_code=False
            )
    except (OSError, ValueError) as error:
        remedy = "check the id, or run `runner fetch` on a connected machine"
        raise not_loaded(error, "no tokenizer could be loaded", model.id, remedy) from error
    if not getattr(tokenizer, "is_fast", False):
        raise UserError("its tokenizer has no fast implementation", where, "use a model that ships tokenizer.json")
    if tokenizer.eos_token_id is None:
        raise UserError("its tokenizer has no end-of-sequence token", where, "set eos_token in tokenizer_config.json")
    tokenizer.backend_tokenizer.encode_special_tokens = True
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return Encoder(tokenizer, int(tokenizer.eos_token_id), _padding_id(tokenizer), len(tokenizer))


def _padding_id(tokenizer: Any) -> int:
    """The padding token; else ``<fim_pad>``; else end-of-sequence (safe: padding is masked by place, not by id)."""
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return int(tokenizer.pad_token_id)
    fim_pad = tokenizer.backend_tokenizer.token_to_id(FIM_PAD)
    return int(tokenizer.eos_token_id if fim_pad is None else fim_pad)
