"""A plan that people look at, strike from and approve: the cycle asks for exactly that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from services.context import Context
from services.cycle import cycles
from services.db.actors import Actor, Door, acting
from services.db.tables import (
    CandidateRow,
    Cycle,
    Decision,
    Image,
    LabelTask,
    ModeRow,
    PlanRow,
)
from services.errors import Conflict
from services.modes import decisions
from services.selection import plans
from tests.services.accounts import trail
from tests.services.builders import add_holdout_image
from tests.services.plan_project import copy_of, work


@pytest.fixture
def project(planned: Context, tmp_path: Path) -> Iterator[Context]:
    """A copy of the project with a holdout: a tiny champion, a failure, six pool images."""
    with copy_of(planned, tmp_path) as context:
        with context.sessions.begin() as session:
            add_holdout_image(session, label="disc")
        yield context


def computed(context: Context, budget: int | None = None) -> PlanRow:
    """The plan of now, computed as a worker does."""
    with context.sessions.begin() as session:
        assert plans.ask(session, context, None, budget).state == "computing"
    work(context)
    with context.sessions() as session:
        now = plans.standing(session, context, None, budget)
        assert now.row is not None
        session.refresh(now.row, ["members"])
        return now.row


def asked(context: Context, cycle_id: int) -> list[dict[str, Any]]:
    """What a cycle asks for, as a plan tells it."""
    with context.sessions() as session:
        rows = session.execute(
            select(CandidateRow, LabelTask, ModeRow)
            .join(
                LabelTask,
                (LabelTask.cycle_id == CandidateRow.cycle_id)
                & (LabelTask.image_id == CandidateRow.image_id),
            )
            .outerjoin(ModeRow, ModeRow.id == CandidateRow.mode_id)
            .where(CandidateRow.cycle_id == cycle_id)
            .order_by(LabelTask.priority.desc())
        )
        return [
            {
                "image": candidate.image_id,
                "score": candidate.score,
                "mode": mode.name if mode else None,
                "share": task.reason["share"],
                "reason": task.reason["text"],
                "matches": [(one["query"], one["similarity"]) for one in task.reason["matches"]],
            }
            for candidate, task, mode in rows
        ]


def told(plan: PlanRow) -> list[dict[str, Any]]:
    """A plan as :func:`asked` tells what a cycle asks for."""
    names = {mode["key"]: mode["name"] for mode in plan.content["modes"]}
    return [
        {
            "image": one["image"],
            "score": one["score"],
            "mode": names.get(one["mode"]),
            "share": one["share"],
            "reason": one["reason"],
            "matches": [(m["query"], round(m["similarity"], 4)) for m in one["matches"]],
        }
        for one in plan.content["candidates"]
    ]


def test_a_cycle_asks_for_exactly_the_plan_that_was_approved(project: Context) -> None:
    plan = computed(project)
    assert plan.content["images"] == len(plan.content["candidates"]) > 1
    assert plan.content["boxes"] <= plan.budget_boxes
    with project.sessions() as session:
        for table in (Cycle, CandidateRow, LabelTask, ModeRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0
    with acting(Actor("cora", Door.WEB)), project.sessions.begin() as session:
        cycle = plans.approve(session, project, plan.id).id
    assert trail(project)[-1] == "cycle.start"
    work(project)
    assert asked(project, cycle) == told(plan)
    with project.sessions() as session:
        row = cycles.find(session, cycle)
        assert (row.state, row.plan_id, row.seed) == ("labelling", plan.id, plan.seed)
    with project.sessions.begin() as session, pytest.raises(Conflict, match="still running"):
        plans.approve(session, project, plan.id)


def test_an_approved_image_that_is_struck_before_the_choice_is_not_asked_for(
    project: Context,
) -> None:
    plan = computed(project)
    with project.sessions.begin() as session:
        cycle = plans.approve(session, project, plan.id).id
        gone = plan.content["candidates"][0]["image"]
        decisions.strike_image(session, gone, "private ground")
    work(project)
    assert [one["image"] for one in asked(project, cycle)] == [
        one["image"] for one in plan.content["candidates"][1:]
    ]


def test_a_struck_image_is_proposed_again_only_when_that_is_undone(project: Context) -> None:
    first = computed(project)
    image = first.content["candidates"][0]["image"]
    with project.sessions.begin() as session:
        struck = decisions.strike_image(session, image, "blurred").id
        assert decisions.strike_image(session, image, "again").id == struck
    second = computed(project)
    assert second.id != first.id
    assert image not in {one["image"] for one in second.content["candidates"]}
    with project.sessions.begin() as session, pytest.raises(Conflict, match="have changed"):
        plans.approve(session, project, first.id)
    with project.sessions.begin() as session:
        decisions.undo(session, struck)
    with project.sessions() as session:
        now = plans.standing(session, project)
        assert (now.id, now.state) == (first.id, "ready")  # it is what it was before
        row = session.get_one(Decision, struck)
        assert (row.note, row.undone_at is not None) == ("blurred", True)


def test_a_struck_mode_gets_no_budget_although_no_cycle_has_seen_it(project: Context) -> None:
    first = computed(project)
    (mode,) = first.content["modes"]
    assert mode["id"] is None
    with project.sessions.begin() as session:
        struck = decisions.strike_mode(session, "sold", failures=first.members[mode["key"]])
    second = computed(project)
    assert second.content["modes"][0]["struck"] is True
    assert second.content["images"] == 0
    with project.sessions.begin() as session, pytest.raises(Conflict, match="asks for nothing"):
        plans.approve(session, project, second.id)
    with project.sessions.begin() as session:
        decisions.undo(session, struck.id)
        assert plans.standing(session, project).id == first.id


def test_another_budget_is_another_plan_and_what_was_seen_is_kept(project: Context) -> None:
    large = computed(project)
    looks = list(project.project.runs.glob("plan-*/pool-*.npz"))
    assert looks
    small = computed(project, large.content["candidates"][0]["cost_boxes"])
    assert 0 < small.content["images"] < large.content["images"]
    assert list(project.project.runs.glob("plan-*/pool-*.npz")) == looks
    with project.sessions() as session:
        assert plans.standing(session, project).row is not None
        known = session.scalars(select(Image.id)).all()
    assert {one["image"] for one in small.content["candidates"]} <= set(known)
