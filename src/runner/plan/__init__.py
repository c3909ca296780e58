"""What a job will take: the form it is trained in, its memory, its steps and its hours."""

from runner.plan.device import limit_memory, present_device
from runner.plan.geometry import Geometry, read_geometry, read_positions
from runner.plan.memory import Form, Memory, predict_memory
from runner.plan.plan import Plan, Timing, hours, make_plan, render
from runner.plan.settings import Device, Settings, check_positions, settle

__all__ = [
    "Device",
    "Form",
    "Geometry",
    "Memory",
    "Plan",
    "Settings",
    "Timing",
    "check_positions",
    "hours",
    "limit_memory",
    "make_plan",
    "predict_memory",
    "present_device",
    "read_geometry",
    "read_positions",
    "render",
    "settle",
]
