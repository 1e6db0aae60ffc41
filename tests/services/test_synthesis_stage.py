"""Drawing samples for a cycle: what is kept, what it says of itself, and what is never used."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from services.context import Context
from services.cycle import cycles
from services.db import sides
from services.db.tables import (
    Annotation,
    CandidateRow,
    Cycle,
    CycleState,
    DatasetVersion,
    FailureRow,
    GeneratedRow,
    HarmRow,
    Image,
    ModeRow,
    Role,
    SampleState,
    Unit,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.models import datasets
from services.stages import synthesize
from services.synthesis import material, provenance, samples
from services.synthesis.scope import read_scope
from services.units import Claim
from services.units.pipeline import StageContext
from services.units.resident import Resident
from services.upkeep.invariants import files, loop
from services.upkeep.invariants import rows as invariant_rows
from tests.services.drawn_world import (
    HEIGHT,
    WIDTH,
    Champion,
    begin,
    cycle_of,
    make_world,
    park,
    rows,
    work,
)


@pytest.fixture
def drawn(sqlite_context: Context) -> tuple[Context, int]:
    """A cycle for which samples have been drawn."""
    context, cycle_id = make_world(sqlite_context)
    begin(context, cycle_id)
    assert work(context) == "done"
    return context, cycle_id


def kept(context: Context) -> list[GeneratedRow]:
    return [row for row in rows(context) if row.state == SampleState.KEPT]


def items(context: Context, version: DatasetVersion) -> dict[str, str]:
    """Who drew each image of a dataset version."""
    return {one.image: one.generated for one in datasets.read_version(context, version).items}


def test_samples_reproduce_the_failure_and_are_trained_on(drawn: tuple[Context, int]) -> None:
    context, cycle_id = drawn
    own = kept(context)
    assert own
    assert all(row.score_before > 0.9 and row.score_after < 0.65 for row in own)  # type: ignore[operator]
    versions = datasets.build_versions(context, cycle_id)
    assert versions.drawn is not None  # the frames that teach are new as well
    assert not any(items(context, versions.first).values())
    told = items(context, versions.drawn)
    assert {image for image, who in told.items() if who} == {row.image_id for row in own}
    assert (versions.first.generated, versions.drawn.generated) == (0, len(own))
    assert next(who for who in told.values() if who).startswith("compose:")
    assert cycle_of(context, cycle_id).state == CycleState.TRAINING
    found = files.images(context, None, lambda *_: None)
    assert not [one for one in found if any(row.image_id[:12] in one.found for row in own)]
    assert list(loop.cycles(context)) == []


def test_what_the_pool_lacks_is_trained_on_alone(sqlite_context: Context) -> None:
    """No label, no frame with truth: what was drawn is all that is new, and one training enough."""
    context, cycle_id = make_world(sqlite_context, truth=False)
    begin(context, cycle_id)
    assert cycle_of(context, cycle_id).state == CycleState.LABELLING
    assert work(context) == "done"
    assert cycle_of(context, cycle_id).state == CycleState.TRAINING
    versions = datasets.build_versions(context, cycle_id)
    assert versions.drawn is None  # the champion is the model without them
    assert versions.first.generated == len(kept(context)) > 0


def test_every_sample_says_who_made_it_from_what(drawn: tuple[Context, int]) -> None:
    context, cycle_id = drawn
    row = kept(context)[0]
    with context.sessions() as session:
        told = samples.told(session, row)
        data = samples.picture(context, session, row)
        image = session.get_one(Image, row.image_id)
        label = session.scalars(select(Annotation).where(Annotation.image_id == image.id)).one()
        failure = session.get_one(FailureRow, row.failure_id)
        harm = session.get_one(HarmRow, row.harm_id)
    assert image.role == Role.GENERATED
    assert label.author == "synthesis:compose"
    assert label.origin == row.failure_id
    assert harm.image_id == failure.image_id
    assert harm.mask["size"] == [96, 128]
    assert harm.light
    found = provenance.read_png(data)
    assert found is not None
    said, is_true = found
    assert is_true
    assert provenance.record_of(said) == row.record
    for name in ("key", "seed", "generator", "generator_version", "failure_id", "model_id"):
        assert said[name] == told[name]
    assert said["parents"] == [
        {"image": told["donor"]["image_id"], "role": "train", "part": "donor"},
        {"image": told["harm"]["image_id"], "role": "field", "part": "harm"},
    ]
    assert {check["name"] for check in told["checks"]} >= {"integrity", "parents"}
    assert told["decided_by"] == "checks"
    assert told["cycle_id"] == cycle_id


def test_no_judge_and_no_evaluation_image_gives_pixels(sqlite_context: Context) -> None:
    context, cycle_id = make_world(sqlite_context)
    with context.sessions.begin() as session:  # as if an image had been moved past the program
        seeds = session.scalars(select(Image).where(Image.role == Role.SEED)).all()
        for image in seeds[:4]:
            image.role = Role.HOLDOUT
        moved = {image.id for image in seeds[:4]}
    begin(context, cycle_id)
    assert work(context) == "done"
    with context.sessions() as session:
        judges = set(
            session.scalars(select(Image.id).where(Image.role == Role.FIELD, sides.is_judged()))
        )
        frames = set(session.scalars(select(HarmRow.image_id)))
    donors = {row.donor_id for row in rows(context)}
    assert donors
    assert not donors & moved
    assert len(judges) == 2
    assert not frames & judges


def test_a_parent_that_was_made_a_judge_is_told(drawn: tuple[Context, int]) -> None:
    context, _ = drawn
    assert list(invariant_rows.drawn(context)) == []
    row = kept(context)[0]
    with context.sessions.begin() as session:
        session.get_one(Image, row.donor_id).role = Role.HOLDOUT
    assert {one.what for one in invariant_rows.drawn(context)} == {"drawn"}
    assert f"sample {row.id} " in next(iter(invariant_rows.drawn(context))).found


def test_no_more_pictures_are_held_than_the_bound_says(
    sqlite_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of it for known objects, half for frames; what is drawn then is drawn of those."""
    monkeypatch.setattr(material, "MOST_PIXELS", 2 * 3 * WIDTH * HEIGHT)
    context, cycle_id = make_world(sqlite_context)
    loaded = material.load(context, read_scope(context, cycle_id), Champion())  # type: ignore[arg-type]
    assert len({one.image for one in loaded.donors}) == 3
    assert len(loaded.misses) == 3


