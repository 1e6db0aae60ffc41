"""``e2x failures explain``: any method for a failure, with its cost before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from curation.explain.what import What
from services.cli.common import JsonOption, console, opened, print_json, print_table
from services.cli.failure_names import SHOWN_ID, find_failure
from services.errors import InvalidRequest

if TYPE_CHECKING:
    from services.failures.asked_rows import Asked, Price

WhatOption = Annotated[
    list[What] | None,
    typer.Option(help="What is asked; may be repeated. Without: the score of the class."),
]


def explain_failure(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id, or the begin of it.")],
    method: Annotated[
        str, typer.Option("--method", "-m", help="By which; without: all, with what each costs.")
    ] = "",
    what: WhatOption = None,
    rival: Annotated[str, typer.Option(help="The other class, for `--what against`.")] = "",
    samples: Annotated[int | None, typer.Option(help="Without: the method's own number.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Have a failure explained by a method, or tell what every method would cost.

    A worker does it (`e2x up`), once for the same question; the answer stands on the failure's
    page beside the others, and `e2x failures explain ID` says how far it is.
    """
    from services.failures import asked, asked_rows

    if not method and samples is not None:
        raise InvalidRequest("--samples: of which method? name it by --method")
    wishes = [
        asked.Wish(one, rival=(rival or None) if one is What.AGAINST else None)
        for one in (what or [What.CLASS])
    ]
    with opened() as context, context.sessions.begin() as session:
        failure = find_failure(session, name)
        if method:
            asked.ask(session, context.settings, failure.id, method, wishes, samples)
            session.flush()
        prices = asked_rows.prices(session, context.settings, failure, lambda _: wishes)
        known = asked_rows.of_failure(session, failure.id)
        told = [_told(one) for one in known]
        title = f"Failure {failure.id[:SHOWN_ID]}"
    if as_json:
        print_json({"methods": [_priced(one) for one in prices], "asked": told})
        return
    if not method:
        _print_prices(title, prices)
    if told:
        keys = ("method", "what", "class", "against", "state", "why", "#seconds")
        print_table(f"{title}: asked for", keys, [tuple(one.values()) for one in told])
    elif not method:
        console().print("nothing has been asked for: name a method by --method")


def _priced(one: Price) -> dict[str, object]:
    return {
        "method": one.method,
        "offered": one.offered,
        "passes": one.passes,
        "seconds": one.seconds,
        "why_not": one.why_not,
    }


def _told(one: Asked) -> dict[str, object]:
    row = one.row
    return {
        "method": row.method,
        "what": row.question,
        "label": row.label,
        "rival": row.rival,
        "state": one.state,
        "why": one.why,
        "seconds": row.seconds,
    }


def _print_prices(title: str, prices: list[Price]) -> None:
    rows = [
        (one.method, one.passes, one.seconds, one.why_not or "yes")
        for one in sorted(prices, key=lambda one: not one.offered)
    ]
    print_table(f"{title}: methods", ("method", "#passes", "#about s", "offered"), rows)
