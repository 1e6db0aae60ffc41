"""How cost grows with samples, detections and segments, and what bounds memory."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.scene import Clock, Row, Scene, Side
from curation.explain.e2x import E2X
from curation.kernel.types import ImageArray, ScoreTarget
from curation.superpixels import SegmentArray
from retrain.detector import SsdDetector
from retrain.memory import keep_freed_memory

SAMPLES = (4, 8, 16, 32, 64)
DETECTIONS = (1, 2, 4, 8)
SEGMENTS = (50, 100, 200, 400, 800)


def samples(scene: Scene, clock: Clock, rounds: int, rows: int | None) -> list[Row]:
    """Seconds by K, and how far each lies from the straight line through all."""
    segments = scene.segments()
    taken = _medians(
        clock,
        {k: _explain(scene, E2X(num_samples=k, batch_size=rows), 1, segments) for k in SAMPLES},
        rounds,
    )
    slope, start = np.polyfit(SAMPLES, [taken[k] for k in SAMPLES], 1)
    return [
        {"K": k, "ms": 1e3 * taken[k], "off_the_line": taken[k] / (start + slope * k) - 1}
        for k in SAMPLES
    ]


def detections(
    scene: Scene, clock: Clock, rounds: int, num_samples: int, rows: int | None
) -> list[Row]:
    """Seconds of D detections at once beside D times one alone.

    The limit of the factor is that of (forward + backward) / backward, from the slope in D.
    """
    counts = [count for count in DETECTIONS if count <= len(scene.targets)]
    segments = scene.segments()
    explainer = E2X(num_samples=num_samples, batch_size=rows)
    taken = _medians(clock, {d: _explain(scene, explainer, d, segments) for d in counts}, rounds)
    slope = (taken[counts[-1]] - taken[1]) / max(1, counts[-1] - 1)
    return [
        {
            "D": d,
            "ms": 1e3 * taken[d],
            "ms_a_detection": 1e3 * taken[d] / d,
            "times_cheaper": d * taken[1] / taken[d],
            "limit": taken[1] / slope if slope > 0 else float("nan"),
        }
        for d in counts
    ]


def segments(
    scene: Scene, clock: Clock, rounds: int, num_samples: int, rows: int | None
) -> list[Row]:
    """Seconds by the number of segments, the making of them left out."""
    explainer = E2X(num_samples=num_samples, batch_size=rows)
    made = {wanted: scene.segments("slic", wanted) for wanted in SEGMENTS}
    taken = _medians(clock, {m: _explain(scene, explainer, 1, made[m]) for m in SEGMENTS}, rounds)
    return [{"M_asked": m, "M": int(made[m].max()) + 1, "ms": 1e3 * taken[m]} for m in SEGMENTS]


def memory(folder: Path, scene: Scene, num_samples: int) -> list[Row]:
    """Peak resident MB by rows a pass and by detections, each in a process that did nothing else.

    What is found is handed in: finding it takes more memory than explaining it.
    """
    cases = [(1, 1), (4, 1), (16, 1), (4, 8), (4, 16)]
    context = multiprocessing.get_context("spawn")
    rows = []
    for batch_size, count in cases:
        targets = (scene.targets * count)[:count]
        explainer = E2X(num_samples=num_samples, batch_size=batch_size)
        with context.Pool(1) as pool:
            given = (folder, scene.image, targets, scene.segments(), explainer)
            before, peak = pool.apply(_peak, given)
        rows.append({"rows": batch_size, "D": count, "peak_mb": peak, "before_mb": before})
    return rows


def _peak(
    folder: Path,
    image: ImageArray,
    targets: tuple[ScoreTarget, ...],
    found: SegmentArray,
    explainer: E2X,
) -> tuple[float, float]:
    torch.set_num_threads(1)
    keep_freed_memory()
    detector = SsdDetector.load(folder)
    before = _resident_mb()
    explainer.explain(detector, image, targets, found)
    return before, _resident_mb()


def _resident_mb() -> float:
    """Peak of this program; ``getrusage`` would count what the process was before it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _explain(scene: Scene, explainer: E2X, count: int, found: np.ndarray) -> Side:
    return lambda: explainer.explain(scene.detector, scene.image, scene.targets[:count], found)


def _medians(clock: Clock, sides: dict[int, Side], rounds: int) -> dict[int, float]:
    return {key: float(np.median(taken)) for key, taken in clock.rounds(sides, rounds).items()}
