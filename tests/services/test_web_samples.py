"""Drawn samples on the pages: beside what they were made of, decided by keyboard, by role."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from curation.kernel.images import decode
from services.context import Context
from services.db.tables import Audit, FailureRow, GeneratedRow, Image, Role, SampleState
from tests.services.browser import barriers, person, until
from tests.services.pages import HOSTILE, add_field, add_sample, sign_in
from tests.services.test_web_pages import Site


@pytest.fixture
def site(sqlite_context: Context, served: tuple[Any, str]) -> Site:
    """Three samples of three modes wait for a person; a fourth was refused by a check."""
    add_field(sqlite_context, 3)
    with sqlite_context.sessions.begin() as session:
        failure = session.get_one(FailureRow, f"{1:064x}")
        pool = session.scalars(select(Image).where(Image.role == Role.POOL)).first()
        assert pool is not None
        row = add_sample(session, sqlite_context, 4, "dull", failure, pool, SampleState.REFUSED)
        row.image_id, row.generator = None, "bridge"
    return Site(sqlite_context, *served)


def states(context: Context) -> dict[int, str]:
    with context.sessions() as session:
        return {row.id: row.state for row in session.scalars(select(GeneratedRow))}


def test_samples_are_looked_at_and_decided_by_keyboard_alone(site: Site, browser: Any) -> None:
    cookie = sign_in(site.app, "cora", "curator")
    narrow = {"width": 390, "height": 800}
    with person(browser, site.url, cookie, viewport=narrow) as page:
        page.goto("/samples?state=drawn")
        assert page.locator("article.sample").count() == 3
        assert barriers(page) == []
        page.goto("/samples/1")
        assert page.locator(".strip img").count() == 4  # donor, what hurt, its pixels, drawn
        loaded = "[...document.images].every(one => one.complete && one.naturalWidth > 0)"
        until(page, loaded)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert barriers(page) == []
        page.locator("form[action$='/accept'] input[name=note]").press_sequentially("a bus, or a")
        assert states(site.context)[1] == "drawn"  # a letter in a field presses nothing
        page.locator("h1").click()
        page.keyboard.press("a")
        page.wait_for_url("**/samples/2")  # the next that waits
        page.keyboard.press("r")
        page.wait_for_url("**/samples/3")
        page.keyboard.press("o")
        page.wait_for_url("**/samples/2")
        page.goto("/samples/1")
        page.keyboard.press("w")
        page.locator("h1 .badge", has_text="withdrawn").wait_for()
    assert states(site.context) == {1: "withdrawn", 2: "refused", 3: "drawn", 4: "refused"}
    with site.context.sessions() as session:
        told = session.execute(
            select(Audit.action, Audit.actor, Audit.door).where(Audit.action.startswith("sample."))
        ).all()
    assert [row.action for row in told] == ["sample.kept", "sample.refused", "sample.withdrawn"]
    assert {(row.actor, row.door) for row in told} == {("cora", "web")}


def test_a_mode_shows_its_samples_beside_what_they_were_made_of(site: Site) -> None:
    page = site.as_("curator").get("/modes/1").text
    for part in ("donor", "harm", "mask", "drawn"):
        assert f"/pictures/sample/1/{part}" in page
    assert "score 0.90" in page
    assert "score 0.20" in page
    assert "/pictures/sample/2/" not in page
    viewer = site.as_("viewer").get("/modes/1").text
    assert "/samples/1/accept" in page
    assert "/samples/1/accept" not in viewer
    assert "/samples/1" in viewer


def test_the_list_is_filtered_and_a_generator_is_withdrawn_whole(site: Site) -> None:
    client = site.as_("curator")
    assert "/samples/4" in client.get("/samples?generator=bridge").text
    assert "/samples/1" not in client.get("/samples?generator=bridge&cycle=&state=&mode=").text
    assert "/samples/2" in client.get("/samples?mode=2").text
    assert client.get("/samples?mode=two").status_code == 422
    page = client.get("/samples?generator=compose").text
    assert "Withdraw all of generator compose" in page
    assert "Withdraw all" not in site.as_("viewer").get("/samples?generator=compose").text
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    told = {"csrf": csrf, "generator": "compose", "note": HOSTILE}
    assert client.post("/samples/withdraw", data=told).status_code == 303
    assert set(states(site.context).values()) == {"withdrawn", "refused"}
    assert "&lt;script&gt;alert(1)" in client.get("/samples/1").text


def test_each_part_is_a_picture_and_what_is_not_there_says_so(site: Site) -> None:
    client = site.as_("viewer")
    for part in ("donor", "harm", "mask", "drawn"):
        answer = client.get(f"/pictures/sample/1/{part}?width=160")
        assert answer.headers["content-type"] == "image/jpeg"
        assert decode(answer.content).shape == (120, 160, 3)
    assert client.get("/pictures/sample/4/harm").status_code == 200
    assert client.get("/pictures/sample/4/drawn").status_code == 404
    assert client.get("/pictures/sample/1/nothing").status_code == 422
    assert client.get("/samples/99").status_code == 404
    page = client.get("/samples/4").text
    assert "a check refused it" in page
    assert "/samples/4/accept" not in page


def test_a_viewer_may_not_decide(site: Site) -> None:
    client = site.as_("viewer")
    csrf = client.get("/help").text.split('name="csrf" content="')[1].split('"')[0]
    for action in ("accept", "refuse", "withdraw"):
        assert client.post(f"/samples/1/{action}", data={"csrf": csrf}).status_code == 403
    assert states(site.context)[1] == "drawn"
