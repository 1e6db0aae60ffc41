"""Labelling tools without one: addresses of pictures, doors, leases, what people are told."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from curation.kernel.errors import AnnotationsInvalid
from services.context import Context
from services.db.base import clock, utc_now
from services.db.tables import Connection, Image, LabelTask, SentState, SentTask, TaskState
from services.errors import Conflict, InvalidRequest, NotFound
from services.labeling.connectors import (
    addresses,
    connections,
    label_studio_http,
    label_studio_read,
    push,
    sync,
)
from tests.services.accounts import add_user, token_of, trail
from tests.services.commands import CommandLine
from tests.services.label_queue import TASKS, lease

TOKEN = "0123456789abcdef" * 2
NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there."""


def connect(context: Context, url: str = NOWHERE, **how: object) -> int:
    return connections.connect(context, "label-studio", url, TOKEN, **how)  # type: ignore[arg-type]


def row_of(context: Context, number: int) -> Connection:
    with context.sessions() as session:
        return session.get_one(Connection, number)


def test_a_picture_is_opened_by_its_own_address_until_it_expires(
    api: Context, address: str
) -> None:
    number = connect(api, pictures_url=address)
    with api.sessions.begin() as session:
        image = session.scalars(select(Image)).one()
        session.add(LabelTask(id=7, image_id=image.id))
        session.flush()
        session.add(SentTask(connection_id=number, task_id=7, image_id=image.id, token=1))
        connection = session.get_one(Connection, number)
        url = addresses.address_of(connection, image, utc_now() + timedelta(days=1))
        late = addresses.address_of(connection, image, utc_now() - timedelta(seconds=2))
    assert url.endswith(f"/{image.id}.png")

    answer = httpx.get(url, headers={"Origin": "http://labels.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == (api.project.images / image.file).read_bytes()
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    with api.sessions() as session:
        assert session.scalars(select(SentTask)).one().loaded_at is not None

    parts = url.split("/")
    forged = [
        url.replace(image.id, "0" * 64),
        "/".join([*parts[:-2], parts[-2].replace(f"{number}-", f"{number}-9", 1), parts[-1]]),
        f"{address}/i/1-2-3/{image.id}.png",
        f"{address}/i/{parts[-2]}/../../v1/users",
    ]
    assert {httpx.get(one).status_code for one in forged} <= {401, 404}
    told = httpx.get(late)
    assert told.status_code == 404
    assert "expired" in told.json()["message"]
    connections.disconnect(api, "label-studio")
    assert httpx.get(url).status_code == 404


def test_only_an_admin_connects_and_the_token_is_never_shown(
    api: Context, client: httpx.Client
) -> None:
    body = {"kind": "label-studio", "url": f"{NOWHERE}/", "token": TOKEN, "at_once": 3}
    curator = token_of(api, add_user(api, "carla", "curator"))  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {curator}"}
    assert client.post("/labels/tools", json=body, headers=headers).status_code == 403
    answer = client.post("/labels/tools", json=body)
    assert answer.status_code == 200, answer.text
    assert [one["url"] for one in answer.json()] == [NOWHERE]
    listed = client.get("/labels/tools", headers=headers)
    (row,) = listed.json()
    assert (row["project"], row["at_once"], row["counts"]) == (None, 3, {})
    stored = vars(row_of(api, row["id"]))
    for shown in (answer.text, listed.text, str(stored)):
        assert TOKEN not in shown
    assert row_of(api, row["id"]).secret not in answer.text

    assert client.post("/labels/news", json={"action": "ANNOTATION_CREATED"}).json() == {"tools": 1}
    assert client.delete("/labels/tools/label-studio").status_code == 204
    assert client.delete("/labels/tools/label-studio").status_code == 404
    assert client.get("/labels/tools").json() == []
    changed = [action for action in trail(api) if action.startswith("labels.")]
    assert changed == ["labels.connect", "labels.disconnect"]


@pytest.mark.parametrize(
    ("url", "token", "more"),
    [
        ("ftp://host", TOKEN, {}),
        ("http://anna:secret@host", TOKEN, {}),
        ("http://host:99999", TOKEN, {}),
        (NOWHERE, "two\nlines of it", {}),
        (NOWHERE, "", {}),
        (NOWHERE, TOKEN, {"project": "../users"}),
        (NOWHERE, TOKEN, {"pictures_url": "here"}),
    ],
)
def test_what_cannot_be_right_is_refused(
    sqlite_context: Context, url: str, token: str, more: dict[str, str]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        connections.connect(sqlite_context, "label-studio", url, token, **more)  # type: ignore[arg-type]
    assert "secret" not in str(refused.value)
    with sqlite_context.sessions() as session:
        assert connections.active(session) == []


def test_tasks_of_a_tool_are_leased_and_go_back_when_it_is_left(waiting: Context) -> None:
    number = connect(waiting, at_once=4)
    taken = push._lease(waiting, number, "Label Studio", 4)
    assert len(lease(waiting, "anna", TASKS)) == TASKS - 4  # nobody else gets one of those
    with waiting.sessions() as session:
        rows = session.scalars(select(SentTask)).all()
        assert {row.state for row in rows} == {SentState.SENDING}
        assert {row.task_id for row in rows} == set(taken)
    other = connect(waiting, "http://127.0.0.1:10")
    assert other != number
    with waiting.sessions() as session:
        assert [row.id for row in connections.active(session)] == [other]
        states = [session.get_one(LabelTask, one).state for one in taken]
    assert states == [TaskState.WAITING] * 4
    assert len(lease(waiting, "bert", TASKS)) == 4


def test_a_lease_of_a_tool_is_kept_while_it_answers_and_ends_when_it_does_not(
    waiting: Context,
) -> None:
    number = connect(waiting)
    taken = push._lease(waiting, number, "Label Studio", TASKS)
    hours = timedelta(hours=18)
    with clock(lambda start=utc_now(): start + hours):  # type: ignore[misc]
        assert sync._keep(waiting, number) == {}
    with clock(lambda start=utc_now(): start + hours + hours):  # type: ignore[misc]
        assert lease(waiting, "anna", TASKS) == []  # it was renewed
    with clock(lambda start=utc_now(): start + 3 * hours):  # type: ignore[misc]
        (mine,) = lease(waiting, "anna", 1)
        assert set(sync._keep(waiting, number)) == {mine.id}
    assert mine.id in taken


def test_two_do_not_exchange_at_once_and_whoever_died_is_not_waited_for_long(
    sqlite_context: Context,
) -> None:
    number = connect(sqlite_context)
    sync._begin(sqlite_context, number)
    with pytest.raises(Conflict, match="another process"):
        sync.run(sqlite_context, number)
    later = utc_now() + timedelta(minutes=11)
    with clock(lambda: later), pytest.raises(Conflict, match="no class"):
        sync.run(sqlite_context, number)  # it goes on, as far as this project goes
    with pytest.raises(NotFound):
        sync.run(sqlite_context, number + 1)


def test_a_tool_that_is_away_is_tried_less_and_less_often(
    waiting: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_studio_http, "PAUSE_S", 0.0)
    number = connect(waiting)
    start = utc_now()
    tries = []
    for minute in range(120):
        with clock(lambda minute=minute: start + timedelta(minutes=minute)):  # type: ignore[misc]
            before = row_of(waiting, number).failures
            if sync._is_due(waiting, row_of(waiting, number)):
                sync.due(waiting)
            tries += [minute] * (row_of(waiting, number).failures - before)
    assert tries[:3] == [0, 1, 3]
    assert {later - earlier for earlier, later in zip(tries[-4:], tries[-3:], strict=False)} == {10}
    assert "does not answer" in str(row_of(waiting, number).error)


def test_news_make_the_next_look_an_exchange(waiting: Context) -> None:
    number, now = connect(waiting), utc_now()
    with waiting.sessions.begin() as session:
        session.get_one(Connection, number).tried_at = now
    assert not sync._is_due(waiting, row_of(waiting, number))
    with waiting.sessions.begin() as session:
        session.get_one(Connection, number).nudged_at = now + timedelta(seconds=1)
    assert sync._is_due(waiting, row_of(waiting, number))


def test_the_command_line_tells_what_is_wrong_and_what_to_do(
    champion: CommandLine, tmp_path: Path
) -> None:
    nothing = champion.run("labels", "sync")
    assert (nothing.code, "labels connect" in nothing.err) == (2, True)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    ran = champion.run("labels", "connect", "label-studio", NOWHERE, "--token-file", file)
    assert ran.code == 1
    assert f"Label Studio at {NOWHERE} does not answer" in ran.err
    (row,) = champion.run("labels", "status", "--json").json
    assert (row["failures"], row["told"]) == (1, [])
    findings = {one["what"]: one for one in champion.run("doctor", "--json").json}
    assert findings["labelling"]["state"] == "warn"
    assert "does not answer" in findings["labelling"]["found"]
    assert TOKEN not in f"{ran.out}{ran.err}{row}{findings}"
    assert champion.run("labels", "disconnect", "label-studio").code == 0
    assert "labels connect" in champion.run("labels", "status").out


def test_a_quarter_turn_about_the_corner_is_an_upright_box() -> None:
    region = {
        "type": "rectanglelabels",
        "original_width": 640,
        "original_height": 480,
        "value": {
            **{"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90},
            "rectanglelabels": ["car"],
        },
    }
    (found,) = label_studio_read.objects_of([region], (640, 480), {"from_name": "label"})
    # 64 x 48 px from (320, 240), turned clockwise about that corner
    assert found["box"] == pytest.approx([272, 240, 320, 304])
    with pytest.raises(AnnotationsInvalid, match="the image is 64 x 48"):
        label_studio_read.objects_of([region], (64, 48), {"from_name": "label"})


def test_times_of_whole_seconds_are_in_their_place() -> None:
    told = ("2026-11-29T14:23:53Z", "2026-11-29T14:23:53.100000Z", "2026-11-29T14:23:54+00:00")
    moments = [label_studio_read.moment_of({"updated_at": one}) for one in told]
    assert moments == sorted(moments)
