"""What an evaluation says, as JSON in and out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from curation.kernel.files import write_json
from retrain.errors import ReportMismatch


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Of one class. ``ap`` and ``ap50`` in 0..1, None where the class has no objects."""

    ap: float | None
    ap50: float | None
    num_objects: int


@dataclass(frozen=True, slots=True)
class ObjectOutcome:
    """What became of one annotated object that counts.

    Attributes:
        image: content hash of its image.
        truth_index: row among the image's annotations.
        label: its class.
        found: a detection of its class above the threshold matched it one to one.
        score: of that detection, 0 where there is none.
    """

    image: str
    truth_index: int
    label: str
    found: bool
    score: float

    @property
    def key(self) -> tuple[str, int]:
        """Names the object across reports on the same data."""
        return self.image, self.truth_index


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A detector on a labelled set. Rates and AP in 0..1, None where nothing can be said.

    Attributes:
        detector_version: hash of weights and configuration.
        manifest_version: hash of the data.
        class_names: K names, background first.
        score_threshold: from which a detection counts in ``objects``.
        iou_threshold: from which a detection matches in ``objects``.
        map: mean AP over IoU 0.50 to 0.95 and classes, as COCO defines it.
        map50: the same at IoU 0.50.
        per_class: by class name.
        per_size: mean AP of "small" (< 32² px), "medium" and "large" (> 96² px) objects.
        per_size50: the same at IoU 0.50.
        objects: every annotated object that counts, by image hash and row.
        false_positives: detections above the threshold that match nothing.
        num_images: evaluated.
        unreadable: images of the set that were left out, since they cannot be read.
    """

    detector_version: str
    manifest_version: str
    class_names: tuple[str, ...]
    score_threshold: float
    iou_threshold: float
    map: float | None
    map50: float | None
    per_class: Mapping[str, ClassMetrics]
    per_size: Mapping[str, float | None]
    per_size50: Mapping[str, float | None]
    objects: tuple[ObjectOutcome, ...] = field(repr=False)
    false_positives: int = 0
    num_images: int = 0
    unreadable: int = 0

    @property
    def found_share(self) -> float | None:
        """Share of the objects that were found; None without objects."""
        return sum(o.found for o in self.objects) / len(self.objects) if self.objects else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        values = asdict(self)
        values["class_names"] = list(self.class_names)
        values["objects"] = [list(asdict(entry).values()) for entry in self.objects]
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> EvaluationReport:
        """The report that :meth:`to_dict` described.

        Raises:
            ReportMismatch: a key is missing or has the wrong form.
        """
        try:
            plain = dict(values)
            plain["class_names"] = tuple(plain["class_names"])
            plain["per_class"] = {k: ClassMetrics(**v) for k, v in plain["per_class"].items()}
            plain["objects"] = tuple(ObjectOutcome(*entry) for entry in plain["objects"])
            return EvaluationReport(**plain)
        except (KeyError, TypeError, AttributeError) as error:
            raise ReportMismatch(f"not an evaluation report: {error}") from error

    def write(self, path: Path) -> Path:
        """Write as JSON, atomically."""
        write_json(path, self.to_dict())
        return path

    @staticmethod
    def read(path: Path) -> EvaluationReport:
        """Read what :meth:`write` wrote.

        Raises:
            ReportMismatch: the file is no such report.
        """
        try:
            values = json.loads(path.read_text())
        except ValueError as error:
            raise ReportMismatch(f"{path}: no JSON ({error})") from error
        return EvaluationReport.from_dict(values)


def require_comparable(first: EvaluationReport, second: EvaluationReport) -> None:
    """Refuse to compare reports on other data, classes or thresholds.

    Raises:
        ReportMismatch: the message names what differs.
    """
    for name in ("manifest_version", "class_names", "score_threshold", "iou_threshold"):
        a, b = getattr(first, name), getattr(second, name)
        if a != b:
            raise ReportMismatch(f"reports differ in {name}: {a} and {b}")
    if [o.key for o in first.objects] != [o.key for o in second.objects]:
        raise ReportMismatch("reports are about different objects")
