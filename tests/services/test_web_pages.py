"""Every page over HTTP: with nothing, with one and with many rows, by role, for strangers."""

from __future__ import annotations

import io
import re
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow
from sqlalchemy import event

from benchmarks.common.projects import make_model
from benchmarks.common.waiting import PATIENCE
from services.api.app import create_app
from services.context import Context
from services.db.tables import Cycle, FailureRow, Image
from services.store.storage import put_image
from services.web import assets
from services.web.roles import LEAST_OF_PAGES
from tests.services.pages import add_field, add_rows, sign_in

LISTS = (
    "/",
    "/failures",
    "/modes",
    "/plan",
    "/samples",
    "/models",
    "/data",
    "/work",
    "/settings",
    "/help",
    "/label",
    "/label/answers",
    "/looks",
    "/account",
    "/users",
    "/audit",
)
ONE = (f"/failures/{1:064x}", "/modes/1", "/modes/1/split", "/models/2", "/samples/1")
LOGIN = "POST /login"
MANY = 60
"""More than a page of any list."""


class Site:
    """The pages of a project, and who looks."""

    def __init__(self, context: Context, switch: Any, url: str) -> None:
        self.context, self.url = context, url
        self.app = switch.app = create_app(context)

    def as_(self, role: str) -> httpx.Client:
        name, _, value = sign_in(self.app, role, role).partition("=")
        headers = {"accept": "text/html"}
        return httpx.Client(
            base_url=self.url, cookies={name: value}, headers=headers, timeout=60 * PATIENCE
        )

    def queries(self, client: httpx.Client, path: str) -> int:
        """Statements that a page takes."""
        seen: list[str] = []

        def saw(*told: Any) -> None:
            seen.append(told[2])

        event.listen(self.context.engine, "before_cursor_execute", saw)
        try:
            assert client.get(path).status_code == 200
        finally:
            event.remove(self.context.engine, "before_cursor_execute", saw)
        return len(seen)


@pytest.fixture
def site(sqlite_context: Context, served: tuple[Any, str]) -> Site:
    return Site(sqlite_context, *served)


@pytest.fixture
def on_each(context: Context, served: tuple[Any, str]) -> Site:
    """The same on a database of each kind."""
    return Site(context, *served)


@pytest.mark.parametrize("path", LISTS)
def test_a_page_with_nothing_says_what_to_do(site: Site, path: str) -> None:
    answer = site.as_("admin").get(path)

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert re.search(r" style=| on\w+=|<style|<script(?! src)", answer.text) is None


def test_pages_ask_as_much_of_the_database_for_many_rows_as_for_one(on_each: Site) -> None:
    add_field(on_each.context, 1)
    client = on_each.as_("admin")
    few = {path: on_each.queries(client, path) for path in (*LISTS, *ONE)}
    add_rows(on_each.context, range(2, MANY))
    many = {path: on_each.queries(client, path) for path in (*LISTS, *ONE)}

    assert many == few
    assert max(many.values()) <= 32  # the start page, which tells of everything
    assert sorted(many.values())[-2] <= 26


def test_the_pages_of_a_list_hold_every_row_once(on_each: Site) -> None:
    add_field(on_each.context, MANY)
    client = on_each.as_("viewer")
    for path, pattern in (
        ("/failures", r'<li><a href="/failures/([0-9a-f]{64})"'),
        ("/modes", r'<td><a href="/modes/(\d+)"'),
        ("/samples", r'<a href="/samples/(\d+)"><strong>'),
        ("/models", r'<td><a href="/models/(\d+)"'),
        ("/data", r'<tr id="([0-9a-f]+)"'),
        ("/work", r"<tr><td>(\d+)</td><td>scan<"),
    ):
        found: list[str] = []
        here, pages = path, 0
        while here:
            text = client.get(here).text
            found += re.findall(pattern, text)
            following = re.search(r'href="([^"]+)" rel="next"', text)
            here = following[1].replace("&amp;", "&") if following else ""
            pages += 1
        assert pages > 1, path
        assert len(found) == len(set(found)) >= MANY - 1, path


def test_failures_are_filtered(on_each: Site) -> None:
    add_field(on_each.context, 3)
    with on_each.context.sessions.begin() as session:
        session.get_one(FailureRow, f"{1:064x}").kind = "false_positive"
        session.get_one(FailureRow, f"{2:064x}").state = "dismissed"
        last = session.get_one(FailureRow, f"{3:064x}")
        last.mode_id, last.mechanism = None, "suppressed"
    client = on_each.as_("viewer")

    def shown(query: str) -> list[int]:
        text = client.get(f"/failures?{query}").text
        return [int(name, 16) for name in re.findall(r'<li><a href="/failures/(\w{64})"', text)]

    assert shown("") == [1, 3]
    assert shown("state=&kind=false_positive&since=") == [1]
    assert shown("state=dismissed") == [2]
    assert shown("mode=0") == [3]
    assert shown("model=1") == [1, 3]
    assert shown("mode=1") == [1]
    assert shown("mechanism=suppressed") == [3]
    assert shown("drive=car") == [1, 3]
    assert shown("drive=truck") == []
    assert shown("model=7") == shown("label=bus") == shown("until=2020-01-01") == []
    assert shown("since=2020-01-01&label=car") == [1, 3]
    for wrong in ("mode=x", "since=yesterday", "before=abc"):
        assert client.get(f"/failures?{wrong}").status_code == 422


