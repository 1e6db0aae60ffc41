"""No judge is ever trained on, and no frame that teaches is ever counted."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from curation.modes.dealing import Side
from curation.modes.states import ModeState, next_state
from retrain.report import EvaluationReport, ObjectOutcome
from services.context import Context
from services.db import sides
from services.db.tables import (
    Annotation,
    Cycle,
    DatasetVersion,
    FailureRow,
    FailureState,
    FieldSide,
    Image,
    Model,
    ModeMember,
    ModeRow,
    ModeSighting,
    Role,
)
from services.models import datasets
from services.modes.counts import read_counts
from services.stages import gate
from tests.services.builders import add_champion, make_failure, make_image

OBJECTS = [{"box": [1.0, 1.0, 20.0, 20.0], "label": "car", "ignore": False}]
FRAMES = st.lists(
    st.tuples(
        st.sampled_from(["", "north", "south", "east"]),
        st.booleans(),
        st.sampled_from([FailureState.EXPLAINED, FailureState.FIXED, FailureState.WITHDRAWN]),
    ),
    min_size=1,
    max_size=8,
)
"""Drive, whether its truth is known, state of its failure."""
NUMBERS = count(1000)


@pytest.fixture
def world(context: Context) -> Context:
    with context.sessions.begin() as session:
        champion = add_champion(session)
        session.add(seed := make_image(1, Role.SEED))
        session.flush()
        session.add(Annotation(image_id=seed.id, objects=OBJECTS))
        session.add(
            Cycle(policy="random", budget_boxes=1, champion_id=champion.id, state="training")
        )
    return context


def _add(context: Context, frames: list[tuple[str, bool, str]], parents: set[str]) -> int:
    """A mode of these frames, in drives of their own; its number."""
    with context.sessions.begin() as session:
        champion = session.get_one(Cycle, 1).champion_id
        cycle = Cycle(policy="random", budget_boxes=1, champion_id=champion, state="gating")
        mode = ModeRow(name=f"mode {next(NUMBERS)}", family="missed", label="car")
        session.add(cycle)
        session.flush()
        mode.opened_cycle_id = cycle.id
        session.add(mode)
        session.flush()
        seen = ModeSighting(
            cycle_id=cycle.id, mode_id=mode.id, key="k", kind="false_negative", size=len(frames)
        )
        session.add(seen)
        session.flush()
        dealt = {}
        for drive, has_truth, state in frames:
            number = next(NUMBERS)
            group = f"{drive} {cycle.id}" if drive else ""
            session.add(image := make_image(number, Role.FIELD, group=group))
            session.flush()
            failure = make_failure(number, image, _Named(str(champion)), state=state)  # type: ignore[arg-type]
            session.add(failure)
            if has_truth:
                session.add(Annotation(image_id=image.id, objects=OBJECTS))
            session.flush()
            session.add(ModeMember(sighting_id=seen.id, failure_id=failure.id))
            side = Side.PARENT if drive in parents else Side.JUDGE
            dealt[sides.group_of(image)] = side
        sides.keep(session, cycle.id, dealt)
        return mode.id


class _Named:
    def __init__(self, name: str) -> None:
        self.id = name


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(FRAMES, st.sets(st.sampled_from(["", "north", "south", "east"])))
def test_judges_are_not_trained_on_and_parents_not_counted(
    world: Context, frames: list[tuple[str, bool, str]], parents: set[str]
) -> None:
    mode_id = _add(world, frames, parents)
    version = datasets.build_version(world)
    items = {item.image: item for item in datasets.read_version(world, version).items}
    with world.sessions() as session:
        dealt = {row.group: row.side for row in session.scalars(select(FieldSide))}
        field = session.scalars(select(Image).where(Image.role == Role.FIELD)).all()
        known = {row.image_id: row for row in session.scalars(select(FailureRow))}
        labelled = set(session.scalars(select(Annotation.image_id)))
        teach = {
            image.id
            for image in field
            if dealt[sides.group_of(image)] == Side.PARENT
            and image.id in labelled
            and known[image.id].state != FailureState.WITHDRAWN
        }
        assert {name for name, item in items.items() if item.origin} == teach
        assert set(items) - teach == {make_image(1).id}
        assert all(items[name].origin == known[name].id for name in teach)
        judge = {i.id for i in field if dealt[sides.group_of(i)] == Side.JUDGE}
        counts = read_counts(session)
        mine = [row for row in session.scalars(_members(mode_id)) if row.state != "withdrawn"]
        judged = [row for row in mine if row.image_id in judge]
        progress = counts.progress(mode_id)
        assert progress.places == len(judged)
        assert progress.failing == sum(row.state == FailureState.EXPLAINED for row in judged)
        assert counts.teaching(mode_id) == len(mine) - len(judged)
        cycle = session.scalar(select(ModeSighting.cycle_id).where(ModeSighting.mode_id == mode_id))
        asked = gate.Questions.read(session, cycle or 0, (known[field[0].id].model_id,))
        assert {row.image_id for row in asked.rows()} <= judge
        name = session.get_one(ModeRow, mode_id).name
        assert (name in asked.modes) == bool(judged)
        assert (name in asked.unjudged) == bool(mine and not judged)


def _members(mode_id: int):  # type: ignore[no-untyped-def]
    return (
        select(FailureRow)
        .join(ModeMember, ModeMember.failure_id == FailureRow.id)
        .join(ModeSighting, ModeSighting.id == ModeMember.sighting_id)
        .where(ModeSighting.mode_id == mode_id)
    )


def test_a_group_keeps_its_side(world: Context) -> None:
    with world.sessions.begin() as session:
        sides.keep(session, 1, {"north": Side.PARENT})
        sides.keep(session, 1, {"north": Side.JUDGE, "south": Side.JUDGE})
        found = sides.known(session, ["north", "south", "unknown"])
    assert found == {"north": Side.PARENT, "south": Side.JUDGE}


def test_frames_with_truth_are_fresh_until_a_dataset_has_them(world: Context) -> None:
    _add(world, [("north", True, "explained"), ("south", True, "explained")], {"north"})
    with world.sessions.begin() as session:
        cycle = session.get_one(Cycle, 1)
        assert datasets.fresh_frames(session, str(cycle.champion_id)) == 1
        assert datasets.fresh_frames(session, None) == 1
        found = sides.count_frames(session, str(cycle.champion_id))
        assert (found.with_truth, found.to_label, found.judges, found.undealt) == (1, 0, 1, 0)
    version = datasets.build_version(world)
    with world.sessions.begin() as session:
        champion = str(session.get_one(Cycle, 1).champion_id)
        session.get_one(Model, champion).dataset_version_id = version.id
        session.flush()
        assert datasets.fresh_frames(session, champion) == 0
        assert datasets.fresh_frames(session, None) == 1  # no model has seen it
        assert session.get_one(DatasetVersion, version.id).images == 2


def test_a_mode_that_nobody_judges_is_never_fixed(world: Context) -> None:
    mode_id = _add(world, [("north", True, "fixed")], {"north"})
    with world.sessions() as session:
        counts = read_counts(session)
        progress = counts.progress(mode_id)
        words = counts.words(mode_id, ModeState.FIXED)
    assert progress.places == 0
    proven = replace(progress, new_champion=True)
    assert next_state(ModeState.BEING_FIXED, replace(proven, asked=1)) is ModeState.BEING_FIXED
    assert words.endswith("all of its frames teach, none judges")


def test_siblings_judge_the_class_of_a_mode_without_a_judge() -> None:
    outcomes = [("car", True), ("car", False), ("bus", True)]
    report = EvaluationReport(
        detector_version="d",
        manifest_version="m",
        class_names=("background", "car", "bus"),
        score_threshold=0.5,
        iou_threshold=0.5,
        map=0.5,
        map50=0.5,
        per_class={},
        per_size={},
        per_size50={},
        objects=tuple(
            ObjectOutcome("image", row, label, found, 0.0)
            for row, (label, found) in enumerate(outcomes)
        ),
    )
    unjudged = {"missed car 1": "car", "missed van 1": "van", "false car 1": None}
    assert gate._judged_by_siblings(report, unjudged) == {"missed car 1": 0.5}
    assert gate._judged_by_siblings(None, unjudged) == {}
