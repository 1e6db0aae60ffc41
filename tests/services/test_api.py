"""The HTTP API as clients see it: a real server on a real socket, SQLite behind it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import func, select
from starlette.types import ASGIApp, Receive, Scope, Send

from services import registry
from services.api.app import create_app
from services.api.auth import project_token
from services.context import Context
from services.db import units
from services.db.tables import Annotation, Cycle, CycleState, Image, LabelTask, Observation, Role
from services.errors import NotAllowed
from services.imports import import_dataset
from tests import bad_images
from tests.factories import make_context, make_model
from tests.service_fixtures import wait_until
from tests.services.builders import add_champion, make_failure, make_image
from tests.services.datasets_on_disk import pictures, write_coco

MAX_BYTES = 64 * 1024
CAR = {"box": [2, 3, 12, 11], "label": "car"}


@pytest.fixture
def api(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """A project with a seed image, so that its classes are bus and car."""
    context = make_context(
        tmp_path / "project", sqlite_url, api={"token": "secret", "max_request_bytes": MAX_BYTES}
    )
    import_dataset(context, write_coco(tmp_path / "seed", pictures(100)), Role.SEED)
    yield context
    context.engine.dispose()


class Switch:
    """One server for all tests; each test puts its own application in."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Switch, str]]:
    """A server, and where it listens."""
    switch = Switch()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(switch, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started, 30, "the API listens")
    yield switch, f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    listener.close()


@pytest.fixture
def address(api: Context, served: tuple[Switch, str]) -> str:
    """Where the API of this test's project listens."""
    switch, url = served
    switch.app = create_app(api)
    return url


@pytest.fixture
def client(address: str) -> Iterator[httpx.Client]:
    """A client with the right token."""
    headers = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=30) as opened:
        yield opened


