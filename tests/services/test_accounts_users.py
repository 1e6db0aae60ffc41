"""Users: names, passwords, and the last admin."""

from __future__ import annotations

import pytest

from services.accounts import login, users
from services.config.settings import Settings
from services.context import Context
from services.db.tables import User, UserRole
from services.errors import Conflict, Forbidden, InvalidRequest
from tests.services.accounts import add_user


def test_names_are_unique_whatever_their_case(context: Context) -> None:
    add_user(context, "Ada")
    with pytest.raises(Conflict, match="there is a user Ada already"):
        add_user(context, "aDA")
    with context.sessions() as session:
        assert users.find(session, "ADA").name == "Ada"


@pytest.mark.parametrize("name", ["", " ada", "ada lovelace", "-x", "Аda", "a\n", "a" * 81])
def test_a_name_that_could_pass_for_another_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="is no user name"):
        users.check_name(name)


@pytest.mark.parametrize(
    ("password", "said"),
    [("short", "12 at least"), ("x" * 1001, "over 1000"), ("adaadaadaadaada", "repeats"),
     ("ada-lovelace1", "little more than the user's name")],
)  # fmt: skip
def test_a_password_that_is_easily_guessed_is_refused(password: str, said: str) -> None:
    name = "ada-lovelace" if "lovelace" in password else "ada"
    with pytest.raises(InvalidRequest, match=said):
        users.hashed(Settings(), name, password)


def test_the_last_admin_stays(context: Context) -> None:
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
