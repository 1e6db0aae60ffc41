"""One supervised job: reads ``job.json``, beats in ``progress.json``, ends in ``result.json``.

Job file, paths absolute or relative to the folder of the job file::

    {"out": "run",                       folder of progress.json, result.json, resume.pt
     "manifest": "….jsonl", "image_root": "images",
     "limits": {…ImageLimits…},          of the images; without: the usual ones
     "train": {…TrainConfig…}, "detector": {…DetectorConfig…}, "init": "model folder" or null
                                         for train; the model goes to out/model; what "train" leaves
                                         out is FINE_TUNING's with "init", else TrainConfig's
     "model": "model folder", "score_threshold": 0.5, "report": "report.json", "device": "cpu",
     "num_threads": 1}                   for evaluate; the report goes to out/report

A killed job that is started again with the same file resumes from its last epoch, or last look.
Of several processes that train together (``launching.py``) the first writes all of these; an error
of any of them lies in ``error-RANK.json``, out of which the launcher makes the result.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from curation.kernel.errors import CurationError
from curation.kernel.files import write_json
from curation.kernel.images import ImageLimits
from curation.kernel.manifest import Manifest
from retrain import checkpoint, processes
from retrain.config import FINE_TUNING, DetectorConfig, TrainConfig
from retrain.detector import SsdDetector
from retrain.errors import ConfigInvalid, RetrainError, TrainingInterrupted
from retrain.evaluate import evaluate
from retrain.plan import History
from retrain.trainer import train

PROGRESS_FILE = "progress.json"
RESULT_FILE = "result.json"
ERROR_FILE = "error-{}.json"
EXIT_OK, EXIT_ERROR, EXIT_STOPPED = 0, 1, 143
_BEAT_S = 1.0
_log = logging.getLogger(__name__)


def run_job(action: str, job_file: Path) -> int:
    """Run one job in this process.

    Args:
        action: "train" or "evaluate".
        job_file: see the module's description.

    Returns:
        Exit status: 0 done, 1 error (``result.json`` has ``error.code``, ``error.message`` and
        ``error.retryable``), 143 stopped by SIGTERM and to be resumed (no ``result.json``).
    """
    started_s = time.monotonic()
    out = job_file.parent
    try:
        job, out = read_job(job_file)
        out.mkdir(parents=True, exist_ok=True)
        if processes.is_first():
            (out / RESULT_FILE).unlink(missing_ok=True)
        with _Heartbeat(out) as beat, _stop_signal(beat):
            work = _train if action == "train" else _evaluate
            result = work(job_file, job, out, beat)
    except TrainingInterrupted as error:
        _log.warning("%s", error)
        return EXIT_STOPPED
    except (RetrainError, CurationError) as error:
        _log.exception("job failed")
        _write_error(out, error.code, str(error), error.retryable)
        return EXIT_ERROR
    except Exception as error:  # parked: the supervisor reads it, the traceback is in the log
        _log.exception("job failed")
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        code = "disk_full" if full else "internal_error"
        _write_error(out, code, f"{type(error).__name__}: {error}", True)
        return EXIT_ERROR
    seconds = round(time.monotonic() - started_s, 3)
    if processes.is_first():
        write_json(out / RESULT_FILE, {"action": action, "seconds": seconds, **result})
    return EXIT_OK


def _write_error(out: Path, code: str, message: str, retryable: bool) -> None:
    error = {"code": code, "message": message, "retryable": retryable}
    name = ERROR_FILE.format(processes.rank()) if processes.is_launched() else RESULT_FILE
    write_json(out / name, {"error": error})


def read_job(job_file: Path) -> tuple[dict[str, Any], Path]:
    """A job and the folder of its results.

    Raises:
        ConfigInvalid: it cannot be read, or names no folder.
    """
    try:
        job = json.loads(job_file.read_text())
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{job_file}: unreadable ({error})") from error
    if not isinstance(job, dict):
        raise ConfigInvalid(f"{job_file}: expected an object")
    return job, _path(job_file, job, "out")


def _path(job_file: Path, job: Mapping[str, Any], key: str) -> Path:
    value = job.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigInvalid(f"{job_file}: {key!r} is missing")
    return job_file.parent / value


def _train(job_file: Path, job: Mapping[str, Any], out: Path, beat: _Heartbeat) -> dict[str, Any]:
    model = out / "model"
    defaults = FINE_TUNING if job.get("init") else TrainConfig()
    lost: list[str] = []
    told: list[History] = []
    detector = train(
        TrainConfig.from_dict(job.get("train") or {}, defaults),
        DetectorConfig.from_dict(job.get("detector") or {}),
        Manifest.read(_path(job_file, job, "manifest")),
        _path(job_file, job, "image_root"),
        model,
        init=_path(job_file, job, "init") if job.get("init") else None,
        on_progress=lambda progress: beat.update("training", asdict(progress)),
        should_stop=beat.stop.is_set,
        limits=_limits(job_file, job),
        on_lost=lost.extend,
        on_history=told.append,
    )
    if not processes.is_first():
        return {}
    checkpoint.load(model)  # what lies on the disk is whole and finite, before anybody hears of it
    description = json.loads((model / "config.json").read_text())
    return {
        "model": str(model),
        "version": detector.version,
        "weights": description["weights"],
        "unreadable": lost,
        "history": told[0].to_dict(),
    }


def _limits(job_file: Path, job: Mapping[str, Any]) -> ImageLimits:
    try:
        return ImageLimits(**(job.get("limits") or {}))
    except TypeError as error:
        raise ConfigInvalid(f"{job_file}: 'limits': {error}") from error


def _evaluate(
    job_file: Path, job: Mapping[str, Any], out: Path, beat: _Heartbeat
) -> dict[str, Any]:
    if job.get("num_threads"):
        torch.set_num_threads(int(job["num_threads"]))
    device = str(job.get("device") or "cpu")
    report = evaluate(
        SsdDetector.load(_path(job_file, job, "model"), device),
        Manifest.read(_path(job_file, job, "manifest")),
        _path(job_file, job, "image_root"),
        score_threshold=float(job.get("score_threshold", 0.5)),
        limits=_limits(job_file, job),
        on_progress=lambda done, total: beat.images(done, total),
    )
    path = report.write(out / str(job.get("report") or "report.json"))
    return {
        "report": str(path),
        "map": report.map,
        "map50": report.map50,
        "unreadable": report.unreadable,
    }


class _Heartbeat:
    """Writes ``progress.json`` every second from a thread, also while a long step runs.

    The beat says that the process lives; ``updated_s`` says when work last moved on, so that a
    supervisor can tell a hung step from a slow one. Of several processes only the first tells.
    Each of them ends when its launcher is gone: the others wait for it in the middle of a step,
    where no signal is heard, and would hold a GPU for ever.
    """

    def __init__(self, out: Path) -> None:
        self.stop = threading.Event()
        self._out, self._done = out, threading.Event()
        self._state: dict[str, Any] = {"phase": "starting"}
        self._updated_s = time.time()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._parent = os.getppid()

    def __enter__(self) -> _Heartbeat:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._write()

    def update(self, phase: str, values: Mapping[str, Any]) -> None:
        """Note progress; it is written with the next beat."""
        self._updated_s = time.time()
        self._state = {"phase": phase, **values}

    def images(self, done: int, total: int) -> None:
        """Note evaluated images; stops here when asked to."""
        self.update("evaluating", {"step": done, "steps": total})
        if self.stop.is_set():
            raise TrainingInterrupted(f"stopped after {done} of {total} images")

    def _run(self) -> None:
        while not self._done.wait(_BEAT_S):
            if processes.is_launched() and os.getppid() != self._parent:
                _log.error("the launcher is gone: this process ends")
                os._exit(EXIT_STOPPED)
            try:
                self._write()
            except OSError as error:  # such as a full disk: the work goes on, and so do later beats
                _log.warning("no beat: %s", error)

    def _write(self) -> None:
        if not processes.is_first():
            return
        beat = {"beat_s": time.time(), "updated_s": self._updated_s, **self._state}
        write_json(self._out / PROGRESS_FILE, beat)


@contextmanager
def _stop_signal(beat: _Heartbeat) -> Iterator[None]:
    """SIGTERM and SIGINT ask the work to stop at its next step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(_: int, __: FrameType | None) -> None:
        beat.stop.set()

    kept = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