def _csrf(client: httpx.Client) -> str:
    """What the pages of a session put into their forms."""
    found = re.search(r'name="csrf" content="([^"]+)"', client.get("/help").text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("role", ["viewer", "labeller", "curator", "admin"])
def test_nobody_is_shown_a_link_or_a_button_that_is_refused(site: Site, role: str) -> None:
    add_field(site.context, 2)
    site.as_("viewer")  # somebody whom an admin may change
    client = site.as_(role)
    forms: set[str] = set()
    seen: set[str] = set()
    decides = role in ("curator", "admin")
    following = ["/", *(one for one in ONE if decides or not one.endswith("/split"))]
    while following:
        here = following.pop()
        if here in seen:
            continue
        seen.add(here)
        answer = client.get(here)
        assert answer.status_code == 200 or here == "/readyz", here
        if not answer.headers["content-type"].startswith("text/html") or here == "/docs":
            continue
        forms |= set(re.findall(r'method="post" action="([^"]+)"', answer.text))
        linked = re.findall(r'(?:href|src)="(/[^"#]*)', answer.text)
        following += [one.replace("&amp;", "&") for one in linked]
    told = {"csrf": _csrf(client), "note": "a reason", "name": "x", "role": "viewer", "days": "9"}
    told |= {"change": "curator", "password": "a walk along the river"}
    ending = {"/logout", "/account/everywhere", "/account/password"}

    answers = {one: client.post(one, data=told).status_code for one in sorted(forms - ending)}

    assert ending <= forms
    assert set(answers.values()) <= {200, 303, 409, 422}, answers  # some ask for more than told
    offered = {re.sub(r"[0-9a-f]{64}|\d+", "N", action) for action in forms - ending}
    asking = {f"/failures/N/{one}" for one in ("analysis", "explanations", "neighbours")}
    curator = {"/account/tokens", "/failures/N/dismiss", "/work/N/redrive", "/plan/ask", *asking}
    curator |= {"/cycles/N/cancel", "/cycles/N/train"}
    curator |= {f"/modes/N/{one}" for one in ("merge", "rename", "split")}
    curator |= {f"/samples/N/{one}" for one in ("accept", "refuse")}
    models = {"/models/N/pin", "/models/N/promote", "/models/rollback"}
    assert (
        offered
        == {
            "viewer": {"/account/tokens"},
            "labeller": {"/account/tokens", *asking},
            "curator": curator,
            "admin": {*curator, *models, "/users", "/users/change"},
        }[role]
    )


def test_whoever_lacks_the_role_is_refused_whatever_the_page_shows(site: Site) -> None:
    add_field(site.context, 1)
    client = site.as_("viewer")
    csrf = _csrf(client)
    told = {"csrf": csrf, "note": "a reason"}

    for path in (f"/failures/{1:064x}/dismiss", "/work/1/redrive", "/models/2/promote",
                 "/models/rollback"):  # fmt: skip
        assert client.post(path, data=told).status_code == 403, path
    assert client.get("/label").status_code == 403
    with site.context.sessions() as session:
        assert session.get_one(FailureRow, f"{1:064x}").state == "explained"


@pytest.mark.parametrize(
    "path", [one.split()[1] for one in LEAST_OF_PAGES if one.startswith("POST") and one != LOGIN]
)
def test_a_form_of_another_site_is_refused(site: Site, path: str) -> None:
    fields = {"note": "a reason", "name": "ada", "role": "viewer", "days": "9", "old": "a"}
    fields |= {"new": "b", "password": "c", "change": "admin"}
    client = site.as_("admin")
    address = re.sub("{.*?}", "1", path)

    for csrf in ("guessed", ""):
        assert client.post(address, data={**fields, "csrf": csrf}).status_code == 403
    headers = {"Origin": "https://evil.example"}
    told = {**fields, "csrf": _csrf(client)}
    assert client.post(address, data=told, headers=headers).status_code == 403


def test_a_cycle_is_stopped_and_begun_by_a_button_and_why_not_is_said(site: Site) -> None:
    add_field(site.context, 1)
    client = site.as_("curator")
    told = {"csrf": _csrf(client)}

    assert client.post("/cycles/1/cancel", data=told).status_code == 303
    with site.context.sessions() as session:
        assert session.get_one(Cycle, 1).state == "cancelled"
    page = client.get("/").text
    assert 'action="/cycles/start"' in page
    refused = client.post("/cycles/start", data=told)
    assert refused.status_code in (409, 422)
    assert "holdout" in refused.text


def test_a_token_is_made_shown_once_and_revoked(site: Site) -> None:
    client = site.as_("labeller")
    told = {"csrf": _csrf(client), "name": "nightly", "role": "viewer", "days": "9"}

    made = re.search(
        r"<code>(e2x[^<]+|[^<]{30,})</code>", client.post("/account/tokens", data=told).text
    )
    assert made is not None
    bearer = {"Authorization": f"Bearer {made[1]}"}
    assert httpx.get(f"{site.url}/v1/me", headers=bearer).json()["role"] == "viewer"
    page = client.get("/account").text
    assert "nightly" in page
    assert made[1] not in page
    (revoke,) = re.findall(r'action="(/account/tokens/\d+/revoke)"', page)
    client.post(revoke, data=told)
    assert httpx.get(f"{site.url}/v1/me", headers=bearer).status_code == 401


def test_an_admin_makes_an_account_changes_it_and_sees_it_in_the_trail(site: Site) -> None:
    client = site.as_("admin")
    told = {"csrf": _csrf(client), "name": "grace", "role": "viewer"}

    client.post("/users", data={**told, "password": "a walk along the river"})
    client.post("/users/change", data={**told, "change": "curator"})
    client.post("/users/change", data={**told, "change": "disable"})

    assert "disabled" in client.get("/users").text
    trail = client.get("/audit?subject=user:grace").text
    assert [one for one in ("user.add", "user.role", "user.disable") if one not in trail] == []
    assert ">admin<" in trail


def test_a_dismissal_names_who_and_why(site: Site) -> None:
    add_field(site.context, 1)
    client = site.as_("curator")
    csrf = _csrf(client)
    path = f"/failures/{1:064x}"

    client.post(f"{path}/dismiss", data={"csrf": csrf, "note": "a reflection"})

    page = client.get(path).text
    assert "curator" in page
    assert "a reflection" in page
    assert "/dismiss" not in page


def test_strangers_are_asked_to_sign_in_and_come_back(site: Site) -> None:
    with httpx.Client(base_url=site.url, headers={"accept": "text/html"}) as client:
        for path in (*LISTS, *ONE, "/pictures/failure/1", "/events"):
            answer = client.get(path)
            assert answer.status_code in (303, 401), path
        answer = client.get("/failures?kind=false_positive")
        assert answer.headers["location"] == "/login?next=%2Ffailures%3Fkind%3Dfalse_positive"
        for outside in ("//evil.example", "https://evil.example", "/\\evil.example"):
            assert "evil" not in client.get("/login", params={"next": outside}).text


def test_what_is_wrong_is_said_on_a_page(site: Site) -> None:
    client = site.as_("viewer")
    for path, status in (
        ("/failures/abc", 404),
        ("/modes/99", 404),
        ("/models/99", 404),
        ("/modes/x", 422),
        ("/work?before=-1", 422),
        ("/help/nothing", 404),
    ):
        answer = client.get(path)
        assert answer.status_code == status, path
        assert "<h1>" in answer.text
        assert client.get(path, headers={"accept": "application/json"}).json()["code"]


def test_assets_are_kept_under_the_hash_of_their_contents(site: Site) -> None:
    with httpx.Client(base_url=site.url) as client:
        page = client.get("/login").text
        for path in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page):
            answer = client.get(path)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        old = client.get("/assets/0123456789abcdef/pages.js")
        assert old.headers["cache-control"] == "no-cache"
        assert client.get(f"/assets/{assets.version()}/../app.py").status_code in (404, 401)
        assert client.get(f"/assets/{assets.version()}/nothing.js").status_code == 404


