"""The page of a plan: by mode, the query regions and the images that would be asked for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from curation import draw
from curation import select as policies
from curation.kernel.errors import CurationError
from curation.kernel.types import Detections, ImageArray
from curation.modes import Mode
from services.context import Context
from services.db.engine import reading
from services.db.tables import FailureRow, Image, Model
from services.modes.recognise import Recognised
from services.report import pictures, words
from services.report.builder import environment
from services.report.page import Exemplar, Outcome, Panel
from services.report.pictures import PANEL_PX, SAMPLE_PX, Mark, PictureBudget, View
from services.selection.choose import Chosen, Terms
from services.selection.parents import Parents
from services.store.drawings import attribution_of, explanation_arrays, newest_explanation
from services.store.storage import open_image, write_bytes

logger = logging.getLogger(__name__)

EXEMPLARS, SAMPLES = 2, 12
"""Pictured failures and pictured images a mode."""
PICTURE_BYTES = 10 * 2**20


@dataclass(slots=True)
class PlanMode:
    """One failure mode: what hurts it, and what would be labelled for it."""

    title: str
    kind: str
    state: Outcome
    failures: int
    boxes: int
    queries: str
    images: int
    exemplars: list[Exemplar] = field(default_factory=list)
    samples: list[Panel] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlanPage:
    """Everything on the page."""

    project: str
    champion: int
    terms: Terms
    made: str
    version: str
    boxes: int
    images: int
    scored: int
    parents: Parents
    shares: Sequence[tuple[str, int]]
    modes: Sequence[PlanMode]
    others: Sequence[Panel]
    note: str
    """Why nothing is chosen, where that is so."""


def build(
    context: Context,
    out: Path,
    champion: Model,
    chosen: Chosen,
    terms: Terms,
    scores: Mapping[str, Detections],
) -> Path:
    """Write the plan as one HTML file that needs nothing else; nothing is asked for by it.

    Args:
        context: wiring.
        out: the file.
        champion: whose failures.
        chosen: modes and candidates.
        terms: policy, seed and budget.
        scores: what the champion sees in pool images, drawn beside the matches.

    Returns:
        ``out``.
    """
    artist = _Artist(context, champion, scores, PictureBudget(PICTURE_BYTES))
    by_mode: dict[str | None, list[policies.Candidate]] = {}
    for candidate in chosen.candidates:
        by_mode.setdefault(candidate.mode, []).append(candidate)
    modes = [
        artist.mode(mode, chosen.known_as[mode.key], by_mode.get(mode.key, []))
        for mode in chosen.modes
    ]
    known = {mode.key for mode in chosen.modes}
    rest = [c for key, own in by_mode.items() if key not in known for c in own]
    page = PlanPage(
        project=context.project.root.name,
        champion=champion.number,
        terms=terms,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("e2x"),
        boxes=sum(candidate.cost_boxes for candidate in chosen.candidates),
        images=len(chosen.candidates),
        scored=len(scores),
        parents=chosen.parents,
        shares=Counter(candidate.share for candidate in chosen.candidates).most_common(),
        modes=[mode for mode in modes if mode.images] + [m for m in modes if not m.images],
        others=artist.samples(rest),
        note=chosen.note,
    )
    html = environment().get_template("plan.html").render(page=page)
    write_bytes(out, html.encode("utf-8"))
    return out


@dataclass(frozen=True, slots=True)
class _Artist:
    context: Context
    champion: Model
    scores: Mapping[str, Detections]
    ledger: PictureBudget

    def mode(
        self, mode: Mode, known: Recognised, candidates: Sequence[policies.Candidate]
    ) -> PlanMode:
        state = words.mode_state(known.state)
        shares = ", ".join(f"{weight:.0%}" for weight in mode.weights)
        return PlanMode(
            title=words.headed(known.name),
            kind=words.mode_kind(mode.family, mode.kind),
            state=Outcome("new", "plain") if known.mode_id is None else state,
            failures=len(mode.members),
            boxes=sum(candidate.cost_boxes for candidate in candidates),
            queries=f"query regions by their share of the harm: {shares}"
            if len(mode.weights)
            else "no region stands out: the object alone is looked up",
            images=len(candidates),
            exemplars=self._exemplars(mode.exemplars) if candidates else [],
            samples=self.samples(candidates),
        )

    def _exemplars(self, failure_ids: Sequence[str]) -> list[Exemplar]:
        found: list[Exemplar] = []
        for failure_id in failure_ids:
            if len(found) < EXEMPLARS and not self.ledger.is_spent:
                drawn = self._exemplar(failure_id)
                found += [drawn] if drawn else []
        return found

    def _exemplar(self, failure_id: str) -> Exemplar | None:
        """The frame under its attribution, and the regions that are looked up."""
        with reading(self.context.sessions) as session:
            failure = session.get_one(FailureRow, failure_id)
            image = session.get_one(Image, failure.image_id)
            explanation = newest_explanation(session, failure_id)
        pixels = self._open(image)
        if pixels is None or explanation is None:
            return None
        try:
            attribution = attribution_of(self.context, failure, explanation)
            masks = explanation_arrays(self.context, explanation, ("masks",))["masks"]
        except (CurationError, OSError) as error:
            logger.warning("why failure %s fails is not shown: %s", failure_id, error)
            return None
        supports = failure.kind == "false_positive"
        view = pictures.zoom(
            pixels, [failure.box, *(region["box"] for region in explanation.regions)], PANEL_PX
        )
        box = [Mark(failure.box, pictures.WRONG if supports else draw.TRUTH, failure.label)]
        colour = draw.SUPPORTS if supports else draw.HURTS
        overlay = pictures.overlay(view, pixels, attribution, box)
        regions = pictures.regions(view, pixels, masks, colour, box)
        why = f"{explanation.method}: red supports “{failure.label}”, blue hurts it"
        panels = [
            Panel(self.ledger.encode(overlay), "Why", why),
            Panel(self.ledger.encode(regions), "Query", words.region_weights(explanation)),
        ]
        return Exemplar(
            failure.id,
            words.failure_title(failure),
            words.failure_facts(failure, image.name),
            panels,
            None,
        )

    def samples(self, candidates: Sequence[policies.Candidate]) -> list[Panel]:
        """Pool images with the regions that were matched, the first chosen first."""
        panels: list[Panel] = []
        for candidate in candidates:
            if len(panels) == SAMPLES or self.ledger.is_spent:
                break
            with reading(self.context.sessions) as session:
                image = session.get_one(Image, candidate.image)
            pixels = self._open(image)
            if pixels is not None:
                panels.append(self._sample(image, pixels, candidate))
        return panels

    def _sample(self, image: Image, pixels: ImageArray, candidate: policies.Candidate) -> Panel:
        view = View.whole(pixels, SAMPLE_PX)
        marks: list[Mark] = []
        if image.id in self.scores:
            threshold = self.context.settings.failures.score_threshold
            names = list(self.champion.class_names)
            marks = pictures.detection_marks(self.scores[image.id], names, threshold)
        for match in candidate.matches:
            colour = pictures.MATCHED if match.query >= 0 else draw.TRUTH
            marks += pictures.bold(match.box_xyxy, colour, view)
        return Panel(
            self.ledger.encode(pictures.frame(view, pixels, marks)), image.name, candidate.reason
        )

    def _open(self, image: Image) -> ImageArray | None:
        """Pixels of an image; a lost or damaged file costs its own picture only."""
        try:
            return open_image(self.context, image)
        except (CurationError, OSError) as error:
            logger.warning("image %s is not shown: %s", image.id, error)
            return None
