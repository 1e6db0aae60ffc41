"""Two challengers, with drawn samples and without them, before the gate."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.context import Context
from services.cycle import cycles
from services.db.tables import (
    Cycle,
    CycleState,
    DatasetVersion,
    GeneratedRow,
    HarmRow,
    Image,
    ModelState,
    ModeRow,
    Role,
    SampleState,
    Unit,
)
from services.models import registry
from services.units.resident import Resident
from services.upkeep.invariants import loop
from services.worker import shell
from tests.services.builders import make_image
from tests.services.drawn_world import park
from tests.services.judged_models import add_gating_cycle, add_holdout, add_judged

CHAMPION, WITHOUT, WITH = 1, 2, 3


def add_sample(session: Session, cycle: Cycle, number: int = 9000) -> int:
    """A kept sample of a cycle."""
    mode = ModeRow(
        name=f"missed car {number}", family="missed", label="car", opened_cycle_id=cycle.id
    )
    drawn, frame = make_image(number, Role.GENERATED), make_image(number + 1, Role.FIELD)
    session.add_all([mode, drawn, frame])
    session.flush()
    harm = {"box": [1, 1, 9, 9], "label": "car", "light": True, "mask": {"size": [1, 1]}}
    session.add(HarmRow(id=f"{number:064x}", image_id=frame.id, **harm))
    session.flush()
    row = GeneratedRow(
        key=f"{number:064x}",
        cycle_id=cycle.id,
        mode_id=mode.id,
        model_id=cycle.champion_id,
        image_id=drawn.id,
        harm_id=f"{number:064x}",
        donor_id=session.scalars(select(Image.id).where(Image.role == Role.SEED)).first(),
        donor_box=[1, 1, 9, 9],
        staging="surround",
        generator="compose",
        generator_version="1",
        seed=0,
        state=SampleState.KEPT,
    )
    session.add(row)
    session.flush()
    return row.id


def world(context: Context, with_: float, without: float | None) -> tuple[int, int, int]:
    """A cycle at its gate whose champion has 0.5; numbers of cycle, unit and sample."""
    with context.sessions.begin() as session:
        add_holdout(session)
        champion = add_judged(session, context, CHAMPION, 0.5)
        registry.promote(session, champion, "test", {})
        rival = None if without is None else add_judged(session, context, WITHOUT, without)
        challenger = add_judged(session, context, WITH, with_)
        cycle_id, unit_id = add_gating_cycle(session, champion, challenger)
        cycle = session.get_one(Cycle, cycle_id)
        cycle.rival_id = None if rival is None else rival.id
        return cycle_id, unit_id, add_sample(session, cycle)


@pytest.mark.parametrize(
    ("with_", "without", "champion", "state"),
    [
        (0.7, 0.6, WITH, SampleState.KEPT),
        (0.6, 0.7, WITHOUT, SampleState.WITHDRAWN),  # it holds, and is worse than without
        (0.1, 0.7, WITHOUT, SampleState.WITHDRAWN),
        (0.1, 0.1, CHAMPION, SampleState.KEPT),  # neither holds: it was not the samples
        (0.1, 0.3, CHAMPION, SampleState.WITHDRAWN),
        (0.1, None, CHAMPION, SampleState.WITHDRAWN),  # they were all that was new
        (0.7, None, WITH, SampleState.KEPT),
    ],
)
def test_the_gate_can_do_without_what_was_drawn(
    context: Context, with_: float, without: float | None, champion: int, state: str
) -> None:
    cycle_id, unit_id, sample_id = world(context, with_, without)
    assert shell.run(context, Resident(), unit_id, "test") == "done"
    with context.sessions() as session:
        assert registry.require_champion(session).number == champion
        sample = session.get_one(GeneratedRow, sample_id)
        cycle = session.get_one(Cycle, cycle_id)
        states = {one: registry.find(session, str(one)).state for one in (WITH,)}
    assert sample.state == state
    assert sample.decided_by == ("gate" if state == SampleState.WITHDRAWN else "checks")
    assert bool(sample.reason) == (state == SampleState.WITHDRAWN)
    assert cycle.promoted is (champion != CHAMPION)
    assert states[WITH] == (ModelState.CHAMPION if champion == WITH else ModelState.REJECTED)
    assert ("drawn" in cycle.decision) == (without is not None)  # type: ignore[operator]
    if champion != CHAMPION:
        assert cycle.challenger_id == f"{champion:064x}"


def test_a_person_who_promoted_one_of_the_two_is_not_overruled(context: Context) -> None:
    _, unit_id, sample_id = world(context, 0.1, 0.7)
    with context.sessions.begin() as session:
        registry.promote(
            session, registry.find(session, str(WITH)), "person", {"reason": "by hand"}
        )
    assert shell.run(context, Resident(), unit_id, "test") == "done"
    with context.sessions() as session:
        assert registry.require_champion(session).number == WITH
        assert session.get_one(GeneratedRow, sample_id).state == SampleState.KEPT


def test_a_training_on_drawn_samples_that_is_parked_costs_no_repair(context: Context) -> None:
    cycle_id, unit_id, _ = world(context, 0.7, 0.6)
    with context.sessions.begin() as session:
        session.query(Unit).filter_by(id=unit_id).update({"state": "cancelled"})
        cycle = session.get_one(Cycle, cycle_id)
        cycle.state, cycle.challenger_id, cycle.rival_id = CycleState.TRAINING, None, None
        session.add_all(
            DatasetVersion(id=f"{n:064x}", file="d", images=0, boxes=0) for n in (77, 78)
        )
        session.flush()
        cycles.begin_drawn_training(session, cycle, f"{WITHOUT:064x}", f"{77:064x}", f"{78:064x}")
        cycles.advance(session, context, cycle_id)
        assert cycle.state == CycleState.TRAINING
    assert list(loop.cycles(context)) == []
    park(context, "train_drawn", "out_of_memory", "Traceback\nCUDA out of memory")
    with context.sessions() as session:
        cycle = session.get_one(Cycle, cycle_id)
    assert cycle.state == CycleState.GATING
    assert (cycle.challenger_id, cycle.rival_id) == (f"{WITHOUT:064x}", None)
    assert "CUDA out of memory" in str(cycle.note)
