"""The memory of the GPU that this process computes on."""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory of one GPU, as one process sees it.

    Attributes:
        host: where it is.
        gpu: its name there, the same for all processes whatever they see of the others.
        used_bytes: by all processes.
        size_bytes: in all.
        reserved_bytes: by PyTorch in this process.
        at_s: when it was seen, in seconds since 1970.
    """

    host: str
    gpu: str
    used_bytes: int
    size_bytes: int
    reserved_bytes: int
    at_s: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def from_json(text: bytes | str) -> Gpu:
        """As :meth:`to_dict` gave it."""
        said = json.loads(text)
        return Gpu(
            str(said["host"]),
            str(said["gpu"]),
            int(said["used_bytes"]),
            int(said["size_bytes"]),
            int(said["reserved_bytes"]),
            float(said["at_s"]),
        )


def used() -> Gpu | None:
    """The GPU that PyTorch uses in this process; None where it uses none.

    PyTorch is not loaded for it, and no other GPU is touched: each would take some 500 MB for it.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        device = torch.cuda.current_device()
        free, size = torch.cuda.mem_get_info(device)
        name = str(torch.cuda.get_device_properties(device).uuid)
        reserved = torch.cuda.memory_reserved(device)
    except RuntimeError:  # of a GPU that has failed; the unit itself says so
        return None
    return Gpu(socket.gethostname(), name, size - free, size, reserved, time.time())
