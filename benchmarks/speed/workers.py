"""Worker processes side by side: superpixels of one image are found while another is explained."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.speed.scene import Row, Scene
from curation import explain
from curation.kernel import images
from curation.kernel.detector import Precision
from curation.kernel.types import ScoreTarget
from retrain.detector import SsdDetector
from retrain.memory import keep_freed_memory

TARGETS = 5  # detections an image, as far as there are


class Work(NamedTuple):
    """What each process does: the same image from file to regions, so many times."""

    folder: Path
    data: bytes
    targets: tuple[ScoreTarget, ...]
    device: str
    precision: Precision
    method: str
    repeats: int


_meet: Barrier  # set in each process of a pool


def measure(
    folder: Path,
    scene: Scene,
    device: str,
    precision: Precision,
    repeats: int,
    most: int = 0,
    methods: Sequence[str] = ("gp_shap", "e2x"),
) -> list[Row]:
    """Detections a second by processes, each with its own detector and its share of the cores.

    Args:
        folder: of the detector.
        scene: the surest detections of its image are explained, from the file to the harmful
            regions.
        device: of every process.
        precision: of the passes.
        repeats: explanations a process.
        most: processes; 0: as many as there are cores.
        methods: with their own numbers of samples.
    """
    rows: list[Row] = []
    targets = scene.targets[:TARGETS]
    for method in methods:
        work = Work(folder, scene.data, targets, device, precision, method, repeats)
        first = 0.0
        for count in _doubling(most or os.cpu_count() or 1):
            speed = count * repeats * len(targets) / _seconds(work, count)
            first = first or speed
            rows.append(
                {
                    "method": method,
                    "processes": count,
                    "detections_an_image": len(targets),
                    "detections_per_s": speed,
                    "times_one": speed / first,
                }
            )
    return rows


def _doubling(most: int) -> list[int]:
    counts = [1]
    while 2 * counts[-1] <= most:
        counts.append(2 * counts[-1])
    return counts


def _seconds(work: Work, count: int) -> float:
    """From the moment all start to the moment the last is done."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(count, _begin, (context.Barrier(count),)) as pool:
        spans = pool.map(_explain, [work] * count, chunksize=1)
    return max(end for _, end in spans) - min(start for start, _ in spans)


def _begin(barrier: Barrier) -> None:
    global _meet
    _meet = barrier


def _explain(work: Work) -> tuple[float, float]:
    """Start and end on the machine's clock; the first explanation is not counted."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // _meet.parties))
    keep_freed_memory()
    detector = SsdDetector.load(work.folder, work.device).in_precision(work.precision)
    scene = Scene("", detector, work.data, images.decode(work.data), work.targets)
    once = scene.whole(explain.get(work.method), len(work.targets))
    once()
    _meet.wait()  # so that each process takes one piece of work, and all start together
    start = time.monotonic()
    for _ in range(work.repeats):
        once()
    if work.device != "cpu":
        torch.cuda.synchronize()
    return start, time.monotonic()
