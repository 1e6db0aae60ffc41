"""Methods side by side and the analysis of an error, on pages and over HTTP."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.api.app import create_app
from services.context import Context
from services.db.tables import AskedExplanation, Audit, FailureRow, Model
from tests.services.browser import barriers, person
from tests.services.explain_frames import FALSE, MISSED, answer, ask
from tests.services.pages import HOSTILE, Door, sign_in


@pytest.fixture
def door(small: Context, served: tuple[Any, str]) -> Door:
    return Door(small, *served)


def _form(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    return client.post(path, data={"csrf": client.headers["X-CSRF-Token"], **fields})


def test_a_method_is_asked_for_on_the_page_and_its_cost_is_told_before(
    door: Door, small: Context
) -> None:
    labeller, viewer = door.as_("labeller"), door.as_("viewer")
    page = f"/failures/{MISSED}"
    text = labeller.get(page).text
    assert "kernel_shap: 320 passes" in text
    assert "Nothing has been measured" in text
    assert '<option value="vebi"' not in text
    assert "<strong>vebi</strong> (21 passes): it needs features that were fitted" in text
    assert "<strong>exact_shapley</strong>: it takes at most 14 superpixels" in text
    analysis = labeller.get(f"{page}/analysis").text
    assert "<strong>lime</strong>" not in analysis
    assert "it cannot answer about high, left, up, wide" in analysis
    assert ">Explain</button>" not in viewer.get(page).text
    assert _form(viewer, f"{page}/explanations", method="kernel_shap").status_code == 403
    sent = {"method": "kernel_shap", "num_samples": "32"}
    for _ in range(2):
        answered = _form(labeller, f"{page}/explanations", **sent)
        assert answered.status_code == 303
        assert answered.headers["location"] == f"{page}#methods"
    part = labeller.get(f"{page}/explanations").text
    assert "waiting: 0 of 32 images" in part
    assert 'hx-trigger="every 2s"' in part
    assert answer(small) == ["done"]
    part = labeller.get(f"{page}/explanations").text
    assert "hx-trigger" not in part
    (shown,) = re.findall(r"/pictures/asked/([0-9a-f]{64})", part)
    picture = viewer.get(f"/pictures/asked/{shown}?width=300")
    assert picture.headers["content-type"] == "image/jpeg"
    assert "kernel_shap: 320 passes, about" in labeller.get(page).text
    assert _form(viewer, f"{page}/explanations/{shown}/delete").status_code == 403
    assert _form(labeller, f"{page}/explanations/{shown}/delete").status_code == 303
    assert viewer.get(f"/pictures/asked/{shown}").status_code == 404
    with small.sessions() as session:
        told = session.scalars(select(Audit.action).order_by(Audit.id)).all()
        assert [one for one in told if one.startswith("explanation")] == [
            "explanation.ask",
            "explanation.delete",
        ]
    for wrong in ({"method": "tea"}, {"method": "lime", "num_samples": "many"}):
        assert _form(labeller, f"{page}/explanations", **wrong).status_code == 422
    assert _form(labeller, f"/failures/{'f' * 64}/explanations", method="lime").status_code == 404


def test_the_api_asks_tells_the_cost_answers_and_deletes(door: Door, small: Context) -> None:
    client = door.as_("labeller")
    path = f"/v1/failures/{MISSED}"
    costs = client.get(f"{path}/explanation-costs", params={"what": "left,up"}).json()
    assert {"gp_shap", "e2x", "crp"} <= {one["method"] for one in costs}
    assert all(one["seconds"] is None for one in costs)
    reasons = {one["method"]: (one["offered"], one["why_not"]) for one in costs}
    assert reasons["gp_shap"] == (True, "")
    assert reasons["lrp"] == (False, "it cannot answer about left, up")
    assert not reasons["vebi"][0]
    assert "superpixels" in reasons["exact_shapley"][1]
    body = {"method": "vebi"}
    assert "fitted" in client.post(f"{path}/explanations", json=body).json()["message"]
    body = {
        "method": "gp_shap",
        "num_samples": 16,
        "questions": [{"what": "left"}, {"what": "against", "rival": "disc"}],
    }
    first = client.post(f"{path}/explanations", json=body)
    assert first.status_code == 202
    assert client.post(f"{path}/explanations", json=body).json() == first.json()
    assert [one["state"] for one in first.json()["items"]] == ["waiting", "waiting"]
    assert answer(small) == ["done"]
    items = client.get(f"{path}/explanations").json()["items"]
    assert {one["question"] for one in items} == {"left", "against"}
    for one in items:
        assert one["state"] == "done"
        assert one["words"]
        drawn = client.get(one["overlay"])
        assert drawn.headers["content-type"] == "image/png"
        assert client.delete(f"{path}/explanations/{one['id']}").status_code == 204
        assert client.delete(f"{path}/explanations/{one['id']}").status_code == 404
    assert client.get(f"{path}/explanations").json()["items"] == []
    assert client.post(f"{path}/explanations", json={"method": "odam", "questions": [
        {"what": "high"}]}).status_code == 422  # fmt: skip


@pytest.mark.parametrize("failure", [MISSED, FALSE])
def test_an_error_is_analysed_on_its_page(door: Door, small: Context, failure: str) -> None:
    client, viewer = door.as_("labeller"), door.as_("viewer")
    page = f"/failures/{failure}/analysis"
    before = viewer.get(page).text
    assert "Nobody has asked for this analysis yet" in before
    assert "Explain by" not in before
    assert "Explain by gp_shap" in client.get(page).text
    sent = _form(client, page, method="gp_shap", rival="background")
    assert sent.status_code == 303
    assert 'hx-trigger="every 2s"' in client.get(page).text
    assert answer(small) == ["done"]
    text = client.get(page).text
    assert len(set(re.findall(r"/pictures/asked/([0-9a-f]{64})", text))) == 7
    assert "Red pulls it left, blue right." in text
    assert ("There is no object here" in text) is (failure == FALSE)
    part = client.get(page, headers={"hx-request": "true"}).text
    assert part.lstrip().startswith('<div id="maps"')
    assert "Explain by" not in client.get(f"{page}?method=gp_shap&rival=background").text
    for question in re.findall(r'data-question="(\w+)"', text):
        with small.sessions() as session:
            wanted = select(AskedExplanation.id).where(AskedExplanation.question == question)
            shown = session.scalars(wanted).first()
        assert viewer.get(f"/pictures/asked/{shown}").status_code == 200


def test_stored_words_are_text_the_pages_fit_and_serve_a_keyboard(
    small: Context, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    switch.app = create_app(small)
    ask(small, "gp_shap", num_samples=16)
    assert answer(small) == ["done"]
    with small.sessions.begin() as session:
        for row in session.scalars(select(AskedExplanation)):
            row.label, row.asked_by, row.words = HOSTILE, HOSTILE, [HOSTILE]
        session.get_one(FailureRow, MISSED).label = HOSTILE
        model = session.scalars(select(Model)).one()
        model.class_names = ["background", HOSTILE, "square"]
    with person(browser, url, sign_in(switch.app, "lea", "labeller")) as page:
        page.goto(f"/failures/{MISSED}")
        assert page.locator("#methods .gallery li").count() == 1
        assert barriers(page) == []
        page.locator("#methods select[name=method]").focus()
        page.locator("#methods select[name=method]").select_option("occlusion")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator("[data-state=waiting]").wait_for()
        assert barriers(page) == []
        page.goto(f"/failures/{MISSED}/analysis")
        page.locator("button", has_text="by gp_shap").press("Enter")
        page.locator("[data-state=waiting]").first.wait_for()
        assert barriers(page) == []
        assert "\u202e" not in page.evaluate("document.body.innerText")
    for path in (f"/failures/{MISSED}", f"/failures/{MISSED}/analysis"):
        size = {"width": 390, "height": 800}
        with person(browser, url, sign_in(switch.app, "lea", "labeller"), viewport=size) as page:
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_that_waits_shows_the_answer_by_itself(
    small: Context, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    switch.app = create_app(small)
    ask(small, "gp_shap", num_samples=16)
    with person(browser, url, sign_in(switch.app, "vera", "viewer")) as page:
        page.goto(f"/failures/{MISSED}")
        page.locator("[data-state=waiting]").wait_for()
        assert page.locator("#methods button").count() == 0
        assert answer(small) == ["done"]
        page.locator("[data-state=done] img").wait_for()
