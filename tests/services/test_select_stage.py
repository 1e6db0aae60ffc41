"""The selection notices that vectors of the present encoder are missing, and has them made."""

from __future__ import annotations

import numpy as np
from sqlalchemy import select

from curation.kernel.images import encode_png
from services.context import Context
from services.cycle import cycles
from services.db.tables import Cycle, CycleState, Embedding, Image, Role, Unit, UnitState
from services.store.storage import put_image
from services.units.requests import request_embed
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import add_champion, add_holdout_image, finish_units


def _with_pool(context: Context, number: int) -> list[str]:
    """Stored pool images of noise; their ids."""
    rng = np.random.default_rng(0)
    ids = []
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
        for _ in range(number):
            data = encode_png(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))
            stored = put_image(context, data)
            session.add(
                Image(
                    id=stored.id,
                    role=Role.POOL,
                    file=stored.file,
                    name="noise.png",
                    width_px=stored.width_px,
                    height_px=stored.height_px,
                    perceptual_hash=stored.perceptual_hash,
                )
            )
            ids.append(stored.id)
    return ids


def _work(context: Context, kind: str, resident: Resident) -> None:
    """Do all queued units of a kind, as a worker does."""
    with context.sessions() as session:
        waiting = session.scalars(
            select(Unit.id).where(Unit.kind == kind, Unit.state == UnitState.QUEUED)
        ).all()
    assert waiting, f"nothing of kind {kind} was asked for"
    for unit_id in waiting:
        assert shell.run(context, resident, unit_id, "test") == "done"


def _with_encoder(context: Context, height_px: int) -> Context:
    wanted = context.settings.selection.model_copy(
        update={"encoder_height_px": height_px, "encoder_width_px": 96}
    )
    settings = context.settings.model_copy(update={"selection": wanted})
    return Context(settings, context.project, context.engine, context.sessions)


def test_a_changed_encoder_embeds_the_pool_again_before_selecting(sqlite_context: Context) -> None:
    old, new = _with_encoder(sqlite_context, 64), _with_encoder(sqlite_context, 96)
    ids = _with_pool(old, 3)
    with old.sessions.begin() as session:
        request_embed(session, sorted(ids), 32)
    resident = Resident()
    _work(old, "embed", resident)
    _work(old, "index", resident)

    with new.sessions.begin() as session:
        number = cycles.start(session, new, policy="random", budget_boxes=5).id
        finish_units(session, new, "score_pool", {})
        cycles.advance(session, new, number)
    resident.clear()  # a restarted worker, since settings are read at its start
    _work(new, "select", resident)
    with new.sessions() as session:
        assert session.get_one(Cycle, number).state == CycleState.EXPLAINING
    _work(new, "embed", resident)
    _work(new, "index", resident)
    with new.sessions() as session:
        versions = session.scalars(select(Embedding.encoder_version)).all()
        assert session.get_one(Cycle, number).state == CycleState.SELECTING
    assert len(versions) == 6
    assert len(set(versions)) == 2
    _work(new, "select", resident)
    with new.sessions() as session:
        cycle = session.get_one(Cycle, number)
        assert (cycle.state, "nothing to label" in str(cycle.error)) == (CycleState.DONE, True)
