"""Which tools are connected: connecting, disconnecting, their tokens."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from services.accounts import audit
from services.config.project import Project
from services.config.settings import Settings
from services.context import Context
from services.db.races import hold_name
from services.db.tables import AWAITED, Connection, LabelTask, SentState, SentTask, TaskState
from services.errors import InvalidRequest, NotAllowed, NotFound
from services.labeling import queue

KINDS = ("label-studio", "cvat")
TOKENS = "connectors"
"""Folder of the tokens, in the state folder: for the owner alone, and in no row and no log."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_TOKEN = re.compile(r"[\x21-\x7e]{8,4000}")


def connect(
    context: Context,
    kind: str,
    url: str,
    token: str,
    *,
    project: str | None = None,
    pictures_url: str | None = None,
    at_once: int | None = None,
) -> int:
    """Say that a tool is to be used; the next exchange makes or finds its project.

    Saying it again changes the token and what else is said. Another address takes the place of the
    one before: its tasks go back to the queue.

    Args:
        context: wiring.
        kind: one of :data:`KINDS`.
        url: of the tool.
        token: that it gave somebody.
        project: the tool's id of a project to adopt; None: one is made.
        pictures_url: where the browsers of those who label reach this service; None: as before,
            or ``accounts.public_url``, or where the API listens.
        at_once: tasks that lie there at most; None: as before.

    Returns:
        The number of the connection.

    Raises:
        InvalidRequest: something of it cannot be right.
    """
    if kind not in KINDS:
        raise InvalidRequest(f"no such tool: {kind!r}; there is: {', '.join(KINDS)}")
    url, token = checked_url(url, "the tool's address"), checked_token(token)
    if project is not None and not _NUMBER.fullmatch(project):
        raise InvalidRequest(f"tools number their projects: {project[:40]!r} is none")
    if pictures_url is not None:
        pictures_url = checked_url(pictures_url, "the pictures' address")
    with context.sessions.begin() as session:
        hold_name(session, f"connection {kind}")
        row = session.scalar(_active().where(Connection.kind == kind))
        other = project is not None and row is not None and row.project not in (None, project)
        if row is not None and (row.url != url or other):
            end(session, row)
            row = None
        if row is None:
            row = Connection(kind=kind, url=url, secret=secrets.token_hex(32), pictures_url="")
            session.add(row)
        if project is not None:
            row.project, row.adopted = project, True
        row.pictures_url = pictures_url or row.pictures_url or _own_address(context.settings)
        row.at_once = at_once or row.at_once or 200
        row.failures, row.error, row.tried_at, row.checked_at = 0, None, None, None
        session.flush()
        audit.record(session, "labels.connect", f"connection:{row.id}", kind=kind, url=url)
        number = row.id
        write_token(context.project, number, token)  # before the row counts
    return number


def disconnect(context: Context, kind: str) -> int:
    """Use a tool no more; its tasks go back to the queue, what it has answered stays.

    Raises:
        NotFound: none of that kind is connected.
    """
    with context.sessions.begin() as session:
        hold_name(session, f"connection {kind}")
        row = session.scalar(_active().where(Connection.kind == kind))
        if row is None:
            raise NotFound(f"{kind} is not connected")
        end(session, row)
        audit.record(session, "labels.disconnect", f"connection:{row.id}", kind=kind, url=row.url)
        number = row.id
    token_file(context.project, number).unlink(missing_ok=True)
    return number


def active(session: Session) -> list[Connection]:
    """The tools that are connected."""
    return list(session.scalars(_active().order_by(Connection.id)))


def end(session: Session, connection: Connection) -> None:
    """Give the tasks of a connection back, and the connection up."""
    connection.active = False
    rows = session.scalars(
        select(SentTask).where(SentTask.connection_id == connection.id, SentTask.state.in_(AWAITED))
    ).all()
    give_back(session, rows)


def give_back(session: Session, rows: Sequence[SentTask]) -> None:
    """Give back the leases that a tool has of tasks; whatever has been answered stays so."""
    sent = {row.task_id: row for row in rows}
    for task in queue.hold(session, list(sent)):
        row = sent[task.id]
        if is_held(task, row):
            queue.release(session, task.id, row.token)
        row.state = SentState.ENDED


def is_held(task: LabelTask, row: SentTask) -> bool:
    """Whether a task is leased for the tool, under the lease that it was sent with."""
    return task.state == TaskState.LEASED and task.token == row.token


def token_file(project: Project, number: int) -> Path:
    """Where the token of a connection lies."""
    return project.state / TOKENS / f"{number}.token"


def write_token(project: Project, number: int, token: str) -> None:
    """Keep a token for its owner alone, whole or not at all."""
    path = token_file(project, number)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(token)
    temporary.replace(path)


def read_token(project: Project, number: int) -> str:
    """The token of a connection, read anew each time: somebody may have changed it.

    Raises:
        NotAllowed: it is not there.
    """
    path = token_file(project, number)
    if not path.is_file():
        raise NotAllowed(f"the token {path} is missing: connect again with --token-file")
    return checked_token(path.read_text())


def checked_token(text: str) -> str:
    """A token without the line's end.

    Raises:
        InvalidRequest: it is none; it is not repeated in the message.
    """
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest("the token is not one line of 8 to 4000 plain characters")
    return token


def checked_url(url: str, what: str) -> str:
    """An address without its last slash.

    Raises:
        InvalidRequest: it is none, or has a name and password in it.
    """
    try:
        parts = urlsplit(url.strip())
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or len(url) > 500 or not url.isprintable() or parts.query or parts.fragment:
        raise InvalidRequest(f"{what} is not like http://host:port: {url[:80]!r}")
    if parts.username or parts.password:
        raise InvalidRequest(f"{what} has a name in it: give the token in a file of its own")
    return url.strip().rstrip("/")


def _own_address(settings: Settings) -> str:
    api = settings.api
    return (settings.accounts.public_url or f"http://{api.host}:{api.port}").rstrip("/")


def _active() -> Select[Connection]:
    return select(Connection).where(Connection.active)
