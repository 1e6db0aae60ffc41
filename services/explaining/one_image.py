"""One image, one detector, any methods: what is explained, by what, at what cost.

Read in this order: a :class:`Subject` says what is explained; :func:`run` explains subjects by one
method; an :class:`Outcome` is what came of it. Pictures of outcomes are in
:mod:`services.explaining.sheet`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from curation.explain import Explainer, needs_layers
from curation.explain.answers import Boxes, hurts_positive
from curation.explain.answers import words as in_words
from curation.explain.hurting import hurting_regions
from curation.explain.questions import Question, answers
from curation.explain.what import What
from curation.failures import FailureRules, OperatorReport, find_failures, from_report
from curation.kernel.detector import Network, ScoreKind
from curation.kernel.errors import CurationError, ExplanationFailed
from curation.kernel.types import (
    Attribution,
    Box,
    Detections,
    Failure,
    FailureKind,
    ImageArray,
    Proposals,
    Region,
    ScoreTarget,
    Truth,
)
from curation.regions import RegionRules
from curation.superpixels import SegmentArray
from retrain.detector import SsdDetector

FAULTS = (CurationError, ValueError, RuntimeError, NotImplementedError, MemoryError)
"""What may go wrong in one method and must not cost the others their place on a sheet."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained.

    Attributes:
        target: class and default box.
        box: outlined, px of the image.
        words: such as ``missed car 12%``.
        probability: of the target, in 0..1.
        hurts_positive: True where the harm is what supports the score.
        is_object: whether the box is that of an object, which the detection should meet.
        question: another number than the score; None: the score of the target.
        boxes: of the default box; with a question.
    """

    target: ScoreTarget
    box: Box
    words: str
    probability: float
    hurts_positive: bool = False
    is_object: bool = False
    question: Question | None = None
    boxes: Boxes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one method made of one subject.

    Attributes:
        method: name in the registry.
        subject: what was explained.
        attribution: None where the method failed.
        regions: what hurts, heaviest first.
        error: why it failed.
        seconds: of all subjects together, which share their passes.
        inputs: images that were scored for all of them; 0 for a method that works on layers.
        answer: to the subject's question, in sentences.
    """

    method: str
    subject: Subject
    attribution: Attribution | None
    regions: tuple[Region, ...]
    error: str
    seconds: float
    inputs: int
    answer: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the map must know."""
        if self.attribution is None:
            return ()
        signed = self.attribution.region_map()
        if signed.max() > 0 and signed.min() >= 0:
            told = "shows only what supports; nothing can hurt"
            return (*self.answer, *self.attribution.notes, told)
        return (*self.answer, *self.attribution.notes)


def of_detections(found: Detections, names: Sequence[str]) -> list[Subject]:
    """The detections, by falling score."""
    return [
        Subject(
            ScoreTarget(int(found.default_boxes[row]), int(found.labels[row])),
            _box(found.boxes_xyxy[row]),
            f"{names[int(found.labels[row])]} {found.scores[row]:.0%}",
            float(found.scores[row]),
        )
        for row in range(len(found))
    ]


def of_box(
    box: Box,
    label: int,
    found: Detections,
    proposals: Proposals,
    names: Sequence[str],
    rules: FailureRules,
) -> Subject:
    """What stands for an object of this class there: its detection, or the box that missed it."""
    failure = from_report(OperatorReport("missed", box, label), found, proposals, rules)
    if failure.kind is FailureKind.FALSE_NEGATIVE and failure.score >= rules.score_threshold:
        words = f"{names[label]} {failure.score:.0%}"
        return Subject(failure.target, box, words, failure.score, is_object=True)
    return _of_failure(failure, names)


def of_truth(
    truth: Truth,
    found: Detections,
    proposals: Proposals,
    names: Sequence[str],
    rules: FailureRules,
) -> list[Subject]:
    """What the detector gets wrong, missed objects before false detections."""
    return [
        _of_failure(failure, names) for failure in find_failures(found, proposals, truth, rules)
    ]


def _of_failure(failure: Failure, names: Sequence[str]) -> Subject:
    name = names[failure.label]
    other = "" if failure.predicted_label is None else names[failure.predicted_label]
    words = {
        FailureKind.FALSE_NEGATIVE: f"missed {name}",
        FailureKind.FALSE_POSITIVE: f"no {name}",
        FailureKind.WRONG_CLASS: f"{name}, not {other}",
        FailureKind.BAD_LOCALISATION: f"{name}, off",
    }[failure.kind]
    return Subject(
        failure.target,
        failure.box_xyxy,
        f"{words} {failure.score:.0%}",
        failure.score,
        failure.hurts_positive,
        is_object=failure.kind is not FailureKind.FALSE_POSITIVE,
    )


def asking(
    subject: Subject, what: What, rival: int | None, proposals: Proposals, names: Sequence[str]
) -> Subject:
    """The same subject, of which another number is asked.

    Args:
        subject: what is explained.
        what: which number.
        rival: of ``against``; of ``class`` the class whose score is asked for instead.
        proposals: of the image.
        names: K class names.
    """
    own = subject.target
    label = rival if what is What.CLASS and rival is not None else own.label
    against = rival if what is What.AGAINST else None
    row = own.default_box
    boxes = Boxes(
        _box(proposals.default_boxes_xyxy[row]),
        _box(proposals.boxes_xyxy[row]),
        subject.box if subject.is_object else None,
    )
    question = Question(what, row, label, against)
    if question.rival is not None:
        told = f"not {names[question.rival]}"
    else:
        told = names[label] if what is What.CLASS else str(what)
    return replace(
        subject,
        target=ScoreTarget(row, label),
        words=f"{subject.words}: why {told}",
        hurts_positive=hurts_positive(question, boxes, subject.hurts_positive),
        question=question,
        boxes=boxes,
    )


def run(
    name: str,
    explainer: Explainer,
    detector: SsdDetector,
    image: ImageArray,
    subjects: Sequence[Subject],
    segments: SegmentArray,
    rules: RegionRules,
    on_inputs: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Explain subjects by one method; a fault of the method becomes part of the outcomes.

    Args:
        name: of the method.
        explainer: the method with its parameters.
        detector: left as it was.
        image: [H, W, 3] uint8.
        subjects: they share what the method can share.
        segments: [h, w] in 0..S-1.
        rules: which superpixels make a region.
        on_inputs: is told the number of scored images whenever it grows.
    """
    watched = _Watched(detector, on_inputs)
    began = time.monotonic()
    error = ""
    attributions: list[Attribution] = []
    try:
        if any(subject.question is not None for subject in subjects):
            questions = [one.question or _of_class(one.target) for one in subjects]
            attributions = answers(explainer, watched, image, questions, segments)
        else:
            targets = [subject.target for subject in subjects]
            attributions = explainer.explain(watched, image, targets, segments)
    except FAULTS as fault:
        error = str(fault) or type(fault).__name__
        if not isinstance(fault, ExplanationFailed):
            error = f"{type(fault).__name__}: {error}"
    seconds = time.monotonic() - began
    # Methods of layers run copies of them: the few inputs that pass here are not their cost.
    inputs = 0 if needs_layers(name) else watched.inputs
    if error:
        return [Outcome(name, one, None, (), error, seconds, inputs) for one in subjects]
    size_wh, names = (image.shape[1], image.shape[0]), detector.class_names
    found = []
    for subject, attribution in zip(subjects, attributions, strict=True):
        regions = tuple(
            hurting_regions(attribution, subject.hurts_positive, size_wh, rules, subject.box)
        )
        told: tuple[str, ...] = ()
        if subject.question is not None and subject.boxes is not None:
            told = tuple(in_words(subject.question, attribution, subject.boxes, names, regions))
        found.append(Outcome(name, subject, attribution, regions, "", seconds, inputs, told))
    return found


