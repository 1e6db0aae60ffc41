"""How the C library treats the memory of a process that computes on a CPU."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of handing them back after every layer.

    A training step frees and asks again for tensors of tens of MB; the page faults of fresh
    memory cost 8 to 25 % of a training step on a CPU, and half of the time of a forward and
    input-backward pass of sixteen images. Call it once, early, in a process that computes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def give_back_freed_memory() -> None:
    """Hand every page that holds nothing back to the system, whatever was to be kept.

    For a process that will not compute for a while: what it had for the largest of its batches is
    of use to others meanwhile. It costs a tenth of a second a GB, and as much when work goes on.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # other C libraries have none
        trim(0)
