"""A cycle that waits for labels, and what one does with its tasks."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.context import Context
from services.db.tables import Annotation, Cycle, CycleState, Image, LabelTask
from services.labeling import queue
from tests.services.builders import add_champion, make_image

TASKS = 6
CAR = {"box": [2, 3, 12, 11], "label": "car"}
LONG_S = 600.0
NEW_BOX = [5, 6, 7, 8]
"""Of a correction, as COCO writes it."""
NEW = {"box": [5, 6, 12, 14], "label": "car", "ignore": False}
"""The same as it is stored."""


def add_labelling(session: Session, budget_boxes: int, count: int) -> tuple[Cycle, list[Image]]:
    """A champion, its cycle that waits for labels, and the images that tasks may ask for."""
    champion = add_champion(session)
    cycle = Cycle(
        policy="random",
        budget_boxes=budget_boxes,
        champion_id=champion.id,
        state=CycleState.LABELLING,
    )
    images = [make_image(number) for number in range(1, count + 1)]
    session.add_all([cycle, *images])
    session.flush()
    return cycle, images


@pytest.fixture
def waiting(context: Context) -> Context:
    """A cycle that waits for labels of six images; later ones are more urgent."""
    with context.sessions.begin() as session:
        cycle, images = add_labelling(session, 9, TASKS)
        for number, image in enumerate(images, 1):
            session.add(
                LabelTask(
                    cycle_id=cycle.id,
                    image_id=image.id,
                    priority=float(number),
                    prelabels=[{"box": [1.0, 2.0, 9.5, 8.0], "label": "car", "score": 0.7}],
                    reason={"failure": f"{number:064x}", "text": "a missed car"},
                )
            )
    return context


def lease(context: Context, owner: str = "anna", count: int = 1, **more: Any) -> list[LabelTask]:
    with context.sessions.begin() as session:
        return queue.lease(session, owner, count, more.pop("lease_s", LONG_S), **more)


def submit(context: Context, task: LabelTask, *objects: dict[str, Any]) -> Annotation:
    with context.sessions.begin() as session:
        stored = queue.submit(session, context, task.id, task.token, objects, "anna")
        assert stored is not None
        return stored


def annotations(context: Context) -> list[Annotation]:
    with context.sessions() as session:
        return list(session.scalars(select(Annotation).order_by(Annotation.id)))


def answered(document: dict[str, Any]) -> dict[str, Any]:
    """An exported document as a tool saves it when a person has accepted it: without scores."""
    for entry in document["annotations"]:
        entry.pop("score", None)
    return document


def corrected(document: dict[str, Any], *positions: int) -> dict[str, Any]:
    """A COCO document with another box in some of its annotations."""
    changed = [
        {**entry, "bbox": NEW_BOX} if position in positions else entry
        for position, entry in enumerate(document["annotations"])
    ]
    return {**document, "annotations": changed}
