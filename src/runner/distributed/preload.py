"""What a worker imports before its first step, so that Ray's waiting processes can do it while the driver is at work.

When it is asked for is ``ray_session``'s.
"""

import bitsandbytes  # noqa: F401 - NF4, and PEFT looks for it
import peft  # noqa: F401
import ray.train.torch  # noqa: F401
import torch.utils.tensorboard  # noqa: F401
import transformers.modeling_utils  # noqa: F401

import runner.train.loop  # noqa: F401
