"""A selection looks at what the index proposes, however large the pool is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from sqlalchemy import select

from curation.select import PoolImage, plan
from services.config import builders
from services.config.policies import walks_pool
from services.context import Context
from services.cycle import cycle_units, cycles
from services.db.tables import CandidateRow, Cycle, CycleState, LabelTask, Unit
from services.selection import choose as chooser
from services.selection.choose import Terms, choose
from tests.services.builders import finish_units
from tests.services.mode_loop import ModeLoop


@dataclass(frozen=True, slots=True)
class Selected:
    """What a cycle asked for, and what it looked at for that."""

    asked: list[str]
    shown: set[str]
    loaded: int
    state: str


def selected(
    context: Context, size: int, policy: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[ModeLoop, Selected]:
    """A project with a pool of that size, and a cycle that has chosen."""
    loop = ModeLoop(context, size)
    loop.scan(range(4), dict.fromkeys(range(4), 0))
    loaded = []
    whole = chooser.pool_of

    def counted(*args: object, **kwargs: object) -> list[PoolImage]:
        found = whole(*args, **kwargs)  # type: ignore[arg-type]
        loaded.append(len(found))
        return found

    monkeypatch.setattr(chooser, "pool_of", counted)
    with loop.context.sessions.begin() as session:
        number = cycles.start(session, loop.context, policy=policy, budget_boxes=3).id
        early = cycle_units.shown(session, session.get_one(Cycle, number))
        assert bool(early) == walks_pool(loop.context.settings, policy)
        if early:
            finish_units(session, loop.context, "score_pool", {})
            cycles.advance(session, loop.context, number)
    loop.work_select(number)
    with loop.context.sessions() as session:
        cycle = session.get_one(Cycle, number)
        rows = session.scalars(
            select(CandidateRow.image_id)
            .where(CandidateRow.cycle_id == number)
            .order_by(CandidateRow.rank)
        )
        return loop, Selected(
            list(rows), cycle_units.shown(session, cycle), max(loaded), cycle.state
        )


@pytest.mark.parametrize("size", [12, 36])
def test_what_is_looked_at_and_loaded_does_not_grow_with_the_pool(
    sqlite_context: Context, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 2)
    _, found = selected(sqlite_context, size, "e2x", monkeypatch)
    assert found.state == CycleState.LABELLING
    assert len(found.asked) == 3
    assert set(found.asked) <= found.shown
    assert len(found.shown) == found.loaded == 5  # of one mode: two, and one for each box


def test_a_policy_that_walks_the_pool_is_shown_all_of_it(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found = selected(sqlite_context, 12, "entropy", monkeypatch)
    assert len(found.shown) == found.loaded == 12


def test_plan_and_stage_choose_the_same(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, found = selected(sqlite_context, 12, "e2x", monkeypatch)
    with loop.context.sessions.begin() as session:
        cycle = session.scalars(select(Cycle)).one()
        terms = Terms(cycle.policy, cycle.seed, cycle.budget_boxes)
        cycles.cancel(session, loop.context, cycle.id, "test")
        for row in session.scalars(select(CandidateRow)):
            session.delete(row)
        for task in session.scalars(select(LabelTask)):
            session.delete(task)
    settings = loop.context.settings
    embedder = builders.region_embedder(settings, builders.load_encoder(settings))
    chosen = choose(loop.context, loop.champion(), embedder, {}, terms)
    assert [one.image for one in chosen.candidates] == found.asked


def test_a_selection_that_is_done_twice_asks_the_champion_once(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 2)
    loop, found = selected(sqlite_context, 12, "e2x", monkeypatch)
    with loop.context.sessions() as session:
        payloads = session.scalars(select(Unit.payload).where(Unit.kind == "score_pool")).all()
    shown = [image for payload in payloads for image in payload["images"]]
    assert sorted(shown) == sorted(found.shown)


def test_a_shortlist_that_cannot_spend_the_budget_grows(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 1)
    monkeypatch.setattr(plan, "PER_BOX", 0)
    _, found = selected(sqlite_context, 12, "e2x", monkeypatch)
    assert len(found.asked) == 3
    assert len(found.shown) == 4
