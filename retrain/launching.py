"""Start a job in several processes by ``accelerate launch``, and say what became of them.

On one host it starts as many as are asked for. On several the same command runs on each, with its
number among them and the address of the first; the run's folder, its manifest and its images must
lie at the same path on all of them, and only those of the first write.
"""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from curation.kernel.files import write_json
from retrain.errors import ConfigInvalid
from retrain.job import ERROR_FILE, EXIT_ERROR, EXIT_OK, EXIT_STOPPED, RESULT_FILE, read_job

_log = logging.getLogger(__name__)
_OWN_TROUBLES = ("internal_error",)
"""What a process also says that only lost another: where another cause is known, it is that."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Hosts that train together.

    Attributes:
        number: of them, at least 1.
        rank: of this one, from 0, which writes the files.
        address: HOST:PORT of the first, where the processes find each other; "" on one host.
    """

    number: int = 1
    rank: int = 0
    address: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.number:
            raise ConfigInvalid(f"machine {self.rank} of {self.number}: from 0, below their number")
        _, colon, port = self.address.rpartition(":")
        if self.number > 1 and not (colon and port.isdigit()):
            raise ConfigInvalid(
                f"{self.number} machines need the first one's HOST:PORT, not {self.address!r}"
            )


def processes_here(wanted: int) -> int:
    """How many to start on this host.

    Args:
        wanted: at least 1; 0 is one a GPU, or one where there is none.

    Raises:
        ConfigInvalid: there are fewer GPUs.
    """
    gpus = torch.cuda.device_count()
    if gpus and wanted > gpus:
        raise ConfigInvalid(f"{wanted} training processes on {gpus} GPUs: each needs its own")
    return wanted or max(1, gpus)


def launch(action: str, job_file: Path, processes: int, machines: Machines = Machines()) -> int:
    """Run a job in so many processes of this host, and wait for all of them.

    The end of one ends all. A SIGTERM goes to each, and they stop at the same step.

    Args:
        action: as of :func:`retrain.job.run_job`.
        job_file: see there.
        processes: on this host; as many on each of the others.
        machines: which of several hosts this is.

    Returns:
        As ``run_job``; where a process died, ``result.json`` says which and how.
    """
    out = job_file.parent
    try:
        _, out = read_job(job_file)
        for path in out.glob(ERROR_FILE.format("*")):
            path.unlink()
        if not torch.cuda.is_available():
            os.environ["ACCELERATE_USE_CPU"] = "1"  # else it starts them and does not join them
        arguments = _arguments(processes, machines, action, job_file)
        launch_command(launch_command_parser().parse_args(arguments))
    except SignalException as error:
        _log.warning("stopped by %s", error.sigval.name)
        return EXIT_STOPPED
    except ChildFailedError as error:
        _tell(out, _cause(out, error))
        return EXIT_ERROR
    except (ConfigInvalid, ConnectionError) as error:
        _tell(out, {"code": "config_invalid", "message": str(error), "retryable": False})
        return EXIT_ERROR
    return EXIT_OK


def _arguments(processes: int, machines: Machines, action: str, job_file: Path) -> Sequence[str]:
    host, _, port = machines.address.rpartition(":")
    where = ["--main_process_port", port or "0"]
    if machines.number > 1:
        where += ["--main_process_ip", host, "--machine_rank", str(machines.rank), "--same_network"]
    return [
        "--multi_gpu",  # its name for "several processes": without a GPU they run on CPUs by gloo
        *("--num_machines", str(machines.number)),
        *("--num_processes", str(processes * machines.number)),
        *where,
        *("--mixed_precision", "no"),  # the job's own is set by the trainer
        *("--dynamo_backend", "no"),
        *("--module", "retrain", action, "--job", str(job_file)),
    ]


def _cause(out: Path, error: ChildFailedError) -> dict[str, Any]:
    """Of what the processes said or died of, that which the others follow from."""
    files = sorted(out.glob(ERROR_FILE.format("*")), key=lambda path: path.stat().st_mtime_ns)
    errors: list[dict[str, Any]] = [json.loads(path.read_text())["error"] for path in files]
    named = [one for one in errors if one["code"] not in _OWN_TROUBLES]
    if named:
        return named[0]
    killed = [
        (rank, one)
        for rank, one in sorted(error.failures.items())
        if one.exitcode < 0 and -one.exitcode != signal.SIGTERM  # which the launcher sends
    ]
    if killed:
        rank, failure = killed[0]
        return _died(
            f"training process {rank} was killed by {failure.signal_name()}, perhaps for "
            "lack of memory"
        )
    if errors:
        return errors[0]
    rank, failure = error.get_first_failure()
    return _died(f"training process {rank} ended with status {failure.exitcode}")


def _died(how: str) -> dict[str, Any]:
    message = f"{how}; the others were stopped, and the run goes on from its last epoch"
    return {"code": "process_died", "message": message, "retryable": True}


def _tell(out: Path, error: dict[str, Any]) -> None:
    _log.error("%s: %s", error["code"], error["message"])
    if out.is_dir():
        write_json(out / RESULT_FILE, {"error": error})
