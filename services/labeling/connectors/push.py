"""Tasks out to a tool: leased and written down first, then sent."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import (
    AWAITED,
    Connection,
    Cycle,
    Image,
    LabelTask,
    SentState,
    SentTask,
)
from services.labeling import queue, second_look
from services.labeling.connectors import addresses
from services.labeling.connectors.protocol import Outgoing, Tool

logger = logging.getLogger(__name__)

RENEWED_AT = 3
"""An address is renewed when less than this part of its life is left."""


def again(context: Context, number: int, tool: Tool) -> int:
    """Find or send once more what was leased for the tool, and not known to have arrived."""
    with reading(context.sessions) as session:
        lost = _of_state(session, number, SentState.SENDING)
        last = session.scalars(
            select(SentTask.remote_id).where(
                SentTask.connection_id == number, SentTask.remote_id.is_not(None)
            )
        ).all()
    if not lost:
        return 0
    after = max((int(one) for one in last if one and one.isdigit()), default=None)
    arrived = tool.find({row.task_id for row in lost}, None if after is None else str(after))
    _arrived(context, number, tool, arrived)
    _send(context, number, tool, [row.task_id for row in lost if row.task_id not in arrived])
    return len(lost)


def new(context: Context, number: int, tool: Tool) -> int:
    """Send the most urgent tasks that wait, as many as the tool has room for."""
    with reading(context.sessions) as session:
        waiting = session.scalar(
            select(func.count()).where(
                SentTask.connection_id == number, SentTask.state.in_(AWAITED)
            )
        )
        room = session.get_one(Connection, number).at_once - (waiting or 0)
    if room <= 0:
        return 0
    taken = _lease(context, number, tool.name, room)
    _send(context, number, tool, taken)
    return len(taken)


def _lease(context: Context, number: int, owner: str, room: int) -> list[int]:
    """Lease tasks for the tool and write down which, in one transaction."""
    here = select(SentTask.id).where(
        SentTask.connection_id == number, SentTask.task_id == LabelTask.id
    )
    lease_s = context.settings.labels.tool_lease_s
    with context.sessions.begin() as session:
        tasks = queue.lease(session, owner, room, lease_s, among=~here.exists())
        for task in tasks:
            session.add(
                SentTask(
                    connection_id=number,
                    task_id=task.id,
                    image_id=task.image_id,
                    token=task.token,
                )
            )
        return [task.id for task in tasks]


def _send(context: Context, number: int, tool: Tool, task_ids: Sequence[int]) -> None:
    for part in in_parts(list(task_ids), 100):
        until = utc_now() + timedelta(days=context.settings.labels.picture_days)
        with reading(context.sessions) as session:
            bodies = outgoing(session, number, part, until)
        _good_until(context, number, part, until)  # rather too early a renewal than none
        _arrived(context, number, tool, tool.push(bodies))


def _arrived(context: Context, number: int, tool: Tool, remote: dict[int, str]) -> None:
    """Write down what the tool has; before, that two people shall answer some of it."""
    for part in in_parts(list(remote)):
        with reading(context.sessions) as session:
            twice = second_look.for_two(session, context.settings.labels, part)
        for task_id in twice:
            tool.ask(remote[task_id], 2)
    with context.sessions.begin() as session:
        rows = session.scalars(
            select(SentTask).where(
                SentTask.connection_id == number,
                SentTask.task_id.in_(list(remote)),
                SentTask.state == SentState.SENDING,
            )
        )
        for row in rows:
            row.remote_id, row.state = remote[row.task_id], SentState.SENT
            row.sent_at = utc_now()


def outgoing(
    session: Session, number: int, task_ids: Sequence[int], until: datetime
) -> list[Outgoing]:
    """Tasks as the tool is given them; their pictures can be loaded until then."""
    connection = session.get_one(Connection, number)
    found = session.execute(
        select(LabelTask, Image, Cycle.champion_id)
        .join(SentTask, LabelTask.id == SentTask.task_id)
        .join(Image, Image.id == SentTask.image_id)
        .outerjoin(Cycle, Cycle.id == LabelTask.cycle_id)
        .where(SentTask.connection_id == number, SentTask.task_id.in_(task_ids))
        .order_by(LabelTask.priority.desc(), LabelTask.id)
    ).all()
    tasks = []
    for task, image, champion in found:
        tasks.append(
            Outgoing(
                task_id=task.id,
                image_id=image.id,
                size_wh=(image.width_px, image.height_px),
                picture_url=addresses.address_of(connection, image, until),
                name=image.name,
                reason=str(task.reason.get("text") or task.reason.get("mode") or ""),
                prelabels=task.prelabels,
                model=(champion or "e2x")[:12],
            )
        )
    return tasks


def renew_addresses(context: Context, number: int, tool: Tool) -> int:
    """Give new addresses to tasks whose pictures could soon not be loaded any more."""
    life = timedelta(days=context.settings.labels.picture_days)
    now = utc_now()
    with reading(context.sessions) as session:
        rows = _of_state(session, number, SentState.SENT)
    old = [row for row in rows if row.remote_id and _ends_before(row, now + life / RENEWED_AT)]
    for row in old:
        with reading(context.sessions) as session:
            (body,) = outgoing(session, number, [row.task_id], now + life)
        tool.point(str(row.remote_id), body)
        _good_until(context, number, [row.task_id], now + life)
    return len(old)


def _ends_before(row: SentTask, moment: datetime) -> bool:
    return row.expires_at is None or row.expires_at < moment


def _good_until(context: Context, number: int, task_ids: Sequence[int], until: datetime) -> None:
    with context.sessions.begin() as session:
        session.execute(
            update(SentTask)
            .where(SentTask.connection_id == number, SentTask.task_id.in_(task_ids))
            .values(expires_at=until)
        )


def _of_state(session: Session, number: int, state: SentState) -> Sequence[SentTask]:
    return session.scalars(
        select(SentTask)
        .where(SentTask.connection_id == number, SentTask.state == state)
        .order_by(SentTask.id)
    ).all()
