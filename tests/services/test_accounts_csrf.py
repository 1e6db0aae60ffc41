"""Changes by cookie come from our own pages."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from benchmarks.common.projects import make_context
from services.api.app import create_app
from services.context import Context
from services.db.tables import UserRole
from tests.services.accounts import PASSWORD, Browser, ada, add_user, browser, log_in, sessions_of
from tests.services.api_server import Switch, error_of

__all__ = ["ada"]


def test_a_change_by_cookie_needs_the_token_of_its_session(
    api: Context, address: str, ada: Browser
) -> None:
    grace = add_user(api, "grace", UserRole.CURATOR)
    other = browser(address, grace.name)
    other.client.close()

    for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": other.csrf}):
        answer = ada.client.post("/v1/cycles", json={}, headers=headers)
        assert "X-CSRF-Token" in error_of(answer, 403, "csrf")
    error_of(ada.change("POST", "/v1/cycles", json={}), 409, "conflict")  # no champion yet


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://["}, False),
        ({"Referer": "https://evil.example/page"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "SELF", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Referer": "SELF/failures?x=1"}, True),
    ],
)
def test_a_change_from_another_site_is_refused(
    address: str, ada: Browser, headers: dict[str, str], passes: bool
) -> None:
    told = {name: value.replace("SELF", address) for name, value in headers.items()}
    told["X-CSRF-Token"] = ada.csrf

    answer = ada.client.post("/v1/cycles", json={}, headers=told)

    error_of(answer, *((409, "conflict") if passes else (403, "csrf")))


def test_another_site_logs_nobody_in(api: Context, address: str) -> None:
    add_user(api, "ada")
    with httpx.Client(base_url=address) as client:
        error_of(log_in(client, "ada", Origin="https://evil.example"), 403, "csrf")
        form = client.post("/v1/login", data={"name": "ada", "password": PASSWORD})
    assert form.status_code == 422
    assert sessions_of(api) == 0


def test_behind_a_proxy_the_public_address_counts(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    public = "https://e2x.example.org"
    context = make_context(tmp_path / "p", sqlite_url, accounts={"public_url": public})
    add_user(context, "ada")
    switch, url = served
    switch.app = create_app(context)
    with httpx.Client(base_url=url) as client:
        assert log_in(client, "ada", Origin=public).status_code == 200
        error_of(log_in(client, "ada", Origin=url), 403, "csrf")
        error_of(log_in(client, "ada", Origin="http://e2x.example.org"), 403, "csrf")
    context.engine.dispose()


def test_a_token_needs_no_csrf_and_a_wrong_one_is_not_made_up_for_by_a_cookie(
    ada: Browser,
) -> None:
    wrong = {"Authorization": "Bearer wrong", "X-CSRF-Token": ada.csrf}
    error_of(ada.client.get("/v1/me", headers=wrong), 401, "not_allowed")
    right = {"Authorization": "Bearer secret"}
    error_of(ada.client.post("/v1/cycles", json={}, headers=right), 409, "conflict")
