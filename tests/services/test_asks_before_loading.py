"""A selection looks at what the index proposes, however large the pool is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import event, select

from benchmarks.common.projects import make_context
from curation.index import RegionIndex
from curation.index.snapshot import ImageScores
from curation.kernel.types import Detections
from curation.select import PoolImage, plan
from services.config import builders
from services.config.policies import walks_pool
from services.context import Context
from services.cycle import cycle_units, cycles
from services.db.tables import CandidateRow, Cycle, CycleState, Image, LabelTask, Role, Unit
from services.selection import choose as chooser
from services.selection import looks as pool_looks
from services.selection import rois
from services.selection.choose import Terms, choose
from services.store import embeddings
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


def undo(loop: ModeLoop) -> Terms:
    """Take back what the only cycle asked for; its terms."""
    with loop.context.sessions.begin() as session:
        cycle = session.scalars(select(Cycle)).one()
        terms = Terms(cycle.policy, cycle.seed, cycle.budget_boxes)
        cycles.cancel(session, loop.context, cycle.id, "test")
        for row in session.scalars(select(CandidateRow)):
            session.delete(row)
        for task in session.scalars(select(LabelTask)):
            session.delete(task)
    return terms


def copy_of(database: Path, file: Path) -> str:
    """Address of a copy of an SQLite database."""
    file.write_bytes(database.read_bytes())
    return f"sqlite:///{file}"


def test_what_is_asked_for_has_been_looked_at_and_nothing_else_is_loaded(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 2)
    _, found = selected(sqlite_context, 12, "e2x", monkeypatch)
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
    terms = undo(loop)
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


@dataclass(slots=True)
class Work:
    """What a choice did to come about."""

    statements: int = 0
    images_loaded: int = 0
    files_read: int = 0
    arrays_read: int = 0
    searches: int = 0
    images_scored: int = 0


def measured(context: Context, size: int, monkeypatch: pytest.MonkeyPatch) -> Work:
    """The work of choosing from a pool of that size, when the champion has looked."""
    loop, found = selected(context, size, "e2x", monkeypatch)
    assert len(found.asked) == 3
    undo(loop)
    settings = loop.context.settings
    embedder = builders.region_embedder(settings, builders.load_encoder(settings))
    work = Work()
    whole, read, score = chooser.pool_of, embeddings.read, RegionIndex.score_images

    def loaded(*args: Any, **kwargs: Any) -> list[PoolImage]:
        images = whole(*args, **kwargs)
        work.images_loaded += len(images)
        return images

    def opened(
        context: Context, file: str, only: Collection[str] | None = None
    ) -> embeddings.Arrays:
        arrays = read(context, file, only)
        work.files_read += 1
        work.arrays_read += len(arrays)
        return arrays

    def scored(index: RegionIndex, *args: Any, **kwargs: Any) -> ImageScores:
        scores = score(index, *args, **kwargs)
        work.searches += 1
        if kwargs.get("only") is not None:
            work.images_scored += len(scores.images)
        return scores

    def stated(*_: object) -> None:
        work.statements += 1

    with monkeypatch.context() as patch:
        patch.setattr(chooser, "pool_of", loaded)
        patch.setattr(embeddings, "read", opened)
        patch.setattr(RegionIndex, "score_images", scored)
        event.listen(loop.context.engine, "before_cursor_execute", stated)
        choose(loop.context, loop.champion(), embedder, {}, Terms("e2x", 1, 3), found.shown)
        event.remove(loop.context.engine, "before_cursor_execute", stated)
    return work


def test_four_times_the_pool_is_no_more_work(
    sqlite_context: Context,
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 2)
    large = make_context(tmp_path / "large", copy_of(sqlite_template, tmp_path / "large.db"))
    small, four = measured(sqlite_context, 12, monkeypatch), measured(large, 48, monkeypatch)
    large.engine.dispose()
    assert small.images_loaded == small.images_scored == 5
    assert small.searches == 2  # one proposes, one scores what is proposed
    assert small.files_read == small.arrays_read == 1  # of twelve, one file; of it one array
    assert four.files_read <= 2  # in files of 32
    assert replace(four, files_read=1, arrays_read=1) == small


def looks(
    loop: ModeLoop, policy: str, context: Context, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[list[str]], list[str]]:
    """Images of which the objects were encoded together, and what was chosen.

    The champion sees one object in every image.
    """
    batches: list[list[str]] = []
    encode = rois.with_rois

    def counted(context: Context, pool: Sequence[PoolImage], *args: Any) -> list[PoolImage]:
        batches.append([one.image for one in pool])
        return encode(context, pool, *args)

    monkeypatch.setattr(rois, "with_rois", counted)
    with context.sessions() as session:
        images = session.scalars(select(Image.id).where(Image.role == Role.POOL)).all()
    seen = Detections(
        np.array([[5, 5, 40, 40]], np.float32), np.array([0.9]), np.ones(1, np.int64), np.ones(1)
    )
    embedder = builders.region_embedder(context.settings, builders.load_encoder(context.settings))
    terms = Terms(policy, 1, 3)
    chosen = choose(context, loop.champion(), embedder, dict.fromkeys(images, seen), terms)
    return batches, [one.image for one in chosen.candidates]


def test_a_walk_looks_at_a_batch_at_a_time(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_looks, "AT_ONCE", 5)
    loop = ModeLoop(sqlite_context, 12)
    loop.scan(range(4), dict.fromkeys(range(4), 0))
    batches, chosen = looks(loop, "talisman", loop.context, monkeypatch)
    assert len(chosen) == 3
    assert [len(batch) for batch in batches] == [5, 5, 2, 5, 5, 2]  # for the mean, and to compare


def test_a_share_for_coverage_does_not_encode_the_pool(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 2)
    loop = ModeLoop(sqlite_context, 12)
    loop.scan(range(4), dict.fromkeys(range(4), 0))
    wanted = loop.context.settings.selection.model_copy(update={"coverage_share": 0.5})
    settings = loop.context.settings.model_copy(update={"selection": wanted})
    batches, chosen = looks(loop, "e2x", replace(loop.context, settings=settings), monkeypatch)
    assert len(chosen) == 3
    assert [len(batch) for batch in batches] == [5]  # of one mode: two, and one for each box
