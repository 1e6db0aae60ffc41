"""Training as a process of its own: reads a job, tells how far it is, ends in a result.

Job file, paths absolute::

    {"out": "run",                       folder of all that follows, and of the weights
     "crops": "crops.jsonl",             one a line: {"image", "file", "box", "label"}, of one
                                         picture one after another; box null, label 0: no object
     "image_root": "images", "limits": {…ImageLimits…},
     "encoder": {…TimmEncoder…},         of the region vectors
     "num_classes": 4, "size": {…}, "recipe": {…Recipe…},
     "seconds": 3600 or null,            of training in all, over every start
     "device": "", "num_threads": 1}

``examples.npz`` holds the windows, so that a job that is started again trains at once;
``trained.json`` the seconds that were spent before. Killed by SIGTERM it saves first and loses
nothing, by SIGKILL the steps since it saved last.
"""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.kernel.errors import CurationError, GeneratorUnusable
from curation.kernel.files import write_atomically, write_json
from curation.kernel.images import ImageLimits, load
from curation.synthesis.bridge import checkpoint
from curation.synthesis.bridge.examples import Crop, Examples, prepare
from curation.synthesis.bridge.network import NetworkSize
from curation.synthesis.bridge.training import Recipe, train
from curation.synthesis.finish import why_failed

PROGRESS, RESULT, SPENT, EXAMPLES = "progress.json", "result.json", "trained.json", "examples.npz"
EXIT_OK, EXIT_ERROR, EXIT_STOPPED = 0, 1, 143
BEAT_S = 1.0
logger = logging.getLogger(__name__)


def run_job(job_file: Path) -> int:
    """Run one job in this process.

    Returns:
        Exit status: 0 done, 1 error (``result.json`` has its code, message, and whether trying
        again may help), 143 stopped by SIGTERM and to be gone on with (no ``result.json``).
    """
    out, asked = job_file.parent, _Stop()
    try:
        job: dict[str, Any] = json.loads(job_file.read_text(encoding="utf-8"))
        out = Path(job["out"])
        result = _run(job, out, asked)
    except CurationError as error:
        logger.exception("job failed")
        return _failed(out, error.code, str(error), error.retryable)
    except Exception as error:  # parked: the supervisor reads it, the traceback is in the log
        logger.exception("job failed")
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        code = "out_of_memory" if short else "internal_error"
        return _failed(out, code, why_failed(error), not short)
    if result is None:
        return EXIT_STOPPED
    write_json(out / RESULT, result)
    return EXIT_OK


