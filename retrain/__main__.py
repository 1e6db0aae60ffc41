"""``python -m retrain train|evaluate --job job.json``: the process that services supervise.

With ``--processes 2`` it starts a training in two of them, see ``launching.py``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from retrain.errors import ConfigInvalid
from retrain.job import run_job
from retrain.memory import keep_freed_memory
from retrain.processes import is_first


def main() -> int:
    """Run one job; the exit status is 0, 1 for an error, or 143 when asked to stop."""
    parser = argparse.ArgumentParser(prog="python -m retrain", description=__doc__)
    parser.add_argument("action", choices=["train", "evaluate"])
    parser.add_argument("--job", type=Path, required=True, help="JSON file that describes the job")
    parser.add_argument(
        "--processes", type=int, default=1, help="that train together on this host; 0: one a GPU"
    )
    parser.add_argument("--machines", type=int, default=1, help="hosts that train together")
    parser.add_argument("--machine-rank", type=int, default=0, help="which of them this is, from 0")
    parser.add_argument("--main-address", default="", help="HOST:PORT of the first of them")
    arguments = parser.parse_args()
    level = logging.INFO if is_first() else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s")
    if arguments.action == "train" and (arguments.processes, arguments.machines) != (1, 1):
        from retrain.launching import Machines, launch, processes_here  # slow to load

        try:
            number = processes_here(arguments.processes)
            machines = Machines(arguments.machines, arguments.machine_rank, arguments.main_address)
        except ConfigInvalid as error:
            parser.error(str(error))
        if number * machines.number > 1:
            return launch(arguments.action, arguments.job, number, machines)
    keep_freed_memory()
    return run_job(arguments.action, arguments.job)


if __name__ == "__main__":
    sys.exit(main())
