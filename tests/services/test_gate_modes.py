"""Failure modes at the gate: which it decides by, and that who made a failure is wrong on it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from curation.modes.dealing import Side
from services.db import sides
from services.db.tables import (
    CandidateRow,
    Cycle,
    FailureRow,
    Image,
    ModeMember,
    ModeRow,
    ModeSighting,
    Role,
    Unit,
)
from services.models import registry
from services.units.resident import Resident
from services.worker import shell
from tests.services.builders import make_image
from tests.services.field_frames import PHANTOM, Field, blind
from tests.services.judged_models import add_gating_cycle, add_holdout, add_report
from tests.tiny_ssd import tiny_ssd

DISCS, SQUARE = "missed disc 1", "missed square 1"
"""What the champion misses: the challenger finds the discs, and the square no better."""
TARGETED = "targeted modes"


def judged(
    lite: Field, asked: str, teaches: bool = False
) -> tuple[dict[str, Any], dict[str, tuple[float | None, float | None]]]:
    """A cycle at its gate that asked an image for a mode: the checks, and the modes' figures.

    The champion shows nothing. The challenger shows a disc less than there are, beside another.
    ``teaches``: the one frame is trained on, so that no mode has a frame that may judge it.
    """
    lite.add_model(2, blind())
    lite.promote(2)
    lite.add_model(3, tiny_ssd())
    x1, y1, x2, y2 = lite.shown[0]["box"]
    beside = {**lite.shown[0], "box": [x1, y1, x2 - 0.1 * (x2 - x1), y2 - 0.1 * (y2 - y1)]}
    lite.say(objects=[beside, *lite.shown, PHANTOM])
    lite.scan()
    with lite.context.sessions.begin() as session:
        add_holdout(session)
        models = [registry.find(session, number) for number in "23"]
        for model in models:
            add_report(session, lite.context, model, 0.5)
        number, unit = add_gating_cycle(session, *models)
        modes = {name: _mode(session, number, name) for name in (DISCS, SQUARE)}
        if teaches:
            frame = session.scalars(select(Image).where(Image.role == Role.FIELD)).one()
            sides.keep(session, number, {sides.group_of(frame): Side.PARENT})
        session.add(image := make_image(77))
        session.flush()
        session.add(
            CandidateRow(
                cycle_id=number, image_id=image.id, mode_id=modes[asked], rank=0, score=1.0
            )
        )
    outcome = shell.run(lite.context, Resident(), unit, "test")
    with lite.context.sessions() as session:
        assert outcome == "done", session.get_one(Unit, unit).error
        decision = session.get_one(Cycle, number).decision or {}
        seen = session.scalars(select(ModeSighting)).all()
        names = {number: name for name, number in modes.items()}
        found = {names[one.mode_id]: (one.found_before, one.found_after) for one in seen}
    return {check["name"]: check for check in decision["checks"]}, found


def _mode(session: Any, cycle_id: int, name: str) -> int:
    label = name.split()[1]
    mode = ModeRow(name=name, family="missed", label=label, opened_cycle_id=cycle_id)
    session.add(mode)
    session.flush()
    rows = session.scalars(select(FailureRow).where(FailureRow.label == label)).all()
    sighting = ModeSighting(
        cycle_id=cycle_id, mode_id=mode.id, key=label, kind="false_negative", size=len(rows)
    )
    session.add(sighting)
    session.flush()
    session.add_all(ModeMember(sighting_id=sighting.id, failure_id=row.id) for row in rows)
    return int(mode.id)


@pytest.mark.parametrize(
    ("asked", "passed", "said"),
    [
        (SQUARE, False, f"0 of 1 improved; the best is {SQUARE}"),
        (DISCS, True, f"1 of 1 improved; the best is {DISCS}"),
    ],
)
def test_only_a_mode_that_images_were_asked_for_counts(
    lite: Field, asked: str, passed: bool, said: str
) -> None:
    checks, found = judged(lite, asked)
    assert (checks[TARGETED]["passed"], checks[TARGETED]["reason"]) == (passed, said)
    discs = len(lite.shown) + 1
    assert found == {DISCS: (0.0, pytest.approx((discs - 1) / discs)), SQUARE: (0.0, 0.0)}


def test_a_frame_that_taught_decides_nothing(lite: Field) -> None:
    checks, found = judged(lite, DISCS, teaches=True)
    check = checks[TARGETED]
    assert check["passed"] is None
    assert check["reason"] == "skipped: no frame is left to judge those that were"
    assert found == {DISCS: (None, None), SQUARE: (None, None)}
