"""What is explained, and how time is taken: sides in turns, medians over rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.common.bars import entry
from curation import superpixels
from curation.explain import Explainer
from curation.kernel import images
from curation.kernel.detector import Precision
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.regions import RegionRules, harmful_regions
from curation.superpixels import SegmentArray, Segmentation
from retrain.detector import SsdDetector

Side = Callable[[], object]
Row = dict[str, Any]
SEGMENTS = 200
LOOKED_AT = 40  # images among which the one with most detections is taken


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A trained detector and the image, of those looked at, in which it finds most."""

    name: str
    detector: SsdDetector
    data: bytes
    image: ImageArray
    targets: tuple[ScoreTarget, ...]

    def segments(self, method: Segmentation = "slic_half", wanted: int = SEGMENTS) -> SegmentArray:
        return superpixels.segment(self.image, self.detector.input_size_hw, wanted, method)

    def whole(
        self, explainer: Explainer, count: int = 1, method: Segmentation = "slic_half"
    ) -> Side:
        """From the bytes of the file to the harmful regions of so many detections."""

        def explain() -> list[Any]:
            image = images.decode(self.data)
            size_hw = self.detector.input_size_hw
            segments = superpixels.segment(image, size_hw, SEGMENTS, method)
            found = explainer.explain(self.detector, image, self.targets[:count], segments)
            return [self.regions(attribution) for attribution in found]

        return explain

    def regions(self, attribution: Attribution) -> list[Any]:
        size_wh = (self.image.shape[1], self.image.shape[0])
        return harmful_regions(attribution, False, size_wh, RegionRules())


def load(folder: Path, data: Path, device: str, precision: Precision = "fp32") -> Scene:
    """The detector of a folder, its scores in some precision, and an image of its world."""
    detector = SsdDetector.load(folder, device)
    files = world_images(folder, data)[:LOOKED_AT]
    found = [targets_in(detector, images.load(file)) for file in files]
    best = max(range(len(files)), key=lambda row: len(found[row]))
    if not found[best]:
        raise SystemExit(f"{folder.name} finds nothing: train it first")
    content = files[best].read_bytes()
    scored = detector.in_precision(precision)
    return Scene(folder.name, scored, content, images.decode(content), found[best])


def world_images(folder: Path, data: Path) -> list[Path]:
    """The images of the world that a detector, named by its folder, was trained for."""
    place = data / folder.name.split("-")[0] / "images"
    files = sorted(place.glob("*.jpg"))
    if not files:
        raise SystemExit(f"{place}: no images; give --data")
    return files


def targets_in(detector: SsdDetector, image: ImageArray) -> tuple[ScoreTarget, ...]:
    """What it detects in an image, by falling score."""
    (found,) = detector.predict([image], 0.05)
    return tuple(
        ScoreTarget(int(box), int(label))
        for box, label in zip(found.default_boxes, found.labels, strict=True)
    )


class Clock:
    """Seconds that pass, or seconds of this process's processors.

    Args:
        kind: "wall" or "cpu".
        device: a GPU is waited for before each reading.
    """

    def __init__(self, kind: str, device: str) -> None:
        self._read = time.perf_counter if kind == "wall" else time.process_time
        self._gpu = device.startswith("cuda")

    def of(self, side: Callable[[], Any]) -> tuple[Any, float]:
        """What a side returns, and its seconds."""
        self._wait()
        start = self._read()
        found = side()
        self._wait()
        return found, self._read() - start

    def once(self, side: Side) -> float:
        return self.of(side)[1]

    def rounds(self, sides: Mapping[Any, Side], rounds: int) -> dict[Any, FloatArray]:
        """Seconds [rounds] of each side, taken in turns after one round that is not counted."""
        for side in sides.values():
            side()
        taken = [{name: self.once(side) for name, side in sides.items()} for _ in range(rounds)]
        return {name: np.array([one[name] for one in taken]) for name in sides}

    def _wait(self) -> None:
        if self._gpu:
            torch.cuda.synchronize()


def interval(values: Sequence[float] | npt.NDArray[np.floating]) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval."""
    rows = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(0, len(rows), (2000, len(rows)))
    medians = np.median(rows[draws], axis=1)
    low, high = np.quantile(medians, (0.025, 0.975))
    return float(np.median(rows)), float(low), float(high)


def bar(values: Sequence[float] | npt.NDArray[np.floating], bound: float, at_most: bool) -> Row:
    return entry(*interval(values), bound=bound, sense="<=" if at_most else ">=")
