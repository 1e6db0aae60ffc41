"""Wrong passwords are counted, and lock."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_context
from services.accounts import lockout, login, secrets, users
from services.api.app import create_app
from services.context import Context
from services.db.base import clock
from services.db.tables import Audit, LoginTries
from services.errors import LockedOut, NotAllowed
from tests.services.accounts import PASSWORD, add_user
from tests.services.api_server import Switch, error_of


def _try(context: Context, name: str, password: str, address: str = "10.0.0.1") -> None:
    login.by_password(context.sessions, context.settings, name, password, address)


@pytest.fixture
def strict(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """A project that locks after three wrong passwords of a name, or five of an address."""
    limits = {"lock_after": 3, "lock_address_after": 5}
    context = make_context(tmp_path / "strict", sqlite_url, accounts=limits)
    yield context
    context.engine.dispose()


def test_a_name_is_locked_after_wrong_passwords_from_anywhere(strict: Context) -> None:
    add_user(strict, "ada")
    for number in range(3):
        with pytest.raises(NotAllowed, match="wrong name or password"):
            _try(strict, ("ada", "Ada", "ADA")[number], "wrong", f"10.0.0.{number}")

    with pytest.raises(LockedOut, match=r"again in 15 minutes.*users enable") as locked:
        _try(strict, "ada", PASSWORD, "10.0.0.9")
    assert 800 < locked.value.retry_after_s <= 900

    later = datetime.now(UTC) + timedelta(minutes=16)
    with clock(lambda: later):
        _try(strict, "ada", PASSWORD)
    with strict.sessions() as session:
        actions = session.scalars(select(Audit.action).order_by(Audit.id)).all()
    assert actions == ["login.failed"] * 3 + ["login"]


def test_names_that_nobody_has_are_answered_and_locked_the_same(strict: Context) -> None:
    for number in range(3):
        with pytest.raises(NotAllowed, match="wrong name or password"):
            _try(strict, "nobody", "wrong", f"10.0.1.{number}")
    with pytest.raises(LockedOut, match="again in 15 minutes"):
        _try(strict, "nobody", "wrong", "10.0.1.9")


def test_an_address_is_locked_whatever_names_it_tries(strict: Context) -> None:
    add_user(strict, "ada")
    for number in range(5):
        with pytest.raises(NotAllowed):
            _try(strict, f"somebody{number}", "wrong")
    with pytest.raises(LockedOut):
        _try(strict, "ada", PASSWORD)
    _try(strict, "ada", PASSWORD, "10.0.0.2")


def test_a_right_password_buys_an_address_no_new_guesses(strict: Context) -> None:
    add_user(strict, "mallory")
    for number in range(5):
        _try(strict, "mallory", PASSWORD)
        with pytest.raises(NotAllowed):
            _try(strict, f"somebody{number}", "wrong")
    with pytest.raises(LockedOut):
        _try(strict, "mallory", PASSWORD)


def test_enabling_lifts_a_lock(strict: Context) -> None:
    add_user(strict, "ada")
    for number in range(3):
        with pytest.raises(NotAllowed):
            _try(strict, "ada", "wrong", f"10.0.0.{number}")
    with strict.sessions.begin() as session:
        users.set_disabled(session, users.find(session, "ada"), False)
    _try(strict, "ada", PASSWORD)


def test_tries_at_once_are_no_more_than_the_limit(context: Context) -> None:
    """Counted before the password is looked at, so that a burst gains nothing."""
    limit = context.settings.accounts.lock_after

    def count(number: int) -> bool:
        try:
            lockout.count(context.sessions, context.settings, "ada", f"10.0.0.{number}")
        except LockedOut:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(count, range(limit + 9)))

    assert sum(counted) == limit


def test_tries_are_forgotten_with_time(strict: Context) -> None:
    with pytest.raises(NotAllowed):
        _try(strict, "a", "wrong")
    later = datetime.now(UTC) + timedelta(hours=1)
    with clock(lambda: later), pytest.raises(NotAllowed):
        _try(strict, "b", "wrong", "10.0.0.2")
    with strict.sessions() as session:
        assert session.scalar(select(func.count()).select_from(LoginTries)) == 2


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(
    api: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in hashes of Argon2 that are compared, not in time."""
    compared = []
    hasher = secrets._hasher()
    real = hasher.verify_and_update

    def counted(password: str, known: str) -> Any:
        compared.append(known)
        return real(password, known)

    monkeypatch.setattr(hasher, "verify_and_update", counted)
    add_user(api, "ada")
    for name in ("ada", "nobody"):
        with pytest.raises(NotAllowed):
            _try(api, name, "wrong")

    assert len(compared) == 2
    assert compared[0].split("$")[:4] == compared[1].split("$")[:4]  # kind and cost


def test_behind_a_proxy_the_senders_address_is_counted(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    """A proxy on this machine is believed; `FORWARDED_ALLOW_IPS` names others."""
    limits = {"lock_address_after": 1}
    context = make_context(tmp_path / "project", sqlite_url, accounts=limits)
    add_user(context, "ada")
    switch, url = served
    switch.app = create_app(context)

    def answered(sender: str, name: str, password: str) -> int:
        body, headers = {"name": name, "password": password}, {"X-Forwarded-For": sender}
        return httpx.post(f"{url}/v1/login", json=body, headers=headers).status_code

    assert answered("192.0.2.7", "nobody", "wrong") == 401
    locked = httpx.post(
        f"{url}/v1/login",
        json={"name": "ada", "password": PASSWORD},
        headers={"X-Forwarded-For": "192.0.2.7"},
    )
    assert "again in 15 minutes" in error_of(locked, 429, "locked_out")
    assert 800 < int(locked.headers["Retry-After"]) <= 900
    assert answered("192.0.2.8", "ada", PASSWORD) == 200
    assert answered("2001:db8::1", "nobody", "wrong") == 401
    assert answered("2001:db8::2", "ada", PASSWORD) == 429  # of one network
    context.engine.dispose()
