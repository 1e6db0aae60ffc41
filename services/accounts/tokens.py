"""Personal tokens: made, listed, revoked."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.accounts import audit, secrets
from services.config.settings import Settings
from services.db.base import utc_now
from services.db.tables import ApiToken, User, UserRole
from services.errors import Forbidden, InvalidRequest, NotFound
from services.plain import plain_text


def issue(
    session: Session,
    settings: Settings,
    user: User,
    name: str,
    role: UserRole | None = None,
    days: float | None = None,
) -> tuple[ApiToken, str]:
    """Make a token.

    Args:
        session: the caller's transaction.
        settings: how long it may live.
        user: its owner.
        name: what it is for.
        role: what it may do at most; None: what its owner may.
        days: until it ends; None: the setting.

    Returns:
        The row, and the token, which nobody can read again.

    Raises:
        Forbidden: the role is above the owner's.
        InvalidRequest: it would live too long.
    """
    wanted = UserRole(user.role) if role is None else role
    if not UserRole(user.role).may(wanted):
        raise Forbidden(f"{user.name} is {user.role}: no token of theirs can be {wanted}")
    longest = settings.accounts.token_max_days
    life = settings.accounts.token_days if days is None else days
    if not 0 < life <= longest:
        raise InvalidRequest(
            f"days: {life:g} is not above 0 and at most {longest:g} "
            "(setting accounts.token_max_days)"
        )
    token = secrets.new_token()
    row = ApiToken(
        user_id=user.id,
        name=plain_text(name, 80) or "token",
        key=secrets.stored(token),
        role=wanted,
        expires_at=utc_now() + timedelta(days=life),
    )
    session.add(row)
    session.flush()
    audit.record(
        session, "token.add", f"token:{row.id}", user=user.name, name=row.name, role=wanted
    )
    return row, token


def of_user(session: Session, user_id: int | None) -> list[ApiToken]:
    """Tokens of a user that were not revoked, the newest first."""
    return list(
        session.scalars(
            select(ApiToken)
            .where(ApiToken.user_id == user_id, ApiToken.revoked_at.is_(None))
            .order_by(ApiToken.id.desc())
        )
    )


def revoke(session: Session, user: User, token_id: int) -> ApiToken:
    """End a token at once; once more is harmless.

    Raises:
        NotFound: the user has none of this number.
    """
    row = session.get(ApiToken, token_id)
    if row is None or row.user_id != user.id:
        raise NotFound(f"{user.name} has no token {token_id}")
    if row.revoked_at is None:
        row.revoked_at = utc_now()
        audit.record(session, "token.revoke", f"token:{row.id}", user=user.name, name=row.name)
    return row
