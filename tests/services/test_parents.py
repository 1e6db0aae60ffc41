"""Frames that teach are asked for before the pool, and teach as they are where truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from curation.kernel.images import encode_png
from curation.modes.dealing import Side
from curation.select import Candidate, Policy, SelectionRequest, plan
from services.context import Context
from services.cycle import cycles
from services.db.tables import (
    Annotation,
    Cycle,
    CycleState,
    FieldSide,
    Image,
    LabelTask,
    Observation,
    Role,
)
from services.models import datasets
from services.selection.outlook import read_plan
from services.selection.parents import SHARE
from tests.services.builders import make_image
from tests.services.mode_loop import CAR, ModeLoop

REPORTS = [{"kind": "missed", "box": [1.0, 1.0, 20.0, 20.0], "label": "car"}]


@pytest.fixture
def loop(sqlite_context: Context) -> ModeLoop:
    """Eight failing frames of one cause, of which an operator told."""
    return told(ModeLoop(sqlite_context, pool=12, learn_from_field=0.5), range(8))


def told(loop: ModeLoop, frames: range) -> ModeLoop:
    rng = np.random.default_rng(7)
    with loop.context.sessions.begin() as session:
        for number in frames:
            image = make_image(10_000 + number, Role.FIELD)
            file = loop.context.project.images / f"frames/{image.id}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)))
            session.add(image)
            session.flush()
            session.add(Observation(image_id=image.id, reports=REPORTS))
    loop.scan(frames, dict.fromkeys(frames, 0))
    with loop.context.sessions.begin() as session:
        for image in session.scalars(select(Image).where(Image.role == Role.FIELD)):
            bits = int(rng.integers(0, 2**63))  # no two are alike
            image.perceptual_hash = f"{bits:016x}"
            image.file = f"frames/{image.id}.png"  # the id is no hash of what lies there
    return loop


def by_side(context: Context) -> dict[str, set[str]]:
    with context.sessions() as session:
        rows = session.scalars(select(FieldSide)).all()
        return {side: {row.group for row in rows if row.side == side} for side in Side}


def tasks(context: Context, cycle: int) -> list[LabelTask]:
    query = select(LabelTask).where(LabelTask.cycle_id == cycle)
    with context.sessions() as session:
        return list(session.scalars(query.order_by(LabelTask.priority.desc())))


def test_half_teach_and_are_asked_for_first(loop: ModeLoop) -> None:
    cycle = loop.select(budget_boxes=6)
    dealt = by_side(loop.context)
    assert {side: len(groups) for side, groups in dealt.items()} == {"parent": 4, "judge": 4}
    asked = tasks(loop.context, cycle)
    assert {task.image_id for task in asked[:4]} == dealt[Side.PARENT]
    assert all(task.reason["share"] == SHARE and task.reason["failure"] for task in asked[:4])
    assert [one["box"] for one in asked[0].prelabels] == [REPORTS[0]["box"]]
    assert len(asked) == 6  # what is left of the budget goes to the pool
    assert not {task.image_id for task in asked} & dealt[Side.JUDGE]


def asked_of_pool(context: Context, cycle: int) -> list[Image]:
    wanted = [task.image_id for task in tasks(context, cycle)]
    query = select(Image).where(Image.id.in_(wanted), Image.role == Role.POOL)
    with context.sessions() as session:
        return list(session.scalars(query))


def test_the_pool_images_of_a_drive_that_judges_are_not_asked_for(loop: ModeLoop) -> None:
    with loop.context.sessions.begin() as session:
        for role in (Role.FIELD, Role.POOL):
            rows = session.scalars(select(Image).where(Image.role == role).order_by(Image.id))
            for number, image in enumerate(rows):
                image.group = f"drive {number % 8}"
    cycle = loop.select(budget_boxes=100)
    dealt = by_side(loop.context)
    groups = {image.group for image in asked_of_pool(loop.context, cycle)}
    assert groups == dealt[Side.PARENT]  # all of the pool but what belongs to a judge


def test_nor_is_the_like_of_a_frame_that_judges_in_later_cycles(loop: ModeLoop) -> None:
    first = loop.select(budget_boxes=1)
    judge, *_others = sorted(by_side(loop.context)[Side.JUDGE])
    with loop.context.sessions.begin() as session:
        cycles.cancel(session, loop.context, first, "anna")
        alike, of_its_drive, *others = session.scalars(
            select(Image).where(Image.role == Role.POOL).order_by(Image.id)
        )
        bits = int(session.get_one(Image, judge).perceptual_hash, 16) ^ 1
        alike.perceptual_hash, of_its_drive.group = f"{bits:016x}", judge
    second = loop.select(budget_boxes=100)
    asked = {image.id for image in asked_of_pool(loop.context, second)}
    assert asked == {image.id for image in others}


def test_what_the_budget_does_not_pay_for_is_asked_for_next_time(loop: ModeLoop) -> None:
    first = loop.select(budget_boxes=3)
    assert {task.reason["share"] for task in tasks(loop.context, first)} == {SHARE}
    before = by_side(loop.context)
    loop.label(first)
    with loop.context.sessions.begin() as session:
        session.get_one(Cycle, first).state = CycleState.DONE
    second = tasks(loop.context, loop.select(budget_boxes=3))
    assert [task.reason["share"] == SHARE for task in second] == [True, False, False]
    assert by_side(loop.context) == before


def test_a_frame_with_truth_teaches_without_a_label(loop: ModeLoop) -> None:
    with loop.context.sessions.begin() as session:
        for image in session.scalars(select(Image).where(Image.role == Role.FIELD)):
            session.add(Annotation(image_id=image.id, objects=CAR.objects))
    cycle = loop.select(budget_boxes=3)
    dealt = by_side(loop.context)
    assert not {task.image_id for task in tasks(loop.context, cycle)} & set().union(*dealt.values())
    items = datasets.read_version(loop.context, datasets.build_version(loop.context)).items
    assert {item.image for item in items} == dealt[Side.PARENT]
    assert all(item.origin for item in items)


def test_the_policy_knows_what_each_mode_is_taught_by_its_own_frames(
    loop: ModeLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest truth of a frame that is labelled, what people will draw in one that is not."""
    asked: list[float] = []

    decide = plan.decide

    def seen(policy: Policy, request: SelectionRequest, *rest: Any) -> list[Candidate]:
        asked.extend(query.taught for query in request.queries)
        return decide(policy, request, *rest)

    monkeypatch.setattr(plan, "decide", seen)
    cycle = loop.select(budget_boxes=6)
    parents = by_side(loop.context)[Side.PARENT]
    assert asked == [4.0]  # nobody has counted: one box each, as was said
    with loop.context.sessions.begin() as session:
        cycles.cancel(session, loop.context, cycle, "anna")
        for revision, count in ((1, 5), (2, 3)):
            objects = [*CAR.objects] * count + [{**CAR.objects[0], "ignore": True}]
            one = sorted(parents)[0]
            session.add(Annotation(image_id=one, revision=revision, objects=objects))
    loop.select(budget_boxes=6)
    assert asked[1:] == [3.0 + 3.0]


