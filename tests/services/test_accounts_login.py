"""Logging in and out: cookies, CSRF, lockout, what ends a login, the project's token."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_context
from services.accounts import lockout, login, secrets, users
from services.api.app import create_app
from services.context import Context
from services.db.actors import SERVICE
from services.db.base import clock
from services.db.tables import Audit, LoginSession, LoginTries, User, UserRole
from services.errors import Forbidden, LockedOut, NotAllowed
from tests.services.accounts import PASSWORD, Browser, add_user, browser, log_in, token_of
from tests.services.api_server import Switch, error_of


@pytest.fixture
def ada(api: Context, address: str) -> Iterator[Browser]:
    """A browser in which Ada, a curator, is logged in."""
    add_user(api, "Ada", UserRole.CURATOR)
    opened = browser(address, "ada")
    yield opened
    opened.client.close()


def sessions_of(context: Context) -> int:
    with context.sessions() as session:
        return session.scalar(select(func.count()).select_from(LoginSession)) or 0


# --- cookies


def test_a_login_sets_a_cookie_that_no_script_reads(api: Context, address: str) -> None:
    add_user(api, "Ada", UserRole.CURATOR)
    with httpx.Client(base_url=address) as client:
        answer = log_in(client, "ADA")
        me = client.get("/v1/me").json()

    said = answer.headers["set-cookie"]
    assert "HttpOnly" in said
    assert "SameSite=lax" in said
    assert "Path=/" in said
    assert "Secure" not in said  # locally there is no TLS
    assert answer.json() == {"name": "Ada", "role": "curator", "csrf": me["csrf"]}
    assert me == {"name": "Ada", "role": "curator", "via": "session", "csrf": me["csrf"]}


def test_in_production_the_cookie_goes_by_tls_only(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    context = _production(tmp_path, sqlite_url)
    add_user(context, "ada")
    switch, url = served
    switch.app = create_app(context)

    said = httpx.post(f"{url}/v1/login", json={"name": "ada", "password": PASSWORD})

    context.engine.dispose()
    assert said.headers["set-cookie"].startswith("__Host-e2x=")
    assert "; Secure" in said.headers["set-cookie"]


def test_the_database_has_no_secret_in_clear(api: Context, address: str) -> None:
    user = add_user(api, "ada")
    token = token_of(api, user)
    opened = browser(address, "ada")
    (cookie,) = opened.client.cookies.jar
    opened.client.close()

    raw = b"".join(path.read_bytes() for path in api.project.root.parent.rglob("*.db*"))

    assert raw
    for secret in (PASSWORD, token, cookie.value or "?", opened.csrf):
        assert secret.encode() not in raw


def test_a_login_takes_a_new_session_and_ends_the_one_before(
    api: Context, address: str, ada: Browser
) -> None:
    (before,) = [cookie.value for cookie in ada.client.cookies.jar]
    log_in(ada.client, "ada")
    (after,) = [cookie.value for cookie in ada.client.cookies.jar]

    assert before != after
    assert sessions_of(api) == 1
    stolen = httpx.get(f"{address}/v1/me", cookies={"e2x_session": str(before)})
    error_of(stolen, 401, "not_allowed")


def test_an_id_that_was_handed_to_the_browser_is_not_taken(api: Context, address: str) -> None:
    add_user(api, "ada")
    with httpx.Client(base_url=address) as client:
        client.cookies.set("e2x_session", "chosen-by-somebody-else")
        made = log_in(client, "ada")

    assert "chosen-by-somebody-else" not in made.headers["set-cookie"]
    planted = {"e2x_session": "chosen-by-somebody-else"}
    error_of(httpx.get(f"{address}/v1/me", cookies=planted), 401, "not_allowed")


# --- how a login ends


def test_logging_out_ends_the_session(api: Context, address: str, ada: Browser) -> None:
    (cookie,) = ada.client.cookies.jar
    kept = {cookie.name: str(cookie.value)}

    assert ada.change("POST", "/v1/logout").status_code == 204

    assert not list(ada.client.cookies.jar)
    error_of(httpx.get(f"{address}/v1/me", cookies=kept), 401, "not_allowed")
    assert sessions_of(api) == 0


@pytest.mark.parametrize(("idle_h", "alive"), [(7, True), (9, False)])
def test_a_login_ends_when_it_is_not_used(ada: Browser, idle_h: float, alive: bool) -> None:
    later = datetime.now(UTC) + timedelta(hours=idle_h)
    with clock(lambda: later):
        assert (ada.client.get("/v1/me").status_code == 200) is alive


def test_use_keeps_a_login_open_until_its_absolute_end(api: Context, ada: Browser) -> None:
    begun = datetime.now(UTC)
    answered = []
    for hours in range(6, 8 * 24, 6):
        with clock(lambda hours=hours: begun + timedelta(hours=hours)):  # type: ignore[misc]
            answered.append(ada.client.get("/v1/me").status_code)

    assert answered[:27] == [200] * 27
    assert answered[-1] == 401


@pytest.mark.parametrize("how", ["password", "disable", "own password", "everywhere"])
def test_what_ends_every_login(api: Context, address: str, ada: Browser, how: str) -> None:
    other = browser(address, "ada")
    other.client.close()
    assert sessions_of(api) == 2
    if how == "own password":
        new = {"old": PASSWORD, "new": "another walk, uphill"}
        assert ada.change("POST", "/v1/me/password", json=new).status_code == 204
    elif how == "everywhere":
        assert ada.change("POST", "/v1/logout/everywhere").status_code == 204
    else:
        with api.sessions.begin() as session:
            user = users.find(session, "ada")
            if how == "disable":
                users.set_disabled(session, user, True)
            else:
                users.set_password(session, user, secrets.hash_password("something else here"))

    assert sessions_of(api) == 0
    (cookie,) = other.client.cookies.jar
    error_of(
        httpx.get(f"{address}/v1/me", cookies={cookie.name: str(cookie.value)}), 401, "not_allowed"
    )


def test_a_disabled_user_is_let_in_nowhere(api: Context, address: str) -> None:
    user = add_user(api, "ada", UserRole.ADMIN)
    add_user(api, "grace", UserRole.ADMIN)
    headers = {"Authorization": f"Bearer {token_of(api, user)}"}
    assert httpx.get(f"{address}/v1/me", headers=headers).status_code == 200
    with api.sessions.begin() as session:
        users.set_disabled(session, users.find(session, "ada"), True)

    error_of(httpx.get(f"{address}/v1/me", headers=headers), 401, "not_allowed")
    with httpx.Client(base_url=address) as client:
        assert "is disabled" in error_of(log_in(client, "ada"), 403, "forbidden")
        error_of(log_in(client, "ada", "wrong password"), 401, "not_allowed")


# --- CSRF


def test_a_change_by_cookie_needs_the_token_of_its_session(
    api: Context, address: str, ada: Browser
) -> None:
    grace = add_user(api, "grace", UserRole.CURATOR)
    other = browser(address, grace.name)
    other.client.close()

    for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": other.csrf}):
        answer = ada.client.post("/v1/cycles", json={}, headers=headers)
        assert "X-CSRF-Token" in error_of(answer, 403, "csrf")
    error_of(ada.change("POST", "/v1/cycles", json={}), 409, "conflict")  # no champion yet


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"Origin": "https://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Referer": "https://evil.example/page"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Origin": "SELF", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Referer": "SELF/failures?x=1"}, True),
    ],
)
def test_a_change_from_another_site_is_refused(
    address: str, ada: Browser, headers: dict[str, str], passes: bool
) -> None:
    told = {name: value.replace("SELF", address) for name, value in headers.items()}
    told["X-CSRF-Token"] = ada.csrf

    answer = ada.client.post("/v1/cycles", json={}, headers=told)

    error_of(answer, *((409, "conflict") if passes else (403, "csrf")))


def test_another_site_logs_nobody_in(api: Context, address: str) -> None:
    add_user(api, "ada")
    with httpx.Client(base_url=address) as client:
        error_of(log_in(client, "ada", Origin="https://evil.example"), 403, "csrf")
        form = client.post("/v1/login", data={"name": "ada", "password": PASSWORD})
    assert form.status_code == 422
    assert sessions_of(api) == 0


def test_behind_a_proxy_the_public_address_counts(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    public = "https://e2x.example.org"
    context = make_context(tmp_path / "p", sqlite_url, accounts={"public_url": public})
    add_user(context, "ada")
    switch, url = served
    switch.app = create_app(context)
    with httpx.Client(base_url=url) as client:
        assert log_in(client, "ada", Origin=public).status_code == 200
        error_of(log_in(client, "ada", Origin=url), 403, "csrf")
        error_of(log_in(client, "ada", Origin="http://e2x.example.org"), 403, "csrf")
    context.engine.dispose()


def test_a_token_needs_no_csrf_and_a_wrong_one_is_not_made_up_for_by_a_cookie(
    ada: Browser,
) -> None:
    wrong = {"Authorization": "Bearer wrong", "X-CSRF-Token": ada.csrf}
    error_of(ada.client.get("/v1/me", headers=wrong), 401, "not_allowed")
    right = {"Authorization": "Bearer secret"}
    error_of(ada.client.post("/v1/cycles", json={}, headers=right), 409, "conflict")


# --- wrong passwords


def _try(context: Context, name: str, password: str, address: str = "10.0.0.1") -> None:
    login.by_password(context.sessions, context.settings, name, password, address)


@pytest.fixture
def strict(tmp_path: Path, database_url: str) -> Iterator[Context]:
    """A project that locks after three wrong passwords of a name, or five of an address."""
    limits = {"lock_after": 3, "lock_address_after": 5}
    context = make_context(tmp_path / "strict", database_url, accounts=limits)
    yield context
    context.engine.dispose()


def test_a_name_is_locked_after_wrong_passwords_from_anywhere(strict: Context) -> None:
    add_user(strict, "ada")
    for number in range(3):
        with pytest.raises(NotAllowed, match="wrong name or password"):
            _try(strict, ("ada", "Ada", "ADA")[number], "wrong", f"10.0.0.{number}")

    with pytest.raises(LockedOut, match=r"again in 15 minutes.*users enable") as locked:
        _try(strict, "ada", PASSWORD, "10.0.0.9")
    assert 800 < locked.value.retry_after_s <= 900

    later = datetime.now(UTC) + timedelta(minutes=16)
    with clock(lambda: later):
        _try(strict, "ada", PASSWORD)
    with strict.sessions() as session:
        actions = session.scalars(select(Audit.action).order_by(Audit.id)).all()
    assert actions == ["login.failed"] * 3 + ["login"]


def test_names_that_nobody_has_are_answered_and_locked_the_same(strict: Context) -> None:
    for number in range(3):
        with pytest.raises(NotAllowed, match="wrong name or password"):
            _try(strict, "nobody", "wrong", f"10.0.1.{number}")
    with pytest.raises(LockedOut, match="again in 15 minutes"):
        _try(strict, "nobody", "wrong", "10.0.1.9")


def test_an_address_is_locked_whatever_names_it_tries(strict: Context) -> None:
    add_user(strict, "ada")
    for number in range(5):
        with pytest.raises(NotAllowed):
            _try(strict, f"somebody{number}", "wrong")
    with pytest.raises(LockedOut):
        _try(strict, "ada", PASSWORD)
    _try(strict, "ada", PASSWORD, "10.0.0.2")


def test_a_right_password_buys_an_address_no_new_guesses(strict: Context) -> None:
    add_user(strict, "mallory")
    for number in range(5):
        _try(strict, "mallory", PASSWORD)
        with pytest.raises(NotAllowed):
            _try(strict, f"somebody{number}", "wrong")
    with pytest.raises(LockedOut):
        _try(strict, "mallory", PASSWORD)


def test_enabling_lifts_a_lock(strict: Context) -> None:
    add_user(strict, "ada")
    for number in range(3):
        with pytest.raises(NotAllowed):
            _try(strict, "ada", "wrong", f"10.0.0.{number}")
    with strict.sessions.begin() as session:
        users.set_disabled(session, users.find(session, "ada"), False)
    _try(strict, "ada", PASSWORD)


def test_tries_at_once_are_no_more_than_the_limit(strict: Context) -> None:
    """Counted before the password is looked at, so that a burst gains nothing."""
    from concurrent.futures import ThreadPoolExecutor

    def count(number: int) -> bool:
        try:
            lockout.count(strict.sessions, strict.settings, "ada", f"10.0.0.{number}")
        except LockedOut:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(count, range(16)))

    assert sum(counted) == 3


def test_tries_are_forgotten_with_time(strict: Context) -> None:
    with pytest.raises(NotAllowed):
        _try(strict, "a", "wrong")
    later = datetime.now(UTC) + timedelta(hours=1)
    with clock(lambda: later), pytest.raises(NotAllowed):
        _try(strict, "b", "wrong", "10.0.0.2")
    with strict.sessions() as session:
        assert session.scalar(select(func.count()).select_from(LoginTries)) == 2


def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(
    api: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted in hashes of Argon2 that are compared, not in time."""
    compared = []
    hasher = secrets._hasher()
    real = hasher.verify_and_update

    def counted(password: str, known: str) -> Any:
        compared.append(known)
        return real(password, known)

    monkeypatch.setattr(hasher, "verify_and_update", counted)
    add_user(api, "ada")
    for name in ("ada", "nobody"):
        with pytest.raises(NotAllowed):
            _try(api, name, "wrong")

    assert len(compared) == 2
    assert compared[0].split("$")[:4] == compared[1].split("$")[:4]  # kind and cost


