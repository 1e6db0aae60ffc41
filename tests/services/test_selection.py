"""What a selection does where files are lost, images cannot be read and the budget is too small."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from curation.select import Need, get, names
from services.config import builders
from services.context import Context
from services.cycle import cycles
from services.db.tables import (
    CandidateRow,
    Cycle,
    CycleState,
    Embedding,
    Explanation,
    Image,
    ModeMember,
    Role,
)
from services.selection.choose import Terms, choose
from services.selection.pool_scores import read_pool_scores
from services.store.storage import write_npz
from tests.services.builders import finish_units
from tests.services.mode_loop import ModeLoop

POLICIES = ("e2x", "random", "talisman")


def lose(path: Path) -> None:
    path.unlink()


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: tuple[Callable[[Path], None], ...] = (lose, tear, empty)


@pytest.fixture
def loop(sqlite_context: Context) -> ModeLoop:
    """Six failures of two causes, and a pool of twelve images."""
    loop = ModeLoop(sqlite_context, pool=12)
    loop.scan(range(6), {number: number % 2 for number in range(6)})
    return loop


def pool_of(context: Context) -> list[str]:
    with context.sessions() as session:
        query = select(Image.id).where(Image.role == Role.POOL).order_by(Image.id)
        return list(session.scalars(query))


def look(context: Context, cycle: int, images: Iterable[str], objects: int) -> None:
    """Store that the champion looked at these images alone and sees so many objects in each."""
    looked = list(images)
    count = len(looked) * objects
    boxes = np.tile(np.array([[1, 1, 30, 30]], np.float32), (count, 1))
    boxes += np.tile(np.arange(objects, dtype=np.float32), len(looked))[:, None]
    write_npz(
        context.project.runs / f"cycle-{cycle}" / "pool-00000.npz",
        images=np.array(looked),
        counts=np.full(len(looked), objects, np.int64),
        boxes=boxes,
        scores=np.tile(np.linspace(0.9, 0.6, objects, dtype=np.float32), len(looked)),
        labels=np.ones(count, np.int64),
        default_boxes=np.zeros(count, np.int64),
    )


def cycle_of(
    loop: ModeLoop, policy: str, budget: int, seen: Iterable[str] = (), objects: int = 9
) -> Cycle:
    """Start a cycle and let it select; the champion sees ``objects`` in each image of ``seen``."""
    context, seen = loop.context, list(seen)
    with context.sessions.begin() as session:
        number = cycles.start(session, context, policy=policy, budget_boxes=budget).id
        finish_units(session, context, "score_pool", {})
        if seen:
            look(context, number, seen, objects)
        cycles.advance(session, context, number)
    loop.work_select(number)
    with context.sessions() as session:
        return session.get_one(Cycle, number)


def asked_for(context: Context, cycle: Cycle) -> list[str]:
    with context.sessions() as session:
        query = select(CandidateRow.image_id).where(CandidateRow.cycle_id == cycle.id)
        return list(session.scalars(query.order_by(CandidateRow.rank)))


def file_of(context: Context, image_id: str) -> Path:
    with context.sessions() as session:
        return context.project.images / session.get_one(Image, image_id).file


# --- lost files


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_failure_whose_explanation_is_lost_asks_for_nothing(
    loop: ModeLoop, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    context = loop.context
    with context.sessions() as session:
        lost = session.scalars(select(Explanation).order_by(Explanation.id)).first()
        assert lost is not None
    damage(context.project.explanations / lost.file)

    cycle = cycle_of(loop, "whole_image", 4)

    assert cycle.state == CycleState.LABELLING
    assert asked_for(context, cycle)
    with context.sessions() as session:
        members = set(session.scalars(select(ModeMember.failure_id)))
    assert len(members) == 5
    assert lost.failure_id not in members
    assert lost.failure_id in caplog.text
    assert lost.file in caplog.text
    assert "backup" in caplog.text


def test_a_cycle_without_any_explanation_ends_with_its_reason(loop: ModeLoop) -> None:
    for file in loop.context.project.explanations.glob("**/*.npz"):
        lose(file)
    cycle = cycle_of(loop, "random", 4)
    assert cycle.state == CycleState.DONE
    assert "no explained failure" in str(cycle.error)


@pytest.mark.parametrize(
    ("policy", "damage"),
    [("e2x", lose), ("core_set", tear), ("whole_image", empty)],
)
def test_images_whose_vectors_are_lost_take_no_part(
    loop: ModeLoop,
    policy: str,
    damage: Callable[[Path], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    context, pool = loop.context, pool_of(loop.context)
    folder = context.project.embeddings
    with context.sessions.begin() as session:
        whole = session.scalars(select(Embedding.file).distinct()).one()
        apart = whole.replace(".npz", "-apart.npz")
        (folder / apart).write_bytes((folder / whole).read_bytes())
        mine = Embedding.image_id.in_(pool[:8])
        session.execute(update(Embedding).where(mine).values(file=apart))
    damage(folder / apart)

    cycle = cycle_of(loop, policy, 40, pool, objects=2)

    assert cycle.state == CycleState.LABELLING
    assert set(asked_for(context, cycle)) == set(pool[8:])
    told = [one.getMessage() for one in caplog.records if apart in one.getMessage()]
    assert len(told) == 1
    assert "8 images" in told[0]
    assert "backup" in told[0]


@pytest.mark.parametrize("policy", ["random", "entropy", "talisman"])
def test_vectors_that_a_policy_does_not_need_are_not_read(
    loop: ModeLoop, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    context, pool = loop.context, pool_of(loop.context)
    for file in context.project.embeddings.glob("*/*.npz"):
        lose(file)
    cycle = cycle_of(loop, policy, 40, pool, objects=2)
    assert set(asked_for(context, cycle)) == set(pool)
    assert "left out of the selection" not in caplog.text


# --- images that cannot be read


@pytest.mark.parametrize("policy", POLICIES)
def test_an_image_that_cannot_be_read_is_not_asked_for(
    loop: ModeLoop, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    context, pool = loop.context, pool_of(loop.context)
    tear(file_of(context, pool[3]))
    lose(file_of(context, pool[7]))
    cycle = cycle_of(loop, policy, 200, [*pool[:3], *pool[4:7], *pool[8:]])
    assert set(asked_for(context, cycle)) == set(pool) - {pool[3], pool[7]}
    for image_id in (pool[3], pool[7]):
        assert f"image {image_id} is not asked for" in caplog.text


def test_what_an_unreadable_image_would_have_cost_buys_another(loop: ModeLoop) -> None:
    context, pool = loop.context, pool_of(loop.context)
    first = cycle_of(loop, "whole_image", 18)
    whole = asked_for(context, first)
    assert len(whole) == 12  # nobody has looked at any: one box each
    with context.sessions.begin() as session:
        cycles.cancel(session, context, first.id, "test")
    tear(file_of(context, whole[0]))
    seen = set(pool) - {whole[0]}
    again = asked_for(context, cycle_of(loop, "whole_image", 18, seen))
    assert len(again) == 2
    assert whole[0] not in again


def test_a_pool_of_which_nothing_can_be_read_ends_the_cycle(loop: ModeLoop) -> None:
    context = loop.context
    for image_id in pool_of(context):
        lose(file_of(context, image_id))
    cycle = cycle_of(loop, "random", 20)
    assert cycle.state == CycleState.DONE
    assert "can be read" in str(cycle.error)
    embedder = builders.region_embedder(context.settings, builders.load_encoder(context.settings))
    for policy in names():
        if Need.OBJECTS in get(policy).needs and Need.WHOLE_POOL in get(policy).needs:
            continue  # these refuse a pool nobody looked at
        chosen = choose(context, loop.champion(), embedder, {}, Terms(policy, 0, 20))
        assert (chosen.candidates, "can be read" in chosen.note) == ([], True), policy


@pytest.mark.parametrize("policy", ["e2x", "random"])
def test_nobody_has_looked_at_an_image_it_costs_what_others_do(loop: ModeLoop, policy: str) -> None:
    """Such as one that came while the cycle was running already."""
    context, pool = loop.context, pool_of(loop.context)
    cycle = cycle_of(loop, policy, 40, pool[:6])
    assert len(asked_for(context, cycle)) == 4


# --- a budget that buys nothing


@pytest.mark.parametrize("policy", ["e2x", "random"])
def test_a_budget_below_the_cheapest_image_is_told(
    loop: ModeLoop, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    cycle = cycle_of(loop, policy, 5, pool_of(loop.context))
    assert cycle.state == CycleState.DONE
    note = str(cycle.error)
    assert note.startswith("nothing to label: ")
    for part in ("5 boxes", "none of the 12 images", "about 9", "selection.budget_boxes"):
        assert part in note
    assert "buys none" in caplog.text  # what `e2x cycle plan` shows on standard error


def test_a_pool_that_was_asked_for_already_is_told(loop: ModeLoop) -> None:
    context = loop.context
    first = cycle_of(loop, "random", 99)
    loop.label(first.id)
    with context.sessions.begin() as session:
        cycles.cancel(session, context, first.id, "test")
    cycle = cycle_of(loop, "random", 99)
    assert cycle.state == CycleState.DONE
    assert "asked for" in str(cycle.error)


def test_a_choice_says_why_it_is_empty(loop: ModeLoop) -> None:
    context = loop.context
    cycle = cycle_of(loop, "random", 5, pool_of(context))
    scores = read_pool_scores(context, cycle.id)
    embedder = builders.region_embedder(context.settings, builders.load_encoder(context.settings))
    empty_one = choose(context, loop.champion(), embedder, scores, Terms("random", 0, 5))
    assert (empty_one.candidates, "buys none" in empty_one.note) == ([], True)
    full = choose(context, loop.champion(), embedder, scores, Terms("random", 0, 9))
    assert (len(full.candidates), full.note) == (1, "")
