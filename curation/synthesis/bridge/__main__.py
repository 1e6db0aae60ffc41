"""``python -m curation.synthesis.bridge train --job job.json``: what services supervise."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from curation.synthesis.bridge.job import run_job


def main() -> int:
    """Run one job; the exit status is 0, 1 for an error, or 143 when asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m curation.synthesis.bridge")
    parser.add_argument("action", choices=["train"])
    parser.add_argument("--job", type=Path, required=True, help="JSON file that describes the job")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    return run_job(arguments.job)


if __name__ == "__main__":
    sys.exit(main())
