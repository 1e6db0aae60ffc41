"""On pictures of the street world the index's proposal and a walk of the pool choose the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from curation.kernel.types import Detections
from curation.select import Candidate, Need, plan
from curation.select.e2x import E2XSelection
from services import units
from services.cli.cycle_output import to_look_at
from services.config import builders
from services.context import Context
from services.db.tables import FailureState, Model, Role, Unit, UnitState
from services.demo.street import WorldConfig, generate
from services.errors import InvalidRequest
from services.report import predictor
from services.selection import pool_scores
from services.selection.choose import Terms, choose
from services.selection.outlook import read_plan
from services.units.requests import request_embed
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import add_champion, make_failure
from tests.services.report_project import add_photo
from tests.tiny_ssd import CLASS_NAMES, tiny_ssd

POOL, FRAMES = 12, 3


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Context]:
    """A champion that misses three objects of a street, and twelve street images as pool."""
    folder = tmp_path_factory.mktemp("street")
    database = folder / "e2x.db"
    database.write_bytes(sqlite_template.read_bytes())
    context = make_context(
        folder / "project",
        f"sqlite:///{database}",
        selection={"encoder_height_px": 64, "encoder_width_px": 96},
        explanation={"num_samples": 4, "num_segments": 40},
    )
    with context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = list(CLASS_NAMES)
        tiny_ssd().save(context.project.root / champion.folder)
        pool = [
            add_photo(session, context, scene.image, Role.POOL, f"pool-{number}.jpg").id
            for number, scene in enumerate(generate(WorldConfig(), "pool", POOL, seed=3))
        ]
        request_embed(session, sorted(pool), 32)
        planted = WorldConfig(field_share=1.0)
        field = [one for one in generate(planted, "field", 12, seed=3) if len(one.truth.labels)]
        for number, scene in enumerate(field[:FRAMES]):
            frame = add_photo(session, context, scene.image, Role.FIELD, f"field-{number}.jpg")
            box = [round(float(value)) for value in scene.truth.boxes_xyxy[0]]
            found = FailureState.FOUND
            failure = make_failure(number, frame, champion, label="disc", state=found, box=box)
            session.add(failure)
            session.flush()
            payload = {"image": frame.id, "model": champion.id}
            units.enqueue(session, "explain", f"explain:{number}", payload)
    work(context)
    yield context
    context.engine.dispose()


def work(context: Context) -> None:
    """Do all queued units as a worker does, until none is left."""
    resident = Resident()
    while True:
        with context.sessions() as session:
            unit = session.scalar(select(Unit).where(Unit.state == UnitState.QUEUED).limit(1))
        if unit is None:
            return
        assert shell.run(context, resident, unit.id, "test") == "done", unit.kind


def seen(context: Context) -> tuple[Model, dict[str, Detections]]:
    """The champion, and what it finds in the whole pool."""
    with context.sessions() as session:
        champion = session.scalars(select(Model)).one()
    images = pool_scores.unknown(context, {})
    return champion, pool_scores.score(context, champion, images, predictor(context), lambda: None)


def test_a_proposal_of_the_whole_pool_chooses_what_a_walk_does(
    street: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, scores = seen(street)
    assert sum(len(one.above(0.02)) for one in scores.values()), "nothing is compared by detections"
    embedder = builders.region_embedder(street.settings, builders.load_encoder(street.settings))

    def chosen() -> list[Candidate]:
        found = choose(street, champion, embedder, scores, Terms("e2x", 0, 900), set())
        assert not found.unseen
        assert len(found.modes) >= 1
        return found.candidates

    asked_index = chosen()
    whole = property(lambda policy: frozenset(Need))
    monkeypatch.setattr(E2XSelection, "needs", whole)
    walked = chosen()
    assert asked_index
    assert [one.image for one in asked_index] == [one.image for one in walked]
    assert [one.mode for one in asked_index] == [one.mode for one in walked]
    assert [one.reason for one in asked_index] == [one.reason for one in walked]
    assert [one.score for one in asked_index] == pytest.approx([one.score for one in walked])


def test_the_plan_says_what_a_policy_looks_at(street: Context) -> None:
    with street.sessions() as session:
        walks = read_plan(session, street, "entropy")
        asks = read_plan(session, street, "e2x", 1)
    assert (walks.policy, walks.walks_pool, walks.images_to_look_at) == ("entropy", True, POOL)
    assert (asks.policy, asks.walks_pool, asks.images_to_look_at) == ("e2x", False, POOL)
    assert to_look_at(walks) == f"all {POOL} pool images: entropy compares every one"
    slow = replace(walks, minutes_to_look=12.4)
    assert to_look_at(slow) == f"{to_look_at(walks)}, about 12 minutes of one worker"
    assert to_look_at(asks) == f"at most {POOL} pool images that the index proposes"


def test_a_proposal_is_bounded_by_failures_and_budget(
    street: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SHORTLIST", 2)
    with street.sessions() as session:
        asks = read_plan(session, street, "e2x", 1)
        with pytest.raises(InvalidRequest, match="there are core_set, "):
            read_plan(session, street, "best")
    assert asks.images_to_look_at == FRAMES * (2 + 1)
    assert asks.to_dict()["walks_pool"] is False
