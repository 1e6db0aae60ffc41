"""Logging in through a real OpenID Connect provider that runs in this process."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_context
from services.accounts import users
from services.accounts.oidc import local_path
from services.api.app import create_app
from services.context import Context
from services.db.tables import Audit, LoginSession, User, UserRole
from tests.services.accounts import add_user, log_in
from tests.services.api_server import Switch

ALICE = {
    "email": "alice@example.org",
    "email_verified": True,
    "preferred_username": "alice",
    "groups": ["staff", "perception"],
}
ROLES = {"perception": "curator", "staff": "viewer"}


@dataclass
class Site:
    """The service with a provider, and a browser."""

    context: Context
    url: str
    provider: str
    browser: httpx.Client

    def arrive(self, sub: str = "alice", path: str = "/v1/me", **form: str) -> httpx.Response:
        """Begin a login and let the provider send the browser back; the answer to that."""
        away = self.browser.get(f"{self.url}/v1/login/oidc", params={"next": path})
        assert away.status_code == 303, away.text
        back = self.browser.post(away.headers["location"], data={"sub": sub, **form})
        assert back.status_code == 302, back.text
        return self.browser.get(back.headers["location"])

    def who(self) -> Any:
        return self.browser.get(f"{self.url}/v1/me").json()


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def tell(provider: str, sub: str = "alice", **claims: Any) -> None:
    """What the provider says of somebody."""
    answer = httpx.put(f"{provider}/users/{sub}", json={**ALICE, **claims})
    assert answer.status_code < 300, answer.text


@pytest.fixture
def site(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    sqlite_url: str,
    served: tuple[Switch, str],
    provider: str,
) -> Iterator[Site]:
    """With the settings of the test's parameter on top."""
    switch, url = served
    accounts = {
        "public_url": url,
        "oidc_issuer": provider,
        "oidc_client_id": "e2x",
        "oidc_client_secret": "hush",
        "oidc_roles": ROLES,
        **getattr(request, "param", {}),
    }
    context = make_context(tmp_path / "project", sqlite_url, accounts=accounts)
    switch.app = create_app(context)
    tell(provider)
    with httpx.Client() as browser:
        yield Site(context, url, provider, browser)
    context.engine.dispose()


def test_a_first_login_makes_a_user_with_the_highest_role_of_its_groups(site: Site) -> None:
    answer = site.arrive(path="/v1/failures?limit=3")

    assert (answer.status_code, answer.headers["location"]) == (303, "/v1/failures?limit=3")
    me = site.who()
    assert (me["name"], me["role"], me["via"]) == ("alice", "curator", "session")
    assert me["csrf"]
    with site.context.sessions() as session:
        user = users.find(session, "alice")
        assert (user.issuer, user.subject, user.password_hash) == (site.provider, "alice", None)
        told = session.execute(select(Audit.actor, Audit.action).order_by(Audit.id)).all()
    assert [tuple(one) for one in told] == [("OpenID Connect", "user.add"), ("alice", "login")]


def test_the_next_login_is_the_same_user_with_the_role_of_then(site: Site) -> None:
    site.arrive()
    tell(site.provider, groups=["staff"], preferred_username="renamed")
    site.arrive()

    assert (site.who()["name"], site.who()["role"]) == ("alice", "viewer")
    with site.context.sessions() as session:
        assert session.scalar(select(func.count()).select_from(User)) == 1
        assert session.scalar(select(func.count()).select_from(LoginSession)) == 1


def test_the_provider_is_asked_with_pkce_state_and_nonce(site: Site) -> None:
    away = site.browser.get(f"{site.url}/v1/login/oidc")
    asked = {
        name: one[0] for name, one in parse_qs(urlsplit(away.headers["location"]).query).items()
    }

    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{site.url}/v1/login/oidc/callback"
    assert len(asked["state"]) == len(asked["nonce"]) == 64
    assert asked["state"] != asked["nonce"]
    assert (
        len(base64.urlsafe_b64decode(asked["code_challenge"] + "=")) == hashlib.sha256().digest_size
    )
    said = away.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=lax" in said


