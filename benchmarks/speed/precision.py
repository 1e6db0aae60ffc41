"""Half precision: how much faster, and whether the maps stay those of full precision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.speed.scene import SEGMENTS, Clock, Row, targets_in, world_images
from curation import explain, superpixels
from curation.explain import Explainer
from curation.explain.fidelity import pearson
from curation.explain.precision import LEAST_AGREEMENT
from curation.kernel import images
from curation.kernel.detector import Precision
from curation.kernel.errors import ExplanationFailed
from retrain.detector import SsdDetector

METHODS = ("gp_shap", "e2x")
TARGETS = 3  # detections an image


def measure(
    folders: Sequence[Path],
    data: Path,
    device: str,
    clock: Clock,
    precisions: Sequence[Precision],
    num_images: int,
) -> list[Row]:
    """A row for each detector, method and precision: speed and agreement over real detections."""
    return [
        _row(folder.name, detector, precision, explain.get(method), files, clock)
        for folder in folders
        for detector in [SsdDetector.load(folder, device)]
        for files in [_spread(world_images(folder, data), num_images)]
        for method in METHODS
        for precision in precisions
    ]


def _row(
    name: str,
    detector: SsdDetector,
    precision: Precision,
    explainer: Explainer,
    files: Sequence[Path],
    clock: Clock,
) -> Row:
    """Both precisions on the same images, superpixels and masks, one after the other."""
    reduced = detector.in_precision(precision)
    seconds, agreement, lost = np.zeros(2), [], 0
    for file in files:
        image = images.load(file)
        targets = targets_in(detector, image)[:TARGETS]
        if not targets:
            continue
        segments = superpixels.segment(image, detector.input_size_hw, SEGMENTS, "slic_half")
        asked = image, targets, segments
        exact, taken = clock.of(partial(explainer.explain, detector, *asked))
        try:
            found, taken_reduced = clock.of(partial(explainer.explain, reduced, *asked))
        except ExplanationFailed:  # beyond the range of half precision
            lost += len(targets)
            continue
        seconds += taken, taken_reduced
        agreement += [pearson(a.values, b.values) for a, b in zip(exact, found, strict=True)]
    count = max(1, len(agreement))
    return {
        "detector": name,
        "method": explainer.name,
        "precision": precision,
        "detections": len(agreement),
        "not_finite": lost,
        "rho_least": min(agreement, default=float("nan")),
        "rho_median": float(np.median(agreement)) if agreement else float("nan"),
        "agree": sum(rho >= LEAST_AGREEMENT for rho in agreement) / count,
        "s_a_detection_fp32": seconds[0] / count,
        "s_a_detection": seconds[1] / count,
        "times_faster": seconds[0] / seconds[1] if seconds[1] else float("nan"),
    }


def _spread(files: Sequence[Path], count: int) -> Sequence[Path]:
    return files[:: max(1, len(files) // count)][:count]
