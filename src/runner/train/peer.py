"""The same step by TRL's SFTTrainer, in a process of its own: what ``bench`` is compared with.

TRL is no dependency of this program; it is imported in that process alone.  ``python -m runner.train.peer TASK`` prints
its figures as its last line, in JSON.
"""

import dataclasses
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runner.config.job import Job
from runner.errors import UserError
from runner.model.base import load_config
from runner.model.source import locate
from runner.train.bench import MEASURED, RATE, WARM_UP, Case, Figures, Row, job_of
from runner.train.clock import peak_gib

KERNELS = "TRL"
TIMEOUT_S = 1800.0
STEPS = WARM_UP + MEASURED
SPARE = 4  # steps' worth of rows beyond those that are run: packing fills rows better than ours at times


@dataclass(frozen=True)
class Way:
    """One way of training with TRL; all else is as in the job."""

    form: str
    packing: bool
    checkpointing: bool


EQUAL = (
    Way("checkpointing", packing=False, checkpointing=True),  # TRL's default comes first
    Way("no checkpointing", packing=False, checkpointing=False),
)
MIXED = (
    Way("padded rows, checkpointing", packing=False, checkpointing=True),
    Way("packed, checkpointing", packing=True, checkpointing=True),
)


def check_peer(job: Job) -> None:
    """Raise ``UserError`` where the peer cannot be measured: no CUDA device, no TRL, or nothing to compare with."""
    if not torch.cuda.is_available():
        raise UserError("the peer is measured on CUDA only, and there is no CUDA device", "--peer", "leave out --peer")
    if importlib.util.find_spec("trl") is None:
        raise UserError("TRL is not installed", "--peer", "pip install trl")
    if job.lora is None:
        raise UserError("the peer trains adapters only, and lora is null", "--peer", "leave out --peer")


def ways(case: Case) -> tuple[Way, ...]:
    """The ways that ``case`` is measured in, TRL's default first."""
    return MIXED if case.mixed else EQUAL


def command(task: str) -> list[str]:
    """What starts the peer on ``task``."""
    return [sys.executable, "-m", "runner.train.peer", task]


def surroundings() -> dict[str, str]:
    """The peer's environment: this process's, with one GPU of those that it sees, for TRL refuses several."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return {**os.environ, "CUDA_VISIBLE_DEVICES": first}


def run_peer(job: Job, case: Case, way: Way) -> Row:
    """The steps of ``case`` by TRL; a peer that fails, or takes half an hour, gives a row that says so."""
    rows = len(case.packs) if way.packing else len(case.documents)
    task = {
        "job": job_of(job, case, job.train.kernels).model_dump(mode="json"),
        "documents": case.documents,
        "rows": rows,
        "way": dataclasses.asdict(way),
    }
    figures, why = _figures(json.dumps(task))
    return Row(case.name, KERNELS, way.form, figures, why, reference=way is ways(case)[0])


def _figures(task: str) -> tuple[Figures | None, str]:
    """The figures of ``task``, or None and why there are none."""
    try:
        done = subprocess.run(
            command(task), capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=surroundings()
        )
    except subprocess.TimeoutExpired:
        return None, f"no figures within {TIMEOUT_S / 60:.0f} minutes"
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return None, said[-1] if said else f"ended with code {done.returncode}"
    try:
        values = json.loads(done.stdout.strip().splitlines()[-1])
        return Figures(**{**values, "step_s": tuple(values["step_s"])}), ""
    except (IndexError, KeyError, TypeError, ValueError):
        return None, "ended without figures"


def main() -> None:
    """Train the task of the command line with TRL, and print its figures."""
    task = json.loads(sys.argv[1])
    job, way = Job.model_validate(task["job"]), Way(**task["way"])
    with tempfile.TemporaryDirectory() as folder:
        figures = _trained(job, task["documents"], task["rows"], way, folder)
    print(json.dumps(dataclasses.asdict(figures)))


def _trained(job: Job, documents: Sequence[int], rows: int, way: Way, folder: str) -> Figures:
    """``STEPS`` steps of ``rows`` rows each, over rows of random tokens as long as ``documents``, again and again."""
    from datasets import Dataset
    from peft import LoraConfig

    assert job.lora is not None, "the peer trains adapters only"
    trl: Any = importlib.import_module("trl")
    torch.manual_seed(job.train.seed)
    model = _base(job)
    generator = np.random.default_rng(job.train.seed)
    vocabulary = int(model.config.vocab_size)
    lengths = [length for _ in range(STEPS + SPARE) for length in documents]
    data = Dataset.from_list([{"input_ids": generator.integers(vocabulary, size=n).tolist()} for n in lengths])
    steps = _Steps()
    trainer = _counting(trl.SFTTrainer, steps)(
        model=model,
        train_dataset=data,
        processing_class=_tokenizer(),
        callbacks=[_clock(steps)],
        peft_config=LoraConfig(
            r=job.lora.rank,
            lora_alpha=job.lora.alpha,
            lora_dropout=job.lora.dropout,
            target_modules=job.lora.targets if job.lora.targets == "all-linear" else list(job.lora.targets),
            task_type="CAUSAL_LM",
        ),
        args=trl.SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=1,
            max_steps=STEPS,
            max_length=job.data.max_length,
            packing=way.packing,
            train_sampling_strategy="random" if way.packing else "sequential",  # each step the same documents
            bf16=True,
            gradient_checkpointing=way.checkpointing,
            optim="adamw_torch_fused",
            learning_rate=RATE,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=job.train.seed,
        ),
    )
    trainer.train()
    return steps.figures()


def _base(job: Job) -> Any:
    """The frozen base as QLoRA's own users load it: NF4 unpacked in every product, or in 16 bits."""
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    options: dict[str, Any] = {}
    if job.model.quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    return AutoModelForCausalLM.from_pretrained(
        locate(job.model.id),
        revision=job.model.revision,
        config=load_config(job.model),
        trust_remote_code=False,
        dtype=torch.bfloat16,
        device_map={"": 0},
        attn_implementation="sdpa",
        use_safetensors=True,
        **options,
    )


