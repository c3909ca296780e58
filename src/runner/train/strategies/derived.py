"""DeepSpeed's configuration, derived from the job; nobody writes one.

What its keys mean: https://www.deepspeed.ai/docs/config-json/
"""

from dataclasses import dataclass
from typing import Any

import torch

from runner.config.job import Job
from runner.plan.memory import GATHERED

STAGES = {"zero2": 2, "zero3": 3}
BUCKET = 50_000_000  # elements reduced or gathered in one message
PERSISTENT = 500_000  # elements of a weight that is kept whole on every rank: biases, norms, the adapter's matrices


@dataclass(frozen=True)
class StepShape:
    """A step as one rank sees it."""

    rows: int  # packed buffers in a pass
    passes: int


def derived_config(job: Job, shape: StepShape, dtype: torch.dtype) -> dict[str, Any]:
    """The configuration under which DeepSpeed takes the steps that ``ddp`` takes; ``dtype`` is the weights'.

    Losses come divided as they must be, so nothing is averaged over passes; gradients are summed in float32.
    """
    zero: dict[str, Any] = {"stage": STAGES[job.train.strategy], "reduce_bucket_size": BUCKET}
    if zero["stage"] == 2:
        zero |= {"allgather_bucket_size": BUCKET, "contiguous_gradients": True, "overlap_comm": False}
    else:
        zero |= {
            "stage3_prefetch_bucket_size": BUCKET,
            "stage3_max_live_parameters": GATHERED,
            "stage3_max_reuse_distance": GATHERED,
            "stage3_param_persistence_threshold": PERSISTENT,
        }
    return {
        "train_micro_batch_size_per_gpu": shape.rows,
        "gradient_accumulation_steps": shape.passes,
        "gradient_clipping": job.train.clip or 0.0,  # 0: not clipped
        "bf16": {"enabled": dtype == torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
    }
