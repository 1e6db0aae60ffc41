"""``python -m retrain train|evaluate --job job.json``: the process that services supervise."""

from __future__ import annotations

import argparse
import ctypes
import logging
import sys
from pathlib import Path

from retrain.job import run_job

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def main() -> int:
    """Run one job; the exit status is 0, 1 for an error, or 143 when asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m retrain", description=__doc__)
    parser.add_argument("action", choices=["train", "evaluate"])
    parser.add_argument("--job", type=Path, required=True, help="JSON file that describes the job")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    keep_freed_memory()
    return run_job(arguments.action, arguments.job)


def keep_freed_memory() -> None:
    """Let glibc reuse large blocks instead of handing them back after every layer.

    A training step frees and asks again for tensors of tens of MB; the page faults of fresh
    memory cost 8 to 25 % of a step on a CPU.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # other C libraries have none
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


if __name__ == "__main__":
    sys.exit(main())