def _of_class(target: ScoreTarget) -> Question:
    return Question(What.CLASS, target.default_box, target.label)


class _Watched:
    """A detector that counts the inputs that it scores."""

    def __init__(self, detector: SsdDetector, on_inputs: Callable[[int], None]) -> None:
        self._detector = detector
        self._on_inputs = on_inputs
        self.inputs = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._detector.class_names

    @property
    def version(self) -> str:
        return self._detector.version

    @property
    def input_size_hw(self) -> tuple[int, int]:
        return self._detector.input_size_hw

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        self._count(len(images))
        return self._detector.predict(images, score_threshold)

    def propose(self, images: Sequence[ImageArray]) -> list[Proposals]:
        self._count(len(images))
        return self._detector.propose(images)

    def preprocess(self, images: Sequence[ImageArray]) -> torch.Tensor:
        return self._detector.preprocess(images)

    def scores(
        self, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
    ) -> torch.Tensor:
        self._count(len(inputs))
        return self._detector.scores(inputs, targets, kind)

    def outputs(
        self, inputs: torch.Tensor, default_boxes: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self._count(len(inputs))
        return self._detector.outputs(inputs, default_boxes)

    def network(self) -> Network:
        return self._detector.network()

    def _count(self, rows: int) -> None:
        self.inputs += rows
        self._on_inputs(self.inputs)


def _box(row: Any) -> Box:
    x1, y1, x2, y2 = (float(value) for value in row)
    return (x1, y1, x2, y2)
