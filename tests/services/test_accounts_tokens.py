"""Personal tokens over HTTP, and when sessions and tokens were used last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import event, select

from benchmarks.common.waiting import wait_until
from services.context import Context
from services.db.base import clock
from services.db.tables import ApiToken, UserRole
from tests.services.accounts import Browser, add_user, browser, token_of
from tests.services.api_server import error_of


@pytest.fixture
def ada(api: Context, address: str) -> Browser:
    add_user(api, "ada", UserRole.CURATOR)
    return browser(address, "ada")


def bearer(address: str, token: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{address}/v1", headers=headers)


def test_a_token_is_shown_once_used_and_revoked(ada: Browser, address: str) -> None:
    body = {"name": "fleet", "role": "labeller", "days": 7}
    made = ada.change("POST", "/v1/me/tokens", json=body).json()

    with bearer(address, made["token"]) as client:
        me = client.get("/me").json()
        assert (me["name"], me["role"], me["via"], me["csrf"]) == ("ada", "labeller", "token", None)
        (listed,) = ada.client.get("/v1/me/tokens").json()["items"]
        assert "token" not in listed
        assert (listed["name"], listed["role"]) == ("fleet", "labeller")
        assert ada.change("DELETE", f"/v1/me/tokens/{listed['id']}").json()["revoked_at"]
        error_of(client.get("/me"), 401, "not_allowed")
    assert ada.change("DELETE", f"/v1/me/tokens/{listed['id']}").status_code == 200  # once more
    assert ada.client.get("/v1/me/tokens").json()["items"] == []


def test_a_token_is_never_above_its_owner(ada: Browser) -> None:
    answer = ada.change("POST", "/v1/me/tokens", json={"name": "x", "role": "admin"})
    assert "no token of theirs can be admin" in error_of(answer, 403, "forbidden")
    answer = ada.change("POST", "/v1/me/tokens", json={"name": "x", "days": 9999})
    assert "token_max_days" in error_of(answer, 422, "invalid_request")


def test_a_token_makes_no_tokens_and_changes_no_password(
    api: Context, ada: Browser, address: str
) -> None:
    """Who finds one must not make it last."""
    made = ada.change("POST", "/v1/me/tokens", json={"name": "fleet"}).json()
    with bearer(address, made["token"]) as client:
        for method, path, body in (
            ("POST", "/me/tokens", {"name": "more"}),
            ("DELETE", f"/me/tokens/{made['id']}", None),
            ("POST", "/me/password", {"old": "x", "new": "y"}),
            ("POST", "/logout", None),
        ):
            answer = client.request(method, path, json=body)
            assert "not a token" in error_of(answer, 403, "forbidden")


def test_nobody_ends_the_token_of_another(api: Context, ada: Browser) -> None:
    token_of(api, add_user(api, "grace"))
    with api.sessions() as session:
        number = session.scalars(select(ApiToken.id)).one()
    error_of(ada.change("DELETE", f"/v1/me/tokens/{number}"), 404, "not_found")


def test_when_a_token_was_used_is_written_once_a_minute(
    api: Context, ada: Browser, address: str
) -> None:
    """Else every look would be a write, which waits for others."""
    token = token_of(api, add_user(api, "grace"))
    written: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("UPDATE api_tokens"):
            written.append(statement)

    def used() -> datetime | None:
        with api.sessions() as session:
            return session.scalars(select(ApiToken.last_used_at)).one()

    event.listen(api.engine, "before_cursor_execute", note)
    with bearer(address, token) as client:
        assert client.get("/me").status_code == 200
        wait_until(lambda: used() is not None, 20, "it is written")
        for _ in range(5):
            client.get("/me")
        assert len(written) == 1
        later = datetime.now(UTC) + timedelta(minutes=2)
        with clock(lambda: later):
            client.get("/me")
            wait_until(lambda: used() == later, 20, "it is written again")
    assert len(written) == 2


def test_an_open_door_needs_no_database_for_whoever_shows_a_cookie(
    api: Context, address: str, ada: Browser
) -> None:
    with api.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE sessions")
    assert ada.client.get("/healthz").status_code == 200
    assert "e2x init" in error_of(ada.client.get("/v1/me"), 503, "database_unavailable")
