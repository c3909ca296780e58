"""The job file as types: every key, its meaning, its unit, its range and the only place of its default.

Reading, overriding and error messages are in ``load``; nothing here touches a file or a device.
"""

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

RUN_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

Fraction = Annotated[float, Field(ge=0.0, lt=1.0, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=1)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**31)]


class Section(BaseModel):
    """What every part of a job file shares: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, str_strip_whitespace=True)


class Model(Section):
    """Which base model, and how its frozen weights are held."""

    id: Annotated[StrictStr, Field(min_length=1)] = Field(
        default="builtin:tiny-starcoder2",
        description="Hub id, folder in the Hugging Face layout, or builtin:tiny-starcoder2 (the embedded base).",
    )
    revision: StrictStr | None = Field(
        default=None, description="Hub commit, tag or branch; null takes the newest, and the commit found is recorded."
    )
    weights: Literal["pretrained", "random"] = Field(
        default="pretrained", description="random starts from the configuration alone, seeded by train.seed."
    )
    quantization: Literal["nf4", "none"] = Field(
        default="nf4", description="nf4: the frozen linear layers hold 4-bit NF4 values (QLoRA); none: 16-bit (LoRA)."
    )
    resident: Literal["auto", "dequantized", "nf4"] = Field(
        default="auto",
        description="How NF4 weights stay: dequantized once (fast), as nf4 (small); auto lets the plan choose.",
    )
    dropout: Fraction = Field(
        default=0.0, description="Dropout of the frozen base, a fraction; its own value is ignored."
    )


class Columns(Section):
    """Which columns of the data set hold what; only read by the formats `columns` and `chat`."""

    prompt: StrictStr | None = Field(
        default="prompt", description="Column of the question; null: text without a prompt."
    )
    response: StrictStr = Field(default="response", description="Column of the answer that is learned.")
    tests: StrictStr | None = Field(
        default=None, description="Column of tests (texts or one text) that the prompt shows below the question."
    )
    messages: StrictStr = Field(default="messages", description="Column of the list of {role, content} (format chat).")
    id: StrictStr | None = Field(default=None, description="Column that names the question; null: the question's text.")
    source: StrictStr | None = Field(default=None, description="Column to stratify by, for example the data's origin.")
    difficulty: StrictStr | None = Field(default=None, description="Column to stratify by, for example a level.")


class Data(Section):
    """Which questions and answers, how many, and how they become tokens."""

    id: Annotated[StrictStr, Field(min_length=1)] = Field(
        default="builtin:questions",
        description="Hub id, local folder or file (Parquet, JSONL), builtin:questions or builtin:programs.",
    )
    revision: StrictStr | None = Field(default=None, description="Hub commit, tag or branch; null takes the newest.")
    config: StrictStr | None = Field(default=None, description="Configuration (subset) of the hub data set.")
    split: StrictStr = Field(
        default="train", description="Split to take rows from; slices such as train[600:974] work."
    )
    format: Literal["open-code-reasoning", "open-code-reasoning-2", "columns", "chat"] = Field(
        default="open-code-reasoning", description="How a row is read."
    )
    columns: Columns = Field(default=Columns(), description="Column names for the formats columns and chat.")
    questions: Count | None = Field(default=None, description="Training questions to keep, a count; null keeps all.")
    rows_per_question: Count = Field(default=1, description="Answers kept of each question, a count.")
    max_length: Annotated[StrictInt, Field(ge=16, le=131072)] = Field(
        default=4096, description="Tokens of one packed buffer, and the most that a row may have."
    )
    over_length: Literal["drop"] = Field(
        default="drop", description="Rows over max_length are dropped and counted: cutting one removes its code."
    )
    validation_questions: Count = Field(
        default=100, description="Questions held out of training to measure the loss, a count."
    )
    validation_split: StrictStr | None = Field(
        default=None, description="Split that the held-out questions come from; null holds out part of data.split."
    )
    seed: Seed = Field(default=17, description="Seed of the choice of questions, rows and their split.")


class Lora(Section):
    """The adapter: a low-rank update of each target, B A x scaled by alpha / rank (arXiv:2106.09685)."""

    rank: Annotated[StrictInt, Field(ge=1, le=1024)] = Field(default=16, description="Rank of the update, 1 to 1024.")
    alpha: Annotated[float, Field(gt=0.0, le=4096.0, allow_inf_nan=False)] = Field(
        default=32.0, description="Numerator of the scale alpha / rank; held while rank is searched."
    )
    dropout: Fraction = Field(default=0.0, description="Dropout before A, a fraction.")
    targets: Literal["all-linear"] | Annotated[tuple[StrictStr, ...], Field(min_length=1)] = Field(
        default="all-linear", description="Names of the linear modules to adapt; all-linear: every one but the head."
    )


class Train(Section):
    """The optimisation: how much, how fast, in which order."""

    tokens_per_step: Count = Field(
        default=16384, description="Tokens an optimizer step sees over all workers; a multiple of data.max_length."
    )
    micro_batch: Literal["auto"] | Count = Field(
        default="auto", description="Packed buffers in one forward pass; auto lets the plan choose."
    )
    steps: Count = Field(default=2175, description="Optimizer steps of the whole run.")
    learning_rate: Annotated[float, Field(gt=0.0, lt=0.1, allow_inf_nan=False)] = Field(
        default=2e-4, description="Peak learning rate, above 0 and below 0.1."
    )
    schedule: Literal["warmup-stable-decay", "cosine", "constant"] = Field(
        default="warmup-stable-decay", description="Shape of the learning rate over the steps, after the warm-up."
    )
    warmup: Fraction = Field(default=0.03, description="Part of the steps in which the rate rises linearly.")
    decay: Fraction = Field(
        default=0.1, description="Last part of the steps in which the rate falls (1 - sqrt); warmup-stable-decay only."
    )
    optimizer: Literal["adamw"] = Field(default="adamw", description="AdamW with decoupled weight decay.")
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] = Field(
        default=0.0, description="Decoupled weight decay, 0 to 1."
    )
    clip: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        default=1.0, description="Largest global gradient norm; null does not clip."
    )
    seed: Seed = Field(default=17, description="Seed of the order of data, the adapter's start and dropout.")
    strategy: Literal["ddp", "zero2", "zero3"] = Field(
        default="ddp",
        description="What workers share out: the data (ddp), also gradients and optimizer state (zero2), "
        "also the weights (zero3).",
    )
    kernels: Literal["auto", "fused", "compiled", "transformers"] = Field(
        default="auto",
        description="What a layer runs as: written out (fused), compiled, or as transformers has it; auto lets the "
        "plan choose.",
    )
    deterministic: StrictBool = Field(
        default=False,
        description="On a GPU, only kernels that give the same bits every time: a resume is then exact, and slower.",
    )


class Plateau(Section):
    """The stop rule of the stable phase: too little gained over a window of steps."""

    window: Count = Field(default=500, description="Steps over which the gain is measured.")
    improvement: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default=0.05, description="Least fall of the validation loss over the window, nats a token."
    )


class Stop(Section):
    """When to end before train.steps."""

    plateau: Plateau | None = Field(default=None, description="Decay and end on a plateau; null runs all steps.")


class Validation(Section):
    """How often the held-out loss is measured."""

    every: Count = Field(default=100, description="Steps between two measurements of the validation loss.")


class Checkpoint(Section):
    """How often the run is saved."""

    every: Count = Field(default=100, description="Steps between two checkpoints.")
    keep: Count = Field(default=3, description="Newest checkpoints kept.")


class Evaluation(Section):
    """The short count of solved questions before and after training; only for data with hidden tests."""

    questions: Annotated[StrictInt, Field(ge=0)] = Field(
        default=0, description="Held-out questions answered and executed before and after; 0 leaves it out."
    )
    max_new_tokens: Count = Field(default=256, description="Longest answer, tokens.")


class Job(Section):
    """One fine-tuning job: what to train on what, for how long, and how it is watched."""

    name: Annotated[StrictStr, Field(pattern=RUN_NAME)] = Field(
        default="demo", description="Name of the run's folder: letters, digits, '.', '_' and '-', at most 64."
    )
    model: Model = Model()
    data: Data = Data()
    lora: Lora | None = Field(default=Lora(), description="The adapter; null trains every parameter.")
    train: Train = Train()
    stop: Stop = Stop()
    validation: Validation = Validation()
    checkpoint: Checkpoint = Checkpoint()
    evaluation: Evaluation = Evaluation()
    track: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        default=("tensorboard",), description="Where metrics go beside metrics.jsonl."
    )

    @property
    def method(self) -> Literal["qlora", "lora", "full"]:
        """What the quantization and the adapter make together."""
        if self.lora is None:
            return "full"
        return "qlora" if self.model.quantization == "nf4" else "lora"

    @property
    def buffers_per_step(self) -> int:
        """Packed buffers of ``data.max_length`` tokens in one optimizer step, over all workers."""
        return self.train.tokens_per_step // self.data.max_length

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        faults = []
        if self.train.tokens_per_step % self.data.max_length:
            faults.append(
                f"train.tokens_per_step is {self.train.tokens_per_step}; it must be a multiple of "
                f"data.max_length ({self.data.max_length})"
            )
        if self.train.schedule == "warmup-stable-decay" and self.train.warmup + self.train.decay > 1.0:
            faults.append(
                f"train.warmup {self.train.warmup} and train.decay {self.train.decay} overlap; "
                "their sum must be at most 1"
            )
        faults += self._of_strategy()
        if self.lora is None and self.model.quantization == "nf4":
            faults.append(
                "lora is null and model.quantization is nf4; 4-bit weights cannot be trained: "
                "set model.quantization to none, or give lora a rank"
            )
        if self.stop.plateau and self.train.schedule != "warmup-stable-decay":
            faults.append(
                f"stop.plateau needs train.schedule warmup-stable-decay, found {self.train.schedule}: "
                "only that schedule has a stable phase; set stop.plateau to null or change the schedule"
            )
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def _of_strategy(self) -> Iterator[str]:
        """What DeepSpeed cannot share out, or not with the layers asked for."""
        strategy, kernels = self.train.strategy, self.train.kernels
        if strategy == "zero3" and self.model.quantization == "nf4":
            yield (
                "train.strategy is zero3 and model.quantization is nf4; zero3 cuts every base weight into one part a "
                "worker, and packed 4-bit weights lose the scales of their blocks when cut: "
                "set model.quantization to none, or train.strategy to zero2"
            )
        if strategy != "ddp" and kernels == "fused":
            yield (
                f"train.strategy is {strategy} and train.kernels is fused; written-out layers add their gradients "
                "where DeepSpeed does not see them: set train.kernels to auto, or train.strategy to ddp"
            )
        if strategy == "zero3" and kernels == "compiled":
            yield (
                "train.strategy is zero3 and train.kernels is compiled; a compiled layer cannot have its weights "
                "brought in piece by piece: set train.kernels to auto, or train.strategy to zero2"
            )
        if strategy == "zero3" and self.evaluation.questions:
            yield (
                f"train.strategy is zero3 and evaluation.questions is {self.evaluation.questions}; no worker holds "
                "the whole model to answer with: set evaluation.questions to 0, and run `runner evaluate` afterwards"
            )
