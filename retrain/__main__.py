"""``python -m retrain train|evaluate --job job.json``: the process that services supervise."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from retrain.job import run_job
from retrain.memory import keep_freed_memory


def main() -> int:
    """Run one job; the exit status is 0, 1 for an error, or 143 when asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m retrain", description=__doc__)
    parser.add_argument("action", choices=["train", "evaluate"])
    parser.add_argument("--job", type=Path, required=True, help="JSON file that describes the job")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    keep_freed_memory()
    return run_job(arguments.action, arguments.job)


if __name__ == "__main__":
    sys.exit(main())
