"""Where the device's time in a training step goes, by part, from torch's profiler.

What stands between a step and its floor is read off here: the floor is the base's own products and attention, at the
rate that their kernels reached.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

Part = Literal[
    "base products",
    "head products",
    "attention",
    "adapters' products",
    "activations",
    "norms",
    "rotation",
    "cross-entropy",
    "unpacking of NF4",
    "the rest",
]
PARTS: tuple[Part, ...] = get_args(Part)
FLOOR: tuple[Part, ...] = ("base products", "head products", "attention")
PRODUCTS = {"aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm"}
NARROW = 512  # a product with a side of fewer elements is an adapter's
BY_NAME: tuple[tuple[str, Part], ...] = (  # part of a kernel's name; the first that fits
    ("flash", "attention"),
    ("gelu", "activations"),
    ("swiglu", "activations"),
    ("cross_entropy", "cross-entropy"),
    ("rotate", "rotation"),
    ("norm_forward", "norms"),
    ("norm_backward", "norms"),
    ("unpack_rows", "unpacking of NF4"),
    ("dequantize", "unpacking of NF4"),
)


@dataclass(frozen=True)
class DeviceTime:
    """Milliseconds of kernels in one step, by part, and how many kernels there were."""

    ms: dict[Part, float]
    kernels: int

    @property
    def total_ms(self) -> float:
        """All kernels; what the device waited between them is not in it."""
        return sum(self.ms.values())

    @property
    def floor_ms(self) -> float:
        """What would be left if nothing but the base's products and attention cost anything."""
        return sum(self.ms[part] for part in FLOOR)


class Profiled:
    """A ``with`` block whose kernels are noted: ``steps`` training steps of a model with ``vocabulary`` tokens.

    Passes that are replayed as CUDA graphs do not tell which product a kernel belongs to: record none of them.
    """

    def __init__(self, steps: int, vocabulary: int) -> None:
        self._steps, self._vocabulary = steps, vocabulary
        self._profile: Any = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True)

    def __enter__(self) -> "Profiled":
        self._profile.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._profile.__exit__(*raised)

    def spent(self) -> DeviceTime:
        """A step's share of all kernels of the block."""
        return spent_in(self._profile.events(), self._steps, self._vocabulary)


def spent_in(events: Iterable[Any], steps: int, vocabulary: int) -> DeviceTime:
    """The kernels among the profiler's ``events``, summed by part and divided by ``steps``.

    A kernel belongs to the operation that launched it where that is a product, whose shapes tell which; else its name
    tells.
    """
    us, kernels, every = dict.fromkeys(PARTS, 0.0), 0, 0.0
    for event in events:
        if event.device_type != DeviceType.CPU and event.is_user_annotation:
            continue  # a span that others' kernels lie in
        if event.device_type != DeviceType.CPU:
            every += float(event.time_range.elapsed_us())
            kernels += 1
            continue
        for kernel in event.kernels:
            part = product_part(event.input_shapes, vocabulary) if event.name in PRODUCTS else named_part(kernel.name)
            us[part] += kernel.duration
    us["the rest"] += max(0.0, every - sum(us.values()))
    return DeviceTime({part: us[part] / 1000.0 / steps for part in PARTS}, round(kernels / steps))


def product_part(shapes: Sequence[Sequence[int]], vocabulary: int) -> Part:
    """Whose product of matrices of these ``shapes`` is."""
    sides = [side for shape in shapes for side in shape]
    if vocabulary in sides:
        return "head products"
    return "adapters' products" if min(sides, default=0) < NARROW else "base products"


def named_part(name: str) -> Part:
    """The part that a kernel called ``name`` works for."""
    lower = name.lower()
    return next((part for word, part in BY_NAME if word in lower), "the rest")


def table(spent: DeviceTime, step_ms: float) -> list[str]:
    """Lines for a terminal: each part's time and share of a step of ``step_ms``, the largest first."""
    parts = sorted((ms, part) for part, ms in spent.ms.items() if ms)[::-1]
    waited = step_ms - spent.total_ms
    rows = [(part, ms) for ms, part in parts] + ([("between kernels", waited)] if waited > 0 else [])
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:{width}}  {ms:8.2f} ms  {ms / step_ms:6.1%}" for name, ms in rows]
    return [*lines, f"  floor (products of base and head, attention) {spent.floor_ms:.2f} ms of {step_ms:.2f}"]
