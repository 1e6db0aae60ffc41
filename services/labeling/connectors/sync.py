"""An exchange with a tool: answers first, which makes room, then new tasks.

It may break off anywhere and be done again. Nothing is asked of the network within a transaction.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.context import Context
from services.db import actors
from services.db.base import utc_now
from services.db.engine import reading
from services.db.patience import CLOCKS_DIFFER
from services.db.races import in_transaction
from services.db.tables import (
    AWAITED,
    Connection,
    Image,
    LabelTask,
    SentState,
    SentTask,
)
from services.errors import Conflict, LeaseLost, NotFound, ServiceError
from services.labeling import queue
from services.labeling.connectors import addresses, connections, pull, push, tools
from services.labeling.connectors.protocol import Sizes, Tool
from services.labeling.taking import LabelImport
from services.models.classes import class_names

logger = logging.getLogger(__name__)

BUSY = timedelta(minutes=10)
"""Longer than an exchange takes: of whoever died in one."""
CHECK_EVERY = timedelta(hours=1)
"""How often everything in the tool is looked at, not only what changed."""
LONGEST_WAIT = timedelta(minutes=10)
"""Between two tries to reach a tool that fails."""


@dataclass(slots=True)
class Exchange:
    """What one exchange did.

    Attributes:
        tool: which.
        sent: new tasks.
        sent_again: tasks of which it was not known whether they had arrived.
        withdrawn: tasks that nobody had begun, and that need no answer any more.
        deleted: tasks that somebody deleted there, and that went back to the queue.
        skipped: tasks that were skipped there.
        answers: what became of the answers.
        notes: what a person should know.
    """

    tool: str
    sent: int = 0
    sent_again: int = 0
    withdrawn: int = 0
    deleted: int = 0
    skipped: int = 0
    answers: LabelImport = field(default_factory=LabelImport)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As the command line prints it."""
        return {**asdict(self), "answers": self.answers.to_dict()}


def due(context: Context) -> list[Exchange]:
    """Exchange with the tools whose time has come; what fails is written down, and tried again."""
    with reading(context.sessions) as session:
        numbers = [row.id for row in connections.active(session) if _is_due(context, row)]
    done = []
    for number in numbers:
        try:
            done.append(run(context, number))
        except Conflict as error:  # somebody else is at it
            logger.info("%s", error)
        except ServiceError as error:
            logger.warning("labelling tool: %s", error)
    return done


def _is_due(context: Context, row: Connection) -> bool:
    now, last = utc_now(), row.tried_at
    if last is None or last > now + CLOCKS_DIFFER:
        return True
    every = timedelta(seconds=context.settings.labels.sync_interval_s)
    if row.failures:
        wait = min(every * 2 ** min(row.failures, 16), max(every, LONGEST_WAIT))
        return bool(last + wait <= now)
    return bool(last + every <= now or (row.nudged_at is not None and row.nudged_at > last))


def run(context: Context, number: int, *, whole: bool = False, unseen: bool = False) -> Exchange:
    """Exchange with one tool.

    Args:
        context: wiring.
        number: of the connection.
        whole: look at everything there, not only at what changed.
        unseen: take also answers that nobody is known to have looked at.

    Raises:
        Conflict: another process is at it.
        ToolUnavailable: it is away; nothing is lost, and the next exchange goes on.
        NotAllowed: it refuses the token.
        NotFound: there is no such connection, or its project is gone.
    """
    held_until = _begin(context, number)
    error: str | None = None
    try:
        with actors.acting(actors.SERVICE), tools.opened(context, number) as tool:
            return _exchange(context, number, tool, whole, unseen)
    except ServiceError as failure:
        error = str(failure)
        raise
    except Exception as failure:
        error = f"a fault: {type(failure).__name__}"
        raise
    finally:
        _end(context, number, held_until, error)


def _begin(context: Context, number: int) -> datetime:
    """Take the connection, so that no two exchange with it at once."""
    now = utc_now()
    until = now + BUSY
    free = or_(
        Connection.busy_until.is_(None),
        Connection.busy_until < now,
        Connection.busy_until > until + CLOCKS_DIFFER,
    )
    with context.sessions.begin() as session:
        won = session.execute(
            update(Connection)
            .where(Connection.id == number, Connection.active, free)
            .values(busy_until=until, tried_at=now)
        )
        if won.rowcount == 1:  # type: ignore[attr-defined]
            return until
        row = session.get(Connection, number)
        if row is None or not row.active:
            raise NotFound(f"no labelling tool {number} is connected")
        raise Conflict(f"another process is exchanging with {row.kind} right now")