def _error(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    message: str = answer.json()["message"]
    return message


def _send(client: httpx.Client, data: bytes, name: str = "a.png", **fields: Any) -> httpx.Response:
    said = {key: json.dumps(value) for key, value in fields.items()}
    return client.post("/frames", files={"file": (name, data)}, data=said)


def _stored(context: Context) -> tuple[int, int, int]:
    """Field images, frames and files; the seed image is left out."""
    with context.sessions() as session:
        images = session.scalar(select(func.count()).select_from(Image)) or 0
        frames = session.scalar(select(func.count()).select_from(Observation)) or 0
    files = sum(path.is_file() for path in context.project.images.rglob("*"))
    return images - 1, frames, files - 1


# --- who may


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer", "Basic c2VjcmV0", "Bearer ü"])
def test_without_the_token_nothing_is_answered(address: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}

    answer = httpx.get(f"{address}/v1/models", headers=headers)

    assert "Authorization: Bearer" in _error(answer, 401, "not_allowed")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_every_route_but_health_needs_the_token(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    for path, methods in document["paths"].items():
        for method in methods:
            answer = httpx.request(method, address + path.replace("{", "").replace("}", ""))
            allowed = path in ("/healthz", "/readyz")
            assert answer.status_code == (200 if allowed else 401) or answer.status_code == 422, (
                path
            )
            assert allowed or answer.status_code in (401, 422)


def test_a_token_is_made_once_and_only_its_owner_may_read_it(sqlite_context: Context) -> None:
    first, second = project_token(sqlite_context), project_token(sqlite_context)

    assert first == second
    assert len(first) >= 32
    file = sqlite_context.project.state / "api-token"
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(" \n")
    with pytest.raises(NotAllowed, match="is empty"):
        project_token(sqlite_context)


# --- what is too large


def test_a_request_that_says_it_is_too_large_is_refused(client: httpx.Client, api: Context) -> None:
    answer = _send(client, bad_images.png() + b"\0" * MAX_BYTES, objects=[])

    assert "api.max_request_bytes" in _error(answer, 413, "too_large")
    assert _stored(api) == (0, 0, 0)


def test_a_request_that_hides_its_size_is_cut_off(client: httpx.Client, api: Context) -> None:
    def endless() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(40):
            yield b"\0" * 4096
        yield b"\r\n--x--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = client.post("/frames", content=endless(), headers=headers)

    _error(answer, 413, "too_large")
    assert _stored(api) == (0, 0, 0)
    assert client.get("/models").status_code == 200


# --- frames


@pytest.mark.parametrize("name", bad_images.BAD)
def test_a_bad_image_is_a_clear_error_and_nothing_is_stored(
    client: httpx.Client, api: Context, name: str
) -> None:
    answer = _send(client, bad_images.BAD[name](), "field.jpg", objects=[])

    assert _error(answer, 422, "image_unreadable").startswith("field.jpg: ")
    assert _stored(api) == (0, 0, 0)


def test_odd_images_are_taken(client: httpx.Client, api: Context) -> None:
    for name, build in bad_images.ODD.items():
        assert _send(client, build(), f"{name}.jpg", objects=[]).status_code == 201
    assert _stored(api) == (len(bad_images.ODD),) * 3


def test_the_same_frame_is_one_frame_and_its_file_comes_back(
    client: httpx.Client, api: Context
) -> None:
    first = _send(client, bad_images.png(1), objects=[CAR]).json()
    again = _send(client, bad_images.png(1), "b.png", objects=[CAR]).json()

    assert first == again
    assert client.get(f"/frames/{first['id']}").json() == first
    assert _stored(api) == (1, 1, 1)
    file = client.get(f"/images/{first['image_id']}/file")
    assert file.content == bad_images.png(1)
    assert file.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "send `objects`"),
        ({"objects": "{"}, "objects: not JSON"),
        ({"objects": "[" * 20_000}, "objects: not JSON"),
        ({"objects": "{}"}, "objects"),
        ({"objects": '[{"box": [1, 2, 3], "label": "car"}]'}, "objects.0.box"),
        ({"objects": '[{"box": [1, 2, 3, 4]}]'}, "objects.0.label: Field required"),
        ({"objects": '[{"box": [1, 2, 3, 4], "label": "car", "iscrowd": 1}]'}, "objects.0.iscrowd"),
        ({"objects": '[{"box": [1, 2, 3, 4], "label": "boat"}]'}, "unknown class 'boat'"),
        ({"objects": '[{"box": [1, 2, 3, 4], "label": "\\ud800"}]'}, "unknown class"),
        ({"reports": '[{"kind": "odd", "box": [1, 2, 3, 4], "label": "car"}]'}, "reports.0.kind"),
        ({"objects": "[]", "reporter": "x" * 121}, "body.reporter"),
    ],
)
def test_malformed_words_are_named_and_nothing_is_stored(
    client: httpx.Client, api: Context, fields: dict[str, str], why: str
) -> None:
    answer = client.post("/frames", files={"file": ("a.png", bad_images.png())}, data=fields)

    assert why in _error(answer, 422, "invalid_request")
    assert _stored(api) == (0, 0, 0)