def test_a_picture_to_draw_on_is_upright_in_every_browser(site: Site) -> None:
    turned = Pillow.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    client = site.as_("viewer")
    for kind in ("jpeg", "png", "webp"):
        out = io.BytesIO()
        turned.putpixel((0, 0), (len(kind), 0, 0))
        turned.save(out, kind, exif=exif)
        stored = put_image(site.context, out.getvalue())
        with site.context.sessions.begin() as session:
            session.add(
                Image(
                    id=stored.id, role="pool", file=stored.file, name="a", width_px=20,
                    height_px=40, perceptual_hash=stored.perceptual_hash,
                )
            )  # fmt: skip

        answer = client.get(f"/pictures/image/{stored.id}")

        with Pillow.open(io.BytesIO(answer.content)) as shown:
            assert shown.size == (stored.width_px, stored.height_px) == (20, 40), kind
            assert shown.getexif().get(0x0112, 1) == 1


def test_a_model_that_finds_little_says_so_and_how_it_was_trained(site: Site) -> None:
    looks = [{"step": 50, "loss": 9.0, "ap50": 0.01}, {"step": 100, "loss": 5.0, "ap50": 0.02}]
    history = {"ended": "bound", "steps": 100, "cooled_from": 77, "looks": looks}
    with site.context.sessions.begin() as session:
        model = make_model(9, reports={"holdout": {"objects": 797, "found": 11}})
        model.training = {"history": history}
        session.add(model)
    client = site.as_("curator")

    page = client.get("/models/9").text

    assert "finds 1 % of the holdout (11 of 797 objects)" in page
    assert page.count("<polyline") == 2
    assert 'class="cooled"' in page
    assert client.post("/models/9/explain", data={"csrf": _csrf(client)}).status_code == 303
    assert "Explain its failures anyway" not in client.get("/models/9").text
