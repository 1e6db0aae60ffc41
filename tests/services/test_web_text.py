"""Stored text on every page: never markup, and what is written from the right stays by itself."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from services.api.app import create_app
from services.context import Context
from tests.services.browser import person
from tests.services.pages import sign_in
from tests.services.test_web_pages import Site
from tests.services.text_everywhere import PAGES, RIGHT_TO_LEFT, TEXT, fill

ALONE = {"bdi", "title", "option", "pre"}
"""Elements whose text turns the direction of nothing that stands beside it; a traceback is a block
of lines."""
VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
NO_TEXT = {
    *("/", "/data", f"/data/{1:08x}{0:056x}", "/settings", "/help", "/account", "/label"),
    f"/audit?who={RIGHT_TO_LEFT}",
}
"""They show no text of strangers in this project: what is drawn on, a script writes."""


class Read(HTMLParser):
    """What is wrong with a page's text, and whether it shows any."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.opened: list[str] = []
        self.wrong: list[str] = []
        self.shown = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "script" and not (told.get("src") or "").startswith("/assets/"):
            self.wrong.append(self.get_starttag_text() or tag)
        self.wrong += [f"{tag} {name}" for name in told if name.startswith("on")]
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.opened and self.opened.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if RIGHT_TO_LEFT in data:
            self.shown += 1
            if not ALONE & set(self.opened):
                self.wrong.append(f"{'/'.join(self.opened[-3:])}: {data.strip()[:120]}")


@pytest.fixture
def site(sqlite_context: Context, served: tuple[Any, str]) -> Site:
    fill(sqlite_context)
    return Site(sqlite_context, *served)


def test_text_of_strangers_is_text_and_keeps_its_direction_to_itself(site: Site) -> None:
    client = site.as_("admin")
    wrong, silent = {}, []
    for path in PAGES:
        answer = client.get(path)
        read = Read()
        read.feed(answer.text)
        read.close()
        if read.wrong or answer.status_code >= 500:
            wrong[path] = [answer.status_code, *read.wrong]
        if "\u202e" in answer.text:
            wrong.setdefault(path, []).append("a mark that turns the direction")
        if not read.shown:
            silent.append(path)
    assert wrong == {}
    assert set(silent) == NO_TEXT  # or the rows are not what the pages show


def test_an_account_with_such_a_name_sees_its_page(site: Site) -> None:
    name, _, value = sign_in(site.app, TEXT, "admin").partition("=")
    client = site.as_("admin")
    client.cookies.clear()
    client.cookies.set(name, value)
    read = Read()
    read.feed(client.get("/account").text)
    assert read.shown
    assert read.wrong == []


def test_a_browser_obeys_nothing_of_it(
    sqlite_context: Context, served: tuple[Any, str], browser: Any
) -> None:
    """Violations of the policy and errors of scripts fail this by :func:`person`."""
    switch, url = served
    switch.app = create_app(sqlite_context)
    fill(sqlite_context)
    lost = ("404", "Failed to load resource")  # pictures whose files no test has made
    with person(browser, url, sign_in(switch.app, "anna", "admin"), expected=lost) as page:
        dialogs: list[str] = []
        page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
        for path in PAGES:
            if path == "/label":
                continue  # looked at beside what is drawn on it
            page.goto(path, wait_until="domcontentloaded")
            assert "\u202e" not in page.evaluate("document.body.innerText"), path
            strangers = "[...document.scripts].filter(s => !s.src.includes('/assets/')).length"
            assert page.evaluate(strangers) == 0, path
        assert dialogs == []
