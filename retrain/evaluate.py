"""A detector against labels: COCO metrics, and what became of each object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from curation.kernel.batching import in_batches
from curation.kernel.boxes import xyxy_to_xywh
from curation.kernel.detector import Detector
from curation.kernel.images import ImageLimits, load
from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.matching import UNMATCHED, match
from curation.kernel.types import Detections, ImageArray, Truth
from retrain.errors import ReportMismatch
from retrain.readable import UNREADABLE, require_few, tell
from retrain.report import ClassMetrics, EvaluationReport, ObjectOutcome

_MIN_SCORE = 0.01
_SIZES = ("all", "small", "medium", "large")


def evaluate(
    detector: Detector,
    manifest: Manifest,
    image_root: Path,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
    batch_size: int = 8,
    on_progress: Callable[[int, int], None] | None = None,
    class_names: Sequence[str] | None = None,
    limits: ImageLimits = ImageLimits(),
) -> EvaluationReport:
    """Run a detector over a labelled set and score it.

    Objects of a class that is not spoken of count as ignored regions. An image that cannot be read
    is left out, and counted.

    Args:
        detector: to evaluate.
        manifest: the labelled set.
        image_root: folder that the items' files are relative to.
        score_threshold: in 0..1, from which an object counts as found.
        iou_threshold: in (0, 1], of the match of an object.
        batch_size: images a call of ``detector.predict``.
        on_progress: told images done and images in all.
        class_names: what to speak of, background first: all classes of the detector (None), or the
            first of them, to compare it with a detector that knows no others.
        limits: of the images that are read.

    Raises:
        ImagesUnreadable: more than a small share of the images cannot be read.
        ReportMismatch: the detector's classes do not begin with these.
    """
    names = detector.class_names if class_names is None else tuple(class_names)
    if detector.class_names[: len(names)] != names:
        raise ReportMismatch(f"classes {detector.class_names} do not begin with {names}")
    found: list[Detections] = []
    kept: list[ManifestItem] = []
    lost: list[str] = []
    for batch in in_batches(manifest.items, _pixels, batch_size):
        read = dict(_read(batch, image_root, limits, lost))
        require_few(lost, len(manifest.items))
        shown = detector.predict(list(read.values()), _MIN_SCORE)
        kept += [item for item in batch if item.image in read]
        found.extend(one.of_classes(len(names)) for one in shown)
        if on_progress:
            on_progress(len(found) + len(lost), len(manifest.items))
    tell(lost, len(manifest.items), "evaluated")
    report = score_detections(
        found,
        replace(manifest, items=tuple(kept)),
        names,
        detector.version,
        score_threshold,
        iou_threshold,
    )
    return replace(report, manifest_version=manifest.version, unreadable=len(lost))


def _pixels(item: ManifestItem) -> int:
    return item.width_px * item.height_px


def _read(
    items: Sequence[ManifestItem], image_root: Path, limits: ImageLimits, lost: list[str]
) -> Iterator[tuple[str, ImageArray]]:
    """Those that can be read, by their ids; the files of the others are noted."""
    for item in items:
        try:
            yield item.image, load(image_root / item.file, limits)
        except UNREADABLE:
            lost.append(item.file)


def score_detections(
    found: Sequence[Detections],
    manifest: Manifest,
    class_names: tuple[str, ...],
    detector_version: str,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> EvaluationReport:
    """Score detections that exist already, one an item of the manifest, in its order.

    Raises:
        ReportMismatch: the numbers of items and detections differ.
    """
    items = manifest.items
    if len(found) != len(items):
        raise ReportMismatch(f"{len(found)} images with detections, {len(items)} items")
    truths = [item.truth(class_names) for item in items]
    metrics = _coco_metrics(found, truths, items, class_names)
    objects: list[ObjectOutcome] = []
    false_positives = 0
    for item, detections, truth in zip(items, found, truths, strict=True):
        kept = detections.above(score_threshold)
        matching = match(kept, truth, iou_threshold)
        false_positives += int((matching.truth_of_detection == UNMATCHED).sum())
        objects.extend(_outcomes(item, kept, truth, matching.detection_of_truth))
    return EvaluationReport(
        detector_version=detector_version,
        manifest_version=manifest.version,
        class_names=tuple(class_names),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        objects=tuple(sorted(objects, key=lambda entry: entry.key)),
        false_positives=false_positives,
        num_images=len(items),
        **metrics,
    )


def _outcomes(
    item: ManifestItem, kept: Detections, truth: Truth, detection_of_truth: np.ndarray[Any, Any]
) -> Iterator[ObjectOutcome]:
    for row in np.flatnonzero(~truth.ignore):
        hit = int(detection_of_truth[row])
        score = float(kept.scores[hit]) if hit >= 0 else 0.0
        yield ObjectOutcome(item.image, int(row), item.labels[row], hit >= 0, score)


def _coco_metrics(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    items: Sequence[ManifestItem],
    class_names: Sequence[str],
) -> dict[str, Any]:
    """The metric fields of a report.

    Ignored regions are "crowd" of every class: detections within them count neither way.
    """
    categories = list(range(1, len(class_names)))
    precision = _precision(found, truths, items, class_names)  # [IoU, recall, K-1, size]
    counts = [int(sum(((t.labels == k) & ~t.ignore).sum() for t in truths)) for k in categories]
    return {
        "map": _mean(precision[:, :, :, 0]),
        "map50": _mean(precision[0, :, :, 0]),
        "per_class": {
            class_names[k]: ClassMetrics(
                _mean(precision[:, :, k - 1, 0]), _mean(precision[0, :, k - 1, 0]), counts[k - 1]
            )
            for k in categories
        },
        "per_size": {n: _mean(precision[:, :, :, i]) for i, n in enumerate(_SIZES) if i},
        "per_size50": {n: _mean(precision[0, :, :, i]) for i, n in enumerate(_SIZES) if i},
    }


def _precision(
    found: Sequence[Detections],
    truths: Sequence[Truth],
    items: Sequence[ManifestItem],
    class_names: Sequence[str],
) -> np.ndarray[Any, np.dtype[np.float64]]:
    categories = list(range(1, len(class_names)))
    annotations = list(_annotations(truths, categories))
    if not annotations or not items:
        return np.full((10, 101, len(categories), len(_SIZES)), -1.0)
    images = [
        {"id": row + 1, "width": item.width_px, "height": item.height_px}
        for row, item in enumerate(items)
    ]
    names = [{"id": k, "name": class_names[k]} for k in categories]
    truth = COCO({"info": {}, "images": images, "categories": names, "annotations": annotations})
    results = list(_results(found))
    if not results:  # the library refuses an empty list; precision is then 0 where objects are
        results = [{"image_id": 1, "category_id": 1, "bbox": [-2.0, -2.0, 1.0, 1.0], "score": 0.0}]
    evaluation = COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision: np.ndarray[Any, np.dtype[np.float64]] = evaluation.eval["precision"][..., -1]
    return precision


def _annotations(truths: Sequence[Truth], categories: Sequence[int]) -> Iterator[dict[str, Any]]:
    number = 0
    for row, truth in enumerate(truths):
        boxes = xyxy_to_xywh(truth.boxes_xyxy)
        for box, label, ignored in zip(boxes, truth.labels, truth.ignore, strict=True):
            for category in categories if ignored else (int(label),):
                number += 1
                yield {
                    "id": number,
                    "image_id": row + 1,
                    "category_id": category,
                    "bbox": [float(value) for value in box],
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(ignored),
                }


def _results(found: Sequence[Detections]) -> Iterator[dict[str, Any]]:
    for row, detections in enumerate(found):
        boxes = xyxy_to_xywh(detections.boxes_xyxy)
        for box, label, score in zip(boxes, detections.labels, detections.scores, strict=True):
            yield {
                "image_id": row + 1,
                "category_id": int(label),
                "bbox": [float(value) for value in box],
                "score": float(score),
            }


def _mean(precision: np.ndarray[Any, Any]) -> float | None:
    """Mean over what is defined; COCO marks cells without objects by -1."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None
