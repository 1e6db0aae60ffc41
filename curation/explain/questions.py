"""What may be asked of one default box: a class, a class against a rival, where its box went.

A method explains whatever number a detector gives. :class:`Asked` is a detector whose "scores" are
the numbers that are asked for, so that every method of scores answers every question, and all
questions of an image share masks and passes. Read :meth:`Asked.scores`: it is all there is to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from curation import explain
from curation.explain.base import Explainer
from curation.explain.methods.target_score import score_of_logits
from curation.explain.what import OF_DETECTIONS, OFFSETS, What, can_answer
from curation.kernel.detector import (
    Detector,
    GivesOutputs,
    Precision,
    ReducesPrecision,
    ScoreKind,
)
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

_SIGNS = {What.LEFT: -1.0, What.UP: -1.0, What.WIDE: 1.0, What.HIGH: 1.0}
_CRP_OUTPUTS = {What.LEFT: "cx", What.UP: "cy", What.WIDE: "w", What.HIGH: "h"}


@dataclass(frozen=True, slots=True)
class Question:
    """A number of one default box.

    Attributes:
        what: which.
        default_box: in 0..A-1.
        label: of the class, in 0..K-1; an offset has none of its own and takes any.
        rival: of the other class; for ``against`` only.
    """

    what: What
    default_box: int
    label: int
    rival: int | None = None

    def __post_init__(self) -> None:
        if (self.rival is not None) != (self.what is What.AGAINST) or self.rival == self.label:
            raise ValueError(f"{self.what}: a rival is another class, and for 'against' only")

    @property
    def target(self) -> ScoreTarget:
        """The class and default box that it is about."""
        return ScoreTarget(self.default_box, self.label)


def answers(
    explainer: Explainer,
    detector: Detector,
    image: ImageArray,
    questions: Sequence[Question],
    segments: SegmentArray,
    on_rows: Callable[[int], None] = lambda _: None,
) -> list[Attribution]:
    """One attribution for each question; positive supports what is asked, such as "left".

    Args:
        explainer: a method that can answer all, see :func:`curation.explain.what.can_answer`.
        detector: left as it was; for offsets it gives its outputs.
        image: [H, W, 3] uint8.
        questions: of this image.
        segments: [h, w] int32 in 0..S-1.
        on_rows: is told how many images have been scored, whenever it grows.

    Raises:
        ExplanationFailed: the method cannot answer, or the detector does not give box offsets.
    """
    for question in questions:
        if not can_answer(explainer.name, question.what):
            raise ExplanationFailed(
                f"{explainer.name} explains scores of classes only: ask '{question.what}' of a "
                "method that masks the image, such as gp_shap"
            )
    if explain.needs_layers(explainer.name) or explainer.name in OF_DETECTIONS:
        return [_by_layers(explainer, detector, image, one, segments) for one in questions]
    asked = Asked(detector, questions, on_rows)
    found = explainer.explain(asked, image, asked.targets, segments)
    return [_told(*pair) for pair in zip(questions, found, strict=True)]


class Asked:
    """A detector that scores questions; target t is question t of the list.

    Args:
        detector: what is asked.
        questions: what about.
        on_rows: is told how many inputs have been scored, whenever it grows.
    """

    def __init__(
        self,
        detector: Detector,
        questions: Sequence[Question],
        on_rows: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._detector, self._questions, self._on_rows = detector, tuple(questions), on_rows
        self._boxes = sorted({question.default_box for question in questions})
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._detector, name)

    @property
    def version(self) -> str:
        """Of the detector; another where it answers with other numbers than scores of classes."""
        plain = all(one.what is What.CLASS for one in self._questions)
        return self._detector.version if plain else f"{self._detector.version} asked"

    def in_precision(self, precision: Precision) -> Asked:
        """The same questions to the detector with its passes so computed, where it can."""
        if not isinstance(self._detector, ReducesPrecision):
            return self
        return Asked(self._detector.in_precision(precision), self._questions, self._on_rows)

    @property
    def targets(self) -> list[ScoreTarget]:
        """The questions as an explainer is handed them: the label is the question's number."""
        return [ScoreTarget(one.default_box, row) for row, one in enumerate(self._questions)]

    def scores(
        self, inputs: torch.Tensor, targets: Sequence[ScoreTarget], kind: ScoreKind
    ) -> torch.Tensor:
        """[B, T] numbers that are asked for; ``kind`` is the unit of those that are classes.

        Raises:
            ExplanationFailed: an offset is asked of a detector that gives none.
        """
        self.rows += len(inputs)
        self._on_rows(self.rows)
        asked = [self._questions[target.label] for target in targets]
        if all(one.what is What.CLASS for one in asked):
            return self._detector.scores(inputs, [one.target for one in asked], kind)
        logits, offsets = self._outputs(inputs, any(one.what in OFFSETS for one in asked))
        columns = []
        for one in asked:
            row = self._boxes.index(one.default_box)
            if one.what in OFFSETS:
                assert offsets is not None
                column = _SIGNS[one.what] * offsets[:, row, OFFSETS.index(one.what)]
            elif one.what is What.AGAINST:
                column = logits[:, row, one.label] - logits[:, row, one.rival]
            else:
                column = score_of_logits(logits[:, row], one.label, kind)
            columns.append(column)
        return torch.stack(columns, dim=1)

    def _outputs(
        self, inputs: torch.Tensor, with_offsets: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits [B, D, K] and offsets [B, D, 4] of the default boxes that are asked about."""
        if isinstance(self._detector, GivesOutputs):
            return self._detector.outputs(inputs, self._boxes)
        if with_offsets:
            raise ExplanationFailed(
                f"{type(self._detector).__name__} does not give the offsets of its boxes: only "
                "classes can be asked about"
            )
        labels = range(len(self._detector.class_names))
        every = [ScoreTarget(box, label) for box in self._boxes for label in labels]
        raw = self._detector.scores(inputs, every, ScoreKind.LOGIT)  # [B, D*K]
        return raw.view(len(raw), len(self._boxes), len(labels)), None


def _by_layers(
    explainer: Explainer,
    detector: Detector,
    image: ImageArray,
    question: Question,
    segments: SegmentArray,
) -> Attribution:
    """A class, or an offset by CRP, whose relevance is 1 at the offset whichever way it points."""
    if question.what is What.CLASS:
        return _told(question, explainer.explain(detector, image, [question.target], segments)[0])
    output = _CRP_OUTPUTS[question.what]
    asked = explain.get("crp", **{**explainer.parameters, "output": output})
    found = asked.explain(detector, image, [question.target], segments)[0]
    full, empty = ends(detector, image, question)
    points = 1.0 if full >= 0 else -1.0
    pixels = None if found.pixels is None else points * found.pixels
    turned = replace(found, values=points * found.values, pixels=pixels, score=full)
    return _told(question, replace(turned, baseline_score=empty))


def ends(detector: Detector, image: ImageArray, question: Question) -> tuple[float, float]:
    """The number that is asked for, of the image and of one that is all mean colour."""
    asked = Asked(detector, [question])
    inputs = detector.preprocess([image])
    with torch.inference_mode():
        both = torch.cat([inputs, torch.zeros_like(inputs)])
        full, empty = asked.scores(both, asked.targets, ScoreKind.LOG_ODDS)[:, 0].tolist()
    return full, empty


def _told(question: Question, found: Attribution) -> Attribution:
    """With the target that it is about, and what was asked among the parameters."""
    said: dict[str, Any] = {"question": str(question.what)}
    if question.what is not What.CLASS:
        said["kind"] = "logit difference" if question.what is What.AGAINST else "offset"
    if question.rival is not None:
        said["rival"] = question.rival
    return replace(found, target=question.target, parameters={**found.parameters, **said})