@pytest.mark.parametrize("box", [[9, 9, 4, 4], [-9, 0, 4, 4], [0, 0, 1e39, 4], [0, 0, 99, 9]])
def test_a_bad_box_is_named_and_nothing_is_stored(
    client: httpx.Client, api: Context, box: list[float]
) -> None:
    answer = _send(client, bad_images.png(), objects=[CAR, {**CAR, "box": box}])

    assert "a.png: box 1" in _error(answer, 422, "invalid_boxes")
    assert _stored(api) == (0, 0, 0)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\x1b[2J.png", "x" * 900])
def test_a_hostile_file_name_is_only_a_name(client: httpx.Client, api: Context, name: str) -> None:
    assert _send(client, bad_images.png(1), name, objects=[]).status_code == 201

    assert _stored(api) == (1, 1, 1)
    with api.sessions() as session:
        image = session.scalars(select(Image).where(Image.role == Role.FIELD)).one()
        assert len(image.name) <= 300
        assert image.name.isprintable()


def test_a_frame_without_a_file_is_malformed(client: httpx.Client) -> None:
    assert "body.file" in _error(client.post("/frames"), 422, "invalid_request")


def test_an_evaluation_image_is_no_field_frame(
    client: httpx.Client, api: Context, tmp_path: Path
) -> None:
    import_dataset(api, write_coco(tmp_path / "holdout", pictures(5)), Role.HOLDOUT)

    _error(_send(client, bad_images.png(5), objects=[]), 409, "conflict")


# --- addresses


@pytest.mark.parametrize(
    "path",
    [
        "/frames/9", "/failures/none", "/failures/none/overlay.png", "/cycles/9", "/tasks/9",
        "/models/9", "/images/..%2F..%2Fstate%2Fapi-token/file", "/nothing",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(client: httpx.Client, path: str) -> None:
    _error(client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "path",
    [
        f"/tasks/{2**63}", "/tasks/x", "/tasks/0", f"/frames/{'9' * 50}", "/failures/a%00b",
        f"/tasks?cursor={2**70}", "/units?cursor=x", "/cycles?cursor=-1", "/units?limit=0",
        "/failures?label=%00", f"/failures?mode={2**64}", f"/units/counts?cycle_id={2**64}",
    ],
)  # fmt: skip
def test_a_senseless_address_is_malformed(client: httpx.Client, path: str) -> None:
    _error(client.get(path), 422, "invalid_request")


def test_a_wrong_method_has_an_error_of_the_same_form(client: httpx.Client) -> None:
    _error(client.delete("/models"), 405, "method_not_allowed")


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
    _error(client.post(f"/tasks/{third['id']}/reject", json=body), 409, "lease_lost")
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

    _error(client.post(f"/tasks/{task['id']}/submit", json={**good, **change}), status, code)

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
    _error(client.post("/tasks/lease", json=body), 422, "invalid_request")


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
    _error(client.post("/labels/import", json={"images": 3}), 422, "annotations_invalid")
    _error(client.post("/labels/import", content=b"{"), 422, "invalid_request")


# --- cycles, models, failures, units


def test_a_cycle_needs_a_champion_and_runs_alone(client: httpx.Client, api: Context) -> None:
    assert "no champion yet" in _error(client.post("/cycles", json={}), 409, "conflict")
    with api.sessions.begin() as session:
        add_champion(session)

    cycle = client.post("/cycles", json={"budget_boxes": 7, "policy": "random"})

    assert (cycle.status_code, cycle.json()["budget_boxes"]) == (201, 7)
    _error(client.post("/cycles", json={}), 409, "conflict")
    number = cycle.json()["id"]
    _error(client.post(f"/cycles/{number}/train"), 409, "conflict")
    assert client.post(f"/cycles/{number}/cancel").json()["state"] == "cancelled"
    assert [one["id"] for one in client.get("/cycles").json()["items"]] == [number]
    assert client.get(f"/cycles/{number}").json()["error"] == "cancelled by api"


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

    _error(client.post("/cycles", json=body), 422, "invalid_request")


def test_models_are_promoted_and_rolled_back(client: httpx.Client, api: Context) -> None:
    _error(client.post("/models/rollback"), 409, "conflict")
    with api.sessions.begin() as session:
        session.add_all([make_model(1), make_model(2)])

    assert client.post("/models/1/promote").json()["state"] == "champion"
    assert client.post("/models/2/promote").json()["state"] == "champion"
    _error(client.post("/models/2/promote"), 409, "conflict")
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
    _error(client.post(f"/units/{dead['id']}/redrive"), 409, "conflict")
    _error(client.post("/units/999/redrive"), 404, "not_found")


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
            return httpx.get(f"{address}/readyz").json() == {"status": "ready"}
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, 60, "the API is ready")
        headers = {"Authorization": f"Bearer {project_token(context)}"}
        listed = httpx.get(f"{address}/v1/models", headers=headers)
        assert listed.json() == {"items": [], "next": None}
    finally:
        process.terminate()
        process.wait(30)
        context.engine.dispose()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any(line.get("status") == 200 and "request" in line for line in lines)
