"""Training as a supervised process: it beats, it is killed when it stalls, it resumes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services import log_files
from services.config.setting_groups import LogSettings, TrainingSettings
from services.errors import ServiceError
from services.guard import guarded
from services.store.storage import write_bytes

logger = logging.getLogger(__name__)

POLL_S = 0.5
STOP_GRACE_S = 20.0
FULL_BYTES = 2**20
"""With less space than this a run that ended without a word could not write one."""


class JobFailed(ServiceError):
    """A training process ended in an error of its own; ``code`` is that error's."""

    def __init__(self, code: str, message: str, retryable: bool) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # the job's own, not this class's
        self.retryable = retryable  # type: ignore[misc]


def run_job(
    action: str,
    folder: Path,
    job: Mapping[str, Any],
    stall_s: float,
    on_beat: Callable[[dict[str, Any]], None],
    module: str = "retrain",
    together: Sequence[str] = (),
) -> dict[str, Any]:
    """Run ``python -m MODULE ACTION`` and watch it until it ends.

    A folder with a result of the same job is not run again; one with a resume file goes on.

    Args:
        action: ``train`` or ``evaluate``.
        folder: of the run; the job, its progress, result and log lie here.
        job: what :mod:`retrain.job` describes.
        stall_s: the process is stopped when its work has not moved for so long.
        on_beat: told the progress; an exception it raises stops the process.
        module: a program that reads a job and tells its progress and result as ``retrain`` does.
        together: arguments that have it start several processes, see :func:`together`. They are
            its own, and end with it.

    Returns:
        The job's result.

    Raises:
        JobFailed: the process ended in an error, was killed or stalled; resumable ones retry.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = _result_of_same_job(folder, job)
    if done is not None:
        return done
    (folder / "result.json").unlink(missing_ok=True)
    (folder / "progress.json").unlink(missing_ok=True)
    write_bytes(folder / "job.json", json.dumps(dict(job), indent=1).encode())
    command = [sys.executable, "-m", module, action, "--job", str(folder / "job.json"), *together]
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            guarded(command, signal.SIGTERM),  # if we die it leaves a resume file and ends
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(job),
        )
        try:
            _watch(process, folder, stall_s, on_beat)
        finally:
            _stop(process)
    return _read_result(folder, process.returncode)


def together(settings: TrainingSettings) -> list[str]:
    """Arguments of ``python -m retrain`` for the processes that the settings ask for."""
    if settings.processes == settings.machines == 1:
        return []
    asked = ["--processes", str(settings.processes)]
    if settings.machines > 1:
        asked += ["--machines", str(settings.machines), "--main-address", settings.main_address]
    return asked


def read_progress(folder: Path) -> dict[str, Any] | None:
    """The latest beat of a run, None before the first."""
    try:
        beat: dict[str, Any] = json.loads((folder / "progress.json").read_text())
    except (FileNotFoundError, ValueError):  # absent, or damaged: the next beat replaces it
        return None
    return beat


def _result_of_same_job(folder: Path, job: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        before = json.loads((folder / "job.json").read_text())
        same = _of_the_result(before) == _of_the_result(json.loads(json.dumps(dict(job))))
    except (FileNotFoundError, ValueError):  # absent, or damaged: done again
        return None
    return result if same and "error" not in result else None


def _of_the_result(job: dict[str, Any]) -> dict[str, Any]:
    """What a result follows from: not from how many threads there were."""
    train = {k: value for k, value in (job.get("train") or {}).items() if k != "num_threads"}
    return {**job, "train": train}


def _watch(
    process: subprocess.Popen[bytes],
    folder: Path,
    stall_s: float,
    on_beat: Callable[[dict[str, Any]], None],
) -> None:
    # By our own monotonic clock: the beat's time says only that the work has moved, not when, as
    # either clock may be set while it runs.
    moved_s, last = time.monotonic(), None
    while process.poll() is None:
        time.sleep(POLL_S)
        _keep_log_small(folder / "log.txt")
        beat = read_progress(folder)
        if beat is not None:
            if beat["updated_s"] != last:
                moved_s, last = time.monotonic(), beat["updated_s"]
            on_beat(beat)
        if time.monotonic() - moved_s > stall_s:
            raise JobFailed("stalled", f"{folder.name}: no progress for {stall_s:.0f} s", True)


def _keep_log_small(log: Path) -> None:
    try:
        log_files.rotate(log, LogSettings())
    except OSError as error:  # no space for the copy: the run goes on with a long log
        logger.debug("%s cannot be set aside: %s", log, error)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)  # it leaves a resume file
    try:
        process.wait(STOP_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _read_result(folder: Path, returncode: int) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    except (FileNotFoundError, ValueError):
        if shutil.disk_usage(folder).free < FULL_BYTES:
            raise JobFailed("disk_full", f"{folder.name}: no space for its result", True) from None
        raise JobFailed(
            "job_killed",
            f"{folder.name}: the process ended with status {returncode} and no result, perhaps "
            f"for lack of memory; see {folder / 'log.txt'}",
            True,
        ) from None
    if "error" in result:
        error = result["error"]
        raise JobFailed(error["code"], error["message"], bool(error["retryable"]))
    return result


def _environment(job: Mapping[str, Any]) -> dict[str, str]:
    threads = (job.get("train") or job).get("num_threads") or os.cpu_count() or 1
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}
