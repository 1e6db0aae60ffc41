"""A project whose champion misses cars beside what is magenta; it is a function, and no network.

Everything else is the project's own: pictures in the store, failures, modes, sides, a cycle that
waits for labels, and the stage that draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.kernel.images import encode_png
from curation.kernel.types import Detections, FloatArray, ImageArray, Proposals
from curation.modes.dealing import Side
from services import units
from services.context import Context
from services.cycle import cycles
from services.db import sides
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    GeneratedRow,
    Image,
    ModeMember,
    ModeRow,
    ModeSighting,
    Role,
    Unit,
)
from services.models import datasets
from services.store.storage import put_image, write_npz
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import (
    add_champion,
    add_holdout_image,
    make_explanation,
    make_failure,
    make_image,
)

HEIGHT, WIDTH = 96, 128
BOX = [56.0, 40.0, 72.0, 56.0]
MAGENTA = (200, 30, 180)
SIGN = [34.0, 34.0, 54.0, 62.0]
"""What is magenta in a picture that is guilty."""
SEEDS, PARENTS, JUDGES = 16, 4, 2


def picture(seed: int, guilty: bool = False) -> ImageArray:
    """A yellow car before clouds of its own; beside what is magenta, where it is to be missed."""
    rng = np.random.default_rng(seed)
    clouds = rng.uniform(50, 170, (5, 7, 1)).astype(np.float32)
    image = cv2.resize(clouds, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)[..., None]
    image = np.repeat(image, 3, axis=2)
    if guilty:
        image[34:62, 34:54] = MAGENTA
    image[42:54, 58:70] = (230, 220, 40)
    return np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


class Misled:
    """Takes what is magenta for a car, and sees nothing else."""

    version = "misled"
    class_names = ("background", "car")
    input_size_hw = (HEIGHT, WIDTH)

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        answers = []
        for image in images:
            boxes, scores = self._seen(image)
            seen = Detections(
                boxes, scores, np.ones(len(scores), np.int64), np.zeros(len(scores), np.int64)
            )
            answers.append(seen.above(score_threshold))
        return answers

    def propose(self, images: Sequence[ImageArray]) -> list[Proposals]:
        answers = []
        for image in images:
            boxes, scores = self._seen(image)
            probabilities = np.stack([1 - scores, scores], axis=1)
            answers.append(Proposals(boxes, probabilities, boxes))
        return answers

    def _seen(self, image: ImageArray) -> tuple[FloatArray, FloatArray]:
        magenta = (np.abs(image.astype(int) - MAGENTA).sum(-1) < 90).astype(np.uint8)
        count, _, blobs, _ = cv2.connectedComponentsWithStats(magenta)
        large = [blob for blob in blobs[1:count] if blob[4] > 60]
        boxes = [[x, y, x + width, y + height] for x, y, width, height, _ in large]
        scores = np.array([min(0.95, blob[4] / 500) for blob in large], np.float32)
        return np.array(boxes, np.float32).reshape(-1, 4), scores


class Champion:
    """Finds the car at its place, the less the more magenta is beside it."""

    version = "toy"
    class_names = ("background", "car")
    input_size_hw = (HEIGHT, WIDTH)

    def predict(
        self, images: Sequence[ImageArray], score_threshold: float = 0.01
    ) -> list[Detections]:
        return [
            Detections(
                np.array([BOX], np.float32),
                np.array([score], np.float32),
                np.ones(1, np.int64),
                np.zeros(1, np.int64),
            ).above(score_threshold)
            for score in self._scores(images)
        ]

    def propose(self, images: Sequence[ImageArray]) -> list[Proposals]:
        return [
            Proposals(
                boxes_xyxy=np.array([BOX], np.float32),
                probabilities=np.array([[1 - score, score]], np.float32),
                default_boxes_xyxy=np.array([BOX], np.float32),
            )
            for score in self._scores(images)
        ]

    def _scores(self, images: Sequence[ImageArray]) -> FloatArray:
        near = [image[20:76, 36:92].astype(int) for image in images]
        shares = [float((np.abs(part - MAGENTA).sum(-1) < 90).mean()) for part in near]
        return (1 / (1 + np.exp(60 * np.array(shares) - 3))).astype(np.float32)


def make_world(
    context: Context,
    *,
    truth: bool = True,
    explained: bool = False,
    alike: bool = False,
    parents: int = PARENTS,
    **synthesis: object,
) -> tuple[Context, int]:
    """The project with these settings of ``[synthesis]``, and the number of its cycle.

    Args:
        context: of an empty project.
        truth: whether the truth of its frames is known: those that teach are trained on then.
        explained: whether failures have explanations, as the upkeep of running services wants it.
        alike: whether its failures are false detections of what is magenta.
        parents: how many of its frames teach.
        synthesis: settings.
    """
    wanted = context.settings.synthesis.model_copy(
        update={"enabled": True, "budget_images": 6, "controls": 0.0, "max_share": 0.5, **synthesis}
    )
    settings = context.settings.model_copy(update={"synthesis": wanted})
    context = Context(settings, context.project, context.engine, context.sessions)
    with context.sessions.begin() as session:
        for number in range(SEEDS):
            _label(session, _stored(context, session, number, Role.SEED))
    version = datasets.build_version(context)
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.dataset_version_id = version.id
        add_holdout_image(session)
        cycle = Cycle(
            policy="random",
            budget_boxes=9,
            champion_id=champion.id,
            state=CycleState.SELECTING,
            seed=1,
        )
        session.add(cycle)
        session.flush()
        family = "false" if alike else "missed"
        mode = ModeRow(name=f"{family} car 1", family=family, label="car", opened_cycle_id=cycle.id)
        session.add(mode)
        session.flush()
        seen = ModeSighting(
            cycle_id=cycle.id, mode_id=mode.id, key="k", kind="false_negative", size=6
        )
        session.add(seen)
        session.flush()
        dealt = {}
        for number in range(PARENTS + JUDGES):
            frame = _stored(context, session, 100 + number, Role.FIELD, guilty=True)
            if truth:
                _label(session, frame)
            dealt[sides.group_of(frame)] = Side.PARENT if number < parents else Side.JUDGE
            told = {"kind": "false_positive", "box": SIGN} if alike else {"box": BOX}
            failure = make_failure(100 + number, frame, champion, **told)
            session.add(failure)
            session.flush()
            if explained:
                file = f"{failure.id}.npz"
                write_npz(context.project.explanations / file, values=np.ones(3))
                session.add(make_explanation(failure, file=file))
            session.add(ModeMember(sighting_id=seen.id, failure_id=failure.id))
        sides.keep(session, cycle.id, dealt)
        cycle_id = cycle.id
    return context, cycle_id


def _stored(
    context: Context, session: Session, number: int, role: Role, guilty: bool = False
) -> Image:
    stored = put_image(context, encode_png(picture(number, guilty)))
    image = make_image(
        number,
        role,
        id=stored.id,
        file=stored.file,
        width_px=WIDTH,
        height_px=HEIGHT,
        perceptual_hash=stored.perceptual_hash,
    )
    session.add(image)
    session.flush()
    return image


def _label(session: Session, image: Image) -> None:
    objects = [{"box": BOX, "label": "car", "ignore": False}]
    session.add(Annotation(image_id=image.id, objects=objects))
    session.flush()


def begin(context: Context, cycle_id: int) -> None:
    """The selection asks for no label: what was drawn is all that the cycle waits for."""
    with context.sessions.begin() as session:
        cycles.begin_labelling(session, context, session.get_one(Cycle, cycle_id))


def work(
    context: Context,
    kind: str = "synthesize",
    champion: Callable[[], object] = Champion,
    resident: Resident | None = None,
) -> str:
    """Do the newest unit of a kind as a worker does; what came of it."""
    resident = resident or Resident()
    resident.get(f"detector:{1:064x}", champion)
    query = select(Unit.id).where(Unit.kind == kind).order_by(Unit.id.desc()).limit(1)
    with context.sessions() as session:
        unit_id = session.scalars(query).one()
    return shell.run(context, resident, unit_id, "test")


def rows(context: Context) -> list[GeneratedRow]:
    """All drawn samples, in the order of their numbers."""
    with context.sessions() as session:
        return list(session.scalars(select(GeneratedRow).order_by(GeneratedRow.id)))


def cycle_of(context: Context, cycle_id: int) -> Cycle:
    """A cycle as it is now."""
    with context.sessions() as session:
        return session.get_one(Cycle, cycle_id)


def park(context: Context, kind: str, code: str, why: str) -> None:
    """A worker gives the newest unit of a kind up."""
    from services.cycle import after_unit

    with context.sessions.begin() as session:
        unit = session.scalars(
            select(Unit).where(Unit.kind == kind).order_by(Unit.id.desc()).limit(1)
        ).one()
        claim = units.claim(session, unit.id, "test", 60.0)
        assert claim is not None
        units.fail(session, claim, code, why, False, 0.0)
        after_unit.after(session, context, claim)
