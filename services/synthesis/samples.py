"""Drawn samples one by one and in sets: found, accepted, refused, withdrawn.

A sample that leaves does so for further dataset versions. Models that have learned from it keep
their manifest, so that what they know can still be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from services.accounts import audit
from services.context import Context
from services.db.base import utc_now
from services.db.parts import in_parts
from services.db.tables import (
    Cycle,
    DatasetVersion,
    GeneratedRow,
    HarmRow,
    Image,
    Model,
    ModeRow,
    SampleState,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.models import datasets
from services.store.storage import image_bytes

GATE = "gate"
_FROM = {
    SampleState.KEPT: (SampleState.DRAWN, SampleState.REFUSED, SampleState.WITHDRAWN),
    SampleState.REFUSED: (SampleState.DRAWN, SampleState.KEPT),
    SampleState.WITHDRAWN: (SampleState.KEPT, SampleState.DRAWN),
}
"""From which states a person may put a sample into another."""


def find(session: Session, sample_id: int) -> GeneratedRow:
    """A drawn sample by number.

    Raises:
        NotFound: there is none.
    """
    row = session.get(GeneratedRow, sample_id)
    if row is None:
        raise NotFound(f"no drawn sample {sample_id}: see `e2x synthesis list`")
    return row


def accept(session: Session, ids: Sequence[int], who: str, note: str = "") -> int:
    """Keep samples: they join the next dataset version. What is kept already stays so.

    Args:
        session: the caller's transaction.
        ids: of samples that have a picture.
        who: decides.
        note: why.

    Returns:
        How many have changed.

    Raises:
        NotFound: there is no such sample; nothing is changed.
        Conflict: one was refused by a check, so that there is no picture of it.
    """
    return _decide(session, ids, SampleState.KEPT, who, note)


def refuse(session: Session, ids: Sequence[int], who: str, note: str = "") -> int:
    """Refuse samples that passed the checks; args, result and errors as of :func:`accept`."""
    return _decide(session, ids, SampleState.REFUSED, who, note)


def withdraw(
    session: Session,
    who: str,
    note: str = "",
    *,
    ids: Sequence[int] = (),
    cycle: int | None = None,
    generator: str | None = None,
) -> int:
    """Take samples out of further versions: some of them, a cycle's or a generator's.

    Args:
        session: the caller's transaction.
        who: decides.
        note: why.
        ids: of samples.
        cycle: all that were drawn for it.
        generator: all that it drew: its name, or ``name:version``.

    Returns:
        How many have changed.

    Raises:
        InvalidRequest: nothing was named, or more than one way.
        NotFound: there is no such sample, cycle or generator.
    """
    if sum((bool(ids), cycle is not None, generator is not None)) != 1:
        raise InvalidRequest("name samples, a cycle or a generator, and one of these only")
    if ids:
        return _decide(session, ids, SampleState.WITHDRAWN, who, note)
    named = _of_generator(generator) if generator is not None else GeneratedRow.cycle_id == cycle
    if session.scalar(select(GeneratedRow.id).where(named).limit(1)) is None:
        whose = f"by {generator}" if generator is not None else f"for cycle {cycle}"
        raise NotFound(f"no sample was drawn {whose}: see `e2x synthesis list`")
    rows = _locked(session, named, GeneratedRow.state.in_(_FROM[SampleState.WITHDRAWN]))
    return _put(session, rows, SampleState.WITHDRAWN, who, note)


def _of_generator(generator: str) -> ColumnElement[bool]:
    name, _, version = generator.partition(":")
    by_name: ColumnElement[bool] = GeneratedRow.generator == name
    return by_name & (GeneratedRow.generator_version == version) if version else by_name


def turn_down(session: Session, cycle_id: int, why: str) -> int:
    """The gate takes out what a cycle's champion has not learned from; how many samples."""
    rows = _locked(session, *_new_to(session, session.get_one(Cycle, cycle_id)))
    return _put(session, rows, SampleState.WITHDRAWN, GATE, why)


def are_all_that_is_new(session: Session, cycle: Cycle) -> bool:
    """Whether a cycle's training differed from its champion's by drawn samples alone.

    Where there is anything else, or a setting said so, it was trained with and without them, or
    nobody can say what a failure is due to.
    """
    new = session.scalar(select(func.count()).where(*_new_to(session, cycle)))
    if not new or cycle.boxes_labelled:
        return False
    return not datasets.fresh_frames(session, cycle.champion_id)


def _new_to(session: Session, cycle: Cycle) -> tuple[ColumnElement[bool], ...]:
    """Kept samples that came after the champion's training and before the challenger's."""
    champion = session.get_one(Model, cycle.champion_id)
    since = datasets.taught_until(session, champion)
    own = cycle.dataset_version_id and session.get(DatasetVersion, cycle.dataset_version_id)
    until: datetime = own.created_at if own else utc_now()
    return (
        GeneratedRow.state == SampleState.KEPT,
        GeneratedRow.decided_at > since,
        GeneratedRow.decided_at <= until,
    )


