"""The embedded base's tokenizer, made anew: ``python -m runner.data.questions.tokenizer FOLDER``.

Training the base is ``jobs/tiny-base.yaml``'s work; loading a tokenizer is ``runner.model``'s.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from runner.data.questions.generator import programs, rows
from runner.data.questions.question import FENCE
from runner.data.template import THINK_CLOSE, prompt_text

# StarCoder2's special tokens in StarCoder2's places, as far as a base without pull requests needs them
SPECIAL = (
    "<|endoftext|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<repo_name>", "<file_sep>",
    "<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>", "<jupyter_code>",
    "<jupyter_output>", "<jupyter_script>", "<empty_output>", "<code_to_intermediate>", "<intermediate_to_code>",
)  # fmt: skip
END = SPECIAL[0]

VOCABULARY = 1280
CORPUS = 3_000  # texts of each sort
SEED = 5

# a word, one digit or a run of signs, each with the blank before it; a line's end with the next indent; blanks
PIECES = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\n+ *|\s+"


def make_tokenizer() -> Tokenizer:
    """A byte-level BPE of ``VOCABULARY`` entries: lossless on any text, digits single, the same at every call.

    The fixed parts of prompt and answer are one token each: they carry no choice, and tuning time is tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fixed = [*filter(None, prompt_text("\1").split("\1")), THINK_CLOSE, FENCE]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(fixed),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_tokens([AddedToken(part, normalized=False) for part in fixed])
    return tokenizer


def _corpus() -> Iterator[str]:
    for row in rows("train", CORPUS, SEED):
        yield row["input"]
        yield row["output"]
    for program in programs(CORPUS, SEED):
        yield program["text"]


def save_tokenizer(folder: Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` so that ``AutoTokenizer`` loads them from ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    make_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "unk_token": END,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    save_tokenizer(Path(sys.argv[1]))
