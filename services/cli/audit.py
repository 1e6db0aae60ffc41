"""``e2x audit``: who changed what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from services.cli.common import JsonOption, LimitOption, columns_of, opened, print_json, print_table
from services.db.engine import reading
from services.plain import json_text


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("audit")(show_audit)


def show_audit(
    user: Annotated[str, typer.Option(help="Only what this one did.")] = "",
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"],
            help="Only of then and later, in UTC.",
        ),
    ] = None,
    action: Annotated[str, typer.Option(help="Only this action, such as `promote`.")] = "",
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Show who changed what, when, through which door; the newest first.

    Through `cli` come users of the operating system, through `web` and `api` accounts; `service`
    is the loop itself.
    """
    from services.accounts import audit

    with opened() as context, reading(context.sessions) as session:
        rows = audit.rows(
            session,
            limit,
            user=user or None,
            since=since and since.replace(tzinfo=UTC),
            action=action or None,
        )
    if as_json:
        print_json([columns_of(row) for row in rows])
        return
    print_table(
        "Audit trail",
        ("#no", "when", "who", "door", "what", "about", "more"),
        [
            (
                row.id,
                row.at,
                row.actor,
                row.door,
                row.action,
                row.subject[:40],
                json_text(row.detail)[:60] if row.detail else None,
            )
            for row in rows
        ],
    )
