"""Who changed what: each change by a person has its row, in the transaction of the change."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_model
from services import units
from services.accounts import audit, users
from services.api.roles import LEAST
from services.context import Context
from services.cycle import cycles
from services.db.actors import Actor, Door, acting
from services.db.base import clock
from services.db.tables import (
    Audit,
    Cycle,
    CycleState,
    Image,
    LabelTask,
    Model,
    Role,
    Unit,
    UnitState,
    UserRole,
)
from services.errors import Conflict
from services.intake.imports import import_dataset
from tests import bad_images
from tests.services.accounts import PASSWORD, Browser, add_user, browser, log_in, token_of
from tests.services.api_server import CAR, error_of
from tests.services.builders import add_champion, add_holdout_image, make_failure, make_image
from tests.services.commands import CommandLine
from tests.services.datasets_on_disk import pictures, write_coco


def rows_of(context: Context, after: int = 0) -> list[Audit]:
    with context.sessions() as session:
        return list(session.scalars(select(Audit).where(Audit.id > after).order_by(Audit.id)))


def _newest(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.max(Audit.id))) or 0


@pytest.fixture
def project(api: Context) -> Context:
    """Something of everything that can be changed."""
    with api.sessions.begin() as session:
        champion, image = add_champion(session), make_image(1, Role.FIELD)
        add_holdout_image(session)
        session.add(image)
        session.flush()
        session.add_all(make_failure(n, image, champion, label="car") for n in range(2))
        session.add(make_model(7))
        for number in (5, 6, 7, 8, 9):
            asked = make_image(number)
            session.add(asked)
            session.flush()
            session.add(LabelTask(image_id=asked.id))
        unit = units.enqueue(session, "index", "index:1", {"images": []})
        session.flush()
        session.get_one(Unit, unit.id).state = UnitState.DEAD
    return api


@pytest.fixture
def admin(project: Context, address: str) -> Iterator[Browser]:
    """A browser in which an admin is logged in."""
    add_user(project, "grace", UserRole.ADMIN)
    opened = browser(address, "grace")
    yield opened
    opened.client.close()


OF_LOGINS = {
    "POST /v1/login",
    "POST /v1/logout",
    "POST /v1/logout/everywhere",
    "POST /v1/me/password",
}
"""They end the login that the walk needs, and have a test of their own."""


def _changes(admin: Browser, context: Context) -> Iterator[tuple[str, str, httpx.Response]]:
    """Each changing route once, with what its row says."""

    def post(route: str, path: str, action: str, **options: Any) -> tuple[str, str, httpx.Response]:
        method = route.split(" ")[0]
        return route, action, admin.change(method, f"/v1{path}", **options)

    leased = admin.change("POST", "/v1/tasks/lease", json={"owner": "grace", "count": 4})
    yield "POST /v1/tasks/lease", "task.lease", leased
    tasks = {one["id"]: {"token": one["token"]} for one in leased.json()["items"]}
    for task, (verb, action) in zip(
        tasks,
        (("submit", "answer"), ("skip", "skip"), ("reject", "reject"), ("release", "release")),
        strict=True,
    ):
        body = tasks[task] | ({"objects": [CAR]} if verb == "submit" else {})
        route = f"POST /v1/tasks/{{task_id:row}}/{verb}"
        yield post(route, f"/tasks/{task}/{verb}", f"task.{action}", json=body)
    with context.sessions() as session:
        unit = session.scalar(select(Unit.id).where(Unit.state == UnitState.DEAD))
        failure = make_failure(0, make_image(1), make_model(1)).id
    yield post("POST /v1/units/{unit_id:row}/redrive", f"/units/{unit}/redrive", "unit.redrive")
    yield post(
        "POST /v1/failures/{failure_id}/dismiss",
        f"/failures/{failure}/dismiss",
        "dismiss",
        json={"note": "glare"},
    )
    sent = send_frame_by(admin, bad_images.png())
    yield "POST /v1/frames", "frame.report", sent
    yield post("POST /v1/models/{name}/promote", "/models/7/promote", "promote")
    yield post("POST /v1/models/{name}/pin", "/models/7/pin", "model.pin")
    yield post("POST /v1/models/{name}/unpin", "/models/7/unpin", "model.unpin")
    yield post("POST /v1/models/rollback", "/models/rollback", "rollback")
    with context.sessions.begin() as session:
        weak = session.scalars(select(Model).where(Model.number == 7)).one()
        weak.reports = {"holdout": {"objects": 100, "found": 1}}
    yield post("POST /v1/models/{name}/explain", "/models/7/explain", "explain.anyway")
    yield post("POST /v1/cycles", "/cycles", "cycle.start", json={})
    with context.sessions.begin() as session:
        cycle = session.scalars(select(Cycle)).one()
        cycle.state = CycleState.LABELLING
        task = session.scalars(select(LabelTask).where(LabelTask.state == "waiting").limit(1)).one()
        task.cycle_id = cycle.id
    document = admin.client.get("/v1/labels/export").json()
    car = next(one["id"] for one in document["categories"] if one["name"] == "car")
    document["annotations"] = [
        {"id": 1, "image_id": document["images"][0]["id"], "category_id": car, "bbox": [2, 3, 9, 8]}
    ]
    number = cycle.id
    yield post("POST /v1/labels/import", "/labels/import", "task.answer", json=document)
    with context.sessions.begin() as session:
        session.get_one(Cycle, number).state = CycleState.LABELLING
    train = f"/cycles/{number}/train"
    yield post("POST /v1/cycles/{cycle_id:row}/train", train, "cycle.train")
    cancel = f"/cycles/{number}/cancel"
    with context.sessions.begin() as session:
        session.get_one(Cycle, number).state = CycleState.TRAINING
    yield post("POST /v1/cycles/{cycle_id:row}/cancel", cancel, "cycle.cancel")
    user = {"name": "ada", "role": "labeller", "password": "a walk in the park"}
    yield post("POST /v1/users", "/users", "user.add", json=user)
    yield post("PATCH /v1/users/{name}", "/users/ada", "user.role", json={"role": "viewer"})
    new = {"password": "another walk in the park"}
    yield post("POST /v1/users/{name}/password", "/users/ada/password", "user.password", json=new)
    with context.sessions() as session:
        image = session.scalar(select(Image.id).where(Image.role == Role.POOL).limit(1))
    struck = {"kind": "strike_image", "image_id": image, "note": "blurred"}
    yield post("POST /v1/decisions", "/decisions", "decision.strike_image", json=struck)
    undo = "POST /v1/decisions/{number:row}/undo"
    yield post(undo, "/decisions/1/undo", "decision.undo")
    made = admin.change("POST", "/v1/me/tokens", json={"name": "script"})
    yield "POST /v1/me/tokens", "token.add", made
    token = f"/me/tokens/{made.json()['id']}"
    yield post("DELETE /v1/me/tokens/{token_id:row}", token, "token.revoke")


def send_frame_by(admin: Browser, data: bytes) -> httpx.Response:
    return admin.change(
        "POST", "/v1/frames", files={"file": ("a.png", data)}, data={"objects": "[]"}
    )


ELSEWHERE = {
    "POST /v1/failures/{failure_id}/explanations",
    "DELETE /v1/failures/{failure_id}/explanations/{asked_id}",
    "POST /v1/failures/{failure_id}/neighbours",
    "POST /v1/generated/{sample_id:row}/accept",
    "POST /v1/generated/{sample_id:row}/refuse",
    "POST /v1/generated/withdraw",
    "POST /v1/generators",
    "POST /v1/labels/tools",
    "DELETE /v1/labels/tools/{kind}",
    "POST /v1/looks/{task_id:row}/settle",
    "POST /v1/plan/{plan_id}/approve",
}
"""They need an explained failure, a drawn sample, a tool, a second look or a plan:
``test_accounts_audit_rest.py`` makes these, and walks them."""
ASKS = {"POST /v1/plan", "POST /v1/labels/news"}
"""They have something computed or pulled, and change nothing that anybody decided."""
SIGNS_OF_LIFE = {"POST /v1/tasks/{task_id:row}/renew"}
"""A page sends one a minute while somebody works: rows of them would bury the others."""


def test_every_change_over_http_has_its_row(project: Context, admin: Browser) -> None:
    """A route that changes something and is not walked here fails the test."""
    changing = {address for address in LEAST if not address.startswith("GET ")}
    walked = set()
    for route, action, answer in _changes(admin, project):
        assert answer.status_code < 300, (route, answer.text)
        (row,) = [one for one in rows_of(project) if one.action == action][-1:] or [None]
        assert row is not None, route
        assert (row.actor, row.door) == ("grace", "web"), route
        assert row.user_id is not None
        walked.add(route)
    assert walked | OF_LOGINS | SIGNS_OF_LIFE | ELSEWHERE | ASKS == changing


def test_login_and_logout_have_theirs(project: Context, admin: Browser) -> None:
    new = {"old": PASSWORD, "new": "another walk in the park"}
    assert admin.change("POST", "/v1/me/password", json=new).status_code == 204
    for path in ("/v1/logout", "/v1/logout/everywhere"):
        answer = log_in(admin.client, "grace", new["new"])
        admin.csrf = answer.json()["csrf"]
        assert admin.change("POST", path).status_code == 204
    log_in(admin.client, "grace", "wrong")

    told = [(row.actor, row.door, row.action) for row in rows_of(project)]

    doors = ("login", "user.password", "login", "logout", "login", "logout.everywhere")
    assert told[-7:-1] == [("grace", "web", action) for action in doors]
    assert told[-1] == ("stranger", "web", "login.failed")


def test_a_change_that_fails_leaves_no_row(context: Context) -> None:
    """Written in the transaction of the change: neither comes without the other."""
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
    before = _newest(context)
    with acting(Actor("ada", Door.API, 1)), context.sessions() as session:
        cycles.start(session, context)
        session.flush()
        session.rollback()
    assert rows_of(context, before) == []
    with acting(Actor("ada", Door.API, 1)), context.sessions.begin() as session:
        number = cycles.start(session, context).id
    (row,) = rows_of(context, before)
    assert (row.action, row.subject, row.user_id) == ("cycle.start", f"cycle:{number}", 1)


def test_what_the_service_does_by_itself_is_no_persons_row(context: Context) -> None:
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
    before = _newest(context)
    with context.sessions.begin() as session:
        cycles.start(session, context, trigger="cron")
    assert rows_of(context, before) == []


def test_a_token_is_named_by_its_owner_and_door(project: Context, address: str) -> None:
    ada = add_user(project, "ada", UserRole.LABELLER)
    headers = {"Authorization": f"Bearer {token_of(project, ada)}"}
    before = _newest(project)
    with httpx.Client(base_url=f"{address}/v1", headers=headers) as client:
        (task,) = client.post("/tasks/lease", json={"owner": "x"}).json()["items"]
        body = {"token": task["token"], "objects": [CAR]}
        answer = client.post(f"/tasks/{task['id']}/submit", json=body).json()

    assert answer["author"] == "ada"  # none was named
    told = [(row.actor, row.door, row.action) for row in rows_of(project, before)]
    assert told == [("ada", "api", "task.lease"), ("ada", "api", "task.answer")]


# --- looked at


def test_the_trail_is_read_by_user_time_and_page(context: Context) -> None:
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    for at, name in zip(times, ("ada", "grace", "ada"), strict=True):
        with (
            clock(lambda at=at: at),  # type: ignore[misc]
            acting(Actor(name, Door.CLI)),
            context.sessions.begin() as session,
        ):
            audit.record(session, "did", f"thing:{at.day}")
    with context.sessions() as session:

        def subjects(**wanted: Any) -> list[str]:
            return [row.subject for row in audit.rows(session, 10, **wanted)]

        assert subjects() == ["thing:3", "thing:2", "thing:1"]
        assert subjects(user="ada") == ["thing:3", "thing:1"]
        assert subjects(since=times[1]) == ["thing:3", "thing:2"]
        assert subjects(action="did", subject="thing:2") == ["thing:2"]
        first = audit.rows(session, 1)[0].id
        assert subjects(before=first) == ["thing:2", "thing:1"]


def test_admins_read_it_over_http(project: Context, admin: Browser, client: httpx.Client) -> None:
    client.post("/cycles", json={})
    page = client.get("/audit", params={"limit": 1}).json()
    (row,) = page["items"]
    assert (row["actor"], row["door"], row["action"]) == ("project token", "api", "cycle.start")
    rest = client.get("/audit", params={"cursor": page["next"], "user": "GRACE"}).json()
    assert [one["action"] for one in rest["items"]] == ["login"]
    assert client.get("/audit", params={"since": "2999-01-01T00:00:00"}).json()["items"] == []
    for wrong in ("yesterday", "0.5", "0001-01-01T00:00:00+23:00"):
        error_of(client.get("/audit", params={"since": wrong}), 422, "invalid_request")


def test_old_rows_go_but_those_that_are_read_again(context: Context) -> None:
    old = datetime.now(UTC) - timedelta(days=1096)
    with (
        clock(lambda: old),
        acting(Actor("ada", Door.CLI)),
        context.sessions.begin() as session,
    ):
        session.add_all(Audit(action=one, subject="model:1") for one in audit.KEPT)
        session.add_all(Audit(action="login", subject="user:ada") for _ in range(450))
    with acting(Actor("ada", Door.CLI)), context.sessions.begin() as session:
        audit.record(session, "login", "user:ada")

    assert audit.forget(context) == 450
    assert sorted(row.action for row in rows_of(context)) == sorted([*audit.KEPT, "login"])
    assert audit.forget(context) == 0


# --- the command line


def test_commands_are_the_operating_systems_user(
    champion: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "somebody else")  # a variable is anybody's word
    champion.done("import", write_coco(tmp_path / "seed", pictures(100)), "--role", "seed")

    row = champion.done("audit", "--json").json[0]

    assert (row["actor"], row["door"]) == (pwd.getpwuid(os.getuid()).pw_name, "cli")
    assert row["action"] == "images.import"
    assert champion.done("audit", "--user", row["actor"], "--json").json == [row]
    assert "images.import" in champion.done("audit").out
    assert champion.done("audit", "--user", "nobody", "--json").json == []
    assert champion.done("audit", "--since", "2999-01-01", "--json").json == []


def test_the_last_admin_is_kept_by_the_command_line_too(context: Context) -> None:
    add_user(context, "ada", UserRole.ADMIN)
    with (
        acting(Actor("root", Door.CLI)),
        pytest.raises(Conflict, match="only admin"),
        context.sessions.begin() as session,
    ):
        users.set_disabled(session, users.find(session, "ada"), True)
    assert rows_of(context) == []


def test_imports_are_rows(context: Context, tmp_path: Path) -> None:
    with acting(Actor("root", Door.CLI)):
        import_dataset(context, write_coco(tmp_path / "seed", pictures(100)), Role.SEED)
    assert [(row.action, row.subject) for row in rows_of(context)] == [
        ("images.import", "role:seed")
    ]