# --- the project's token


def _production(tmp_path: Path, url: str) -> Context:
    return make_context(
        tmp_path / "production",
        url,
        environment="production",
        broker_url="redis://nowhere:1/0",
        api={"token": "secret"},
    )


def test_the_projects_token_is_an_admins_locally(client: httpx.Client) -> None:
    assert client.get("/me").json() == {
        "name": "project token", "role": "admin", "via": "project", "csrf": None,
    }  # fmt: skip
    assert client.get("/users").status_code == 200
    error_of(client.post("/me/tokens", json={"name": "x"}), 403, "forbidden")


def test_the_projects_token_is_refused_in_production(
    tmp_path: Path, sqlite_url: str, served: tuple[Switch, str]
) -> None:
    context = _production(tmp_path, sqlite_url)
    token = token_of(context, add_user(context, "ada"))
    switch, url = served
    switch.app = create_app(context)

    refused = httpx.get(f"{url}/v1/me", headers={"Authorization": "Bearer secret"})
    taken = httpx.get(f"{url}/v1/me", headers={"Authorization": f"Bearer {token}"})

    context.engine.dispose()
    assert "`e2x users add NAME --role admin`" in error_of(refused, 401, "not_allowed")
    assert taken.json()["name"] == "ada"


# --- tables


def test_names_are_unique_whatever_their_case(context: Context) -> None:
    from services.errors import Conflict

    add_user(context, "Ada")
    with pytest.raises(Conflict, match="there is a user Ada already"):
        add_user(context, "aDA")
    with context.sessions() as session:
        assert users.find(session, "ADA").name == "Ada"


