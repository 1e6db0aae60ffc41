"""Where and with what a figure was measured: one block for every result file."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-image", "faiss-gpu")


def machine(device: str = "cpu", **more: Any) -> dict[str, Any]:
    """The machine.

    Args:
        device: what computed, as PyTorch names it.
        more: of this run, such as ``threads``.

    Returns:
        Processor, cores and the GPU that was used, None without one.
    """
    gpu = torch.cuda.get_device_name() if device.startswith("cuda") else None
    cpu = platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": os.cpu_count(), "gpu": gpu, **more}


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Python's version, and those of packages."""
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
