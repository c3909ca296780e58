"""The checks of ``runner doctor``: each looks at one thing and says what it found and what to do about it.

Nothing is changed or repaired; what Ray has left running is looked at in ``ray_checks``.
"""

import logging
import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from runner.config.cores import usable_cores

GIB = 2**30
LEAST_DISK_GIB = 2.0  # the demo's runs and caches take 0.1 GiB, a 3B model 6 GiB
LEAST_SHM_GIB = 1.0  # Ray keeps objects there, NCCL its buffers; Docker gives 0.06 GiB by default
HUB_TIMEOUT_S = 5.0
DEVICES = Path("/dev")


@dataclass(frozen=True)
class Check:
    """One line of the table; ``note`` is worth knowing, ``fail`` keeps a job from running well or safely."""

    name: str
    verdict: Literal["ok", "note", "fail"]
    found: str
    remedy: str = ""


def check_python() -> Check:
    """Whether this Python is one that is tested."""
    found = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Check("python", "ok", found)
    return Check("python", "fail", found, "make the environment with Python 3.11 or 3.12")


def check_packages() -> Check:
    """Whether every package that runner requires is there, in a version it was tested with."""
    from packaging.requirements import Requirement

    required = [Requirement(text) for text in metadata.requires("runner") or ()]
    required = [requirement for requirement in required if not requirement.marker or requirement.marker.evaluate()]
    wrong = []
    for requirement in required:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing (needs {requirement.specifier})")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} is {version} (needs {requirement.specifier})")
    if wrong:
        return Check("packages", "fail", "; ".join(wrong), "install the package again: pip install .")
    return Check("packages", "ok", f"all {len(required)} within their ranges")


def check_devices() -> list[Check]:
    """Each device that torch can train on, with its memory; a GPU that torch cannot use is a fault."""
    import torch

    if torch.cuda.is_available():
        return [_gpu(index) for index in range(torch.cuda.device_count())]
    gpus = sorted(path.name for path in DEVICES.glob("nvidia[0-9]*"))
    if gpus:
        found = f"{', '.join(gpus)} present, torch {torch.__version__} finds no CUDA device"
        return [Check("device", "fail", found, "install torch's CUDA build and a driver that it supports (nvidia-smi)")]
    return [Check("device", "ok", f"CPU, torch {torch.__version__}; no GPU")]


def _gpu(index: int) -> Check:
    import torch

    from runner.plan.device import NEEDED, too_old

    free, total = torch.cuda.mem_get_info(index)
    name = torch.cuda.get_device_name(index)
    found = f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free"
    if old := too_old(index):
        return Check(f"cuda:{index}", "fail", f"{found}, {old}", NEEDED)
    if free < total / 2:
        return Check(f"cuda:{index}", "note", found, "another process holds its memory; see nvidia-smi")
    return Check(f"cuda:{index}", "ok", found)


def check_quantization() -> Check:
    """Whether bitsandbytes turns a small tensor into NF4 and back, on the device that would be used."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    remedy = "install bitsandbytes again, in a build for this device; or train with -o model.quantization=none"
    try:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels that are not needed
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        values = torch.linspace(-1.0, 1.0, 64, device=device).repeat(64, 1)  # a row is one block
        packed, state = quantize_4bit(values, blocksize=64, quant_type="nf4")
        error = float((dequantize_4bit(packed, state) - values).abs().max())
    except (ImportError, RuntimeError, OSError, AttributeError) as fault:
        return Check("bitsandbytes", "fail", f"NF4 on {device} failed: {str(fault).splitlines()[0][:120]}", remedy)
    version = metadata.version("bitsandbytes")
    # the widest gap between two NF4 values is 0.304 of a block's largest magnitude: half of it, and rounding
    if not error < 0.16:
        return Check("bitsandbytes", "fail", f"{version}: NF4 on {device} is off by {error:.3f}", remedy)
    return Check("bitsandbytes", "ok", f"{version}: NF4 on {device}, largest rounding {error:.3f} of 1")


def check_disk(name: str, folder: Path) -> Check:
    """Whether ``folder``, or the nearest one above it that exists, can be written and has room."""
    folder = folder.expanduser().absolute()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    free = shutil.disk_usage(there).free / GIB
    found = f"{free:.1f} GiB free at {folder}"
    if not os.access(there, os.W_OK):
        return Check(name, "fail", f"{there} cannot be written", "give another folder with --storage, or HOME")
    if free < LEAST_DISK_GIB:
        return Check(name, "fail", found, f"free at least {LEAST_DISK_GIB:.0f} GiB")
    return Check(name, "ok", found)


def check_shared_memory() -> Check:
    """Whether /dev/shm has room for what Ray and NCCL keep there."""
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Check("shared memory", "note", "there is no /dev/shm", "in a container mount one")
    free = shutil.disk_usage(folder).free / GIB
    found = f"{free:.2f} GiB free in /dev/shm"
    if free < LEAST_SHM_GIB:
        return Check("shared memory", "note", found, "in Docker: --shm-size=8g; in Kubernetes: a Memory emptyDir")
    return Check("shared memory", "ok", found)


def check_hub() -> Check:
    """Whether the hub answers; not reaching it is no fault, the cache may hold what a job needs."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Check("hub", "note", "offline by HF_HUB_OFFLINE", "only what lies in the cache can be used")
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=HUB_TIMEOUT_S) as answer:
            return Check("hub", "ok", f"{constants.ENDPOINT} answers ({answer.status})")
    except urllib.error.HTTPError as error:
        return Check("hub", "note", f"{constants.ENDPOINT} answers {error.code}", "try again later")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        remedy = "the built-in demo needs no hub; else run `runner fetch` on a connected machine"
        return Check("hub", "note", f"{constants.ENDPOINT} cannot be reached ({reason})", remedy)


def check_token() -> Check:
    """Whether an access token for the hub is set; the token itself is neither kept nor shown."""
    from huggingface_hub import get_token

    if get_token() is None:
        return Check("HF_TOKEN", "note", "not set", "needed only for gated and private models and data")
    return Check("HF_TOKEN", "ok", "set")


def check_threads() -> Check:
    """How many cores this process may use, and how many threads torch takes."""
    import torch

    cores, threads = usable_cores(), torch.get_num_threads()
    found = f"torch uses {threads} of {cores} cores"
    if threads > cores:
        return Check("threads", "note", found, f"set OMP_NUM_THREADS={cores}: more threads than cores are slower")
    return Check("threads", "ok", found)
