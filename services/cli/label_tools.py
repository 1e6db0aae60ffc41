"""``e2x labels connect|disconnect|sync|status``: labelling tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.common import (
    FAILURE_EXIT,
    JsonOption,
    console,
    opened,
    print_facts,
    print_json,
    print_table,
    show_error,
)
from services.cli.label_answers import print_import
from services.db.engine import reading
from services.errors import InvalidRequest, NotFound, ServiceError

if TYPE_CHECKING:
    from services.context import Context
    from services.labeling.connectors.sync import Exchange

ToolArgument = Annotated[str, typer.Argument(metavar="TOOL", help="label-studio or cvat.")]


def register(labels_app: typer.Typer) -> None:
    """Add the commands."""
    labels_app.command("connect")(connect)
    labels_app.command("disconnect")(disconnect)
    labels_app.command("sync")(sync)
    labels_app.command("status")(status)


def connect(
    tool: ToolArgument,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where it is: http://host:port")],
    token_file: Annotated[
        Path, typer.Option("--token-file", help="File with the token that the tool gave you.")
    ],
    project: Annotated[
        str | None, typer.Option(help="Number of its project to adopt; without: one is made.")
    ] = None,
    pictures_url: Annotated[
        str | None,
        typer.Option(
            help="Where the browsers of those who label reach this service; without: "
            "`accounts.public_url`, or where the API listens."
        ),
    ] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, max=5000, help="Tasks that lie there at most.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Connect a labelling tool, and exchange with it at once.

    Once more with another token file it changes the token; another address takes the place of the
    one before, whose tasks go back to the queue.
    """
    from services.labeling.connectors import connections

    try:
        token = token_file.expanduser().read_text()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{token_file} is no text") from error
    with opened() as context:
        number = connections.connect(
            context,
            tool,
            url,
            token,
            project=project,
            pictures_url=pictures_url,
            at_once=at_once,
        )
        _exchange(context, [number], as_json)


def disconnect(tool: ToolArgument) -> None:
    """Use a tool no more; its tasks go back to the queue, what it has answered stays."""
    from services.labeling.connectors import connections

    with opened() as context:
        connections.disconnect(context, tool)
    console().print(f"{tool} is not connected any more; its open tasks are back in the queue")


def sync(
    whole: Annotated[
        bool, typer.Option("--full", help="Look at everything there, not only at what changed.")
    ] = False,
    unseen: Annotated[
        bool,
        typer.Option(
            "--take-unseen",
            help="Take answers that only repeat what was offered, though nobody may have looked.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Exchange tasks and answers with the tools that are connected, now.

    Workers do so by themselves every `labels.sync_interval_s` seconds. The exit status is 1 if a
    tool could not be reached, or an answer could not be taken.
    """
    from services.labeling.connectors import connections

    with opened() as context:
        with reading(context.sessions) as session:
            numbers = [row.id for row in connections.active(session)]
        if not numbers:
            raise NotFound("no labelling tool is connected: `e2x labels connect`")
        _exchange(context, numbers, as_json, whole, unseen)


def _exchange(
    context: Context,
    numbers: list[int],
    as_json: bool,
    whole: bool = True,
    unseen: bool = False,
) -> None:
    from services.labeling.connectors import sync as exchanges

    done, failed = [], False
    for number in numbers:
        try:
            done.append(exchanges.run(context, number, whole=whole, unseen=unseen))
        except ServiceError as error:
            show_error(error)
            failed = True
    if as_json:
        print_json([one.to_dict() for one in done])
    else:
        for one in done:
            _print(one)
    if failed or any(one.answers.problems or _left(one) for one in done):
        raise typer.Exit(FAILURE_EXIT)


def _left(one: Exchange) -> int:
    return len(one.answers.left_empty) + len(one.answers.left_untouched)


def _print(one: Exchange) -> None:
    out = console()
    parts = {
        "sent": one.sent,
        "sent again": one.sent_again,
        "skipped there": one.skipped,
        "deleted there": one.deleted,
        "withdrawn": one.withdrawn,
    }
    told = ", ".join(f"{count} {name}" for name, count in parts.items() if count or name == "sent")
    out.print(f"{one.tool}: {told}", soft_wrap=True)
    print_import(one.answers, "--take-unseen", "--take-unseen")
    for note in one.notes:
        out.print(f"  {note}", style="yellow", soft_wrap=True)


def status(as_json: JsonOption = False) -> None:
    """Which tools are connected, how the exchange stands, and what could not be taken."""
    from services.labeling.connectors import standing

    with opened() as context, reading(context.sessions) as session:
        tools: list[dict[str, Any]] = standing.of_all(session)
        for one in tools:
            one["told"] = standing.told(session, one["id"])
    if as_json:
        print_json(tools)
        return
    if not tools:
        console().print("no labelling tool is connected: `e2x labels connect`")
    for one in tools:
        counts = ", ".join(f"{count} {state}" for state, count in one["counts"].items())
        print_facts(
            f"{one['kind']} at {one['url']}",
            [
                ("project", one["project"] or "not made yet"),
                ("pictures", one["pictures_url"]),
                ("tasks", counts or "none yet"),
                ("last exchange", one["synced_at"]),
                ("trouble", one["error"]),
                *(("note", note) for note in one["notes"]),
            ],
        )
        if one["told"]:
            print_table(
                "To be looked at",
                ("#task", "#there", "state", "why it is not stored", "note"),
                [
                    (t["task"], t["remote"], t["state"], t["problem"], t["note"])
                    for t in one["told"]
                ],
            )
