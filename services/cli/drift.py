"""``e2x drift``: how unlike the pool the field has become, day by day."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.common import JsonOption, console, opened, print_json
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.db.tables import DriftDay


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("drift")(drift)


def drift(
    days: Annotated[int, typer.Option(help="Newest days to show.", min=1, max=1000)] = 14,
    ask: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="Have this day judged by a worker, in UTC."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how unlike the reference the field's days were, and whether that is more than chance.

    With `drift.daily` each day is judged once it is over. Distances are 0 for none and 1 at most,
    with a 95 % interval; p says how often chance does as much. `*` marks what has drifted.
    """
    from services.db.engine import reading
    from services.drift import days as judged
    from services.models import registry

    with opened() as context:
        if ask is not None:
            day = _day(ask)
            with context.sessions.begin() as session:
                judged.request(session, day, registry.require_champion(session).id)
        with reading(context.sessions) as session:
            rows = [_as_json(row) for row in judged.latest(session, days)]
        if as_json:
            print_json({"days": rows, "asked": ask})
            return
        _print(rows, context.settings.drift.daily, ask)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidRequest(f"--ask {text}: expected a day such as 2026-11-28") from error


def _as_json(row: DriftDay) -> dict[str, Any]:
    return {
        "day": row.day,
        "model": row.model_id,
        "frames": row.frames,
        "groups": row.groups,
        "reference_groups": row.reference_groups,
        "can_tell": row.can_tell,
        "drifted": row.drifted,
        "empty_share": row.empty_share,
        "reference_empty_share": row.reference_empty_share,
        "figures": row.figures,
    }


def _print(rows: list[dict[str, Any]], daily: bool, asked: str | None) -> None:
    from rich.table import Table

    out = console()
    if asked is not None:
        out.print(f"asked for {asked}: a worker of `embed` judges it", markup=False)
    if not rows:
        hint = "" if daily else "; set drift.daily, or ask for one by --ask"
        out.print(f"no day was judged yet{hint}", markup=False)
        return
    names = list(rows[0]["figures"])
    table = Table("day", "frames", "groups", *names, "nothing shown", "verdict")
    for row in rows:
        verdict = "drifted" if row["drifted"] else "still"
        if not row["can_tell"]:
            verdict = "too few groups to tell"
        cells = [_cell(row["figures"].get(name)) for name in names]
        shares = f"{row['empty_share']:.0%} of {row['reference_empty_share']:.0%}"
        counts = (str(row["frames"]), f"{row['groups']} of {row['reference_groups']}")
        table.add_row(row["day"], *counts, *cells, shares, verdict)
    out.print(table)


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "-"
    mark = "*" if figure["drifted"] else ""
    spread = f"{figure['low']:.2f}-{figure['high']:.2f}"
    return f"{figure['distance']:.2f}{mark} ({spread}), p {figure['p_value']:.4f}"
