"""Tables of accounts: users, their sessions and tokens, and wrong passwords that are counted."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from services.db.base import Base, BigId, utc_now


class UserRole(StrEnum):
    """What somebody may do; each may do what those before it may."""

    VIEWER = "viewer"
    """Look at everything but users and the audit trail."""
    LABELLER = "labeller"
    """Report frames, answer label tasks."""
    CURATOR = "curator"
    """Cycles, dismissals, plans."""
    ADMIN = "admin"
    """Promote models, users, settings."""

    @property
    def rank(self) -> int:
        """The higher, the more one may."""
        return list(UserRole).index(self)

    def may(self, least: UserRole) -> bool:
        """Whether this role is at least the other."""
        return self.rank >= least.rank


class User(Base):
    """An account. It is disabled and never deleted: the audit trail names it."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("issuer", "subject"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(80))
    name_key: Mapped[str] = mapped_column(String(80), unique=True)
    """The name without case: of `Ada` and `ada` there is one."""
    role: Mapped[str] = mapped_column(String(16))
    password_hash: Mapped[str | None] = mapped_column(String(200))
    """Argon2id with its parameters; None: no password opens it."""
    issuer: Mapped[str | None] = mapped_column(String(300))
    """Of the OpenID Connect provider that vouches for this user."""
    subject: Mapped[str | None] = mapped_column(String(300))
    """What the provider calls the user for good; its name there may change hands."""
    by_provider: Mapped[bool] = mapped_column(default=False)
    """Whether the user logs in through the provider."""
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime | None]
    """The latest login."""


class LoginSession(Base):
    """A browser that is logged in; the database has no more than the hash of what it holds."""

    __tablename__ = "sessions"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of the session's id: who reads the database cannot take its place."""
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    seen_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    address: Mapped[str] = mapped_column(String(64), default="")


class ApiToken(Base):
    """A token of a user, for scripts; shown once, stored as its hash."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    key: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of the token; it is random, so that nothing slower is needed."""
    role: Mapped[str] = mapped_column(String(16))
    """What it may do at most; never more than its owner may at that moment."""
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class LoginTries(Base):
    """Tries to log in that have not been forgiven, of a name or of an address."""

    __tablename__ = "login_tries"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of what is counted: strangers choose names."""
    count: Mapped[int] = mapped_column(default=0)
    until: Mapped[datetime] = mapped_column(index=True)
    """They are forgotten then."""
