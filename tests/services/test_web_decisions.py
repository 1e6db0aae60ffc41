"""Modes merged, split, renamed and given back in a real browser; a viewer only reads of it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from services.context import Context
from services.db.tables import Audit, Decision, FailureRow, ModeMember, ModeRow, ModeSighting
from tests.services.browser import barriers, fits, person
from tests.services.pages import HOSTILE, add_field, sign_in
from tests.services.test_web_pages import Site


@pytest.fixture
def site(sqlite_context: Context, served: tuple[Any, str]) -> Site:
    """Three modes of one kind and class; the first has two failures."""
    add_field(sqlite_context, 3)
    with sqlite_context.sessions.begin() as session:
        sighting = session.scalars(select(ModeSighting).where(ModeSighting.mode_id == 1)).one()
        other = session.get_one(FailureRow, f"{2:064x}")
        session.add(ModeMember(sighting_id=sighting.id, failure_id=other.id))
    return Site(sqlite_context, *served)


def test_a_curator_renames_merges_undoes_and_splits(site: Site, browser: Any) -> None:
    cookie = sign_in(site.app, "cora", "curator")
    with person(browser, site.url, cookie) as page:
        page.goto("/modes/1")
        page.locator("summary", has_text="Rename, merge or split").press("Enter")
        page.locator("input[name=name]").fill(HOSTILE)
        page.keyboard.press("Enter")
        page.locator("h1", has_text="<script>alert(1)</script>").wait_for()
        page.locator("summary", has_text="Rename, merge or split").press("Enter")
        page.locator("select[name=other]").select_option("2")
        page.locator("form[action$='/merge'] input[name=note]").fill("one cause")
        page.keyboard.press("Enter")
        page.locator("td", has_text="takes effect in the next plan").wait_for()
        assert barriers(page) == []
        assert fits(page)
        page.goto("/modes/2")
        page.locator(".notice", has_text="part of mode 1").wait_for()
        page.goto("/modes")
        page.locator("td", has_text="part of mode 1").wait_for()
        assert fits(page)
        page.goto("/modes/1")
        page.locator("button[aria-label='Undo decision 2']").press("Enter")
        page.locator("td", has_text="undone by cora").wait_for()

        page.goto("/modes/1/split")
        assert barriers(page) == []
        page.locator("input[type=checkbox]").first.press("Space")
        page.locator("input[name=name]").fill("tunnel")
        page.locator("input[name=note]").fill("no sky")
        page.keyboard.press("Enter")
        page.locator("td", has_text="1 failures of 1").wait_for()
    with site.context.sessions() as session:
        rows = session.scalars(select(Decision).order_by(Decision.id)).all()
        assert [(row.kind, row.undone_by) for row in rows] == [
            ("rename", None),
            ("merge", "cora"),
            ("split", None),
        ]
        assert rows[2].detail["name"] == "tunnel"
        assert session.get_one(ModeRow, 1).name == rows[0].detail["name"]
        assert "\u202e" not in rows[0].detail["name"]
        doors = set(session.execute(select(Audit.action, Audit.actor, Audit.door)))
        for action in ("rename", "merge", "undo", "split"):
            assert (f"decision.{action}", "cora", "web") in doors


def test_a_viewer_reads_who_decided_what_and_has_no_button(site: Site) -> None:
    curator, viewer = site.as_("curator"), site.as_("viewer")
    page = curator.get("/modes/1").text
    csrf = page.split('name="csrf" value="')[1].split('"')[0]
    said = {"csrf": csrf, "other": 3, "note": HOSTILE}
    assert curator.post("/modes/1/merge", data=said).status_code == 303
    seen = viewer.get("/modes/1").text
    assert "&lt;script&gt;" in seen
    assert "modes merged" in seen
    for action in ("/rename", "/merge", "/split", "/undo"):
        assert f'{action}"' not in seen
    for path in ("/modes/1/rename", "/modes/1/merge", "/modes/1/split", "/decisions/1/undo"):
        assert viewer.post(path, data=said).status_code == 403
    assert viewer.get("/modes/1/split").status_code == 403
    refused = curator.post("/modes/1/merge", data={**said, "other": 3})
    assert refused.status_code == 409
    assert "is part of mode 1 already" in refused.text


def test_many_failures_to_split_come_page_by_page(site: Site) -> None:
    with site.context.sessions.begin() as session:
        sighting = session.scalars(select(ModeSighting).where(ModeSighting.mode_id == 1)).one()
        like = session.get_one(FailureRow, f"{1:064x}")
        for number in range(100, 230):
            values = {
                column.name: getattr(like, column.name)
                for column in FailureRow.__table__.columns
                if column.name not in ("id", "place")
            }
            session.add(FailureRow(id=f"{number:064x}", place=f"{number:064x}", **values))
            session.flush()
            session.add(ModeMember(sighting_id=sighting.id, failure_id=f"{number:064x}"))
    client = site.as_("curator")
    here, found = "/modes/1/split", []
    while here:
        text = client.get(here).text
        found += [part[:64] for part in text.split('name="failure" value="')[1:]]
        following = text.split('rel="next"')[0].rpartition('href="')[2] if "rel=" in text else ""
        here = following.partition('"')[0] if 'rel="next"' in text else ""
    assert len(found) == len(set(found)) == 132