def test_a_unit_that_two_workers_drew_is_stored_once(sqlite_context: Context) -> None:
    """One that was thought dead, and the one after it: the same bytes, and one row each."""
    context, cycle_id = make_world(sqlite_context, candidates=1)
    begin(context, cycle_id)
    resident = Resident()
    resident.get(f"detector:{1:064x}", Champion)
    claim = Claim(0, 1, "synthesize", {"cycle": cycle_id, "round": 0}, 1, cycle_id)
    stage = StageContext(context, resident, lambda: None)
    stores = [synthesize.run(stage, claim) for _ in range(2)]
    with context.sessions.begin() as session:
        first = stores[0](session)
    before = [(row.id, row.key, row.image_id) for row in rows(context)]
    with context.sessions.begin() as session:
        assert stores[1](session) == first | {"samples": 0}
    assert first["samples"] == len(before) > 0
    assert [(row.id, row.key, row.image_id) for row in rows(context)] == before
    pictures = list((context.project.images).rglob("*.png"))
    assert len(pictures) == 16 + 6 + first["kept"]  # the second wrote the same files


def test_withdrawn_samples_leave_further_versions(drawn: tuple[Context, int]) -> None:
    context, cycle_id = drawn
    first = datasets.build_version(context)
    own = kept(context)
    with context.sessions.begin() as session:
        assert samples.withdraw(session, "anna", "too dark", ids=[own[0].id]) == 1
    assert own[0].image_id not in items(context, datasets.build_version(context))
    assert own[0].image_id in items(context, first)
    with context.sessions.begin() as session:
        assert samples.withdraw(session, "anna", generator="compose") == len(own) - 1
        assert samples.withdraw(session, "anna", cycle=cycle_id) == 0
        with pytest.raises(NotFound, match="by nobody"):
            samples.withdraw(session, "anna", generator="nobody")
        with pytest.raises(InvalidRequest, match="one of these only"):
            samples.withdraw(session, "anna", cycle=1, generator="compose")
    assert not any(items(context, datasets.build_version(context)).values())
    refused = next(row for row in rows(context) if row.image_id is None)
    with context.sessions.begin() as session:
        assert samples.accept(session, [own[0].id], "anna") == 1  # it comes back
        with pytest.raises(Conflict, match="refused by a check"):
            samples.accept(session, [refused.id], "anna")
    assert list(filter(None, items(context, datasets.build_version(context)).values()))
    with context.sessions.begin() as session:
        assert samples.withdraw(session, "anna", "the whole cycle", cycle=cycle_id) == 1
    assert not any(items(context, datasets.build_version(context)).values())
    assert own[0].image_id in items(context, first)  # what was trained on can still be told


