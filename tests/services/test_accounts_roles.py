"""Every route with every role and none: what is not allowed is refused before it is read."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from benchmarks.common.waiting import PATIENCE
from services.api import app as api_app
from services.api.roles import LEAST, Roles, addresses
from services.context import Context
from services.db.tables import UserRole
from services.web.app import pages_of
from services.web.roles import LEAST_OF_PAGES
from tests.services.accounts import add_user, token_of
from tests.services.api_server import Switch, error_of

LIVE = "GET /events"
MALFORMED: dict[str, Any] = {"content": b"{", "headers": {"Content-Type": "application/json"}}

OTHER_REASONS = ("not a token", "not begun in this browser")
"""Why a role that is high enough may be answered 403: these take a login, or a try of one."""


@pytest.fixture
def by_role(api: Context, address: str) -> Iterator[dict[UserRole, httpx.Client]]:
    """A client with a token for each role."""
    clients = {}
    for role in UserRole:
        headers = {"Authorization": f"Bearer {token_of(api, add_user(api, role, role))}"}
        clients[role] = httpx.Client(base_url=address, headers=headers, timeout=30 * PATIENCE)
    yield clients
    for client in clients.values():
        client.close()


def _asked(address: str) -> tuple[str, str]:
    """Method and a path that fits a template; no row has this number."""
    method, path = address.split(" ")
    path = re.sub(r"\{[a-z_]+:(row|path)\}", "999999", re.sub(r"\{[a-z_]+\}", "none", path))
    return method, path


EVERYTHING = {**LEAST, **LEAST_OF_PAGES}


def test_every_route_is_answered_from_its_role_on(
    by_role: dict[UserRole, httpx.Client], address: str
) -> None:
    """A body that is no JSON would be 422: where the role is too low, it was not read.

    Pages too; the one that goes on for as long as somebody looks has a test of its own.
    """
    wrong = []
    for route, least in EVERYTHING.items():
        if route == LIVE:
            continue
        method, path = _asked(route)
        stranger = httpx.request(method, address + path, timeout=60 * PATIENCE, **MALFORMED)
        if (stranger.status_code == 401) is not (least is not None):
            wrong.append(f"{route} for strangers: {stranger.status_code}")
        for role, client in by_role.items():
            answer = client.request(method, path, **MALFORMED)
            if not _is_as_it_should(answer, role, least):
                wrong.append(f"{route} for {role}: {answer.status_code} {answer.text[:200]}")

    assert wrong == []


def _is_as_it_should(answer: httpx.Response, role: UserRole, least: UserRole | None) -> bool:
    if least is not None and not role.may(least):
        said = answer.json()
        told = least in said["message"] and role in said["message"]
        return answer.status_code == 403 and said["code"] == "forbidden" and told
    if answer.status_code == 403:
        return any(why in answer.json()["message"] for why in OTHER_REASONS)
    return answer.status_code not in (401, 405, 500)


def test_strangers_are_told_what_an_open_address_understands_and_of_others_nothing(
    address: str,
) -> None:
    """A method that is not there is no secret of an address that is open to all."""
    methods: dict[str, dict[str, UserRole | None]] = {}
    for route, least in EVERYTHING.items():
        method, path = _asked(route)
        methods.setdefault(path, {})[method] = least
    wrong, opened = [], 0
    for path, known in methods.items():
        is_open = set(known.values()) == {None}
        opened += is_open
        for method in {"TRACE", "PUT", "DELETE", "PATCH"} - known.keys():
            answer = httpx.request(method, address + path, timeout=60 * PATIENCE)
            allowed = set(answer.headers.get("allow", "").split(", ")) - {"HEAD", "OPTIONS", ""}
            expected = (405, set(known)) if is_open else (401, set())
            if (answer.status_code, allowed) != expected:
                wrong.append(f"{method} {path}: {answer.status_code}, Allow: {allowed}")

    assert wrong == []
    assert opened >= 5


def test_whoever_may_not_look_follows_nothing_live(
    by_role: dict[UserRole, httpx.Client], address: str
) -> None:
    assert LEAST_OF_PAGES[LIVE] is UserRole.VIEWER
    assert httpx.get(f"{address}/events").status_code == 401
    for client in by_role.values():
        with client.stream("GET", "/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")


def test_all_routes_are_in_the_table_and_the_table_has_no_other() -> None:
    found = [
        one for router, prefix, _ in api_app._routers() for one in addresses(prefix, router.routes)
    ]

    assert sorted([*found, "GET /openapi.json"]) == sorted(LEAST)
    assert sorted(addresses("", pages_of())) == sorted(LEAST_OF_PAGES)


def test_a_route_that_is_not_in_the_table_keeps_the_process_from_starting(
    api: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = APIRouter()
    new.add_api_route("/new", lambda: None)
    monkeypatch.setattr(api_app, "_routers", lambda: [(new, "/v1", [])])

    with pytest.raises(RuntimeError, match=r"GET /v1/new has no least role.*roles\.py"):
        api_app.create_app(api)


def test_a_route_that_was_added_past_the_table_is_not_there(
    api: Context, served: tuple[Switch, str]
) -> None:
    app = api_app.create_app(api)
    app.add_api_route("/v1/hidden", lambda: "seen")
    switch, url = served
    switch.app = app

    answer = httpx.get(f"{url}/v1/hidden", headers={"Authorization": "Bearer secret"})

    error_of(answer, 404, "not_found")


def test_of_two_routes_that_fit_the_higher_role_counts() -> None:
    roles = Roles({"GET /a/{name}": UserRole.VIEWER, "GET /a/top": UserRole.ADMIN})

    assert roles.at("GET", "/a/top").role is UserRole.ADMIN
    assert roles.at("GET", "/a/low").role is UserRole.VIEWER


def test_the_description_names_role_and_refusal(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json", timeout=60 * PATIENCE).json()
    for path, methods in document["paths"].items():
        for operation in methods.values():
            role = operation["x-least-role"]
            if role is None:
                assert "security" not in operation, path
            else:
                assert "403" in operation["responses"], path
                assert f"Least role: {role}." in operation["description"], path
    assert document["paths"]["/v1/models/rollback"]["post"]["x-least-role"] == "admin"


def test_a_role_too_low_is_told_before_the_body_comes(
    address: str, by_role: dict[UserRole, httpx.Client]
) -> None:
    """The head of a request that says 60 kB follow; none of them is sent."""
    host, port = address.removeprefix("http://").split(":")
    token = by_role[UserRole.VIEWER].headers["Authorization"]
    head = (
        f"POST /v1/frames HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        "Content-Length: 60000\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=20 * PATIENCE) as sender:
        sender.sendall(head.encode())
        assert sender.recv(4096).startswith(b"HTTP/1.1 403")
