"""Which part of a step a kernel's time counts for."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch._C._autograd import DeviceType

from runner.train.profiling import PARTS, DeviceTime, Profiled, named_part, product_part, spent_in, table


@dataclass
class Kernel:
    name: str
    duration: float  # microseconds


@dataclass
class Range:
    us: float

    def elapsed_us(self) -> float:
        return self.us


@dataclass
class Event:
    name: str
    device_type: DeviceType
    time_range: Range
    input_shapes: list[list[int]] = field(default_factory=list)
    kernels: list[Kernel] = field(default_factory=list)
    is_user_annotation: bool = False


def launched(name: str, kernel: str, us: float, shapes: list[list[int]]) -> list[Event]:
    """An operation and the kernel that it launched, as the profiler lists them."""
    operation = Event(name, DeviceType.CPU, Range(us / 10), shapes, [Kernel(kernel, us)])
    return [operation, Event(kernel, DeviceType.CUDA, Range(us))]


def test_kernels_are_summed_by_part_and_what_no_operation_owns_is_the_rest() -> None:
    events: list[Any] = [
        *launched("aten::mm", "nvjet_hsh_128x256", 4000.0, [[8192, 3096], [3096, 12288]]),
        *launched("aten::addmm_", "nvjet_hsh_64x8", 200.0, [[16, 3072], [16, 8192], [8192, 3072]]),
        *launched("aten::mm", "nvjet_hsh_128x256", 1000.0, [[2730, 3072], [3072, 49152]]),
        *launched("FusedLayer", "gelu_forward", 300.0, []),
        *launched("aten::copy_", "elementwise_kernel", 100.0, [[8192, 3072]]),
        Event("kernel_cutlass_FlashAttentionForwardSm90", DeviceType.CUDA, Range(600.0)),
        Event("Optimizer.step#AdamW.step", DeviceType.CUDA, Range(900.0), is_user_annotation=True),
    ]
    spent = spent_in(events, steps=2, vocabulary=49152)
    found = {part: ms for part, ms in spent.ms.items() if ms}
    assert found == {
        "base products": 2.0,
        "adapters' products": pytest.approx(0.1),
        "head products": 0.5,
        "activations": pytest.approx(0.15),
        "the rest": pytest.approx(0.05 + 0.3),
    }
    assert spent.total_ms == pytest.approx(6.2 / 2)
    assert spent.floor_ms == 2.5
    assert spent.kernels == 3


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("kernel_cutlass_flash_attncuteflash_bwd_sm90FlashAttentionBackwardSm90", "attention"),
        ("norm_and_rotate", "rotation"),
        ("norm_backward", "norms"),
        ("cross_entropy", "cross-entropy"),
        ("unpack_rows", "unpacking of NF4"),
        ("void at::native::vectorized_elementwise_kernel", "the rest"),
    ],
)
def test_a_kernel_is_known_by_its_name(name: str, part: str) -> None:
    assert named_part(name) == part


def test_a_product_is_known_by_its_sides() -> None:
    assert product_part([[8192, 12320], [12320, 3072]], 49152) == "base products"
    assert product_part([[8192, 3072], [3072, 16]], 49152) == "adapters' products"
    assert product_part([[600, 3072], [3072, 49152]], 49152) == "head products"


def test_the_table_has_the_largest_part_first_and_what_the_device_waited() -> None:
    ms = dict.fromkeys(PARTS, 0.0) | {"norms": 1.0, "base products": 6.0}
    lines = table(DeviceTime(ms, 7), step_ms=10.0)
    assert [line.split()[0] for line in lines[:3]] == ["base", "norms", "between"]
    assert lines[2].split()[2:] == ["3.00", "ms", "30.0%"]
    assert lines[-1].endswith("6.00 ms of 10.00")


@pytest.mark.gpu
def test_a_real_products_kernels_are_found() -> None:
    left, right = (torch.randn(4096, 4096, device="cuda") for _ in range(2))
    left @ right
    with Profiled(3, vocabulary=7) as noted:
        for _ in range(3):
            left @ right
    spent = noted.spent()
    assert spent.ms["base products"] > 0.5 * spent.total_ms > 0.0
    assert spent.kernels >= 1