def _tokenizer() -> Any:
    """What the trainer asks for and never uses: rows are ids already."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({"<end>": 0, "<pad>": 1}, unk_token="<end>")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="<end>", pad_token="<pad>")


class _Steps:
    """Tokens, losses and seconds of the steps so far."""

    def __init__(self) -> None:
        self.tokens: list[Tensor] = []  # still on the device, as the losses: nothing waits for them
        self.losses: list[Tensor] = []
        self.seconds: list[float] = []
        self.ended_at = 0.0

    def lap(self) -> float:
        """Seconds since the last lap, until the device has nothing left to do."""
        torch.cuda.synchronize()
        before, self.ended_at = self.ended_at, time.perf_counter()
        return self.ended_at - before

    def figures(self) -> Figures:
        """The figures of the steps after the warm-up."""
        counted = tuple(self.seconds[WARM_UP:])
        tokens = [float(count) for count in self.tokens[WARM_UP:]]
        return Figures(
            tokens_s=statistics.median(count / second for count, second in zip(tokens, counted, strict=True)),
            peak_gib=peak_gib(torch.device("cuda")),
            first_step_s=self.seconds[0],
            loss=float(self.losses[-1]),
            step_s=counted,
        )


def _counting(trainer: Any, steps: _Steps) -> Any:
    """The class ``trainer``, noting the tokens that are no padding and the loss of every step in ``steps``."""

    def training_step(self: Any, model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> Tensor:
        mask = inputs.get("attention_mask")  # packed rows have none: they are not padded
        steps.tokens.append(torch.tensor(inputs["input_ids"].numel()) if mask is None else mask.sum())
        loss: Tensor = trainer.training_step(self, model, inputs, *rest, **options)
        steps.losses.append(loss.detach())
        return loss

    return type("CountingTrainer", (trainer,), {"training_step": training_step})


def _clock(steps: _Steps) -> Any:
    """A callback that notes the seconds of every step in ``steps``."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            steps.lap()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            steps.seconds.append(steps.lap())
            if len(steps.seconds) == WARM_UP:
                torch.cuda.reset_peak_memory_stats()

    return Clock()


if __name__ == "__main__":
    main()
