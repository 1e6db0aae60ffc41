"""Users, logins and tokens for tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.common.waiting import PATIENCE
from services.accounts import secrets, tokens, users
from services.context import Context
from services.db.tables import Audit, LoginSession, User, UserRole

PASSWORD = "a walk along the river"
_HASH = secrets.hash_password(PASSWORD)
"""Once for all tests: it takes a quarter of a second."""


def add_user(
    context: Context, name: str, role: UserRole = UserRole.VIEWER, disabled: bool = False
) -> User:
    """A user with the password above."""
    with context.sessions.begin() as session:
        user = users.add(session, context.settings, name, role, None)
        user.password_hash, user.disabled = _HASH, disabled
    return user


def token_of(context: Context, user: User, role: UserRole | None = None) -> str:
    """A token of a user."""
    with context.sessions.begin() as session:
        return tokens.issue(session, context.settings, user, "test", role)[1]


@dataclass
class Browser:
    """A client that is logged in and sends what a page would."""

    client: httpx.Client
    csrf: str

    def change(self, method: str, path: str, **options: object) -> httpx.Response:
        """A change with its CSRF token."""
        headers = {"X-CSRF-Token": self.csrf}
        return self.client.request(method, path, headers=headers, **options)  # type: ignore[arg-type]


def log_in(
    client: httpx.Client, name: str, password: str = PASSWORD, **headers: str
) -> httpx.Response:
    """The answer to a login; the client keeps its cookie."""
    body = {"name": name, "password": password}
    return client.post("/v1/login", json=body, headers=headers)


def browser(address: str, name: str) -> Browser:
    """A browser in which a user is logged in."""
    client = httpx.Client(base_url=address, timeout=30 * PATIENCE)
    answer = log_in(client, name)
    assert answer.status_code == 200, answer.text
    return Browser(client, answer.json()["csrf"])


@pytest.fixture
def ada(api: Context, address: str) -> Iterator[Browser]:
    """A browser in which Ada, a curator, is logged in."""
    add_user(api, "Ada", UserRole.CURATOR)
    opened = browser(address, "ada")
    yield opened
    opened.client.close()


def sessions_of(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(LoginSession)) or 0


def trail(context: Context) -> list[str]:
    """What was changed, by the audit trail, the oldest first."""
    with context.sessions() as session:
        return list(session.scalars(select(Audit.action).order_by(Audit.id)))