def test_what_a_person_shall_look_at_waits(sqlite_context: Context) -> None:
    context, cycle_id = make_world(sqlite_context, truth=False, review="person")
    begin(context, cycle_id)
    assert work(context) == "done"
    waiting = [row for row in rows(context) if row.state == SampleState.DRAWN]
    assert waiting
    cycle = cycle_of(context, cycle_id)
    assert cycle.state == CycleState.DONE
    assert f"{len(waiting)} drawn samples wait for a person" in str(cycle.error)
    assert not any(items(context, datasets.build_version(context)).values())
    with context.sessions.begin() as session:
        samples.accept(session, [waiting[0].id], "anna")
        samples.refuse(session, [waiting[1].id], "anna", "a ghost")
    told = items(context, datasets.build_version(context))
    assert [image for image, who in told.items() if who] == [waiting[0].image_id]


def test_controls_come_with_them_and_a_mode_that_does_not_work_gets_none(
    sqlite_context: Context,
) -> None:
    context, cycle_id = make_world(sqlite_context, controls=0.5, budget_images=8)
    begin(context, cycle_id)
    assert work(context) == "done"
    (mode,) = cycle_of(context, cycle_id).drawing["modes"]  # type: ignore[index]
    assert mode["works"]
    assert mode["difference"] > 0.2
    assert {row.staging for row in kept(context)} == {"surround", "control"}


def test_no_more_than_the_share_of_the_training_images(sqlite_context: Context) -> None:
    context, cycle_id = make_world(sqlite_context, max_share=0.15, budget_images=99)
    begin(context, cycle_id)
    assert work(context) == "done"
    own = kept(context)
    assert 0 < len(own) / (len(own) + 16) <= 0.15


@pytest.mark.parametrize("kind", ["parked", "late", "stopped"])
def test_a_cycle_goes_on_without_what_is_not_there(sqlite_context: Context, kind: str) -> None:
    wait_s = 0.0 if kind == "late" else 3600.0
    context, cycle_id = make_world(sqlite_context, wait_s=wait_s)
    begin(context, cycle_id)
    if kind == "parked":
        assert cycle_of(context, cycle_id).state == CycleState.LABELLING
        park(context, "synthesize", "out_of_memory", "Traceback\nCUDA out of memory")
    elif kind == "stopped":
        with context.sessions.begin() as session:
            cycles.train_with_what_is_there(session, context, cycle_id)
    cycle = cycle_of(context, cycle_id)
    assert cycle.state == CycleState.TRAINING  # on the frames that teach, which have their truth
    assert "without drawn samples" in str(cycle.note)
    assert ("CUDA out of memory" in str(cycle.note)) == (kind == "parked")


def test_an_unknown_generator_parks_the_unit_and_says_which_there_are(
    sqlite_context: Context,
) -> None:
    context, cycle_id = make_world(sqlite_context, generator="dream")
    begin(context, cycle_id)
    assert work(context) == "dead"
    assert "there are bridge, compose" in str(cycle_of(context, cycle_id).note)
    assert cycle_of(context, cycle_id).state == CycleState.TRAINING


def test_modes_that_the_pool_has_images_of_are_left_to_it(sqlite_context: Context) -> None:
    context, cycle_id = make_world(sqlite_context, modes="lacking", least_failures=7)
    (few,) = read_scope(context, cycle_id).modes
    assert few.why == "only 6 failures (`synthesis.least_failures`)"
    wanted = context.settings.synthesis.model_copy(update={"least_failures": 6})
    settings = context.settings.model_copy(update={"synthesis": wanted})
    context = Context(settings, context.project, context.engine, context.sessions)
    assert read_scope(context, cycle_id).why == ""
    with context.sessions.begin() as session:
        mode = session.scalars(select(ModeRow.id)).one()
        image = session.scalars(select(Image.id).where(Image.role == Role.SEED)).first()
        session.add(
            CandidateRow(
                cycle_id=cycle_id, image_id=image, mode_id=mode, rank=1, score=0.9, reasons=[]
            )
        )
    scope = read_scope(context, cycle_id)
    assert scope.why == scope.modes[0].why
    assert "1 images were asked for" in scope.why


def test_nothing_is_asked_for_where_it_is_off(sqlite_context: Context) -> None:
    context, cycle_id = make_world(sqlite_context, enabled=False)
    begin(context, cycle_id)
    with context.sessions() as session:
        assert session.scalar(select(Unit.id).where(Unit.kind == "synthesize")) is None
        assert session.get_one(Cycle, cycle_id).state == CycleState.TRAINING
