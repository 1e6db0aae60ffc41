"""Explanations that people ask for: methods side by side, and the analysis of one error."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.orm import Session

from curation.explain.what import OFFSETS, What, can_answer
from curation.kernel.types import FailureKind
from services.context import Context
from services.db.engine import reading
from services.db.tables import TAKEN_BACK, FailureRow, Model
from services.errors import InvalidRequest, NotFound
from services.failures import asked, asked_rows
from services.failures.asked import Wish
from services.failures.asked_rows import Asked
from services.store import drawings
from services.web import cursors, render, session

router = APIRouter()
BACKGROUND = "background"
Text = Annotated[str, Form(max_length=200, pattern=r"^[^\x00]*$")]
Word = Annotated[str, Query(max_length=200, pattern=r"^[^\x00]*$")]
QUESTIONS = {
    What.CLASS: "its score",
    What.AGAINST: "against the other",
    What.LEFT: "why left",
    What.UP: "why up",
    What.WIDE: "why wide",
    What.HIGH: "why high",
}
"""What a map is called in short."""


def section(opened: Session, context: Context, failure: FailureRow) -> dict[str, Any]:
    """What the part of a failure's page on methods shows."""
    rows = asked_rows.of_failure(opened, failure.id)
    plain = [one for one in rows if one.row.question == What.CLASS and _is_own(one, failure)]
    return {
        "methods": plain,
        "is_waited_for": any(one.is_open for one in plain),
        "own": drawings.newest_explanation(opened, failure.id),
        "prices": asked_rows.prices(opened, context.settings, failure, lambda _: [Wish()]),
        "standard": context.settings.explanation.method,
        "can_be_asked": failure.state not in TAKEN_BACK,
        "segments": context.settings.explanation.num_segments,
    }


def _is_own(one: Asked, failure: FailureRow) -> bool:
    return one.row.label == failure.label


@router.get("/failures/{failure_id}/explanations")
def explanations_part(request: Request, user: session.UserOf, failure_id: str) -> Response:
    """The part of the page by itself, for as long as something is waited for."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        row = _failure(opened, failure_id)
        values = {"row": row, **section(opened, context, row)}
    return render.page(request, "explanations.html", values, user)


@router.post("/failures/{failure_id}/explanations")
def ask(
    request: Request,
    user: session.SenderOf,
    failure_id: str,
    method: Text,
    num_samples: Annotated[str, Form(max_length=6)] = "",
) -> Response:
    """Have the failure's class explained by another method."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        asked.ask(opened, context.settings, failure_id, method, [Wish()], _samples(num_samples))
    return RedirectResponse(f"/failures/{failure_id}#methods", 303)


def _samples(text: str) -> int | None:
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdecimal()):
        raise InvalidRequest("samples: a number, or nothing for the method's own")
    return int(text)


@router.post("/failures/{failure_id}/explanations/{asked_id}/delete")
def delete(
    request: Request,
    user: session.SenderOf,
    failure_id: str,
    asked_id: str,
    back: Annotated[str, Form(pattern="^(analysis|)$")] = "",
) -> Response:
    """Delete one that was asked for, or stop waiting for it."""
    asked.remove(request.app.state.context, failure_id, asked_id)
    part = "/analysis" if back else "#methods"
    return RedirectResponse(f"/failures/{failure_id}{part}", 303)


@router.get("/failures/{failure_id}/analysis")
def analysis_page(
    request: Request, user: session.UserOf, failure_id: str, method: Word = "", rival: Word = ""
) -> Response:
    """Why this class and not that one, and why the box lies where it does."""
    context: Context = request.app.state.context
    with reading(context.sessions) as opened:
        row = _failure(opened, failure_id)
        names = list(opened.get_one(Model, row.model_id).class_names)
        rows = asked_rows.of_failure(opened, row.id)
        taken = method or _last_method(rows) or asked_rows.default_price(context.settings)
        other = rival or _last_rival(rows, taken) or rival_of(row, names)
        prices = asked_rows.prices(
            opened, context.settings, row, lambda one: wishes_of(row, one, other), OFFSETS
        )
    wanted = {_key(wish, row.label): wish for wish in wishes_of(row, taken, other)}
    by_key = {_row_key(one): one for one in rows if one.row.method == taken}
    shown = [(wish, by_key.get(key)) for key, wish in wanted.items()]
    there = [one for _, one in shown if one is not None]
    values = {
        "row": row,
        "method": taken,
        "rival": other,
        "rivals": [name for name in names if name != row.label],
        "prices": prices,
        "classes": [pair for pair in shown if pair[0].what not in OFFSETS],
        "offsets": [pair for pair in shown if pair[0].what in OFFSETS],
        "is_whole": len(there) == len(shown) and all(one.state == "done" for one in there),
        "is_waited_for": any(one.is_open for one in there),
        "is_begun": bool(there),
        "questions": QUESTIONS,
        "can_be_asked": row.state not in TAKEN_BACK,
    }
    name = "analysis_part.html" if "hx-request" in request.headers else "analysis.html"
    return render.page(request, name, values, user)


@router.post("/failures/{failure_id}/analysis")
def analyse(
    request: Request, user: session.SenderOf, failure_id: str, method: Text, rival: Text
) -> Response:
    """Have all questions answered together by one method."""
    context: Context = request.app.state.context
    with context.sessions.begin() as opened:
        row = _failure(opened, failure_id)
        asked.ask(opened, context.settings, failure_id, method, wishes_of(row, method, rival))
    return RedirectResponse(
        cursors.address(f"/failures/{failure_id}/analysis", {"method": method, "rival": rival}), 303
    )


def wishes_of(row: FailureRow, method: str, rival: str) -> list[Wish]:
    """The questions of an analysis that a method can answer."""
    every = [
        Wish(),
        Wish(What.CLASS, rival),
        Wish(What.AGAINST, rival=rival),
        *(Wish(what) for what in OFFSETS),
    ]
    return [wish for wish in every if can_answer(method, wish.what)]


def rival_of(row: FailureRow, names: list[str]) -> str:
    """Whom the class of a failure is compared with where nobody is named.

    The class that was shown in its place; else what is no object at all.
    """
    if row.kind == FailureKind.WRONG_CLASS and row.predicted_label in names:
        return str(row.predicted_label)
    return names[0] if names else BACKGROUND


def _last_method(rows: list[Asked]) -> str:
    """By which the last analysis was made."""
    made = [one.row.method for one in rows if one.row.question in OFFSETS]
    return made[-1] if made else ""


def _last_rival(rows: list[Asked], method: str) -> str:
    made = [one.row.rival for one in rows if one.row.method == method and one.row.rival]
    return made[-1] if made else ""


def _key(wish: Wish, label: str) -> tuple[str, str, str | None]:
    return (str(wish.what), wish.label or label, wish.rival)


def _row_key(one: Asked) -> tuple[str, str, str | None]:
    return (one.row.question, one.row.label, one.row.rival)


def _failure(opened: Session, failure_id: str) -> FailureRow:
    row = opened.get(FailureRow, failure_id)
    if row is None:
        raise NotFound(f"no failure {failure_id}")
    return row
