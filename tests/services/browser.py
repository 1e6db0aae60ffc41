"""A real Chromium for the pages: what it complains of fails the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.common.waiting import PATIENCE, wait_until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  console.error("policy violated: " + event.violatedDirective + " " + event.blockedURI);
});
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for the tests of a file."""
    if CHROMIUM is None:
        pytest.skip("NO BROWSER TEST RUNS: there is no Chromium (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with playwright.sync_playwright() as engine:
        opened = engine.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


def until(page: Any, expression: str) -> None:
    """Wait until an expression is true in a page of ours.

    Playwright's own way evaluates it from within the page, which the pages' Content-Security-Policy
    forbids unless it is true at once.
    """
    wait_until(lambda: bool(page.evaluate(expression)), 60, expression)


@contextmanager
def person(browser: Any, address: str, cookie: str = "", **how: Any) -> Iterator[Any]:
    """A page in a browser of its own, signed in; complaints of the browser fail the test.

    Args:
        browser: of the fixture.
        address: of the server.
        cookie: of the session, ``name=value``; empty: nobody is signed in.
        how: of the browser context; ``expected`` are parts of complaints that are right.
    """
    expected = how.pop("expected", ())
    how.setdefault("viewport", {"width": 1280, "height": 800})
    context = browser.new_context(base_url=address, **how)
    context.set_default_timeout(15_000 * PATIENCE)
    context.add_init_script(WATCH)
    if cookie:
        name, _, value = cookie.partition("=")
        context.add_cookies([{"name": name, "value": value, "url": address}])
    page = context.new_page()
    complaints: list[str] = []

    def heard(message: Any) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{message.text} {message.location.get('url', '')}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    bad = [one for one in complaints if not any(part in one for part in expected)]
    assert not bad, bad


def fits(page: Any, width: int = 390) -> bool:
    """Whether a page needs no scrolling to the side on a screen so wide, px."""
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 800})
    found = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size(before)
    return bool(found <= width)


def barriers(page: Any) -> list[str]:
    """What axe finds in a page that keeps somebody out, but for trifles."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found
        if one["impact"] in ("moderate", "serious", "critical")
    ]