def allowed(row: GeneratedRow) -> tuple[str, ...]:
    """What a person may decide about a sample now; nothing where there is no picture of it."""
    if row.image_id is None:
        return ()
    words = {
        SampleState.KEPT: "accept",
        SampleState.REFUSED: "refuse",
        SampleState.WITHDRAWN: "withdraw",
    }
    waiting = SampleState.DRAWN
    return tuple(
        word
        for state, word in words.items()
        if row.state in _FROM[state] and (word != "withdraw" or row.state != waiting)
    )


def _decide(session: Session, ids: Sequence[int], state: SampleState, who: str, note: str) -> int:
    rows = _locked(session, GeneratedRow.id.in_(sorted(set(ids))))
    missing = set(ids) - {row.id for row in rows}
    if missing:
        raise NotFound(f"no drawn sample {min(missing)}: see `e2x synthesis list`")
    for row in rows:
        if row.image_id is None:
            raise Conflict(
                f"sample {row.id} was refused by a check ({row.reason}), there is no picture of it"
            )
        if row.state not in (state, *_FROM[state]):
            raise Conflict(f"sample {row.id} is {row.state}, it cannot be {state}")
    return _put(session, [row for row in rows if row.state != state], state, who, note)


def _locked(session: Session, *conditions: ColumnElement[bool]) -> list[GeneratedRow]:
    """Rows as they are now, held until the transaction ends, in the order of their numbers."""
    query = select(GeneratedRow).where(*conditions).order_by(GeneratedRow.id).with_for_update()
    return list(session.scalars(query.execution_options(populate_existing=True)))


def _put(
    session: Session, rows: Sequence[GeneratedRow], state: SampleState, who: str, note: str
) -> int:
    now = utc_now()
    for row in rows:
        audit.record(session, f"sample.{state}", f"sample:{row.id}", was=row.state, note=note[:500])
        row.state, row.reason, row.decided_by, row.decided_at = state, note, who[:120], now
    session.flush()
    return len(rows)


def told(session: Session, row: GeneratedRow) -> dict[str, Any]:
    """Who made a sample, from what, with which seed, and why it was kept."""
    harm = session.get_one(HarmRow, row.harm_id)
    mode = session.get_one(ModeRow, row.mode_id)
    donor, frame = (session.get_one(Image, one) for one in (row.donor_id, harm.image_id))
    return {
        "id": row.id,
        "key": row.key,
        "state": row.state,
        "reason": row.reason,
        "decided_by": row.decided_by,
        "decided_at": row.decided_at,
        "cycle_id": row.cycle_id,
        "mode_id": row.mode_id,
        "mode": mode.name,
        "failure_id": row.failure_id,
        "model_id": row.model_id,
        "image_id": row.image_id,
        "staging": row.staging,
        "generator": row.generator,
        "generator_version": row.generator_version,
        "parameters": row.parameters,
        "libraries": row.libraries,
        "seed": row.seed,
        "donor": {
            "image_id": donor.id,
            "role": donor.role,
            "name": donor.name,
            "box": row.donor_box,
        },
        "box": row.box or row.donor_box,
        "harm": {
            "id": harm.id,
            "image_id": frame.id,
            "role": frame.role,
            "name": frame.name,
            "failure_id": harm.failure_id,
            "box": harm.box,
            "label": harm.label,
            "light": harm.light,
            "vacant": harm.vacant,
            "colours": harm.colours,
            "mask": harm.mask,
        },
        "score_before": row.score_before,
        "score_after": row.score_after,
        "checks": row.checks,
        "record": row.record,
        "seconds": row.seconds,
        "created_at": row.created_at,
    }


def names_of(session: Session, rows: Sequence[GeneratedRow]) -> dict[int, str]:
    """Names of the modes of some samples, by number."""
    found: dict[int, str] = {}
    for part in in_parts(sorted({row.mode_id for row in rows})):
        query = select(ModeRow.id, ModeRow.name).where(ModeRow.id.in_(part))
        found |= {row.id: row.name for row in session.execute(query)}
    return found


def picture(context: Context, session: Session, row: GeneratedRow) -> bytes:
    """The picture file of a sample, which carries its provenance.

    Raises:
        NotFound: a check has refused it, so that there is none, or the file is lost.
    """
    if row.image_id is None:
        raise NotFound(f"sample {row.id} was refused by a check, there is no picture of it")
    image = session.get_one(Image, row.image_id)
    try:
        return image_bytes(context, image)
    except FileNotFoundError as error:
        raise NotFound(
            f"the picture of sample {row.id} is lost: put {image.file} back from a backup"
        ) from error
