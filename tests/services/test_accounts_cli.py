"""``e2x users``: accounts from the host."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from services.accounts import identity, login, users
from services.cli import make_app
from services.db.tables import LoginSession, User
from services.errors import NotAllowed
from tests.services.commands import CommandLine, Ran

PASSWORD = "a walk along the river"


def typed(line: CommandLine, text: str, *arguments: str | Path) -> Ran:
    """Run a command with something on standard input."""
    from services.config.settings import get_settings

    result = CliRunner().invoke(
        make_app(),
        [str(argument) for argument in arguments],
        input=text,
        env={"E2X_PROJECT": str(line.root), "COLUMNS": "200", "NO_COLOR": "1"},
    )
    get_settings.cache_clear()
    return Ran(result.exit_code, result.stdout, result.stderr)


def test_the_first_admin_is_made_on_the_host(line: CommandLine) -> None:
    ran = typed(line, f"{PASSWORD}\n", "users", "add", "Ada", "--role", "admin")

    assert (ran.code, ran.out.strip()) == (0, "Ada is admin")
    with line.opened() as context:
        made = login.by_password(context.sessions, context.settings, "ada", PASSWORD)
        assert made.user.role == "admin"
    (row,) = line.done("users", "list", "--json").json
    assert (row["name"], row["role"], row["disabled"]) == ("Ada", "admin", False)
    assert "password_hash" not in row
    assert "Ada" in line.done("users", "list").out
    actions = [row["action"] for row in line.done("audit", "--json").json]
    assert actions == ["login", "user.add"]


def test_no_password_is_an_argument(line: CommandLine) -> None:
    assert line.run("users", "add", "ada", "--password", "x").code == 2
    assert typed(line, "", "users", "add", "ada").code == 2
    ran = typed(line, "short\n", "users", "add", "ada")
    assert ran.code == 2
    assert "12 at least" in ran.err
    assert line.done("users", "list", "--json").json == []


@pytest.mark.parametrize("name", ["a b", "-", "Аda"])
def test_a_wrong_name_is_told_before_a_password_is_asked_for(line: CommandLine, name: str) -> None:
    assert "is no user name" in line.refused("users", "add", "--", name)


def test_roles_and_locks_are_changed(line: CommandLine) -> None:
    for name, role in (("ada", "admin"), ("grace", "viewer")):
        assert typed(line, f"{PASSWORD}\n", "users", "add", name, "--role", role).code == 0

    assert line.done("users", "role", "GRACE", "curator").out.strip() == "grace is curator"
    assert line.done("users", "disable", "grace").out.strip() == "grace is disabled"
    with line.opened() as context, pytest.raises(Exception, match="is disabled"):
        login.by_password(context.sessions, context.settings, "grace", PASSWORD)
    assert line.done("users", "enable", "grace", "--json").json["disabled"] is False
    assert "only admin" in line.refused("users", "disable", "ada")
    assert "only admin" in line.refused("users", "role", "ada", "viewer")
    assert "no user 'nobody'" in line.refused("users", "role", "nobody", "viewer")
    assert line.run("users", "role", "ada", "king").code == 2


def test_a_password_is_set_and_ends_every_login(line: CommandLine) -> None:
    typed(line, f"{PASSWORD}\n", "users", "add", "ada")
    with line.opened() as context:
        login.by_password(context.sessions, context.settings, "ada", PASSWORD)
        ran = typed(line, "another walk, uphill\n", "users", "password", "ada")
        assert ran.code == 0, ran.err
        with context.sessions() as session:
            assert session.scalars(select(LoginSession)).all() == []
        with pytest.raises(NotAllowed):
            login.by_password(context.sessions, context.settings, "ada", PASSWORD)
        login.by_password(context.sessions, context.settings, "ada", "another walk, uphill")


def test_a_token_is_made_shown_once_listed_and_revoked(line: CommandLine) -> None:
    typed(line, f"{PASSWORD}\n", "users", "add", "ada", "--role", "curator")

    made = line.done("users", "token", "ada", "--for", "fleet", "--role", "labeller", "--days", "7")
    token = made.out.splitlines()[0]

    assert token.startswith("e2x_")
    (row,) = line.done("users", "token", "ada", "--list", "--json").json
    assert (row["name"], row["role"]) == ("fleet", "labeller")
    assert token not in line.done("users", "token", "ada", "--list").out
    with line.opened() as context:
        who = identity.look(context.sessions, context.settings, token=token)
        assert who is not None
        assert (who.name, who.role) == ("ada", "labeller")
        line.done("users", "token", "ada", "--revoke", str(row["id"]))
        assert identity.look(context.sessions, context.settings, token=token) is None
    assert line.done("users", "token", "ada", "--list", "--json").json == []
    said = line.refused("users", "token", "ada", "--role", "admin")
    assert "no token of theirs can be admin" in said
    assert "accounts.token_max_days" in line.refused("users", "token", "ada", "--days", "9999")


def test_a_token_falls_with_its_owners_role_and_ends(line: CommandLine) -> None:
    from datetime import UTC, datetime, timedelta

    from services.db.base import clock

    typed(line, f"{PASSWORD}\n", "users", "add", "ada", "--role", "curator")
    token = line.done("users", "token", "ada", "--days", "7").out.splitlines()[0]
    line.done("users", "role", "ada", "viewer")
    with line.opened() as context:

        def role() -> str | None:
            who = identity.look(context.sessions, context.settings, token=token)
            return None if who is None else who.role

        assert role() == "viewer"
        with clock(lambda: datetime.now(UTC) + timedelta(days=8)):
            assert role() is None
        with context.sessions.begin() as session:
            users.set_disabled(session, users.find(session, "ada"), True)
        assert role() is None


@pytest.mark.parametrize("change", [lambda t: t[:-1] + "~", lambda t: t[4:], lambda t: t + "a"])
def test_a_token_with_a_slip_asks_no_database(line: CommandLine, change: object) -> None:
    from services.accounts import secrets

    token = secrets.new_token()
    assert secrets.is_token(token)
    assert not secrets.is_token(change(token))  # type: ignore[operator]
    assert not secrets.is_token("e2x_ü")


def test_a_user_of_the_provider_has_no_password(line: CommandLine) -> None:
    line.done("users", "add", "ada", "--by-provider")
    with line.opened() as context:
        with pytest.raises(NotAllowed):
            login.by_password(context.sessions, context.settings, "ada", "")
        with context.sessions() as session:
            user = session.scalars(select(User)).one()
    assert (user.by_provider, user.password_hash) == (True, None)


def test_the_doctor_says_whether_anybody_can_get_in(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> tuple[str, str, str]:
        rows = {row["what"]: row for row in line.run("doctor", "--json").json}
        return tuple(rows["accounts"][name] for name in ("state", "found", "advice"))  # type: ignore[return-value]

    assert found()[0] == "ok"
    monkeypatch.setenv("E2X_ENVIRONMENT", "production")
    monkeypatch.setenv("E2X_DATABASE_URL", f"sqlite:///{line.root / 'state' / 'e2x.db'}")
    monkeypatch.setenv("E2X_BROKER_URL", "redis://127.0.0.1:9/0")
    assert found()[:2] == ("warn", "none yet: nobody is an admin")
    assert "e2x users add NAME --role admin" in found()[2]
    typed(line, f"{PASSWORD}\n", "users", "add", "ada", "--role", "admin")
    assert found()[:2] == ("ok", "1 admin")
    monkeypatch.setenv("E2X_API__TOKEN", "shared")
    assert found()[:2] == ("warn", "1 admin; api.token is set, and refused in production")
