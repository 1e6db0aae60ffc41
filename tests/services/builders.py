"""Rows of the loop for tests that need no network: images, failures, label tasks."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from benchmarks.common.projects import make_model
from services import units
from services.context import Context
from services.db.tables import (
    Annotation,
    Cycle,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    Role,
    TaskState,
    Unit,
    UnitState,
)
from services.models import registry
from services.store.storage import put_image
from tests import bad_images


def make_image(number: int, role: Role = Role.POOL, **values: Any) -> Image:
    """An image row; nothing lies in its file."""
    identity = f"{number:064x}"
    return Image(
        **{
            "id": identity,
            "role": role,
            "file": f"{identity[:2]}/{identity}.png",
            "name": f"{number}.png",
            "width_px": 64,
            "height_px": 48,
            "perceptual_hash": f"{number:016x}",
            **values,
        }
    )


def stored_image(context: Context, seed: int) -> Image:
    """A pool image whose picture lies in the store, as an import leaves it."""
    stored = put_image(context, bad_images.png(seed))
    return Image(
        id=stored.id,
        role=Role.POOL,
        file=stored.file,
        name=f"{seed}.png",
        width_px=stored.width_px,
        height_px=stored.height_px,
        perceptual_hash=stored.perceptual_hash,
    )


def make_failure(number: int, image: Image, model: Model, **values: Any) -> FailureRow:
    """An explained failure row."""
    return FailureRow(
        **{
            "id": f"{number:064x}",
            "image_id": image.id,
            "model_id": model.id,
            "state": FailureState.EXPLAINED,
            "kind": "false_negative",
            "label": "car",
            "box": [1.0, 1.0, 20.0, 20.0],
            "score": 0.2,
            "iou": 0.6,
            "default_box": 3,
            "truth_index": 0,
            **values,
        }
    )


def make_explanation(failure: FailureRow, **values: Any) -> Explanation:
    """The explanation of a failure; nothing lies in its file."""
    return Explanation(
        **{
            "id": failure.id,
            "failure_id": failure.id,
            "method": "test",
            "encoder_version": "test",
            "file": "none.npz",
            "score": 0.0,
            "baseline_score": 0.0,
            "seconds": 0.0,
            **values,
        }
    )


HOLDOUT = 0xE0A1
"""Number of the image that cycles are judged on."""


def add_champion(session: Session, number: int = 1) -> Model:
    """A model that is the champion."""
    model = make_model(number)
    session.add(model)
    session.flush()
    registry.promote(session, model, "test", {})
    return model


def add_holdout_image(
    session: Session, number: int = HOLDOUT, label: str = "car", ignore: bool = False
) -> None:
    """An image of the holdout with one object, which the champion finds: a cycle can begin."""
    image = make_image(number, Role.HOLDOUT, perceptual_hash="5a" * 8)  # like no other
    session.add(image)
    session.flush()
    objects = [{"box": [1.0, 1.0, 9.0, 9.0], "label": label, "ignore": ignore}]
    session.add(Annotation(image_id=image.id, objects=objects))
    session.flush()
    champion = registry.champion(session)
    if champion is not None:
        known = (champion.reports or {}).get(Role.HOLDOUT, {}).get("images", 0)
        figures = {"objects": known + 1, "found": known + 1, "images": known + 1}
        champion.reports = {str(Role.HOLDOUT): figures | {"missed": 0, "false_positives": 0}}


def add_task(session: Session, cycle: Cycle, image: Image, boxes: int | None) -> LabelTask:
    """A label task, answered with so many boxes, or waiting where that is None."""
    task = LabelTask(cycle_id=cycle.id, image_id=image.id)
    if boxes is not None:
        objects = [{"box": [1, 1, 9, 9], "label": "car", "ignore": False}] * boxes
        annotation = Annotation(image_id=image.id, objects=objects, cycle_id=cycle.id)
        session.add(annotation)
        session.flush()
        task.annotation_id, task.state = annotation.id, TaskState.SUBMITTED
    session.add(task)
    session.flush()
    return task


def finish_units(session: Session, context: Context, kind: str, result: dict[str, Any]) -> int:
    """Do all queued units of a kind as a worker would, but for the work; how many."""
    waiting = session.query(Unit).filter_by(kind=kind, state=UnitState.QUEUED).all()
    for unit in waiting:
        claim = units.claim(session, unit.id, "test", 60.0)
        assert claim is not None
        units.finish(session, claim, result)
    session.flush()
    session.expire_all()
    return len(waiting)
