"""``e2x users``: accounts, from the host; this is how the first one is made."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.common import (
    JsonOption,
    columns_of,
    console,
    opened,
    print_json,
    print_table,
)
from services.db.engine import reading
from services.db.tables import UserRole
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.db.tables import User

users_app = typer.Typer(help="Accounts: who may look, label, decide, promote.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whatever its case.")]
SECRET = ("password_hash", "name_key", "subject")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(users_app, name="users", no_args_is_help=True)


def read_password() -> str:
    """A password from a prompt, twice, or from standard input where that is no terminal.

    Never from an argument: the machine's other users see those, and the shell keeps them.

    Raises:
        InvalidRequest: there is none.
    """
    if sys.stdin.isatty():
        password: str = typer.prompt("password", hide_input=True, confirmation_prompt=True)
        return password
    typed = sys.stdin.readline().rstrip("\r\n")
    if not typed:
        raise InvalidRequest("no password: type it at the prompt, or send it on standard input")
    return typed


@users_app.command("add")
def add(
    name: NameArgument,
    role: Annotated[UserRole, typer.Option(help="What the user may do.")] = UserRole.VIEWER,
    by_provider: Annotated[
        bool,
        typer.Option(
            "--by-provider", help="Without a password: logs in through OpenID Connect by this name."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an account; its password is asked for, or read from standard input.

    The first admin is made like this too.
    """
    from services.accounts import users

    users.check_name(name)  # before somebody has typed a password twice
    password = None if by_provider else read_password()
    with opened() as context, context.sessions.begin() as session:
        user = users.add(session, context.settings, name, role, password, by_provider=by_provider)
    _tell(user, f"{user.name} is {user.role}", as_json)


@users_app.command("list")
def list_users(as_json: JsonOption = False) -> None:
    """List all accounts, those that are disabled too."""
    from services.accounts import users

    with opened() as context, reading(context.sessions) as session:
        rows = users.everybody(session)
    if as_json:
        print_json([columns_of(row, *SECRET) for row in rows])
        return
    print_table(
        "Users",
        ("name", "role", "disabled", "by provider", "made", "latest login"),
        [
            (row.name, row.role, row.disabled, row.by_provider, row.created_at, row.seen_at)
            for row in rows
        ],
    )


@users_app.command("role")
def give_role(name: NameArgument, role: UserRole, as_json: JsonOption = False) -> None:
    """Give a user another role; it counts from the next request on."""
    from services.accounts import users

    with opened() as context, context.sessions.begin() as session:
        user = users.find(session, name)
        users.set_role(session, user, role)
    _tell(user, f"{user.name} is {user.role}", as_json)


@users_app.command("disable")
def disable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Lock a user out at once; every login ends and every token is refused."""
    _set_disabled(name, True, as_json)


@users_app.command("enable")
def enable(name: NameArgument, as_json: JsonOption = False) -> None:
    """Let a user in again, also one whom wrong passwords have locked out."""
    _set_disabled(name, False, as_json)


def _set_disabled(name: str, disabled: bool, as_json: bool) -> None:
    from services.accounts import users

    with opened() as context, context.sessions.begin() as session:
        user = users.find(session, name)
        users.set_disabled(session, user, disabled)
    _tell(user, f"{user.name} is {'disabled' if disabled else 'enabled'}", as_json)


@users_app.command("password")
def set_password(name: NameArgument, as_json: JsonOption = False) -> None:
    """Set a user's password; it is asked for, or read from standard input. Every login ends."""
    from services.accounts import users

    with opened() as context:
        with reading(context.sessions) as session:
            users.find(session, name)
        hashed = users.hashed(context.settings, name, read_password())
        with context.sessions.begin() as session:
            user = users.find(session, name)
            users.set_password(session, user, hashed)
    _tell(user, f"{user.name} has a new password, and is logged out everywhere", as_json)


@users_app.command("token")
def token(
    name: NameArgument,
    label: Annotated[str, typer.Option("--for", help="What it is for.")] = "command line",
    role: Annotated[
        UserRole | None, typer.Option(help="What it may do at most; without: what the user may.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(help="Until it ends; without `accounts.token_days`.", min=0)
    ] = None,
    revoke: Annotated[
        int | None, typer.Option(metavar="ID", help="End this token, and make none.")
    ] = None,
    list_them: Annotated[
        bool, typer.Option("--list", help="List the user's tokens, and make none.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a token for scripts, which is shown this once: `Authorization: Bearer TOKEN`."""
    from services.accounts import tokens, users

    with opened() as context, context.sessions.begin() as session:
        user = users.find(session, name)
        if list_them:
            rows = tokens.of_user(session, user.id)
        elif revoke is not None:
            row = tokens.revoke(session, user, revoke)
        else:
            row, text = tokens.issue(session, context.settings, user, label, role, days)
    if list_them:
        if as_json:
            print_json([columns_of(one, "key") for one in rows])
            return
        print_table(
            f"Tokens of {user.name}",
            ("#id", "for", "role", "made", "ends", "last used"),
            [(o.id, o.name, o.role, o.created_at, o.expires_at, o.last_used_at) for o in rows],
        )
    elif as_json:
        shown = {} if revoke is not None else {"token": text}
        print_json(columns_of(row, "key") | shown)
    elif revoke is not None:
        console().print(f"token {row.id} of {user.name} is revoked")
    else:
        typer.echo(text)
        console().print(
            f"token {row.id} of {user.name}: {row.role}, until {row.expires_at:%Y-%m-%d}; "
            "it is not shown again",
            style="dim",
        )


def _tell(user: User, said: str, as_json: bool) -> None:
    if as_json:
        print_json(columns_of(user, *SECRET))
    else:
        console().print(said)