def test_a_cycle_that_asks_nobody_trains_on_the_frames(sqlite_context: Context) -> None:
    loop = told(ModeLoop(sqlite_context, pool=1, learn_from_field=0.5), range(4))
    with loop.context.sessions.begin() as session:
        pool = session.scalars(select(Image).where(Image.role == Role.POOL)).one()
        for image in session.scalars(select(Image).where(Image.role == Role.FIELD)):
            session.add(Annotation(image_id=image.id, objects=CAR.objects))
        session.add(Annotation(image_id=pool.id, objects=[]))
    cycle = loop.select()
    with loop.context.sessions() as session:
        assert session.get_one(Cycle, cycle).state == CycleState.TRAINING


def test_a_frame_that_cannot_be_opened_is_not_asked_for(loop: ModeLoop) -> None:
    for file in loop.context.project.images.glob("frames/*"):
        file.unlink()
    asked = tasks(loop.context, loop.select(budget_boxes=3))
    assert asked
    assert all(task.reason["share"] != SHARE for task in asked)


def test_the_plan_tells_who_teaches_and_who_judges(loop: ModeLoop) -> None:
    def figures() -> tuple[int, int, int, int]:
        with loop.context.sessions() as session:
            plan = read_plan(session, loop.context)
        return (
            plan.frames_with_truth,
            plan.frames_to_label,
            plan.frames_judging,
            plan.frames_undealt,
        )

    assert figures() == (0, 0, 0, 8)
    cycle = loop.select(budget_boxes=6)
    assert figures() == (0, 4, 4, 0)
    loop.label(cycle)
    assert figures() == (4, 0, 4, 0)


def test_at_0_none_teach(sqlite_context: Context) -> None:
    loop = told(ModeLoop(sqlite_context, pool=12), range(4))
    cycle = loop.select(budget_boxes=3)
    assert not any(by_side(loop.context).values())
    assert all(task.reason["share"] != SHARE for task in tasks(loop.context, cycle))
