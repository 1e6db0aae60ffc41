"""One failure in pictures, and one sample."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from curation import draw
from curation.kernel.errors import CurationError
from curation.kernel.types import Detections, ImageArray
from retrain.errors import RetrainError
from services.context import Context
from services.db.engine import reading
from services.db.tables import Cycle, Explanation, FailureRow, FailureState, Image
from services.models.predict import Predict
from services.report import pictures, words
from services.report.drawn import parts_of
from services.report.page import Exemplar, Panel
from services.report.pictures import PANEL_PX, SAMPLE_PX, THUMB_PX, Mark, PictureBudget, View
from services.report.read import DrawnSample, ReportRows, Sample
from services.store.drawings import attribution_of, explanation_arrays
from services.store.storage import open_image

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Artist:
    """Draws for one page.

    Attributes:
        context: wiring.
        rows: what was read.
        predict: runs a model; None: no picture after retraining.
        ledger: room for pictures.
    """

    context: Context
    rows: ReportRows
    predict: Predict | None
    ledger: PictureBudget
    _seen: dict[tuple[str, str], Detections] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)

    def exemplar(self, cycle: Cycle, failure: FailureRow) -> Exemplar | None:
        """A failure before, why, where and after; None if its frame cannot be opened."""
        image = self.rows.images[failure.image_id]
        pixels = self._open(image)
        if pixels is None:
            return None
        explanation = self.rows.explanations.get(failure.id)
        regions = explanation.regions if explanation else []
        view = pictures.zoom(
            pixels, [failure.box, *(region["box"] for region in regions)], PANEL_PX
        )
        panels = [self._before(pixels, failure, view)]
        if explanation is not None:
            panels += self._why(pixels, failure, explanation, view)
        right = None
        if cycle.challenger_id is not None:
            after, right = self._after(pixels, failure, self._repairer(cycle, failure), view)
            panels += after
        return Exemplar(
            id=failure.id,
            title=words.failure_title(failure),
            facts=words.failure_facts(failure, image.name),
            panels=panels,
            outcome=words.outcome(self.rows, cycle, failure, right),
        )

    def thumbnail(self, failure: FailureRow) -> Panel | None:
        """A small picture of a failure and what is around it; None if its frame is lost."""
        image = self.rows.images[failure.image_id]
        pixels = self._open(image)
        if pixels is None:
            return None
        view = pictures.zoom(pixels, [failure.box], THUMB_PX)
        drawn = pictures.frame(view, pixels, [_failed(failure, "")])
        return Panel(self.ledger.encode(drawn), words.failure_title(failure), image.name)

    def sample(self, sample: Sample) -> Panel | None:
        """A pool image with the region that was matched and the labels that were given."""
        pixels = self._open(sample.image)
        if pixels is None:
            return None
        view = View.whole(pixels, SAMPLE_PX)
        objects = sample.annotation.objects if sample.annotation else []
        marks = [Mark(entry["box"], draw.TRUTH, entry["label"]) for entry in objects]
        for match in words.best_matches(sample.candidate):
            marks += pictures.bold(match["box"], pictures.MATCHED, view)
        return Panel(
            uri=self.ledger.encode(pictures.frame(view, pixels, marks)),
            title=f"{sample.image.name}: {words.match_in_words(sample.candidate)}",
            note=words.sample_state(sample),
        )

    def drawn(self, sample: DrawnSample) -> list[Panel]:
        """A known object where it was found, what hurt, and the one among the other."""
        row = sample.row
        panels = []
        for part in parts_of(row, sample.harm):
            image = {"donor": sample.donor, "harm": sample.frame, "drawn": sample.image}[part.of]
            pixels = self._open(image)
            if pixels is None:
                return []
            view = View.whole(pixels, SAMPLE_PX)
            marks = [Mark(part.box, part.colour, part.text)]
            panels.append(
                Panel(
                    self.ledger.encode(pictures.frame(view, pixels, marks)), part.title, image.name
                )
            )
        panels[-1] = replace(panels[-1], note=words.drawn_state(row))
        return panels

    def _open(self, image: Image) -> ImageArray | None:
        """Pixels of an image; a lost or damaged file costs its own pictures only."""
        try:
            return open_image(self.context, image)
        except (CurationError, OSError) as error:
            logger.warning("image %s is not shown: %s", image.id, error)
            return None

    def _before(self, pixels: ImageArray, failure: FailureRow, view: View) -> Panel:
        marks = self._shown(pixels, failure.image_id, failure.model_id)
        marks.append(_failed(failure))
        whole = View.whole(pixels, PANEL_PX)
        note = "what the detector shows"
        if view.window != whole.window:
            marks.insert(0, Mark(view.window, (255, 255, 255)))
            note = "white: the part shown next"
        return Panel(
            self.ledger.encode(pictures.frame(whole, pixels, marks)),
            f"Field frame, {self.rows.number(failure.model_id)}",
            note,
        )

    def _why(
        self, pixels: ImageArray, failure: FailureRow, explanation: Explanation, view: View
    ) -> list[Panel]:
        try:
            attribution = attribution_of(self.context, failure, explanation)
            masks = explanation_arrays(self.context, explanation, ("masks",))["masks"]
        except (CurationError, OSError) as error:
            logger.warning("why failure %s fails is not shown: %s", failure.id, error)
            return []
        supports = failure.kind == "false_positive"  # there the harm is what supports the score
        failed = [_failed(failure, "")]
        colour = draw.SUPPORTS if supports else draw.HURTS
        return [
            Panel(
                self.ledger.encode(pictures.overlay(view, pixels, attribution, failed)),
                "Why",
                f"{explanation.method}: red supports “{failure.label}”, blue hurts it",
            ),
            Panel(
                self.ledger.encode(pictures.regions(view, pixels, masks, colour, failed)),
                "What hurt" if not supports else "What misled it",
                words.region_weights(explanation),
            ),
        ]

    def _after(
        self, pixels: ImageArray, failure: FailureRow, model_id: str, view: View
    ) -> tuple[list[Panel], bool | None]:
        """The frame as a later model sees it, and whether that gets it right; None: unknown."""
        found = self._detections(pixels, failure.image_id, model_id)
        if found is None:
            return [], None
        right = self._is_right(failure, found, model_id)
        marks = self._shown(pixels, failure.image_id, model_id)
        marks.append(_failed(failure, "" if right else None))
        panel = Panel(
            self.ledger.encode(pictures.frame(view, pixels, marks)),
            f"After retraining, {self.rows.number(model_id)}",
            "right now" if right else "still wrong",
        )
        return [panel], right

    def _repairer(self, cycle: Cycle, failure: FailureRow) -> str:
        """The model to show after retraining: that which fixed it, else the cycle's."""
        fixed = failure.state == FailureState.FIXED and failure.fixed_by is not None
        return str(failure.fixed_by if fixed else cycle.challenger_id)

    def _is_right(self, failure: FailureRow, found: Detections, model_id: str) -> bool:
        from services.failures.check import is_wrong, words_about  # loads PyTorch, as predict has

        rules = self.context.settings.failures
        shown = found.above(rules.score_threshold)
        with reading(self.context.sessions) as session:
            said = words_about(session, [failure])[failure.image_id]
        return not is_wrong(failure, said, shown, self._names(model_id), rules.iou_threshold)

    def _shown(self, pixels: ImageArray, image_id: str, model_id: str) -> list[Mark]:
        found = self._detections(pixels, image_id, model_id)
        if found is None:
            return []
        threshold = self.context.settings.failures.score_threshold
        return pictures.detection_marks(found, self._names(model_id), threshold)

    def _detections(self, pixels: ImageArray, image_id: str, model_id: str) -> Detections | None:
        """What a model detects; None without models, or if this one cannot be loaded."""
        if self.predict is None or model_id in self._lost:
            return None
        key = (model_id, image_id)
        if key not in self._seen:
            try:
                self._seen[key] = self.predict(model_id, [pixels])[0]
            except (RetrainError, OSError) as error:
                logger.warning("%s is left out: %s", self.rows.number(model_id), error)
                self._lost.add(model_id)
                return None
        return self._seen[key]

    def _names(self, model_id: str) -> list[str]:
        model = self.rows.model(model_id)
        return list(model.class_names) if model else []


def _failed(failure: FailureRow, text: str | None = None) -> Mark:
    """The box of a failure: green where an object was, red where none was."""
    if failure.kind == "false_positive":
        return Mark(failure.box, pictures.WRONG, f"no {failure.label}" if text is None else text)
    return Mark(failure.box, draw.TRUTH, failure.label if text is None else text)