def _end(context: Context, number: int, held_until: datetime, error: str | None) -> None:
    try:
        with context.sessions.begin() as session:
            row = session.get_one(Connection, number)
            if row.busy_until == held_until:
                row.busy_until = None
            row.error = error
            row.failures = row.failures + 1 if error else 0
            if error is None:
                row.synced_at = utc_now()
    except SQLAlchemyError as failure:  # the first trouble is the one to tell
        logger.warning("how the exchange ended is not written: %s", failure)


def _exchange(context: Context, number: int, tool: Tool, whole: bool, unseen: bool) -> Exchange:
    done = Exchange(tool.name)
    done.notes = _prepare(context, number, tool)
    done.sent_again = push.again(context, number, tool)
    with reading(context.sessions) as session:
        row = session.get_one(Connection, number)
        cursor, checked_at = row.cursor, row.checked_at
    whole = whole or checked_at is None or checked_at + CHECK_EVERY < utc_now()
    if whole:
        done.deleted = pull.gone(context, number, tool.ids())
    sizes = _sizes(context, number)
    remotes, cursor = tool.changed(cursor, sizes)
    known = {one.task_id for one in remotes}
    if whole or unseen:
        remotes += tool.read(_troubled(context, number, known), sizes)
    pulled = pull.store(context, number, remotes, cursor, unseen)
    done.answers, done.skipped = pulled.report, pulled.skipped
    done.withdrawn = _withdraw(context, number, tool, _keep(context, number), sizes)
    push.renew_addresses(context, number, tool)
    done.sent = push.new(context, number, tool)
    if whole:
        with context.sessions.begin() as session:
            session.get_one(Connection, number).checked_at = utc_now()
    return done


def _prepare(context: Context, number: int, tool: Tool) -> list[str]:
    with reading(context.sessions) as session:
        row = session.get_one(Connection, number)
        classes = class_names(session)[1:]
    if not classes:
        raise Conflict("this project knows no class yet: import a seed set first")
    title = f"e2x {context.project.root.name}"[:50]
    made = tool.prepare(row.project, row.adopted, addresses.mark_of(row), title, classes)
    if (made.project, made.layout, made.notes) != (row.project, row.layout, row.notes):
        with context.sessions.begin() as session:
            values = {"project": made.project, "layout": made.layout, "notes": made.notes}
            session.execute(update(Connection).where(Connection.id == number).values(**values))
    return made.notes


def _sizes(context: Context, number: int) -> Sizes:
    with reading(context.sessions) as session:
        rows = session.execute(
            select(SentTask.task_id, Image.width_px, Image.height_px)
            .join(Image, Image.id == SentTask.image_id)
            .where(SentTask.connection_id == number)
        )
        return {row[0]: (row[1], row[2]) for row in rows}


def _troubled(context: Context, number: int, known: set[int]) -> set[str]:
    """Tasks whose answers could not be taken when they came; perhaps they can be now."""
    with reading(context.sessions) as session:
        rows = session.execute(
            select(SentTask.task_id, SentTask.remote_id).where(
                SentTask.connection_id == number, SentTask.problem.is_not(None)
            )
        )
        return {row[1] for row in rows if row[0] not in known and row[1] is not None}


def _keep(context: Context, number: int) -> dict[int, str]:
    """Renew the leases that would end soon; the tasks that are the tool's no more.

    Returns:
        The tool's ids of these, by ours.
    """
    lease_s = context.settings.labels.tool_lease_s
    soon = utc_now() + timedelta(seconds=lease_s / 2)

    def work(session: Session) -> dict[int, str]:
        rows = {
            row.task_id: row
            for row in session.scalars(
                select(SentTask).where(
                    SentTask.connection_id == number, SentTask.state.in_(AWAITED)
                )
            )
        }
        tasks = session.scalars(select(LabelTask).where(LabelTask.id.in_(list(rows)))).all()
        lost = {}
        for task in tasks:
            row = rows[task.id]
            if not connections.is_held(task, row):
                lost[task.id] = row.remote_id or ""
            elif task.lease_until is None or task.lease_until < soon:
                try:
                    queue.renew(session, task.id, row.token, lease_s)
                except LeaseLost:
                    lost[task.id] = row.remote_id or ""
        return lost

    return in_transaction(context.sessions, work)


def _withdraw(context: Context, number: int, tool: Tool, lost: dict[int, str], sizes: Sizes) -> int:
    """Take tasks away that need no answer any more, unless somebody has begun."""
    found = tool.read({one for one in lost.values() if one}, sizes)
    idle = [one for one in found if not one.said and not one.begun]
    tool.withdraw({one.remote_id for one in idle})
    there = {one.task_id for one in found} - {one.task_id for one in idle}
    over = [task_id for task_id in lost if task_id not in there]
    with context.sessions.begin() as session:
        rows = session.scalars(
            select(SentTask).where(SentTask.connection_id == number, SentTask.task_id.in_(over))
        )
        for row in rows:
            row.state = SentState.ENDED
    return len(idle)
