"""What a failure's regions resemble in the pool: looked up by a worker, nearest first."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from services.context import Context
from services.db.tables import FailureRow, Image, Model, Role, Unit, UnitState
from services.errors import Conflict, NotFound
from services.failures import neighbours
from services.store.region_index import open_index
from services.store.storage import write_npz
from tests.services.accounts import trail
from tests.services.browser import barriers, person
from tests.services.builders import add_champion, make_explanation, make_failure
from tests.services.explain_frames import answer
from tests.services.pages import HOSTILE, Door, add_picture, sign_in

ENCODER, WIDTH = "e" * 64, 8
FAILURE = f"{1:064x}"


@pytest.fixture
def pool(sqlite_context: Context) -> Context:
    """A failure with two regions, and six images of which some resemble the one or the other."""
    rng = np.random.default_rng(0)
    regions = np.eye(2, WIDTH, dtype=np.float32)
    with sqlite_context.sessions.begin() as session:
        champion = add_champion(session)
        champion.class_names = ["background", "car"]
        frame = add_picture(session, sqlite_context, 1, Role.FIELD)
        failure = make_failure(1, frame, champion)
        session.add(failure)
        session.flush()
        pictures = [add_picture(session, sqlite_context, 10 + n, name=HOSTILE).id for n in range(6)]
        values = {"file": "1.npz", "encoder_version": ENCODER, "regions": []}
        session.add(make_explanation(failure, **values))
    write_npz(
        sqlite_context.project.explanations / "1.npz",
        segments=np.arange(4, dtype=np.int32).reshape(2, 2),
        values=np.array([1.0, -1.0, 0.0, 0.2], np.float32),
        standard_errors=np.zeros(4, np.float32),
        vectors=regions,
        object_vector=rng.normal(size=WIDTH).astype(np.float32),
    )
    index = open_index(sqlite_context, ENCODER, WIDTH)
    vectors = []
    for number in range(6):  # the farther the image, the more of something else is in it
        own = regions[number % 2] + number * 0.3 * np.eye(WIDTH, dtype=np.float32)[3 + number % 2]
        vectors.append(np.stack([own, -own]).astype(np.float32))
    boxes = [np.array([[0, 0, 40, 40], [50, 50, 90, 90]], np.float32)] * 6
    index.add(pictures, vectors, boxes)
    return sqlite_context


def looked(context: Context) -> neighbours.Looked:
    with context.sessions() as session:
        return neighbours.of_failure(session, FAILURE)


def ask(context: Context) -> None:
    with context.sessions.begin() as session:
        neighbours.ask(session, FAILURE)


def test_the_nearest_of_each_region_come_first_with_their_distance(pool: Context) -> None:
    assert looked(pool).state == "never"
    ask(pool)
    ask(pool)
    assert looked(pool).state == "waiting"
    assert answer(pool, "neighbours") == ["done"]
    found = looked(pool)
    assert found.state == "done"
    similarities = [one.similarity for one in found.found]
    assert similarities == sorted(similarities, reverse=True)
    assert {one.region for one in found.found} == {1, 2}
    with pool.sessions() as session:
        order = session.scalars(select(Image.id).where(Image.role == Role.POOL)).all()
        ids = {one.id: one.name for one in session.scalars(select(Image))}
    assert len(order) == 6
    nearest = {one.region: one for one in reversed(found.found)}
    assert all(one.box == [0, 0, 40, 40] for one in nearest.values())
    assert all(one.distance == pytest.approx(1 - one.similarity) for one in found.found)
    for region in (1, 2):
        images = [one.image.id for one in found.found if one.region == region]
        assert len(images) == len(set(images)) == 6
        assert set(images) <= set(ids)


def test_a_look_without_an_index_says_so_and_one_without_regions_is_refused(pool: Context) -> None:
    pool.project.index.joinpath(ENCODER[:16]).rename(pool.project.root / "away")
    ask(pool)
    assert answer(pool, "neighbours") == ["done"]
    assert looked(pool).note == "nothing of the pool is indexed yet"
    with pool.sessions.begin() as session:
        first = session.get_one(FailureRow, FAILURE)
        frame = session.get_one(Image, first.image_id)
        model = session.get_one(Model, first.model_id)
        session.add(make_failure(2, frame, model))
    with pool.sessions() as session:
        with pytest.raises(Conflict, match="not explained"):
            neighbours.ask(session, f"{2:064x}")
        with pytest.raises(NotFound):
            neighbours.ask(session, "3" * 64)


def test_pages_and_api_show_them_and_a_viewer_only_looks(
    pool: Context, served: tuple[Any, str], browser: Any
) -> None:
    door = Door(pool, *served)
    labeller, viewer = door.as_("labeller"), door.as_("viewer")
    path = f"/failures/{FAILURE}"
    assert "Look through the pool" in labeller.get(path).text
    assert "Look through the pool" not in viewer.get(path).text
    assert viewer.post(f"{path}/neighbours").status_code == 403
    assert viewer.post(f"/v1{path}/neighbours").status_code == 403
    assert labeller.post(f"/v1{path}/neighbours").json()["state"] == "waiting"
    assert trail(pool)[-1] == "neighbours.ask"
    with pool.sessions() as session:
        states = session.scalars(select(Unit.state)).all()
        assert states == [UnitState.QUEUED]
    assert "hx-trigger" in viewer.get(f"{path}/neighbours").text
    assert answer(pool, "neighbours") == ["done"]
    items = viewer.get(f"/v1{path}/neighbours").json()["items"]
    assert items[0]["distance"] <= items[-1]["distance"]
    shown = re.findall(rf"/pictures/neighbour/{FAILURE}/(\d+)", viewer.get(path).text)
    assert len(shown) == len(items) == 12
    drawn = viewer.get(f"/pictures/neighbour/{FAILURE}/{shown[0]}")
    assert drawn.headers["content-type"] == "image/jpeg"
    assert viewer.get(f"/pictures/neighbour/{FAILURE}/99").status_code == 404
    with person(browser, door.url, sign_in(door.app, "lea", "labeller")) as page:
        page.goto(path)
        assert barriers(page) == []
        assert "<script>alert(1)</script>" in page.locator("#near").inner_text()
        page.locator("#near button").press("Enter")
        page.locator("[data-near=waiting]").wait_for()
        assert answer(pool, "neighbours") == ["done"]
        page.locator("#near button", has_text="Look again").wait_for()