def test_a_code_that_another_browser_began_is_refused(site: Site) -> None:
    """Login CSRF: the attacker's code must not log the victim in as the attacker."""
    away = site.browser.get(f"{site.url}/v1/login/oidc")
    back = site.browser.post(away.headers["location"], data={"sub": "alice"})
    with httpx.Client() as victim:
        without = victim.get(back.headers["location"])
        victim.get(f"{site.url}/v1/login/oidc")  # one of its own has another state
        other = victim.get(back.headers["location"])

    for answer in (without, other):
        assert answer.status_code == 403
        assert "not begun in this browser" in answer.json()["message"]
    with site.context.sessions() as session:
        assert session.scalar(select(func.count()).select_from(LoginSession)) == 0


def test_an_answer_of_another_try_is_refused_by_its_nonce(site: Site) -> None:
    """The state is the victim's own, the code is of another try: its nonce tells."""
    stolen = site.browser.get(f"{site.url}/v1/login/oidc").headers["location"]
    code = site.browser.post(stolen, data={"sub": "mallory"}).headers["location"]
    code = parse_qs(urlsplit(code).query)["code"][0]
    away = site.browser.get(f"{site.url}/v1/login/oidc").headers["location"]
    state = parse_qs(urlsplit(away).query)["state"][0]

    answer = site.browser.get(
        f"{site.url}/v1/login/oidc/callback", params={"code": code, "state": state}
    )

    assert answer.status_code == 403
    assert "cannot be taken" in answer.json()["message"]


def test_a_code_counts_once(site: Site) -> None:
    away = site.browser.get(f"{site.url}/v1/login/oidc").headers["location"]
    back = site.browser.post(away, data={"sub": "alice"}).headers["location"]
    kept = dict(site.browser.cookies)

    assert site.browser.get(back).status_code == 303
    with httpx.Client(cookies=kept) as again:
        assert again.get(back).status_code == 403


def test_whoever_says_no_at_the_provider_is_told(site: Site) -> None:
    away = site.browser.get(f"{site.url}/v1/login/oidc").headers["location"]
    back = site.browser.post(away, data={"sub": "alice", "action": "deny"}).headers["location"]
    state = parse_qs(urlsplit(away).query)["state"][0]  # RFC 6749, 4.1.2.1; this one leaves it out

    answer = site.browser.get(f"{back}&state={state}", headers={"Accept": "text/html"})

    assert answer.status_code == 403
    assert "did not let you in" in answer.text
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("site", [{"oidc_domains": ["example.org"]}], indirect=True)
def test_only_verified_addresses_of_the_domains_are_let_in(site: Site) -> None:
    for wrong in (
        {"email": "alice@evil.example"},
        {"email": "alice@example.org.evil.example"},
        {"email_verified": False},
        {"email": None},
    ):
        tell(site.provider, **wrong)
        answer = site.arrive()
        assert answer.status_code == 403, wrong
        assert "verified e-mail" in answer.json()["message"]
    tell(site.provider, email="alice@EXAMPLE.org")
    assert site.arrive().status_code == 303


def test_who_is_in_no_group_that_gives_a_role_is_not_let_in(site: Site) -> None:
    tell(site.provider, groups=["kitchen"])
    assert "oidc_roles" in site.arrive().json()["message"]

    tell(site.provider)
    assert site.arrive().status_code == 303
    tell(site.provider, groups=[])
    assert site.arrive().status_code == 403  # nor whoever was in one before


@pytest.mark.parametrize(
    "site",
    [{"oidc_role_claim": "realm_access.roles", "oidc_default_role": "labeller"}],
    indirect=True,
)
def test_groups_may_lie_deeper_and_there_may_be_a_default(site: Site) -> None:
    site.arrive()
    assert site.who()["role"] == "labeller"
    tell(site.provider, realm_access={"roles": ["perception"]})
    site.arrive()
    assert site.who()["role"] == "curator"


def test_an_account_with_a_password_is_not_taken_over_by_its_name(site: Site) -> None:
    add_user(site.context, "Alice", UserRole.ADMIN)

    answer = site.arrive()

    assert answer.status_code == 403
    assert "not the provider's" in answer.json()["message"]