@pytest.mark.parametrize("name", ["", " ada", "ada lovelace", "-x", "Аda", "a\n", "a" * 81])
def test_a_name_that_could_pass_for_another_is_refused(context: Context, name: str) -> None:
    from services.errors import InvalidRequest

    with pytest.raises(InvalidRequest, match="is no user name"):
        add_user(context, name)


@pytest.mark.parametrize(
    ("password", "said"),
    [("short", "12 at least"), ("x" * 1001, "over 1000"), ("adaadaadaadaada", "repeats"),
     ("ada-lovelace1", "little more than the user's name")],
)  # fmt: skip
def test_a_password_that_is_easily_guessed_is_refused(
    context: Context, password: str, said: str
) -> None:
    from services.errors import InvalidRequest

    name = "ada-lovelace" if "lovelace" in password else "ada"
    with pytest.raises(InvalidRequest, match=said):
        users.hashed(context.settings, name, password)


def test_the_last_admin_stays(context: Context) -> None:
    from services.errors import Conflict

    add_user(context, "ada", UserRole.ADMIN)
    add_user(context, "grace", UserRole.ADMIN)
    with context.sessions.begin() as session:
        users.set_disabled(session, users.find(session, "grace"), True)
    with context.sessions.begin() as session:
        ada = users.find(session, "ada")
        with pytest.raises(Conflict, match="is the only admin"):
            users.set_role(session, ada, UserRole.VIEWER)
        with pytest.raises(Conflict, match="is the only admin"):
            users.set_disabled(session, ada, True)


def test_a_disabled_account_gets_no_session(context: Context) -> None:
    user = add_user(context, "ada", disabled=True)
    with context.sessions.begin() as session, pytest.raises(Forbidden, match="is disabled"):
        login.begin(session, context.settings, session.get_one(User, user.id), "oidc")
    assert SERVICE.name == "service"
