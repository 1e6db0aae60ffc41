"""What the API takes and answers about accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from services.accounts.secrets import LONGEST_PASSWORD
from services.accounts.users import NAME_PATTERN
from services.api.schemas import Body, Row
from services.db.tables import UserRole

RoleIn: TypeAlias = Annotated[UserRole, Field(strict=False)]
"""Bodies are strict, and JSON has no word for a role but text."""


class LoginIn(Body):
    """Name and password."""

    name: str = Field(min_length=1, max_length=80)
    password: str = Field(min_length=1, max_length=LONGEST_PASSWORD)


class LoginOut(Row):
    """Who is logged in now."""

    name: str
    role: UserRole
    csrf: str = Field(description="Send it as `X-CSRF-Token` with every change by cookie.")


class MeOut(Row):
    """Who one is here."""

    name: str
    role: UserRole
    via: Literal["session", "token", "project"] = Field(description="How one is known.")
    csrf: str | None = Field(
        description="Of a login: send it as `X-CSRF-Token` with every change by cookie."
    )


class OwnPasswordIn(Body):
    """Another password of one's own."""

    old: str = Field(min_length=1, max_length=LONGEST_PASSWORD)
    new: str = Field(min_length=1, max_length=LONGEST_PASSWORD)


class PasswordIn(Body):
    """A user's password."""

    password: str = Field(min_length=1, max_length=LONGEST_PASSWORD)


class TokenIn(Body):
    """A token to make."""

    name: str = Field(min_length=1, max_length=80, description="What it is for.")
    role: RoleIn | None = Field(default=None, description="At most; without: one's own.")
    days: float | None = Field(default=None, gt=0, le=100_000, description="Until it ends.")


class TokenOut(Row):
    """A token, without what it is."""

    id: int
    name: str
    role: UserRole
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class NewTokenOut(TokenOut):
    """A token that was just made."""

    token: str = Field(description="Shown this once.")


class UserIn(Body):
    """An account to make."""

    name: str = Field(pattern=NAME_PATTERN, max_length=80)
    role: RoleIn = UserRole.VIEWER
    password: str | None = Field(default=None, min_length=1, max_length=LONGEST_PASSWORD)
    by_provider: bool = Field(
        default=False, description="Logs in through OpenID Connect, by this name there."
    )


class UserChange(Body):
    """What is another about an account; what is left out stays."""

    role: RoleIn | None = None
    disabled: bool | None = None


class UserOut(Row):
    """An account."""

    id: int
    name: str
    role: UserRole
    disabled: bool
    by_provider: bool
    created_at: datetime
    seen_at: datetime | None = Field(description="The latest login.")


class AuditOut(Row):
    """One row of the audit trail."""

    id: int
    at: datetime
    actor: str
    door: str | None = Field(description="cli, api, web, or service: the loop by itself.")
    action: str
    subject: str
    detail: dict[str, Any]
