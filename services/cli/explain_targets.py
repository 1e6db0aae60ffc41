"""What ``e2x explain`` is asked about: image, detector, and what it finds or misses there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from curation.explain.what import What
from curation.failures.default_boxes import FailureRules
from curation.kernel.class_names import same_class
from curation.kernel.types import Box, Detections, ImageArray, Truth
from curation.superpixels import SegmentArray, segment
from services.cli.explain_checks import Annotated, Said, Why, in_project
from services.config import builders
from services.config.project import Project
from services.config.settings import Settings
from services.errors import InvalidRequest
from services.explaining import one_image
from services.explaining.one_image import Subject

if TYPE_CHECKING:
    from retrain.detector import SsdDetector


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One image, one detector, and what is asked about them.

    Attributes:
        file: the image.
        image: [H, W, 3] uint8.
        identity: hash of the file.
        model: how the model was named.
        detector: ready to run.
        subjects: what to explain; may be empty.
        candidates: detections down to the lowest threshold.
        truth_boxes: of annotated objects, px of the image.
        nothing: why there is no subject.
        numbers: subjects that are of one detection, which are asked different numbers.
    """

    file: Path
    image: ImageArray
    identity: str
    model: str
    detector: SsdDetector
    subjects: tuple[Subject, ...]
    candidates: Detections
    truth_boxes: tuple[Box, ...] = ()
    nothing: str = ""
    numbers: int = 1

    @property
    def name(self) -> str:
        """Of the image, without folder and suffix."""
        return self.file.stem

    @property
    def heading(self) -> str:
        """Image and architecture."""
        return f"{self.name}, {self.detector.config.architecture}"

    def first(self, count: int | None) -> Question:
        """The same with at most so many detections."""
        last = None if count is None else count * self.numbers
        return replace(self, subjects=self.subjects[:last])

    def segments(self, settings: Settings) -> SegmentArray:
        """Superpixels of the image; in a project they are kept."""
        from services.store.superpixels import segments_of

        wanted = settings.explanation
        size_hw = self.detector.input_size_hw
        if not in_project(settings):
            return segment(self.image, size_hw, wanted.num_segments, wanted.segmentation)
        cache = Project(settings.resolved_project()).segments
        return segments_of(
            cache, self.identity, self.image, size_hw, wanted.num_segments, wanted.segmentation
        )


def _load(settings: Settings, folder: Path) -> SsdDetector:
    """The detector of any folder, or of a model of the project, wherever that keeps it."""
    root = settings.resolved_project()
    if folder.is_dir() or not (in_project(settings) and folder.is_relative_to(root)):
        return builders.load_detector(folder, settings)
    from services.cli.common import opened
    from services.store import model_folders

    name = folder.relative_to(root).as_posix()
    with opened() as context, model_folders.local(context, name) as local:
        return builders.load_detector(local, settings)


def ask(settings: Settings, said: Said) -> Question:
    """Load the model and find what to explain.

    Raises:
        InvalidRequest: the model does not know a class.
        CheckpointCorrupt: the model folder is damaged.
    """
    image, wanted = said.image, said.wanted
    detector = _load(settings, said.model_folder)
    rules = builders.failure_rules(settings)
    found = detector.predict([image], rules.fn_floor)[0]
    asked = Question(
        said.file, image, said.identity, said.model, detector, (), found, nothing=_none(rules)
    )
    names = detector.class_names
    if wanted:
        proposals = detector.propose([image])[0]
        labels = [_label(word, names) for _, word in wanted]
        subjects = [
            one_image.of_box(corners, label, found, proposals, names, rules)
            for (corners, _), label in zip(wanted, labels, strict=True)
        ]
        asked = replace(asked, subjects=tuple(subjects))
    elif said.annotated is not None:
        asked = _wrong(asked, said.annotated, settings)
    else:
        shown = found.above(rules.score_threshold)
        asked = replace(asked, subjects=tuple(one_image.of_detections(shown, names)))
    return _asking(asked, said.whys) if said.whys else asked


def _asking(asked: Question, whys: Sequence[Why]) -> Question:
    """The same subjects, each with every number that is asked for."""
    names = asked.detector.class_names
    proposals = asked.detector.propose([asked.image])[0]
    numbers = [(what, _label(name, names, 0) if name else None) for what, name in whys]
    for subject in asked.subjects:
        for what, rival in numbers:
            if what is What.AGAINST and rival == subject.target.label:
                raise InvalidRequest(f"--why not:{names[rival]}: it is asked about that very class")
    subjects = tuple(
        one_image.asking(subject, what, rival, proposals, names)
        for subject in asked.subjects
        for what, rival in numbers
    )
    return replace(asked, subjects=subjects, numbers=len(numbers))


def _none(rules: FailureRules) -> str:
    return (
        f"nothing is detected at the working threshold of {rules.score_threshold:g}; these come "
        f"closest, down to {rules.fn_floor:g}:"
    )


def _wrong(asked: Question, annotated: Sequence[Annotated], settings: Settings) -> Question:
    """The failures against the truth."""
    names = asked.detector.class_names
    rows = [
        (box, meant, ignore)
        for box, label, ignore in annotated
        if (meant := same_class(label, names[1:])) is not None
    ]
    boxes = tuple(entry[0] for entry in rows)
    truth = Truth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array([names.index(entry[1]) for entry in rows], np.int64),
        np.array([entry[2] for entry in rows], np.bool_),
    )
    proposals = asked.detector.propose([asked.image])[0]
    subjects = one_image.of_truth(
        truth, asked.candidates, proposals, names, builders.failure_rules(settings)
    )
    right = f"all {len(rows)} annotated objects are found and nothing else; --all explains them"
    return replace(asked, subjects=tuple(subjects), truth_boxes=boxes, nothing=right)


def _label(word: str, names: Sequence[str], first: int = 1) -> int:
    """Of a class; with ``first`` 0 background is one too."""
    meant = same_class(word, names[first:])
    if meant is None:
        raise InvalidRequest(f"no class {word!r}: the model knows {', '.join(names[first:])}")
    return names.index(meant)
