"""Logging in and out: cookies, what ends a login, the project's token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from benchmarks.common.projects import make_context
from services.accounts import secrets, users
from services.api.app import create_app
from services.context import Context
from services.db.base import clock
from services.db.tables import UserRole
from tests.services.accounts import (
    PASSWORD,
    Browser,
    ada,
    add_user,
    browser,
    log_in,
    sessions_of,
    token_of,
)
from tests.services.api_server import Switch, error_of

__all__ = ["ada"]


# --- cookies


def test_a_login_sets_a_cookie_that_no_script_reads(api: Context, address: str) -> None:
    add_user(api, "Ada", UserRole.CURATOR)
    with httpx.Client(base_url=address) as client:
        answer = log_in(client, "ADA")
        me = client.get("/v1/me").json()

    said = answer.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=lax" in said
    assert "Path=/" in said
    assert "Secure" not in said  # locally there is no TLS
    assert answer.json() == {"name": "Ada", "role": "curator", "csrf": me["csrf"]}
    assert me == {"name": "Ada", "role": "curator", "via": "session", "csrf": me["csrf"]}


def test_in_production_the_cookie_goes_by_tls_only(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    context = _production(tmp_path, sqlite_url)
    add_user(context, "ada")
    switch, url = served
    switch.app = create_app(context)

    said = httpx.post(f"{url}/v1/login", json={"name": "ada", "password": PASSWORD})

    context.engine.dispose()
    assert said.headers["set-cookie"].startswith("__Host-e2x=")
    assert "; Secure" in said.headers["set-cookie"]


def test_the_database_has_no_secret_in_clear(api: Context, address: str) -> None:
    user = add_user(api, "ada")
    token = token_of(api, user)
    opened = browser(address, "ada")
    (cookie,) = opened.client.cookies.jar
    opened.client.close()

    raw = b"".join(path.read_bytes() for path in api.project.root.parent.rglob("*.db*"))

    assert raw
    for secret in (PASSWORD, token, cookie.value or "?", opened.csrf):
        assert secret.encode() not in raw


def test_a_login_takes_a_new_session_and_ends_the_one_before(
    api: Context, address: str, ada: Browser
) -> None:
    (before,) = [cookie.value for cookie in ada.client.cookies.jar]
    log_in(ada.client, "ada")
    (after,) = [cookie.value for cookie in ada.client.cookies.jar]

    assert before != after
    assert sessions_of(api) == 1
    stolen = httpx.get(f"{address}/v1/me", cookies={"e2x_session": str(before)})
    error_of(stolen, 401, "not_allowed")


def test_an_id_that_was_handed_to_the_browser_is_not_taken(api: Context, address: str) -> None:
    add_user(api, "ada")
    with httpx.Client(base_url=address) as client:
        client.cookies.set("e2x_session", "chosen-by-somebody-else")
        made = log_in(client, "ada")

    assert "chosen-by-somebody-else" not in made.headers["set-cookie"]
    planted = {"e2x_session": "chosen-by-somebody-else"}
    error_of(httpx.get(f"{address}/v1/me", cookies=planted), 401, "not_allowed")


# --- how a login ends


def test_logging_out_ends_the_session(api: Context, address: str, ada: Browser) -> None:
    (cookie,) = ada.client.cookies.jar
    kept = {cookie.name: str(cookie.value)}

    assert ada.change("POST", "/v1/logout").status_code == 204

    assert not list(ada.client.cookies.jar)
    error_of(httpx.get(f"{address}/v1/me", cookies=kept), 401, "not_allowed")
    assert sessions_of(api) == 0


@pytest.mark.parametrize(("idle_h", "alive"), [(7, True), (9, False)])
def test_a_login_ends_when_it_is_not_used(ada: Browser, idle_h: float, alive: bool) -> None:
    later = datetime.now(UTC) + timedelta(hours=idle_h)
    with clock(lambda: later):
        assert (ada.client.get("/v1/me").status_code == 200) is alive


def test_use_keeps_a_login_open_until_its_absolute_end(api: Context, ada: Browser) -> None:
    begun = datetime.now(UTC)
    answered = []
    for hours in range(6, 8 * 24, 6):
        with clock(lambda hours=hours: begun + timedelta(hours=hours)):  # type: ignore[misc]
            answered.append(ada.client.get("/v1/me").status_code)

    assert answered[:27] == [200] * 27
    assert answered[-1] == 401


@pytest.mark.parametrize("how", ["password", "disable", "own password", "everywhere"])
def test_what_ends_every_login(api: Context, address: str, ada: Browser, how: str) -> None:
    other = browser(address, "ada")
    other.client.close()
    assert sessions_of(api) == 2
    if how == "own password":
        new = {"old": PASSWORD, "new": "another walk, uphill"}
        assert ada.change("POST", "/v1/me/password", json=new).status_code == 204
    elif how == "everywhere":
        assert ada.change("POST", "/v1/logout/everywhere").status_code == 204
    else:
        with api.sessions.begin() as session:
            user = users.find(session, "ada")
            if how == "disable":
                users.set_disabled(session, user, True)
            else:
                users.set_password(session, user, secrets.hash_password("something else here"))

    assert sessions_of(api) == 0
    (cookie,) = other.client.cookies.jar
    error_of(
        httpx.get(f"{address}/v1/me", cookies={cookie.name: str(cookie.value)}), 401, "not_allowed"
    )


def test_a_disabled_user_is_let_in_nowhere(api: Context, address: str) -> None:
    user = add_user(api, "ada", UserRole.ADMIN)
    add_user(api, "grace", UserRole.ADMIN)
    headers = {"Authorization": f"Bearer {token_of(api, user)}"}
    assert httpx.get(f"{address}/v1/me", headers=headers).status_code == 200
    with api.sessions.begin() as session:
        users.set_disabled(session, users.find(session, "ada"), True)

    error_of(httpx.get(f"{address}/v1/me", headers=headers), 401, "not_allowed")
    with httpx.Client(base_url=address) as client:
        assert "is disabled" in error_of(log_in(client, "ada"), 403, "forbidden")
        error_of(log_in(client, "ada", "wrong password"), 401, "not_allowed")


# --- the project's token


def _production(tmp_path: Path, url: str) -> Context:
    return make_context(
        tmp_path / "production",
        url,
        environment="production",
        broker_url="redis://nowhere:1/0",
        api={"token": "secret"},
    )


def test_the_projects_token_is_an_admins_locally(client: httpx.Client) -> None:
    assert client.get("/me").json() == {
        "name": "project token", "role": "admin", "via": "project", "csrf": None,
    }  # fmt: skip
    assert client.get("/users").status_code == 200
    error_of(client.post("/me/tokens", json={"name": "x"}), 403, "forbidden")


def test_the_projects_token_is_refused_in_production(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    context = _production(tmp_path, sqlite_url)
    token = token_of(context, add_user(context, "ada"))
    switch, url = served
    switch.app = create_app(context)

    refused = httpx.get(f"{url}/v1/me", headers={"Authorization": "Bearer secret"})
    taken = httpx.get(f"{url}/v1/me", headers={"Authorization": f"Bearer {token}"})

    context.engine.dispose()
    assert "`e2x users add NAME --role admin`" in error_of(refused, 401, "not_allowed")
    assert taken.json()["name"] == "ada"
