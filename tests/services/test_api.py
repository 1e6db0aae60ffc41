"""The HTTP API as clients see it: tasks, labels, cycles, models, failures, units, its process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_context, make_model
from benchmarks.common.waiting import PATIENCE, wait_until
from services import units
from services.api.auth import project_token
from services.context import Context
from services.db.tables import Annotation, Cycle, CycleState, LabelTask, Role, Unit
from services.models import registry
from tests.services.api_server import CAR, error_of
from tests.services.builders import add_champion, add_holdout_image, make_failure, make_image

# --- tasks and labels


@pytest.fixture
def tasks(api: Context) -> Context:
    """Three label tasks."""
    with api.sessions.begin() as session:
        champion = add_champion(session)
        cycle = Cycle(
            policy="random", budget_boxes=9, champion_id=champion.id, state=CycleState.LABELLING
        )
        session.add(cycle)
        images = [make_image(number) for number in (1, 2, 3)]
        session.add_all(images)
        session.flush()
        session.add_all(LabelTask(cycle_id=cycle.id, image_id=image.id) for image in images)
    return api


def _lease(client: httpx.Client, count: int = 1) -> list[dict[str, Any]]:
    answer = client.post("/tasks/lease", json={"owner": "anna", "count": count})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_a_task_is_leased_answered_and_closed(client: httpx.Client, tasks: Context) -> None:
    first, second, third = _lease(client, 3)
    answer = {"token": first["token"], "objects": [CAR], "author": "anna"}

    stored = [client.post(f"/tasks/{first['id']}/submit", json=answer).json() for _ in range(2)]

    assert stored[0] == stored[1]
    assert stored[0]["objects"] == [{**CAR, "ignore": False}]
    skipped = client.post(f"/tasks/{second['id']}/skip", json={"token": second["token"]})
    assert skipped.json()["state"] == "skipped"
    body = {"token": third["token"], "note": "blurred"}
    released = client.post(f"/tasks/{third['id']}/release", json=body)
    assert released.json()["state"] == "waiting"
    error_of(client.post(f"/tasks/{third['id']}/reject", json=body), 409, "lease_lost")
    (again,) = _lease(client)
    body = {"token": again["token"], "note": "blurred"}
    rejected = client.post(f"/tasks/{again['id']}/reject", json=body).json()
    assert (rejected["state"], rejected["note"]) == ("rejected", "blurred")
    with tasks.sessions() as session:
        assert (
            session.scalar(select(func.count()).select_from(Annotation)) == 2
        )  # one is the seed's


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"token": 77}, 409, "lease_lost"),
        ({"objects": [{**CAR, "label": "boat"}]}, 422, "invalid_request"),
        ({"objects": [{**CAR, "box": [9, 9, 4, 4]}]}, 422, "invalid_boxes"),
        ({"objects": [{**CAR, "box": "here"}]}, 422, "invalid_request"),
        ({"objects": None}, 422, "invalid_request"),
        ({"unknown": 1}, 422, "invalid_request"),
    ],
)
def test_a_wrong_answer_is_refused_and_the_lease_stays(
    client: httpx.Client, tasks: Context, change: dict[str, Any], status: int, code: str
) -> None:
    (task,) = _lease(client)
    good = {"token": task["token"], "objects": [CAR]}

    error_of(client.post(f"/tasks/{task['id']}/submit", json={**good, **change}), status, code)

    assert client.post(f"/tasks/{task['id']}/submit", json=good).json()["revision"] == 1


def test_tasks_are_listed_page_by_page(client: httpx.Client, tasks: Context) -> None:
    page = client.get("/tasks", params={"limit": 2}).json()
    rest = client.get("/tasks", params={"limit": 2, "cursor": page["next"]}).json()

    assert [len(page["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    waiting = client.get("/tasks", params={"state": "waiting", "cycle_id": 1}).json()
    assert len(waiting["items"]) == 3
    assert client.get(f"/tasks/{page['items'][0]['id']}").json() == page["items"][0]


@pytest.mark.parametrize("body", [{}, {"owner": ""}, {"owner": "a", "count": 0}, [], {"owner": 3}])
def test_a_malformed_lease_is_refused(client: httpx.Client, body: Any) -> None:
    error_of(client.post("/tasks/lease", json=body), 422, "invalid_request")


def test_labels_go_out_and_come_back(client: httpx.Client, tasks: Context) -> None:
    document = client.get("/labels/export").json()
    car = next(one["id"] for one in document["categories"] if one["name"] == "car")
    document["annotations"] = [
        {"id": n, "image_id": image["id"], "category_id": car, "bbox": bbox}
        for n, (image, bbox) in enumerate(
            zip(document["images"], ([2, 3, 10, 8], [60, 3, 30, 8], [2, 3, 10, 8]), strict=True)
        )
    ]

    report = client.post("/labels/import", json=document).json()

    assert (report["submitted"], report["boxes"], len(report["problems"])) == (2, 2, 1)
    assert "leaves the 64x48 image" in report["problems"][0]["message"]
    assert len(client.get("/labels/export", params={"cycle_id": 1}).json()["images"]) == 1
    error_of(client.post("/labels/import", json={"images": 3}), 422, "annotations_invalid")
    error_of(client.post("/labels/import", content=b"{"), 422, "invalid_request")


# --- cycles, models, failures, units


def test_a_cycle_needs_a_champion_and_runs_alone(client: httpx.Client, api: Context) -> None:
    assert "no champion yet" in error_of(client.post("/cycles", json={}), 409, "conflict")
    with api.sessions.begin() as session:
        add_champion(session)
    assert "needs a holdout" in error_of(client.post("/cycles", json={}), 409, "conflict")
    with api.sessions.begin() as session:
        add_holdout_image(session)

    cycle = client.post("/cycles", json={"budget_boxes": 7, "policy": "random"})

    assert (cycle.status_code, cycle.json()["budget_boxes"]) == (201, 7)
    error_of(client.post("/cycles", json={}), 409, "conflict")
    number = cycle.json()["id"]
    error_of(client.post(f"/cycles/{number}/train"), 409, "conflict")
    assert client.post(f"/cycles/{number}/cancel").json()["state"] == "cancelled"
    assert [one["id"] for one in client.get("/cycles").json()["items"]] == [number]
    assert client.get(f"/cycles/{number}").json()["error"] == "cancelled by project token"


@pytest.mark.parametrize(
    "body",
    [
        {"policy": "magic"}, {"kind": "half"}, {"budget_boxes": 0}, {"budget_boxes": 2**40},
        {"seed": 2**31}, {"trigger": "person"},
    ],
)  # fmt: skip
def test_a_senseless_cycle_is_refused(client: httpx.Client, api: Context, body: Any) -> None:
    with api.sessions.begin() as session:
        add_champion(session)

    error_of(client.post("/cycles", json=body), 422, "invalid_request")


def test_what_waits_for_a_better_detector_is_told_and_let_go(
    client: httpx.Client, api: Context
) -> None:
    with api.sessions.begin() as session:
        champion = add_champion(session)
        add_holdout_image(session)
        champion.reports = {"holdout": {"objects": 797, "found": 11}}
        frame = make_image(5, Role.FIELD)
        session.add(frame)
        session.flush()
        session.add(make_failure(5, frame, champion, state="found"))

    told = client.get("/models/1").json()
    assert "finds 1 % of the holdout (11 of 797 objects)" in told["held"]
    assert told["limits"][0].startswith("finds 1 % of the holdout")
    said = error_of(client.post("/cycles", json={"policy": "e2x"}), 409, "conflict")
    assert "chooses by explanations" in str(said)
    assert client.post("/models/1/explain").json()["held"] is None
    with api.sessions() as session:
        assert session.scalars(select(Unit.kind).where(Unit.kind == "explain")).one()
    assert client.post("/cycles", json={"policy": "e2x"}).status_code == 201


def test_models_are_promoted_and_rolled_back(client: httpx.Client, api: Context) -> None:
    error_of(client.post("/models/rollback"), 409, "conflict")
    with api.sessions.begin() as session:
        session.add_all([make_model(1), make_model(2)])

    assert client.post("/models/1/promote").json()["state"] == "champion"
    assert client.post("/models/2/promote").json()["state"] == "champion"
    error_of(client.post("/models/2/promote"), 409, "conflict")
    assert client.post("/models/rollback").json()["number"] == 1
    states = {one["number"]: one["state"] for one in client.get("/models").json()["items"]}
    assert states == {1: "champion", 2: "retired"}
    assert client.get(f"/models/{2:064x}").json()["number"] == 2
    with api.sessions() as session:
        champion = registry.champion(session)
        assert champion is not None
        assert champion.number == 1


def test_failures_are_listed_by_what_they_are(client: httpx.Client, api: Context) -> None:
    with api.sessions.begin() as session:
        champion, image = add_champion(session), make_image(1, Role.FIELD)
        session.add(image)
        session.flush()
        labels = ("car", "car", "bus")
        session.add_all(
            make_failure(number, image, champion, label=label)
            for number, label in enumerate(labels)
        )

    page = client.get("/failures", params={"label": "car", "limit": 1}).json()
    rest = client.get("/failures", params={"label": "car", "cursor": page["next"]}).json()

    assert [one["id"] for one in page["items"] + rest["items"]] == [f"{0:064x}", f"{1:064x}"]
    detail = client.get(f"/failures/{page['items'][0]['id']}").json()
    assert (detail["explanations"], detail["overlay"]) == ([], None)
    overlay = client.get(f"/failures/{page['items'][0]['id']}/overlay.png")
    assert overlay.status_code in (404, 409), overlay.text


def test_a_parked_unit_is_driven_again_once(client: httpx.Client, api: Context) -> None:
    with api.sessions.begin() as session:
        unit = units.enqueue(session, "index", "index:1", {"images": []})
        claim = units.claim(session, unit.id, "test", 60)
        assert claim is not None
        units.fail(session, claim, "odd", "it broke", retryable=False, backoff_s=0)

    assert client.get("/units/counts").json()["dead"] == 1
    (dead,) = client.get("/units", params={"state": "dead", "kind": "index"}).json()["items"]
    assert (dead["error_code"], dead["error"]) == ("odd", "it broke")
    assert client.post(f"/units/{dead['id']}/redrive").json()["state"] == "queued"
    error_of(client.post(f"/units/{dead['id']}/redrive"), 409, "conflict")
    error_of(client.post("/units/999/redrive"), 404, "not_found")


# --- description and process


def test_the_description_explains_every_route(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()

    assert len(document["paths"]) >= 20
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route["summary"], (method, path)
            assert len(route["description"]) >= 9, (method, path)
    assert "no idempotency key" in document["info"]["description"]
    assert httpx.get(f"{address}/docs").status_code == 200


def test_requests_have_a_number(client: httpx.Client) -> None:
    numbers = {client.get("/models").headers["X-Request-Id"] for _ in range(2)}

    assert len(numbers) == 2


def test_the_api_is_a_process_of_its_own(tmp_path: Path, sqlite_url: str) -> None:
    context = make_context(tmp_path / "project", sqlite_url)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {
        **os.environ,
        "E2X_PROJECT": str(context.project.root),
        "E2X_DATABASE_URL": sqlite_url,
        "E2X_API__PORT": str(port),
    }
    address = f"http://127.0.0.1:{port}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.api"], env=variables, stdout=log, stderr=log
        )

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            parts = httpx.get(f"{address}/readyz").json()["parts"]
            return (parts["database"]["ready"], parts["broker"]["ready"]) == (True, False)
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 60, "the API is ready")
        headers = {"Authorization": f"Bearer {project_token(context)}"}
        listed = httpx.get(f"{address}/v1/models", headers=headers)
        assert listed.json() == {"items": [], "next": None}
    finally:
        process.terminate()
        process.wait(30 * PATIENCE)
        context.engine.dispose()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line.get("status") == 200 and "request" in line for line in lines)
