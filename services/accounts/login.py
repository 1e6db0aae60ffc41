"""Logging in and out: a right password, or a provider's word, becomes a session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from services.accounts import audit, identity, lockout, secrets, users
from services.config.settings import Settings
from services.db import actors
from services.db.actors import Actor, Door
from services.db.base import utc_now
from services.db.engine import Sessions, reading
from services.db.tables import LoginSession, User
from services.errors import Forbidden, NotAllowed

WRONG = "wrong name or password"


@dataclass(frozen=True, slots=True)
class Login:
    """What a browser is given.

    Attributes:
        session_id: for the cookie; the database has its hash only.
        csrf: what changes by that cookie must bring along.
        user: who is logged in.
    """

    session_id: str
    csrf: str
    user: User


def by_password(
    sessions: Sessions,
    settings: Settings,
    name: str,
    password: str,
    address: str = "",
    before: str = "",
) -> Login:
    """Log in with a name and a password.

    Takes as long for a name that nobody has, and is answered the same.

    Args:
        sessions: of the database.
        settings: limits and times.
        name: whatever its case.
        password: in clear.
        address: where the request comes from, for the lockout.
        before: id of the session that the browser had; it ends.

    Raises:
        NotAllowed: name or password is wrong.
        LockedOut: there were too many wrong ones; the password was not looked at.
        Forbidden: the password is right, and the account disabled.
    """
    lockout.count(sessions, settings, name, address)
    with reading(sessions) as session:
        user = users.lookup(session, name)
    # Outside of any transaction: it takes a quarter of a second.
    right, better = secrets.is_right(password, user.password_hash if user else None)
    if user is None or not right:
        if user is not None:
            _tell_failed(sessions, user, address)
        raise NotAllowed(WRONG)
    with sessions.begin() as session:
        user = session.get_one(User, user.id)
        lockout.forgive(session, lockout.of_name(name))
        lockout.take_back(session, lockout.of_address(address))
        if better is not None:
            user.password_hash = better
        return begin(session, settings, user, "password", address, before)


def _tell_failed(sessions: Sessions, user: User, address: str) -> None:
    with sessions.begin() as session, actors.acting(Actor("stranger", Door.WEB)):
        audit.record(session, "login.failed", f"user:{user.name}", address=address)


def begin(
    session: Session, settings: Settings, user: User, by: str, address: str = "", before: str = ""
) -> Login:
    """A new session for a user who has shown who they are.

    Its id is new, whatever the browser had before: nobody can hand somebody an id and use it after
    the login (session fixation).

    Args:
        session: the caller's transaction.
        settings: times.
        user: who.
        by: how they have shown it.
        address: where the request comes from.
        before: id of the session that the browser had; it ends.

    Raises:
        Forbidden: the account is disabled.
    """
    if user.disabled:
        raise Forbidden(f"the account {user.name} is disabled: ask an admin")
    now = utc_now()
    _forget_ended(session, settings)
    if before:
        session.execute(delete(LoginSession).where(LoginSession.key == secrets.stored(before)))
    session_id = secrets.new_session_id()
    session.add(
        LoginSession(
            key=secrets.stored(session_id),
            user_id=user.id,
            expires_at=now + timedelta(seconds=settings.accounts.session_max_s),
            address=address[:64],
        )
    )
    user.seen_at = now
    with actors.acting(Actor(user.name, Door.WEB, user.id)):
        audit.record(session, "login", f"user:{user.name}", by=by, address=address)
    return Login(session_id, identity.csrf_of(session_id), user)


def change_password(
    sessions: Sessions,
    settings: Settings,
    who: identity.Identity,
    old: str,
    new: str,
    address: str = "",
) -> None:
    """Set one's own password; every session ends, this one too.

    Raises:
        NotAllowed: the old password is wrong.
        LockedOut: there were too many wrong ones.
        InvalidRequest: the new one cannot be taken.
    """
    lockout.count(sessions, settings, who.name, address)
    with reading(sessions) as session:
        known = session.get_one(User, who.user_id).password_hash
    if not secrets.is_right(old, known)[0]:
        raise NotAllowed("the old password is wrong")
    hashed = users.hashed(settings, who.name, new)
    with sessions.begin() as session:
        lockout.take_back(session, lockout.of_address(address))
        users.set_password(session, session.get_one(User, who.user_id), hashed)


def end(session: Session, who: identity.Identity) -> None:
    """Log out: this session ends; once more is harmless."""
    session.execute(delete(LoginSession).where(LoginSession.key == who.key))
    audit.record(session, "logout", f"user:{who.name}")


def end_all(session: Session, who: identity.Identity) -> int:
    """Log out everywhere; how many sessions there were."""
    if who.user_id is None:
        return 0
    ended = users.end_sessions(session, who.user_id)
    audit.record(session, "logout.everywhere", f"user:{who.name}", sessions=ended)
    return ended


def _forget_ended(session: Session, settings: Settings) -> None:
    now = utc_now()
    idle = timedelta(seconds=settings.accounts.session_idle_s)
    ended = (LoginSession.expires_at <= now) | (LoginSession.seen_at <= now - idle)
    session.execute(delete(LoginSession).where(ended))
