"""Accounts: made, changed, disabled; never deleted, since the audit trail names them."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from services.accounts import audit, lockout, secrets
from services.config.settings import Settings
from services.db import actors, races
from services.db.tables import LoginSession, User, UserRole
from services.errors import Conflict, InvalidRequest, NotFound

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,79}$"
"""No letters beyond ASCII: of two names that look alike, one could pass for the other."""
_NAME = re.compile(NAME_PATTERN.rstrip("$") + r"\Z")


def key_of(name: str) -> str:
    """What is unique of a name: its case does not count."""
    return name.casefold()


def check_name(name: str) -> str:
    """The name, if it may be one.

    Raises:
        InvalidRequest: it may not.
    """
    if not _NAME.match(name):
        raise InvalidRequest(
            f"{name[:80]!r} is no user name: up to 80 letters, digits and . _ @ + -, "
            "with a letter or digit first"
        )
    return name


def lookup(session: Session, name: str) -> User | None:
    """The user of a name, whatever its case."""
    return session.scalar(select(User).where(User.name_key == key_of(name)[:80]))


def find(session: Session, name: str) -> User:
    """The user of a name, whatever its case.

    Raises:
        NotFound: there is none.
    """
    user = lookup(session, name)
    if user is None:
        raise NotFound(f"no user {name[:80]!r}: see `e2x users list`")
    return user


def everybody(session: Session) -> list[User]:
    """All users by name."""
    return list(session.scalars(select(User).order_by(User.name_key)))


def add(
    session: Session,
    settings: Settings,
    name: str,
    role: UserRole,
    password: str | None,
    *,
    by_provider: bool = False,
) -> User:
    """Make an account.

    Args:
        session: the caller's transaction.
        settings: for the rules of passwords.
        name: unique, whatever its case.
        role: what the user may do.
        password: in clear; None: no password opens it, until one is set.
        by_provider: the OpenID Connect provider vouches for whoever it calls by this name.

    Raises:
        Conflict: there is a user of this name.
        InvalidRequest: the name or the password cannot be taken.
    """
    check_name(name)
    password_hash = None if password is None else hashed(settings, name, password)
    row: dict[str, Any] = {
        "name": name,
        "name_key": key_of(name),
        "role": role,
        "password_hash": password_hash,
    }
    row["by_provider"] = by_provider
    if not races.insert_new(session, User, [row], ["name_key"]):
        raise Conflict(f"there is a user {find(session, name).name} already")
    audit.record(session, "user.add", f"user:{name}", role=role, by_provider=by_provider)
    return find(session, name)


def set_role(session: Session, user: User, role: UserRole) -> None:
    """Give a user another role; it counts from the next request on.

    Raises:
        Conflict: this would leave nobody who may undo it.
    """
    if user.role == role:
        return
    if not role.may(UserRole.ADMIN):
        _keep_an_admin(session, user, "another role")
    audit.record(session, "user.role", f"user:{user.name}", before=user.role, role=role)
    user.role = role


def set_disabled(session: Session, user: User, disabled: bool) -> None:
    """Lock a user out at once, or let them in again.

    Disabling ends every session; tokens are refused from now on, and work again once the user is
    enabled. Enabling forgets wrong passwords too.

    Raises:
        Conflict: this would leave nobody who may undo it.
    """
    if disabled:
        _keep_an_admin(session, user, "disabled")
        end_sessions(session, user.id)
    else:
        lockout.forgive(session, lockout.of_name(user.name))
    if user.disabled != disabled:
        action = "user.disable" if disabled else "user.enable"
        audit.record(session, action, f"user:{user.name}")
        user.disabled = disabled


def hashed(settings: Settings, name: str, password: str) -> str:
    """What is stored of a password; takes a quarter of a second, and so comes before a transaction.

    Raises:
        InvalidRequest: it cannot be taken.
    """
    secrets.check_password(password, name, settings.accounts.min_password_length)
    return secrets.hash_password(password)


def set_password(session: Session, user: User, password_hash: str) -> None:
    """Set a password; ends every session of the user, and forgets wrong ones.

    Args:
        session: the caller's transaction.
        user: whose.
        password_hash: by :func:`hashed`.
    """
    user.password_hash = password_hash
    end_sessions(session, user.id)
    lockout.forgive(session, lockout.of_name(user.name))
    audit.record(session, "user.password", f"user:{user.name}")


def end_sessions(session: Session, user_id: int) -> int:
    """Log a user out everywhere; how many sessions there were."""
    ended = session.execute(
        delete(LoginSession).where(LoginSession.user_id == user_id).returning(LoginSession.key)
    )
    return len(ended.all())


def _keep_an_admin(session: Session, user: User, what: str) -> None:
    if user.role != UserRole.ADMIN or user.disabled:
        return
    if actors.current().user_id == user.id:
        raise Conflict(f"nobody is {what} by themselves: ask another admin")
    races.hold_name(session, "admins")  # of two admins who go at once, one stays
    others = select(func.count()).where(
        User.role == UserRole.ADMIN, User.disabled.is_(False), User.id != user.id
    )
    if not session.scalar(others):
        raise Conflict(
            f"{user.name} is the only admin: make another first, by `e2x users role NAME admin`"
        )
