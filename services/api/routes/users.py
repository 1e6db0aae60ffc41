"""Accounts of all, and the audit trail: for admins."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BeforeValidator

from services.accounts import audit, users
from services.api.deps import (
    IN_A_PLACE_TO_LOG_IN,
    ContextOf,
    Cursor,
    Limit,
    SessionOf,
    ViewOf,
    Word,
    row_after,
)
from services.api.schemas import Page
from services.api.schemas_accounts import AuditOut, PasswordIn, UserChange, UserIn, UserOut
from services.api.strict import StrictRoute
from services.db.tables import User

router = APIRouter(tags=["users"], route_class=StrictRoute)
Name: TypeAlias = Annotated[str, Path(pattern=users.NAME_PATTERN)]
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _written_out(text: object) -> object:
    """A number would be taken for seconds since 1970."""
    if isinstance(text, str) and not _DATE.match(text):
        raise ValueError("write it as 2026-11-29T08:00:00Z")
    return text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:  # the first hours of the year 1 in some zone
        raise ValueError("too early or too late for a time") from error


Moment: TypeAlias = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_in_utc)]


@router.get("/users", response_model=Page[UserOut])
def list_users(session: ViewOf) -> Page[UserOut]:
    """All accounts by name, those that are disabled too."""
    return Page(items=[UserOut.model_validate(row) for row in users.everybody(session)])


@router.post("/users", status_code=201, response_model=UserOut, dependencies=[IN_A_PLACE_TO_LOG_IN])
def add_user(body: UserIn, session: SessionOf, context: ContextOf) -> User:
    """Make an account: with a password, or for somebody whom the OpenID Connect provider knows."""
    return users.add(
        session,
        context.settings,
        body.name,
        body.role,
        body.password,
        by_provider=body.by_provider,
    )


@router.get("/users/{name}", response_model=UserOut)
def show_user(name: Name, session: ViewOf) -> User:
    """One account."""
    return users.find(session, name)


@router.patch("/users/{name}", response_model=UserOut)
def change_user(name: Name, body: UserChange, session: SessionOf) -> User:
    """Give another role, disable or enable: both count from the user's next request on."""
    user = users.find(session, name)
    if body.role is not None:
        users.set_role(session, user, body.role)
    if body.disabled is not None:
        users.set_disabled(session, user, body.disabled)
    return user


@router.post("/users/{name}/password", response_model=UserOut, dependencies=[IN_A_PLACE_TO_LOG_IN])
def set_password(name: Name, body: PasswordIn, session: SessionOf, context: ContextOf) -> User:
    """Set a user's password; every login of the user ends."""
    hashed = users.hashed(context.settings, name, body.password)
    user = users.find(session, name)
    users.set_password(session, user, hashed)
    return user


@router.get("/audit", response_model=Page[AuditOut])
def list_audit(
    session: ViewOf,
    limit: Limit = 100,
    cursor: Cursor = None,
    user: Word = None,
    since: Annotated[
        Moment | None, Query(description="Of then and later; without a zone it is UTC.")
    ] = None,
    action: Word = None,
    subject: Word = None,
) -> Page[AuditOut]:
    """Who changed what, when, through which door; the newest first."""
    found = audit.rows(
        session,
        limit + 1,
        user=user,
        since=since,
        action=action,
        subject=subject,
        before=row_after(cursor),
    )
    items = [AuditOut.model_validate(row) for row in found[:limit]]
    return Page(items=items, next=str(items[-1].id) if len(found) > limit else None)
