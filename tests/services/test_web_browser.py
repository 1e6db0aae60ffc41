"""Every page in a real browser: stored text is only text, nothing is complained of, all fits."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from services.api.app import create_app
from services.context import Context
from services.db.tables import FailureRow
from tests.services.browser import barriers, person
from tests.services.pages import HOSTILE, add_field, sign_in

PAGES = (
    *("/", "/failures", f"/failures/{1:064x}", "/modes", "/modes/1", "/modes/1/split"),
    *("/plan", "/models", "/models/1", "/looks", "/samples", "/samples/1"),
    *("/data", "/work", "/settings", "/help", "/account", "/users", "/audit", "/label"),
    "/label/answers",
)


WITHOUT = (
    "/",
    "/models",
    "/settings",
    "/help",
    "/data",
    "/account",
    "/users",
    "/plan",
    "/looks",
    "/label/answers",
)
"""Pages that show no text of strangers in this project."""


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desk", "phone"]
)
def test_stored_text_is_never_markup_and_every_page_fits(
    sqlite_context: Context, served: tuple[Any, str], browser: Any, width: int, scheme: str
) -> None:
    switch, url = served
    switch.app = create_app(sqlite_context)
    add_field(sqlite_context, 2, HOSTILE)
    cookie = sign_in(switch.app, "anna", "admin")
    size = {"width": width, "height": 800}
    with person(browser, url, cookie, viewport=size, color_scheme=scheme) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for path in PAGES:
            assert page.goto(path).status == 200, path
            if path == "/label":
                page.locator("[data-do=submit]:enabled").wait_for()
            if path == "/work":
                page.locator("#parts .tile").first.wait_for()
            page.locator("main").first.wait_for()
            if width > 1000:
                assert barriers(page) == [], path
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} px wide"
            scripts = page.evaluate(
                "[...document.scripts].filter(s => !s.src.includes('/assets/')).length"
            )
            assert scripts == 0, path
            text = page.evaluate("document.body.innerText")
            assert "\u202e" not in text, path
            if path not in WITHOUT:
                assert "<script>alert(1)</script>" in text, path
        assert dialogs == []


OF_OTHERS = ("/label", "/label/answers", "/users", "/audit", "/modes/1/split")
"""Pages that a viewer is not let in to."""
ASKS = """
async () => {
  const found = {};
  const all = document.querySelectorAll("form[method=post], [hx-post], [hx-delete], [hx-put]");
  for (const one of all) {
    const action = one.getAttribute("action") ?? one.getAttribute("hx-post");
    if (action === "/logout" || action.startsWith("/account")) continue;
    found[action] = (await fetch(action, {method: "POST", body: new FormData(one)})).status;
  }
  return found;
}
"""
"""What every button of a page that changes something is answered."""


def test_a_viewer_gets_no_button_that_is_refused_and_no_link_either(
    sqlite_context: Context, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    switch.app = create_app(sqlite_context)
    add_field(sqlite_context, 2)
    refused, links, asked = {}, set(), 0
    for role in ("viewer", "admin"):
        with person(browser, url, sign_in(switch.app, role, role), expected=("status of",)) as page:
            for path in (one for one in PAGES if one not in OF_OTHERS):
                assert page.goto(path).status == 200, path
                answers = page.evaluate(ASKS)
                asked += len(answers)
                refused |= {f"{role} {one}": said for one, said in answers.items() if said == 403}
                if role == "viewer":
                    assert answers == {}, path
                    links |= set(
                        page.eval_on_selector_all(
                            "a[href^='/']", "all => all.map(one => one.getAttribute('href'))"
                        )
                    )

    assert refused == {}
    assert asked > 5  # an admin has them
    assert links.isdisjoint(OF_OTHERS)


def test_the_start_page_follows_what_happens(
    sqlite_context: Context, served: tuple[Any, str], browser: Any
) -> None:
    switch, url = served
    switch.app = create_app(sqlite_context)
    add_field(sqlite_context, 1)
    with person(browser, url, sign_in(switch.app, "vera", "viewer")) as page:
        page.goto("/")
        page.locator("#live-status", has_text="live").wait_for()
        unseen = page.locator("li", has_text="failures that no cycle has looked at")
        assert unseen.count() == 0
        with sqlite_context.sessions.begin() as session:
            session.execute(update(FailureRow).values(mode_id=None))
        unseen.wait_for()


def test_somebody_signs_in_filters_dismisses_and_signs_out_by_keyboard(
    sqlite_context: Context, served: tuple[Any, str], browser: Any
) -> None:
    from services.db.tables import UserRole
    from tests.services.accounts import PASSWORD, add_user

    switch, url = served
    switch.app = create_app(sqlite_context)
    add_field(sqlite_context, 3)
    add_user(sqlite_context, "cora", UserRole.CURATOR)
    with person(browser, url, expected=("401",)) as page:
        page.goto("/failures?kind=false_negative")
        page.keyboard.type("cora")
        page.keyboard.press("Tab")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        page.locator("[role=alert]").wait_for()
        page.locator("input[name=password]").focus()
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.locator(".gallery li").nth(2).wait_for()
        assert page.url.endswith("/failures?kind=false_negative")
        page.locator("select[name=kind]").select_option("false_positive")
        page.locator(".empty").wait_for()
        assert "kind=false_positive" in page.url
        page.goto(f"/failures/{2:064x}")
        page.locator("input[name=note]").fill("a reflection")
        page.keyboard.press("Enter")
        page.locator("h1 .badge", has_text="dismissed").wait_for()
        page.locator("button", has_text="Sign out").press("Enter")
        page.locator("input[name=password]").wait_for()

    with sqlite_context.sessions() as session:
        assert session.get_one(FailureRow, f"{2:064x}").state == "dismissed"
