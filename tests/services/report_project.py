"""A project after one cycle, with real photographs, for tests of the report."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import skimage.data
from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from curation import superpixels
from curation.kernel import images
from curation.kernel.types import Attribution, Detections, ImageArray, Region, ScoreTarget
from curation.modes.history import name_of
from curation.regions import RegionRules, harmful_regions
from services.context import Context
from services.db.tables import (
    Annotation,
    CandidateRow,
    Cycle,
    CycleState,
    DatasetVersion,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    ModelState,
    ModeMember,
    ModeRow,
    ModeSighting,
    Role,
    TaskState,
)
from services.models import registry
from services.report import Predict
from services.store import drawings
from services.store.storage import put_image, write_npz
from tests.services.builders import make_failure

NAMES = ["background", "car", "bus"]
BOX = [60.0, 50.0, 180.0, 170.0]
GRID_HW = (96, 128)
DECISION = {
    "promote": True,
    "checks": [
        {
            "name": "holdout mAP",
            "champion": 0.5,
            "challenger": 0.6,
            "bound": 0.49,
            "passed": True,
            "reason": "must reach 0.4900",
        },
        {
            "name": "siblings found",
            "champion": None,
            "challenger": None,
            "bound": None,
            "passed": None,
            "reason": "skipped: no siblings were given",
        },
        {
            "name": "targeted modes",
            "champion": 0.0,
            "challenger": 1.0,
            "bound": 0.01,
            "passed": True,
            "reason": "1 of 3 improved; the best is missed car 1",
        },
    ],
}


@dataclass(frozen=True, slots=True)
class ReportProject:
    """What was stored."""

    cycle: int
    champion: str
    challenger: str
    failures: list[str]


@functools.cache
def photos() -> list[ImageArray]:
    """Photographs of different sizes."""
    found = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    return [np.ascontiguousarray(photo) for photo in found]


@functools.cache
def segments_of(number: int) -> npt.NDArray[np.int32]:
    """Superpixels of a photograph, computed once for all tests."""
    return superpixels.slic(photos()[number], GRID_HW, 40)


def add_photo(
    session: Session, context: Context, pixels: ImageArray, role: Role, name: str
) -> Image:
    """Store a photograph as an image of the project."""
    stored = put_image(context, images.encode_jpeg(np.ascontiguousarray(pixels)))
    image = Image(
        id=stored.id,
        role=role,
        file=stored.file,
        name=name,
        width_px=stored.width_px,
        height_px=stored.height_px,
        perceptual_hash=stored.perceptual_hash,
    )
    session.add(image)
    session.flush()
    return image


def add_explanation(
    session: Session, context: Context, failure: FailureRow, photo: int
) -> Explanation:
    """Store an attribution and its regions as the explain stage does."""
    rng = np.random.default_rng(int(failure.id[-4:], 16))
    pixels, segments = photos()[photo], segments_of(photo)
    count = int(segments.max()) + 1
    values = rng.normal(size=count).astype(np.float32)
    attribution = Attribution(
        target=ScoreTarget(failure.default_box, 1),
        segments=segments,
        values=values,
        standard_errors=np.full(count, 0.1, np.float32),
        score=-1.0,
        baseline_score=-2.0,
        method="e2x",
    )
    size_wh = (pixels.shape[1], pixels.shape[0])
    positive = failure.kind == "false_positive"
    regions: list[Region] = harmful_regions(attribution, positive, size_wh, RegionRules(), None)
    assert regions
    file = f"{failure.id[:2]}/{failure.id}.npz"
    write_npz(
        context.project.explanations / file,
        segments=segments,
        values=values,
        standard_errors=attribution.standard_errors,
        masks=np.stack([region.mask for region in regions]),
        rings=np.stack([region.ring for region in regions]),
        weights=np.array([region.weight for region in regions], np.float32),
    )
    row = Explanation(
        id=failure.id,
        failure_id=failure.id,
        method="e2x",
        encoder_version="test",
        file=file,
        regions=drawings.stored_regions(regions),
        score=-1.0,
        baseline_score=-2.0,
        seconds=0.1,
    )
    session.add(row)
    return row


def fill(context: Context, modes: int = 3, failures_a_mode: int = 2) -> ReportProject:
    """Store one finished, promoted cycle with all kinds of failures."""
    with context.sessions.begin() as session:
        champion, challenger = _models(session)
        cycle = _cycle(session, champion, challenger)
        frames = [
            add_photo(session, context, pixels, Role.FIELD, f"field-{n}.png")
            for n, pixels in enumerate(photos())
        ]
        pool = [
            add_photo(session, context, pixels[::-1], Role.POOL, f"pool-{n}.png")
            for n, pixels in enumerate(photos())
        ]
        kinds = ("false_negative", "false_positive", "wrong_class")
        found = []
        for number in range(modes):
            kind = kinds[number % len(kinds)]
            key = f"m{number:02d}-{kind}"
            family = "false" if kind == "false_positive" else "missed"
            mode = ModeRow(
                name=name_of(family, "car", number + 1),
                family=family,
                label="car",
                opened_cycle_id=cycle.id,
            )
            session.add(mode)
            session.flush()
            seen = ModeSighting(
                cycle_id=cycle.id,
                mode_id=mode.id,
                key=key,
                kind=kind,
                size=failures_a_mode,
                joined=failures_a_mode,
                found_before=0.0,
                found_after=0.5 if number else 1.0,
            )
            session.add(seen)
            session.flush()
            for member in range(failures_a_mode):
                photo = member % len(frames)
                failure = make_failure(
                    1000 * (number + 1) + member,
                    frames[photo],
                    champion,
                    id=f"{number:02x}{member:02x}".ljust(60, "0") + f"{number:02x}{member:02x}",
                    kind=kind,
                    box=BOX,
                    mode_id=mode.id,
                    predicted_label="bus" if kind == "wrong_class" else None,
                    mechanism="background" if kind == "false_negative" else None,
                    state=FailureState.EXPLAINED,
                )
                session.add(failure)
                session.flush()
                session.add(ModeMember(sighting_id=seen.id, failure_id=failure.id))
                add_explanation(session, context, failure, photo)
                found.append(failure.id)
            seen.exemplars = found[-failures_a_mode:]
            if number < len(pool):
                _sample(session, cycle, seen, pool[number], number)
        return ReportProject(cycle.id, champion.id, challenger.id, found)


def _models(session: Session) -> tuple[Model, Model]:
    session.add(DatasetVersion(id="d" * 64, file="d.jsonl", images=12, boxes=34))
    session.flush()
    figures = {"map": 0.5, "map50": 0.7, "found": 6, "missed": 4, "objects": 10}
    champion = make_model(1, class_names=NAMES, reports={"holdout": figures, "siblings": figures})
    better = {"map": 0.6, "map50": 0.8, "found": 8, "missed": 2, "objects": 10}
    challenger = make_model(
        2,
        class_names=NAMES,
        reports={"holdout": better, "siblings": better},
        dataset_version_id="d" * 64,
        state=ModelState.CHALLENGER,
    )
    session.add_all([champion, challenger])
    session.flush()
    registry.promote(session, champion, "test", {})
    registry.promote(session, challenger, "test", {})
    return champion, challenger


def _cycle(session: Session, champion: Model, challenger: Model) -> Cycle:
    cycle = Cycle(
        state=CycleState.DONE,
        policy="e2x",
        budget_boxes=20,
        champion_id=champion.id,
        challenger_id=challenger.id,
        dataset_version_id="d" * 64,
        boxes_labelled=3,
        decision=DECISION,
        promoted=True,
    )
    session.add(cycle)
    session.flush()
    return cycle


def _sample(session: Session, cycle: Cycle, seen: ModeSighting, image: Image, rank: int) -> None:
    annotation = Annotation(
        image_id=image.id,
        objects=[{"box": [20, 20, 90, 90], "label": "car", "ignore": False}],
        author="annotator",
        cycle_id=cycle.id,
        origin=seen.exemplars[0],
    )
    session.add(annotation)
    session.flush()
    reasons = [
        {"query": 0, "box": [10, 10, 60, 60], "similarity": 0.71},
        {"query": -1, "box": [40, 40, 99, 99], "similarity": 0.64},
    ]
    session.add(
        CandidateRow(
            cycle_id=cycle.id,
            image_id=image.id,
            mode_id=seen.mode_id,
            failure_id=seen.exemplars[0],
            rank=rank,
            score=0.7,
            reasons=reasons,
        )
    )
    session.add(
        LabelTask(
            cycle_id=cycle.id,
            image_id=image.id,
            state=TaskState.SUBMITTED,
            annotation_id=annotation.id,
        )
    )
    session.flush()


def make_predict(project: ReportProject) -> Predict:
    """The champion calls everything at the box a bus; the challenger finds the car."""

    def predict(model_id: str, pictures: Sequence[ImageArray]) -> list[Detections]:
        label = 1 if model_id == project.challenger else 2
        one = Detections(
            np.asarray([BOX], np.float32),
            np.asarray([0.9], np.float32),
            np.asarray([label], np.int64),
            np.asarray([3], np.int64),
        )
        return [one] * len(pictures)

    return predict
