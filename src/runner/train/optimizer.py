"""AdamW over the flat buffer, with a step that a non-finite gradient cannot take.

The rate of each step comes from ``schedule``.
"""

import math

import torch
from torch import Tensor, nn

from runner.config.job import Train
from runner.train.strategies.strategy import BETAS, EPSILON, TrainingState
from runner.train.weights import FlatWeights
from runner.train.world import World


class FlatAdamW:
    """AdamW (arXiv:1711.05101), fused, on the float32 masters; nothing in ``step`` waits for the device.

    It is the strategy ``ddp``: every rank has all of it, and gradients are summed once a step.
    """

    def __init__(self, weights: FlatWeights, train: Train) -> None:
        self.weights = weights
        parts = [slice(0, weights.decayed), slice(weights.decayed, None)]
        self.parameters = [nn.Parameter(weights.master[part]) for part in parts if weights.master[part].numel()]
        gradients = [weights.gradient[part] for part in parts if weights.gradient[part].numel()]
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        groups = [{"params": [parameter]} for parameter in self.parameters]
        self.adamw = torch.optim.AdamW(groups, lr=train.learning_rate, betas=BETAS, eps=EPSILON, fused=True)
        self._follow(train)
        self.first = torch.zeros_like(weights.master)
        self.second = torch.zeros_like(weights.master)
        self._adopt_moments(0.0)

    def _follow(self, train: Train) -> None:
        """Take clipping and weight decay from ``train``."""
        self.clip = math.inf if train.clip is None else train.clip
        decays = [train.weight_decay if self.weights.decayed else 0.0, 0.0]
        for group, decay in zip(self.adamw.param_groups, decays, strict=False):
            group["weight_decay"] = decay

    def start_again(self, train: Train) -> None:
        """Be as new, with the settings of ``train``, for weights that were started anew; no buffer is replaced."""
        self._follow(train)
        self.weights.forget_gradient()
        for tensor in (self.first, self.second, *self._step_counts()):
            tensor.zero_()

    def changing(self) -> tuple[Tensor, ...]:
        """Every tensor that a step changes and the next one reads; with them copied back it never happened."""
        return (self.weights.master, self.first, self.second, *self._step_counts())

    def _step_counts(self) -> list[Tensor]:
        return [self.adamw.state[parameter]["step"] for parameter in self.parameters]

    def _adopt_moments(self, steps: float) -> None:
        """Make the optimizer keep its moments in two flat buffers, so that they are saved by parameter name."""
        offset = 0
        for parameter in self.parameters:
            part = slice(offset, offset + parameter.numel())
            offset += parameter.numel()
            self.adamw.state[parameter] = {
                "step": torch.tensor(steps, dtype=torch.float32, device=parameter.device),
                "exp_avg": self.first[part],
                "exp_avg_sq": self.second[part],
            }

    @property
    def steps_taken(self) -> int:
        """Steps that moved weights; reading it waits for the device."""
        return int(self.adamw.state[self.parameters[0]]["step"].item())

    @property
    def count(self) -> int:
        """Trainable parameters."""
        return self.weights.count

    @property
    def dtype(self) -> torch.dtype:
        """Of masters, moments and the summed gradient."""
        return self.weights.master.dtype

    def begin_step(self) -> None:
        """As ``Strategy`` has it."""
        self.weights.clear_gradient()

    def backward(self, loss: Tensor) -> None:
        """As ``Strategy`` has it."""
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.weights.collect_gradient()

    def reduce(self, world: World) -> None:
        """As ``Strategy`` has it."""
        world.sum(self.weights.gradient)

    def whole_weights(self) -> dict[str, Tensor]:
        """The masters by name, as views."""
        return dict(self.weights.named())

    def whole_state(self) -> TrainingState:
        """Masters and moments by name, as views."""
        first, second = dict(self.weights.named(self.first)), dict(self.weights.named(self.second))
        return TrainingState(self.whole_weights(), first, second, self.steps_taken)

    def adopt(self, state: TrainingState) -> None:
        """As ``Strategy`` has it."""
        self.weights.load(state.weights)
        self.weights.publish()
        self.weights.load(state.first, self.first)
        self.weights.load(state.second, self.second)
        self._adopt_moments(float(state.steps_taken))

    @torch.no_grad()
    def step(self, learning_rate: float, loss: Tensor) -> Tensor:
        """Clip, and step unless ``loss`` or the gradient is not finite; returns the norm before clipping, ``()``."""
        norm: Tensor = torch.linalg.vector_norm(self.weights.gradient)
        self.weights.gradient.mul_(torch.clamp(self.clip / (norm + 1e-6), max=1.0))
        finite = torch.isfinite(norm) & torch.isfinite(loss)
        self.adamw.grad_scale = None  # type: ignore[attr-defined]  # read by the fused kernel, as GradScaler sets it
        self.adamw.found_inf = (~finite).to(torch.float32)  # type: ignore[attr-defined]  # as above
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate
        self.adamw.step()
        self.weights.publish()
        return norm
