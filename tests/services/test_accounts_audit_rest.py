"""The audit trail of changes that need more than a field frame and a queue: the rest of the walk.

With :func:`tests.services.test_accounts_audit.test_every_change_over_http_has_its_row` every
changing route is walked: that test names what is left to this one, and this one fails where it
walks less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.context import Context
from services.db.tables import (
    AskedExplanation,
    Cycle,
    CycleState,
    GeneratedRow,
    HarmRow,
    Image,
    LabelTask,
    LookState,
    Role,
    SampleState,
    SecondLook,
    TaskState,
    UserRole,
)
from tests.services.accounts import Browser, add_user, browser
from tests.services.builders import add_holdout_image, make_image
from tests.services.pages import add_field
from tests.services.test_accounts_audit import ELSEWHERE, rows_of
from tests.services.test_web_plan import by_hand

FAILURE = f"{1:064x}"


@pytest.fixture
def project(api: Context) -> Context:
    """An explained failure, two drawn samples, and two answers that differ."""
    add_field(api, 2)
    with api.sessions.begin() as session:
        add_holdout_image(session)
        frame = session.scalars(select(Image).where(Image.role == Role.FIELD)).one()
        donor = session.scalars(select(Image).where(Image.role == Role.SEED)).one()
        session.add(
            HarmRow(id="h" * 64, image_id=frame.id, box=[1, 1, 9, 9], label="car", light=False,
                    mask={"size": [1, 1], "counts": [1]})
        )  # fmt: skip
        session.flush()
        for number in (101, 102):
            drawn = make_image(900 + number, Role.GENERATED)
            session.add(drawn)
            session.flush()
            session.add(
                GeneratedRow(
                    id=number, key=f"{number}", cycle_id=1, mode_id=1, model_id=f"{1:064x}",
                    image_id=drawn.id, harm_id="h" * 64, donor_id=donor.id,
                    donor_box=[1, 1, 9, 9], staging="surround", generator="compose",
                    generator_version="1", seed=number, state=SampleState.DRAWN,
                )
            )  # fmt: skip
        task = session.get_one(LabelTask, 1)
        task.state = TaskState.DISPUTED
        answers = {"first": [], "first_author": "anna", "first_token": 1, "second": []}
        session.add(
            SecondLook(
                task_id=1, state=LookState.DISPUTED, second_author="bert", second_token=2,
                **answers,
            )
        )  # fmt: skip
    return api


@pytest.fixture
def admin(project: Context, address: str) -> Iterator[Browser]:
    """A browser in which an admin is logged in."""
    add_user(project, "grace", UserRole.ADMIN)
    opened = browser(address, "grace")
    yield opened
    opened.client.close()


def _changes(admin: Browser, context: Context) -> Iterator[tuple[str, str, httpx.Response]]:
    """Each of the routes once, with what its row says."""

    def send(route: str, action: str, path: str, **options: Any) -> tuple[str, str, httpx.Response]:
        return route, action, admin.change(route.split(" ")[0], f"/v1{path}", **options)

    of_failure = f"/failures/{FAILURE}"
    asked = "POST /v1/failures/{failure_id}/explanations"
    yield send(asked, "explanation.ask", f"{of_failure}/explanations", json={"method": "lime"})
    with context.sessions() as session:
        (name,) = session.scalars(select(AskedExplanation.id))
    yield send(
        "DELETE /v1/failures/{failure_id}/explanations/{asked_id}",
        "explanation.delete",
        f"{of_failure}/explanations/{name}",
    )
    near = "POST /v1/failures/{failure_id}/neighbours"
    yield send(near, "neighbours.ask", f"{of_failure}/neighbours")
    note = {"note": "well put"}
    accept = "POST /v1/generated/{sample_id:row}/accept"
    yield send(accept, "sample.kept", "/generated/101/accept", json=note)
    refuse = "POST /v1/generated/{sample_id:row}/refuse"
    yield send(refuse, "sample.refused", "/generated/102/refuse", json=note)
    some = {"ids": [101], "note": "of no use"}
    withdraw = "POST /v1/generated/withdraw"
    yield send(withdraw, "sample.withdrawn", "/generated/withdraw", json=some)
    yield send("POST /v1/generators", "generator.train", "/generators", json={"steps": 10})
    tool = {"kind": "label-studio", "url": "http://127.0.0.1:9", "token": "0123456789abcdef" * 2}
    yield send("POST /v1/labels/tools", "labels.connect", "/labels/tools", json=tool)
    gone = "DELETE /v1/labels/tools/{kind}"
    yield send(gone, "labels.disconnect", "/labels/tools/label-studio")
    settle = "POST /v1/looks/{task_id:row}/settle"
    yield send(settle, "task.settle", "/looks/1/settle", json={"taken": "first"})
    with context.sessions.begin() as session:
        session.get_one(Cycle, 1).state = CycleState.DONE
    plan = by_hand(context, 2)
    approve = "POST /v1/plan/{plan_id}/approve"
    yield send(approve, "cycle.start", f"/plan/{plan.id}/approve")


def test_the_rest_of_the_changes_has_its_rows_too(project: Context, admin: Browser) -> None:
    walked = set()
    for route, action, answer in _changes(admin, project):
        assert answer.status_code < 300, (route, answer.text)
        told = [one for one in rows_of(project) if one.action == action]
        assert told, route
        assert (told[-1].actor, told[-1].door) == ("grace", "web"), route
        assert told[-1].user_id is not None
        walked.add(route)
    assert walked == ELSEWHERE