class _Stop:
    """Whether the process was told to end."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def _failed(out: Path, code: str, message: str, retryable: bool) -> int:
    write_json(out / RESULT, {"error": {"code": code, "message": message, "retryable": retryable}})
    return EXIT_ERROR


def _run(job: Mapping[str, Any], out: Path, stop: _Stop) -> dict[str, Any] | None:
    """Windows, then steps; None where it was told to end before it had all of them."""
    from curation.embedding.encoder import TimmEncoder

    torch.set_num_threads(int(job.get("num_threads") or 1))
    wanted = dict(job["encoder"])
    wanted["input_size_hw"] = tuple(wanted["input_size_hw"])
    beat = _Beat(out)
    encoder = TimmEncoder(**wanted)
    lost: list[str] = []
    side_px = int(job["size"].get("side_px", 64))
    examples = _examples(job, out, encoder, side_px, lost, beat, stop)
    if examples is None:
        return None
    size = dict(job["size"])
    if "channels" in size:
        size["channels"] = tuple(size["channels"])
    network = NetworkSize(examples.vectors.shape[2], int(job["num_classes"]), **size)
    recipe = Recipe(**job["recipe"])
    clock = _Clock(out, job.get("seconds"))
    losses: list[float] = []

    def told(step: int, steps: int, loss: float) -> None:
        losses[:] = [*losses[-99:], loss]
        beat.tell("train", step, steps, {"loss": round(float(np.mean(losses)), 4)})
        if step % recipe.save_every == 0:
            clock.write()

    def enough() -> bool:
        return stop.asked or clock.is_up

    weights = train(examples, out, network, recipe, str(job.get("device") or ""), told, enough)
    clock.write()
    about, _ = checkpoint.read(out, "no tensor")
    if stop.asked and about.step < recipe.steps:
        return None
    return {
        "weights": weights,
        "step": about.step,
        "steps": recipe.steps,
        "loss": round(float(np.mean(losses)), 4) if losses else None,
        "seconds": round(clock.seconds, 1),
        "windows": len(examples),
        "encoder": examples.encoder,
        "unreadable": lost,
    }


class _Beat:
    """Tells how far the work is, now and then; a supervisor sees by it that it moves."""

    def __init__(self, out: Path) -> None:
        self._file, self._last_s = out / PROGRESS, 0.0

    def tell(self, epoch: str, step: int, steps: int, more: Mapping[str, Any]) -> None:
        """What is done of how much."""
        now = time.monotonic()
        if now - self._last_s < BEAT_S and step < steps:
            return
        self._last_s = now
        told = {"epoch": epoch, "step": step, "steps": steps, "updated_s": time.time(), **more}
        write_json(self._file, told)


class _Clock:
    """Seconds of training, over all starts of a job."""

    def __init__(self, out: Path, most_s: float | None) -> None:
        self._file, self._most_s, self._began_s = out / SPENT, most_s, time.monotonic()
        self._before_s = 0.0
        if self._file.is_file():
            self._before_s = float(json.loads(self._file.read_text())["seconds"])

    @property
    def seconds(self) -> float:
        """Until now."""
        return self._before_s + time.monotonic() - self._began_s

    @property
    def is_up(self) -> bool:
        """Whether no more may be spent."""
        return self._most_s is not None and self.seconds >= self._most_s

    def write(self) -> None:
        """Keep it for the next start."""
        write_json(self._file, {"seconds": self.seconds})


def _examples(
    job: Mapping[str, Any],
    out: Path,
    encoder: Any,
    side_px: int,
    lost: list[str],
    beat: _Beat,
    stop: _Stop,
) -> Examples | None:
    """Windows of the crops: those of an earlier start, or new ones; None where it was to end."""
    rows = Path(job["crops"]).read_bytes()
    key = hashlib.sha256(rows + f"{encoder.version}:{side_px}".encode()).hexdigest()
    kept = _kept(out / EXAMPLES, key)
    if kept is not None:
        return kept
    wanted = [json.loads(line) for line in rows.splitlines()]

    def one_by_one() -> Iterator[Crop]:
        for crop in _crops(wanted, job, lost):
            if stop.asked:
                return
            yield crop

    def told(done: int) -> None:
        beat.tell("look at pictures", done, len(wanted), {})

    try:
        made = prepare(one_by_one(), encoder, side_px, progress=told)
    except ValueError as problem:
        if stop.asked:
            return None
        raise GeneratorUnusable(
            f"there is nothing to train on: none of {len(wanted)} pictures can be read, such as "
            f"{lost[0]}"
            if lost
            else "there is nothing to train on: `e2x import` pictures first"
        ) from problem
    if stop.asked:
        return None
    write_atomically(out / EXAMPLES, lambda file: _write(file, made, key))
    return made


def _crops(wanted: list[dict[str, Any]], job: Mapping[str, Any], lost: list[str]) -> Iterator[Crop]:
    limits, last, pixels = ImageLimits(**job["limits"]), "", None
    for row in wanted:
        if row["file"] != last:  # a picture with many objects is read once
            last = row["file"]
            pixels = _opened(Path(job["image_root"]) / last, limits, row["image"], lost)
        if pixels is not None:
            box = None if row["box"] is None else tuple(row["box"])
            yield Crop(row["image"], pixels, box, int(row["label"]))


def _opened(path: Path, limits: ImageLimits, image: str, lost: list[str]) -> Any:
    try:
        return load(path, limits)
    except (CurationError, OSError) as error:
        lost.append(f"{image[:12]}: {error}")
        return None


_ARRAYS = ("pixels", "inside", "boxes", "holes", "vectors", "labels")


def _write(file: Path, made: Examples, key: str) -> None:
    arrays = {name: getattr(made, name) for name in _ARRAYS}
    with file.open("wb") as opened:
        np.savez(opened, key=key, images=np.array(made.images), encoder=made.encoder, **arrays)


def _kept(file: Path, key: str) -> Examples | None:
    """Those of the same crops; None where there are none, or of others, or a half file."""
    try:
        with np.load(file, allow_pickle=False) as read:
            if str(read["key"]) != key:
                return None
            images = tuple(str(one) for one in read["images"])
            arrays = {name: read[name] for name in _ARRAYS}
            return Examples(**arrays, images=images, encoder=str(read["encoder"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, OSError, EOFError) as problem:
        logger.warning("%s is made again: %s", file.name, problem)
        return None