@pytest.mark.parametrize("site", [{"oidc_roles": {}}], indirect=True)
def test_an_admin_may_say_beforehand_that_a_name_is_the_providers(site: Site) -> None:
    assert site.arrive().status_code == 403
    with site.context.sessions.begin() as session:
        users.add(session, site.context.settings, "Alice", UserRole.ADMIN, None, by_provider=True)

    assert site.arrive().status_code == 303
    assert (site.who()["name"], site.who()["role"]) == ("Alice", "admin")
    tell(site.provider, "mallory", preferred_username="alice")
    assert site.arrive("mallory").status_code == 403  # the name has somebody


def test_a_disabled_user_is_let_in_by_no_provider(site: Site) -> None:
    site.arrive()
    with site.context.sessions.begin() as session:
        users.set_disabled(session, users.find(session, "alice"), True)

    assert "is disabled" in site.arrive().json()["message"]


def test_without_the_provider_passwords_open(site: Site, served: tuple[Switch, str]) -> None:
    """Nothing listens at its address; the answer says so, and the other door is open."""
    served[0].app = create_app(_with(site.context, oidc_issuer="http://127.0.0.1:9"))
    add_user(site.context, "ada")
    with httpx.Client(base_url=site.url, headers={"Accept": "text/html"}) as browser:
        for _ in range(2):  # the second time it is not asked
            answer = browser.get("/v1/login/oidc")
            assert answer.status_code == 503
            assert "log in with a password" in answer.text
        assert log_in(browser, "ada").status_code == 200


def test_a_provider_that_goes_away_in_between_is_told_too(
    site: Site, served: tuple[Switch, str]
) -> None:
    with oidc_provider_mock.run_server_in_thread() as server:
        issuer = f"http://localhost:{server.server_port}"
        served[0].app = create_app(_with(site.context, oidc_issuer=issuer))
        away = site.browser.get(f"{site.url}/v1/login/oidc").headers["location"]
        back = site.browser.post(away, data={"sub": "alice"}).headers["location"]

    answer = site.browser.get(back)

    assert answer.status_code == 503
    assert answer.json()["code"] == "tool_unavailable"


def test_an_issuer_that_calls_itself_otherwise_is_refused(
    site: Site, served: tuple[Switch, str]
) -> None:
    """What stands at an address may be somebody else's provider."""
    served[0].app = create_app(_with(site.context, oidc_issuer=f"{site.provider}/somewhere/.."))

    assert site.browser.get(f"{site.url}/v1/login/oidc").status_code == 503


def test_without_a_provider_the_door_says_so(client: httpx.Client) -> None:
    answer = client.get("/login/oidc")
    assert answer.status_code == 422
    assert "accounts.oidc_issuer" in answer.json()["message"]


@pytest.mark.parametrize(
    ("accounts", "said"),
    [
        ({"oidc_issuer": "https://sso"}, "needs accounts.oidc_client_id"),
        ({"oidc_issuer": "https://sso", "oidc_client_id": "e2x"}, "needs accounts.public_url"),
        ({"public_url": "https://e2x.example.org/path"}, "with nothing after it"),
        ({"public_url": "e2x.example.org"}, "must be http"),
        ({"oidc_roles": {"staff": "king"}}, "oidc_roles.staff"),
        ({"session_idle_s": 999_999}, "session_max_s"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, sqlite_url: str, accounts: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        make_context(tmp_path / "project", sqlite_url, accounts=accounts)


def _with(context: Context, **accounts: Any) -> Context:
    """The same with other settings."""
    wanted = context.settings.accounts.model_copy(update=accounts)
    settings = context.settings.model_copy(update={"accounts": wanted})
    return replace(context, settings=settings)


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/failures?kind=missed", "/failures?kind=missed"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("/a\\b", "/"),
        ("/" + "a" * 3000, "/"),
        ("", "/"),
    ],
)
def test_after_the_login_one_stays_on_this_site(wanted: str, path: str) -> None:
    assert local_path(wanted) == path
