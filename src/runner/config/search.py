"""The search file as types: the base job, the ranges, the stop steps and how they are searched.

Reading it, and holding its ranges against the job's own limits, is ``load_search``'s.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from runner.config.job import RUN_NAME, Count, Section, Seed

Number: TypeAlias = StrictInt | StrictFloat
Choice: TypeAlias = StrictBool | StrictInt | StrictFloat | StrictStr | tuple[StrictStr, ...] | None
Objective: TypeAlias = Literal["validation", "answer", "think"]


class Range(Section):
    """The values that one key of the job may take: some choices, or every number from low to high."""

    choices: Annotated[tuple[Choice, ...], Field(min_length=1)] | None = Field(
        default=None, description="The values themselves."
    )
    low: Number | None = Field(default=None, description="Smallest number, itself included.")
    high: Number | None = Field(default=None, description="Largest number, itself included.")
    log: StrictBool = Field(default=False, description="Spread numbers evenly over their logarithm.")
    step: Number | None = Field(default=None, description="Distance of the numbers from low on; null takes any.")

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.choices is not None:
            unused = [name for name in ("low", "high", "log", "step") if name in self.model_fields_set]
            if unused:
                raise ValueError(f"choices and {unused[0]} are both given; keep choices, or low and high")
            if len({str(choice) for choice in self.choices}) < len(self.choices):
                raise ValueError("choices names a value twice; keep it once")
        elif self.low is None or self.high is None:
            raise ValueError("low and high are not both given, nor are choices; write {low: 1, high: 8} or choices")
        elif not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}; low must be below high")
        elif self.log and self.low <= 0:
            raise ValueError(f"low is {self.low} and log is true; low must be above 0")
        elif self.step is not None and (self.log or not 0 < self.step <= self.high - self.low):
            raise ValueError(f"step is {self.step}; it must be above 0, at most high - low, and log must be false")
        return self


class Search(Section):
    """One search: which keys of which job, over which values, and how much may be spent."""

    name: Annotated[StrictStr, Field(pattern=RUN_NAME)] = Field(
        default="search", description="Name of the search's folder: letters, digits, '.', '_' and '-', at most 64."
    )
    job: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None, description="The base job's file, from the search file's folder; null takes the built-in demo."
    )
    override: dict[str, object] = Field(
        default={}, description="Keys of the job set for every trial, as {train.tokens_per_step: 4096}."
    )
    space: Mapping[str, Range] = Field(
        default={}, description="Ranges by key of the job: {lora.rank: {choices: [8, 16]}}; at least one."
    )
    stop_steps: Annotated[tuple[Count, ...], Field(min_length=1)] = Field(
        description="Steps at which a trial's loss is measured as if it ended there, ascending."
    )
    warmup_steps: Annotated[StrictInt, Field(ge=0)] | None = Field(
        default=None, description="Steps of the warm-up; null takes train.warmup of the largest stop step."
    )
    objective: Objective = Field(
        default="validation", description="Held-out loss that is searched: of all learned tokens, or of one part."
    )
    tolerance: Literal["auto"] | Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = Field(
        default="auto",
        description="What an earlier stop may lose, nats a token; auto: twice the standard error of the difference.",
    )
    sampler: Literal["tpe", "random"] = Field(default="tpe", description="What proposes values; tpe is multivariate.")
    scheduler: Literal["asha", "none"] = Field(
        default="asha", description="What stops trials early; none trains each to the last stop step."
    )
    reduction_factor: Annotated[StrictInt, Field(ge=2, le=16)] = Field(
        default=2, description="asha: one trial in so many goes on from a rung; rungs lie so many times apart."
    )
    trials: Count = Field(default=24, description="Configurations proposed, a count.")
    concurrency: Literal["auto"] | Count = Field(
        default="auto", description="Trials at once; auto: as many as GPUs allow, one a machine without them."
    )
    gpus_per_trial: Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)] | None = Field(
        default=None, description="GPUs of a trial, from 0 to 1, fractions allowed; null takes one where there is one."
    )
    time_budget_minutes: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = Field(
        default=None, description="Minutes after which no step is trained any more; null does not limit."
    )
    repeats: Annotated[StrictInt, Field(ge=0, le=100)] = Field(
        default=2, description="Further seeds with which the best two are trained again, for the noise; a count."
    )
    seed: Seed = Field(default=17, description="Seed of what is proposed; the job's own seed stays the job's.")

    @model_validator(mode="after")
    def _stop_steps_rise(self) -> Self:
        if any(later <= earlier for earlier, later in zip(self.stop_steps, self.stop_steps[1:], strict=False)):
            raise ValueError(f"stop_steps is {list(self.stop_steps)}; its steps must rise, each named once")
        return self
